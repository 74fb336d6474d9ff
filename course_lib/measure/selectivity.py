"""What a unit or a filter holds."""

import torch
from torch import Tensor

from course_lib.errors import require


def explained(values: Tensor, factor: Tensor) -> Tensor:
    """Share of the variance of each unit's values (n, c) that a factor (n,) of whole numbers explains: (c,), at most 1.

    epsilon^2 = 1 - (SS_within / (n - k)) / (SS_total / (n - 1)) over the k kinds of the factor (Kelley 1935): 0 on
    average for a unit that knows nothing of it, where the plain share SS_between / SS_total would be (k - 1) / (n - 1).
    A unit that never changes gets 0.
    """
    require(values.dim() == 2 and factor.shape == values.shape[:1], f"{len(factor)} factors for {tuple(values.shape)}")
    kinds, kind = factor.unique(return_inverse=True)
    n, k = len(values), len(kinds)
    require(1 < k < n, f"a factor needs at least 2 kinds and fewer than pictures, got {k} for {n}")
    values = values.double()
    means = torch.stack([values[kind == i].mean(0) for i in range(k)])  # (k, c)
    within, total = ((values - mean).square().sum(0) for mean in (means[kind], values.mean(0)))
    return torch.where(total > 0, 1 - (within / (n - k)) / (total / (n - 1)).clamp(min=1e-30), 0.0)


def colour_energy(filters: Tensor) -> Tensor:
    """Share of the squared weights of RGB filters (n, 3, h, w) that is colour and not grey: (n,) in [0, 1].

    1 - 3 |mean over RGB|^2 / |w|^2. A grey or an empty filter has 0, independent random weights 2/3 on average.
    """
    require(filters.dim() == 4 and filters.shape[1] == 3, f"filters are (n, 3, h, w), got {tuple(filters.shape)}")
    colour = (filters - filters.mean(1, keepdim=True)).square().sum((1, 2, 3))  # what is left without the grey
    return colour / filters.square().sum((1, 2, 3)).clamp(min=1e-30)


def orientation_energy(filters: Tensor) -> Tensor:
    """How much the spectrum of filters (n, c, h, w) lies along one direction: (n,) in [0, 1].

    |sum P exp(2 i theta)| / sum P over spatial frequencies between 0 and Nyquist, P the power and theta the direction:
    near 1 for a grating, above 1/2 for a step, 0 for a blob and, but for chance, for noise.
    """
    require(filters.dim() == 4, f"filters are (n, c, h, w), got {tuple(filters.shape)}")
    side = 64  # zero-padded: a small filter has few frequencies of its own
    power = torch.fft.fft2(filters, s=(side, side)).abs().square().sum(1)  # (n, side, side)
    f = torch.fft.fftfreq(side, device=filters.device)
    radius, theta = (f[:, None] ** 2 + f**2).sqrt(), torch.atan2(f[:, None].expand(side, side), f.expand(side, side))
    power = power * ((radius > 0) & (radius < 0.5))  # a full circle, so that no direction has more frequencies
    turned = (power * torch.exp(2j * theta)).sum((1, 2)).abs()
    return turned / power.sum((1, 2)).clamp(min=1e-30)
