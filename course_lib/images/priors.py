"""Priors that are applied to pixels after each step (Yosinski 2015, Mahendran and Vedaldi 2016)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import count, number

# (pixels (n, 3, h, w), their last gradient, number of the step, from 1) -> pixels
Prior = Callable[[Tensor, Tensor, int], Tensor]


def blur(sigma: float, every: int = 4) -> Prior:
    """Gaussian blur at every so many steps, which suppresses high frequencies that the loss does not keep restoring.

    The kernel reaches to three standard deviations; the image is reflected at its border.

    Args:
        sigma: Standard deviation in pixels, above 0.
        every: Number of steps from one blur to the next, at least 1.

    Returns:
        A prior for `Pixels`. When applied, it raises ValueError for images that the kernel is too large for.

    Raises:
        TypeError: A `sigma` that is no number, or an `every` that is no whole number.
        ValueError: One of them out of its range.

    Source: Yosinski 2015, section 3.

    Example:
        >>> white_spot = torch.zeros(1, 3, 9, 9).index_put((torch.tensor(0), torch.tensor(0), *torch.tensor([4, 4])),
        ...                                                torch.tensor(1.0))
        >>> round(blur(1.0)(white_spot, white_spot, 4)[0, 0, 4, 4].item(), 3)  # 1 / (2 pi sigma^2)
        0.159
    """
    sigma, every = number(sigma, "sigma", 0, low_is_in=False), count(every, "every")
    reach = math.ceil(3 * sigma)

    def apply(pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        if step % every:
            return pixels
        height, width = pixels.shape[2:]
        require(
            min(height, width) > reach,
            f"blur({sigma:g}) reaches {reach} pixels, so it needs images of at least {reach + 1} x {reach + 1}, "
            f"got {height} x {width}",
        )
        # torchvision takes as long to load as torch itself: where it is used, and no sooner
        from torchvision.transforms.functional import gaussian_blur

        blurred: Tensor = gaussian_blur(pixels, [2 * reach + 1] * 2, [sigma] * 2)
        return blurred

    return apply


def _erase_smallest(pixels: Tensor, size: Tensor, percent: float) -> Tensor:
    """Grey where `size` (n, 1, h, w) is among the lowest `percent` of its image."""
    size = size.to(torch.promote_types(size.dtype, torch.float32))  # there is no quantile in half precision
    limit = size.flatten(1).quantile(percent / 100, dim=1)[:, None, None, None]
    return torch.where(size < limit, 0.5, pixels)


def clip_small_norm(percent: float) -> Prior:
    """Set the pixels of each image that are nearest to grey, by their RGB norm, to grey.

    Args:
        percent: How many of 100 pixels, in [0, 100].

    Returns:
        A prior for `Pixels`.

    Raises:
        TypeError: Not a number.
        ValueError: Out of range.

    Source: Yosinski 2015, section 3.

    Example:
        >>> x = torch.tensor([0.5, 0.6, 0.7, 0.8]).expand(1, 3, 1, 4)
        >>> clip_small_norm(50)(x, x, 1)[0, 0]
        tensor([[0.5000, 0.5000, 0.7000, 0.8000]])
    """
    percent = number(percent, "percent", 0, 100)
    return lambda pixels, gradient, step: _erase_smallest(pixels, (pixels - 0.5).norm(dim=1, keepdim=True), percent)


def clip_small_contribution(percent: float) -> Prior:
    """Set the pixels of each image to grey whose contribution ``|sum over RGB of (x - 1/2) dE/dx|`` is smallest.

    Args:
        percent: How many of 100 pixels, in [0, 100].

    Returns:
        A prior for `Pixels`.

    Raises:
        TypeError: Not a number.
        ValueError: Out of range.

    Source: Yosinski 2015, section 3.
    """
    percent = number(percent, "percent", 0, 100)

    def apply(pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        return _erase_smallest(pixels, ((pixels - 0.5) * gradient).sum(1, keepdim=True).abs(), percent)

    return apply


def bounded_range(limit: float = 160 / 255) -> Prior:
    """Keep each pixel's RGB norm about mid grey at or below a limit.

    ``x <- 1/2 + (x - 1/2) min(1, limit / |x - 1/2|)``

    Args:
        limit: Above 0; the corners of the range [0, 1] are 0.87 from grey. By default 160 of 255, as in the paper.

    Returns:
        A prior for `Pixels`.

    Raises:
        TypeError: Not a number.
        ValueError: Not above 0.

    Source: The hard bound B+ of Mahendran and Vedaldi 2016.

    Example:
        >>> bounded_range(0.3)(torch.tensor([0.9, 0.5, 0.5]).view(1, 3, 1, 1), torch.zeros(1), 1).flatten()
        tensor([0.8000, 0.5000, 0.5000])
    """
    limit = number(limit, "limit", 0, low_is_in=False)

    def apply(pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        offset = pixels - 0.5
        norm: Tensor = offset.norm(dim=1, keepdim=True)
        return 0.5 + offset * (limit / norm.clamp(min=limit))

    return apply
