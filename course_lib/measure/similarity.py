"""How alike two images are: their values, their patches, their spectra, what they show."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require
from course_lib.measure.values import Values, real

PATCH, DIRECTIONS = 7, 256


def correlation(a: Values, b: Values) -> Tensor:
    """Pearson's correlation of the colour values of two images.

    Args:
        a: (n, c, h, w), or (n, d).
        b: The same shape.

    Returns:
        (n,) in [-1, 1]; 0 where an image is one flat colour.

    Raises:
        ValueError: Shapes that differ, or values that are not finite.

    Example:
        >>> x = torch.linspace(0, 1, 48).view(1, 3, 4, 4)
        >>> [round(float(correlation(x, y)), 3) for y in (0.5 * x, 1 - x)]
        [1.0, -1.0]
    """
    a, b = _two(a, b, same=True)
    a, b = (v.flatten(1) - v.flatten(1).mean(1, keepdim=True) for v in (a, b))
    return F.cosine_similarity(a, b)


def psnr(a: Values, b: Values) -> Tensor:
    """Peak signal-to-noise ratio ``-10 log10 mean (a - b)^2`` of images in [0, 1].

    Args:
        a: (n, c, h, w) in [0, 1].
        b: The same shape.

    Returns:
        (n,), in dB; infinite for the same image.

    Raises:
        ValueError: Shapes that differ, or values that are not finite.

    Example:
        >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
        tensor([20.])
    """
    a, b = _two(a, b, same=True)
    return -10 * (a - b).square().flatten(1).mean(1).log10()


def patch_distance(a: Tensor, b: Tensor, *, size: int = PATCH, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """Sliced Wasserstein distance of the patches of two images: how differently they are distributed.

    The mean over random unit directions d of ``integral |Q_a(p) - Q_b(p)| dp``, Q the quantiles of ``<d, patch>`` over
    all patches. 0 for the same patches in any order.

    Args:
        a: (1, 3, h, w).
        b: (1, 3, h, w), of the same or another size.
        size: Side of the square patches in pixels.
        directions: Number of directions.
        seed: Of the directions.

    Returns:
        At least 0, in the unit of the pixels' values.

    Raises:
        ValueError: Another shape, an image smaller than a patch, values that are not finite, directions < 1.

    Source: Rabin 2011 (sliced Wasserstein), of patches as in Elnekave and Weiss 2022. Deviation: 512 quantiles stand
    for the integral, so that the images may differ in size.
    """
    a, b = _two(a, b, same=False)
    for x in (a, b):
        one = x.dim() == 4 and x.shape[:2] == (1, 3)
        require(one and 1 <= size <= min(x.shape[2:]), f"no patches of {size} pixels in {tuple(x.shape)}")
    require(directions >= 1, f"directions must be at least 1, got {directions}")
    generator = torch.Generator().manual_seed(seed)
    d = F.normalize(torch.randn(3 * size * size, directions, generator=generator), dim=0).to(a)
    p = (torch.arange(512, device=a.device) + 0.5).to(a) / 512
    quantiles = [(F.unfold(x, size)[0].T @ d).quantile(p, dim=0) for x in (a, b)]  # (512, directions)
    return float((quantiles[0] - quantiles[1]).abs().mean())


def shuffled_pixels(x: Tensor, seed: int = 0) -> Tensor:
    """The pixels of an image in random order: its colours, and nothing else of it.

    Its `patch_distance` from x is the scale by which that of a synthesised texture is read.

    Args:
        x: (1, 3, h, w).
        seed: Of the order.

    Returns:
        (1, 3, h, w).

    Example:
        >>> x = torch.linspace(0, 1, 48).view(1, 3, 4, 4)
        >>> torch.equal(shuffled_pixels(x).flatten().sort().values, x.flatten())
        True
    """
    order = torch.randperm(x[0, 0].numel(), generator=torch.Generator().manual_seed(seed))
    return x.flatten(2)[..., order].view_as(x)


def spectrum_distance(a: Tensor, b: Tensor) -> float:
    """Mean ``|ln P_a(f) - ln P_b(f)|`` over rings of frequency, P the power of the grey image in a ring.

    Up to 16 rings of equal width go from 0 (without the mean) to Nyquist; a Hann window takes the border away.

    Args:
        a: (1, 3, h, w), at least 4 pixels a side.
        b: (1, 3, h, w), of the same size.

    Returns:
        At least 0; ln 4 where one has twice the contrast of the other.

    Raises:
        ValueError: Another shape, shapes that differ, or values that are not finite.
    """
    a, b = _two(a, b, same=True)
    fits = a.dim() == 4 and a.shape[:2] == (1, 3) and min(a.shape[2:]) >= 4
    require(fits, f"a spectrum is of one image (1, 3, h, w) of at least 4 pixels a side, got {tuple(a.shape)}")
    return float((_rings(a).log() - _rings(b).log()).abs().mean())


def _rings(x: Tensor) -> Tensor:
    """Mean power of the grey image in up to 16 equal rings from 0 (without the mean) to Nyquist: (rings,)."""
    grey = x.mean(1)[0]
    count = min(16, *(side // 4 for side in grey.shape))  # none of them empty
    window = torch.outer(*(torch.hann_window(side, device=x.device) for side in grey.shape))  # the border is no edge
    power = torch.fft.fft2((grey - grey.mean()) * window).abs().square()
    fy, fx = (torch.fft.fftfreq(side, device=x.device) for side in grey.shape)
    radius = (fy[:, None] ** 2 + fx**2).sqrt()
    ring = (radius * 2 * count).long()
    inside = (radius > 0) & (ring < count)
    total = torch.zeros(count, device=x.device).index_add_(0, ring[inside], power[inside])
    means: Tensor = total / ring[inside].bincount(minlength=count) + 1e-12
    return means


def content_lost(x: Tensor, content: Tensor) -> float:
    """``1 - r``, r Pearson's correlation of two images, grey and blurred by a 32nd of their side.

    What is left of a content in a transferred style. HOG would be no judge here: it takes the grain of a synthesis for
    lost content.

    Args:
        x: (1, 3, h, w), the synthesis.
        content: (1, 3, h, w), what it should show.

    Returns:
        In [0, 2]: 0 where all is left, 1 where nothing is.

    Raises:
        ValueError: Shapes that differ, more than one image, or values that are not finite.

    Example:
        >>> x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> round(content_lost(0.2 + 0.5 * x, x), 3)  # neither brightness nor contrast counts
        0.0
    """
    x, content = _two(x, content, same=True)
    require(x.dim() == 4 and len(x) == 1, f"content is compared image by image, (1, 3, h, w), got {tuple(x.shape)}")
    side = min(x.shape[2:])
    # torchvision takes as long to load as torch itself: where it is used, and no sooner
    from torchvision.transforms.functional import gaussian_blur

    soft = [gaussian_blur(y.mean(1, keepdim=True), 2 * (side // 10) + 1, side / 32) for y in (x, content)]
    return 1 - float(correlation(*soft))


def _two(a: Values, b: Values, *, same: bool) -> tuple[Tensor, Tensor]:
    """Two images, or batches of them, as finite floating tensors on the device of the first."""
    a, b = real(a, "images", "(n, c, h, w)", (2, 3, 4)), real(b, "images", "(n, c, h, w)", (2, 3, 4))
    require(not same or a.shape == b.shape, f"images {tuple(a.shape)} and {tuple(b.shape)} differ in shape")
    return a, b.to(a)
