"""The images within a radius of a given one."""

import math

import torch
from torch import Tensor, nn

from course_lib.images import Image
from course_lib.optimizers import per_picture, steepest


class Ball(Image):
    """The pictures within `radius` of a start, in a norm; in [0, 1] as well, if the start is.

    project() is right up to rounding, as in any attack; exact() leaves no tolerance: |x - start| <= radius holds for
    the floating-point numbers themselves.
    """

    def __init__(self, start: Tensor, radius: float, norm: str):
        super().__init__()
        self.pixels = nn.Parameter(start.detach().clone(memory_format=torch.contiguous_format))
        self.register_buffer("start", self.pixels.detach().clone())
        self.norm, self.radius = norm, radius
        self.box = (0.0, 1.0) if bool(((start >= 0) & (start <= 1)).all()) else (-math.inf, math.inf)

    def forward(self) -> Tensor:
        return self.pixels

    @torch.no_grad()
    def scatter(self, generator: torch.Generator) -> None:
        """Move to a random point: uniform in the cube (linf); any direction, uniform in length (l2)."""
        shape = self.pixels.shape  # drawn on the CPU, so that every device draws the same
        if self.norm == "linf":
            away = 2 * torch.rand(shape, generator=generator) - 1
        else:
            away = steepest(torch.randn(shape, generator=generator), "l2")
            away = away * per_picture(torch.rand(len(away), generator=generator), away)
        self.pixels.add_(self.radius * away.to(self.pixels))
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        change = self.pixels - self.get_buffer("start")
        if self.norm == "linf":
            change = change.clamp(-self.radius, self.radius)
        else:
            share = (self.radius / _length(change).clamp(min=1e-30)).clamp(max=1)
            change = change * per_picture(share, change)
        self.pixels.copy_((self.get_buffer("start") + change).clamp(*self.box))

    @torch.no_grad()
    def exact(self) -> Tensor:
        """The picture, moved by the rounding errors that kept it outside."""
        moved, start = self.pixels.detach().clone(), self.get_buffer("start")
        if self.norm == "linf":
            bound = _rounded_down(self.radius, start.dtype)
            low, high = start - bound, start + bound  # rounded, by half a step of these numbers at most
            low = torch.where(start.double() - low.double() > bound, low.nextafter(start), low)
            high = torch.where(high.double() - start.double() > bound, high.nextafter(start), high)
            return moved.clamp(low, high)
        bound, slack = (1 - 2**-20) * self.radius, 2**-20  # the rounding of a sum depends on its order
        while bool((far := (length := _length(moved.double() - start.double())) > bound).any()):
            share = torch.where(far, (1 - slack) * bound / length.clamp(min=1e-30), 1.0).to(moved)
            moved = torch.where(per_picture(far, moved), start + (moved - start) * per_picture(share, moved), moved)
            slack = min(1.0, 2 * slack)  # 1 is the start itself, so this ends
        return moved.clamp(*self.box)


def _rounded_down(value: float, dtype: torch.dtype) -> float:
    """The largest number of that type that is not above the value: 8/255 as a float32 may be above 8/255."""
    nearest = torch.tensor(value, dtype=dtype)
    return float(nearest.nextafter(torch.zeros_like(nearest)) if float(nearest) > value else nearest)


def _length(change: Tensor) -> Tensor:
    """(n,): the Euclidean length of each of (n, ...)."""
    return change.flatten(1).norm(dim=1)
