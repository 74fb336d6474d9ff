"""Noise whose amplitude falls with its frequency, as that of natural images does."""

import torch
from torch import Tensor

__all__ = ["power_law"]


def power_law(white: Tensor, power: float, *, constant: bool = True) -> Tensor:
    """White noise with each Fourier coefficient divided by ``f^power``, f its frequency.

    The spectrum of natural images is about ``1/f`` (power 1). Periodic: the left border meets the right.

    Args:
        white: (..., h, w), independent numbers.
        power: How fast the amplitude falls; 0 leaves the noise as it is.
        constant: Keep the mean, as if its frequency were the lowest one, 1 / max(h, w); otherwise the mean of every
            field is 0.

    Returns:
        (..., h, w), on no particular scale.

    Source: Field 1987 (the spectrum of natural images).

    Example:
        >>> white = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
        >>> torch.allclose(power_law(white, 0), white, atol=1e-5)
        True
        >>> smooth = power_law(white, 2)
        >>> bool((smooth[1:] - smooth[:-1]).std() < 0.3 * smooth.std())  # neighbours are alike
        True
    """
    height, width = white.shape[-2:]
    fy = torch.fft.fftfreq(height, device=white.device)[:, None]
    fx = torch.fft.rfftfreq(width, device=white.device)
    amplitude = 1 / (fy**2 + fx**2).sqrt().clamp(min=1 / max(height, width)) ** power
    if not constant:
        amplitude[0, 0] = 0
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(height, width))
    return noise
