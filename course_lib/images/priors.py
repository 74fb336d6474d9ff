"""Priors that are applied to pixels after each step (Yosinski 2015, Mahendran and Vedaldi 2016)."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require

# (pixels (n, 3, h, w), their last gradient, number of the step) -> pixels
Prior = Callable[[Tensor, Tensor, int], Tensor]


def blur(sigma: float, every: int = 4) -> Prior:
    """Gaussian blur of `sigma` pixels at every so many steps: high frequencies must be earned again and again."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()

    def apply(pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        if step % every:
            return pixels
        k = kernel.to(pixels).expand(3, 1, 1, -1)
        padded = F.pad(pixels, (reach,) * 4, mode="reflect")
        return F.conv2d(F.conv2d(padded, k, groups=3), k.mT, groups=3)

    return apply


def _erase_smallest(pixels: Tensor, size: Tensor, percent: float) -> Tensor:
    """Grey where `size` (n, 1, h, w) is among the lowest `percent` of its picture."""
    limit = size.flatten(1).quantile(percent / 100, dim=1)[:, None, None, None]
    return torch.where(size < limit, 0.5, pixels)


def clip_small_norm(percent: float) -> Prior:
    """Set the `percent` of pixels that are nearest to grey, by their RGB norm, to grey."""
    return lambda pixels, gradient, step: _erase_smallest(pixels, (pixels - 0.5).norm(dim=1, keepdim=True), percent)


def clip_small_contribution(percent: float) -> Prior:
    """Set the `percent` of pixels to grey whose contribution |sum over RGB of x * dE/dx| is smallest."""

    def apply(pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        return _erase_smallest(pixels, ((pixels - 0.5) * gradient).sum(1, keepdim=True).abs(), percent)

    return apply


def bounded_range(limit: float = 160 / 255) -> Prior:
    """Keep each pixel's RGB norm about mid grey at or below `limit`: x <- 1/2 + (x - 1/2) min(1, limit / |x - 1/2|).

    The hard bound B+ of Mahendran and Vedaldi 2016, 160 of 255 there. The corners of the range are 0.87 from grey.
    """
    require(limit > 0, f"limit must be above 0, got {limit}")

    def apply(pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        offset = pixels - 0.5
        return 0.5 + offset * (limit / offset.norm(dim=1, keepdim=True).clamp(min=limit))

    return apply
