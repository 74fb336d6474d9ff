"""Random transforms of an image."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.inputs import count, number


class Transform:
    """A random change of images, drawn from a torch.Generator: ``transform(x, generator)`` has the size of x.

    All images of a batch change alike.

    Args:
        name: What to call it in a listing.
        function: (images (n, c, h, w), generator on the CPU) -> images of the same size.

    Attributes:
        name: The same.
        function: The same.

    Example:
        >>> darker = Transform("darker", lambda x, generator: x * torch.rand((), generator=generator))
        >>> darker
        darker
        >>> darker(torch.ones(1, 3, 8, 8), torch.Generator().manual_seed(0)).mean()
        tensor(0.4963)
    """

    def __init__(self, name: str, function: Callable[[Tensor, torch.Generator], Tensor]):
        self.name, self.function = name, function

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.function(x, generator)

    def __repr__(self) -> str:
        return self.name


def jitter(pixels: int) -> Transform:
    """Shift by a random number of pixels; what leaves on one side returns on the other.

    Args:
        pixels: The largest shift each way, at least 0. Every shift up to it, down and across, is equally likely.

    Returns:
        A transform for `minimize`.

    Raises:
        TypeError: Not a whole number.
        ValueError: Less than 0.

    Source: Mordvintsev 2015.
    """
    pixels = count(pixels, "jitter's number of pixels", 0)

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        shift = torch.randint(-pixels, pixels + 1, (2,), generator=generator).tolist()
        return x.roll(shift, dims=(2, 3))

    return Transform(f"jitter({pixels})", function)


def scale(low: float, high: float) -> Transform:
    """Zoom about the centre by a random factor; what comes in at the border is a reflection.

    Args:
        low: The smallest factor, above 0; below 1 the image shrinks.
        high: The largest factor, at least `low`. The factor is uniform between them.

    Returns:
        A transform for `minimize`.

    Raises:
        TypeError: Not numbers.
        ValueError: Out of range.

    Source: Olah 2017.

    Example:
        >>> scale(0.9, 1.1)
        scale(0.9, 1.1)
    """
    low = number(low, "scale's low", 0, low_is_in=False)
    high = number(high, "scale's high", low)

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        factor = low + (high - low) * float(torch.rand((), generator=generator))
        return _warp(x, [[1 / factor, 0.0], [0.0, 1 / factor]])

    return Transform(f"scale({low:g}, {high:g})", function)


def rotate(degrees: float) -> Transform:
    """Turn about the centre by a random angle; what comes in at the corners is a reflection.

    Args:
        degrees: The largest angle either way, at least 0. The angle is uniform up to it.

    Returns:
        A transform for `minimize`.

    Raises:
        TypeError: Not a number.
        ValueError: Less than 0.

    Source: Olah 2017.
    """
    degrees = number(degrees, "rotate's degrees", 0)

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        angle = math.radians(degrees * (2 * float(torch.rand((), generator=generator)) - 1))
        aspect = x.shape[2] / x.shape[3]  # the grid goes from -1 to 1 along either side, whatever its length
        cos, sin = math.cos(angle), math.sin(angle)
        return _warp(x, [[cos, -sin * aspect], [sin / aspect, cos]])

    return Transform(f"rotate({degrees:g})", function)


def _warp(x: Tensor, matrix: list[list[float]]) -> Tensor:
    """Sample x where the 2 x 2 matrix sends each position (in coordinates from -1 to 1), bilinearly."""
    theta = torch.tensor([[*row, 0.0] for row in matrix]).to(x).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def compose(*transforms: Transform) -> Transform:
    """One transform after the other, all drawn from the one generator.

    Args:
        transforms: The first is applied first; none changes nothing.

    Returns:
        A transform for `minimize`.

    Raises:
        TypeError: Something that is no `Transform`.

    Example:
        >>> compose(jitter(8), scale(0.9, 1.1), rotate(5), jitter(4))
        compose(jitter(8), scale(0.9, 1.1), rotate(5), jitter(4))
    """
    for transform in transforms:
        if not isinstance(transform, Transform):
            raise TypeError(f"compose takes transforms such as jitter(4), got {transform!r}")

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        for transform in transforms:
            x = transform(x, generator)
        return x

    return Transform(f"compose({', '.join(map(repr, transforms))})", function)
