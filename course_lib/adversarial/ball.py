"""The images within a radius of a given one."""

import math

import torch
from torch import Tensor, nn

from course_lib.errors import unknown
from course_lib.images import Image
from course_lib.inputs import number
from course_lib.optimizers import per_picture, steepest

NORMS = ("linf", "l2")


class Ball(Image):
    """The images within a radius of given ones, ``|x - start| <= radius``.

    Each image whose initial values lie in [0, 1] stays there too, whatever the others of its batch do. `project` is
    right up to rounding, as in any attack; `exact` leaves no tolerance: ``|x - start| <= radius`` holds for the
    floating-point numbers themselves.

    Args:
        start: The initial images, (n, ...) floating; they are copied.
        radius: At least 0.
        norm: "linf", the largest change of a value, or "l2", the Euclidean length of the whole change of an image.

    Attributes:
        pixels: The parameter, (n, ...).
        radius: The same.
        norm: The same.

    Raises:
        TypeError: A start that is no floating tensor, or a radius that is no number.
        ValueError: A radius below 0, NaN or infinite, or another norm.

    Example:
        >>> ball = Ball(torch.full((1, 3, 2, 2), 0.5), 0.1, "linf")
        >>> ball.pixels.data += 1
        >>> ball.project()
        >>> ball.exact().unique()
        tensor([0.6000])
    """

    @torch.inference_mode(False)  # a parameter made in inference mode could never be sought
    def __init__(self, start: Tensor, radius: float, norm: str):
        super().__init__()
        if not isinstance(start, Tensor) or not start.is_floating_point():
            raise TypeError(f"the start is a floating tensor, got {getattr(start, 'dtype', type(start).__name__)}")
        if norm not in NORMS:
            raise unknown("norm", norm, NORMS)
        self.norm, self.radius = norm, number(radius, "radius", 0)
        self.pixels = nn.Parameter(start.detach().clone(memory_format=torch.contiguous_format))
        self.register_buffer("start", self.pixels.detach().clone())
        low, high = box(start.detach())
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self) -> Tensor:
        """The images as they are now."""
        return self.pixels

    @torch.no_grad()
    def scatter(self, generator: torch.Generator) -> None:
        """Move to a random point: uniform in the cube (linf); in any direction, uniform in length (l2).

        Args:
            generator: On the CPU, so that every device draws the same.
        """
        shape = self.pixels.shape
        if self.norm == "linf":
            away = 2 * torch.rand(shape, generator=generator) - 1
        else:
            away = steepest(torch.randn(shape, generator=generator), "l2")
            away = away * per_picture(torch.rand(len(away), generator=generator), away)
        self.pixels.add_(self.radius * away.to(self.pixels))
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        """Bring the images back into the ball and the box, up to rounding."""
        change = self.pixels - self.get_buffer("start")
        if self.norm == "linf":
            change = change.clamp(-self.radius, self.radius)
        else:
            length = _length(change)
            share = (self.radius / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(max=1)
            change = change * per_picture(share, change)
        self.pixels.copy_(self._boxed(self.get_buffer("start") + change))

    @torch.no_grad()
    def exact(self) -> Tensor:
        """The images, moved by the rounding errors that kept them outside.

        Returns:
            (n, ...), without a history.
        """
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
        return self._boxed(moved)

    def _boxed(self, x: Tensor) -> Tensor:
        return x.clamp(self.get_buffer("low"), self.get_buffer("high"))


def box(start: Tensor) -> tuple[Tensor, Tensor]:
    """The range that each image keeps: [0, 1] if its values lie there, else no bounds.

    Args:
        start: (n, ...).

    Returns:
        Lower and upper ends, (n, 1, ...) each.
    """
    inside = per_picture(((start >= 0) & (start <= 1)).flatten(1).all(1), start)
    return (
        torch.where(inside, 0.0, -math.inf).to(start.dtype),
        torch.where(inside, 1.0, math.inf).to(start.dtype),
    )


def _rounded_down(value: float, dtype: torch.dtype) -> float:
    """The largest number of that type that is not above the value: 8/255 as a float32 may be above 8/255."""
    nearest = torch.tensor(value, dtype=dtype)
    return float(nearest.nextafter(torch.zeros_like(nearest)) if float(nearest) > value else nearest)


def _length(change: Tensor) -> Tensor:
    """(n,): the Euclidean length of each of (n, ...)."""
    length: Tensor = change.flatten(1).norm(dim=1)
    return length
