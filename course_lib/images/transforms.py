"""Random transforms of an image."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require


class Transform:
    """A random change of a picture, drawn from a torch.Generator: transform(x, generator) -> x of the same size."""

    def __init__(self, name: str, function: Callable[[Tensor, torch.Generator], Tensor]):
        self.name, self.function = name, function

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.function(x, generator)

    def __repr__(self) -> str:
        return self.name


def jitter(pixels: int) -> Transform:
    """Shift by up to `pixels` each way; what leaves on one side returns on the other (Mordvintsev 2015)."""
    require(pixels >= 0, f"jitter takes a number of pixels >= 0, got {pixels}")

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        shift = torch.randint(-pixels, pixels + 1, (2,), generator=generator).tolist()
        return x.roll(shift, dims=(2, 3))

    return Transform(f"jitter({pixels})", function)


def scale(low: float, high: float) -> Transform:
    """Zoom about the centre by a factor drawn from [low, high]; what comes in at the border is a reflection."""
    require(0 < low <= high, f"scale takes 0 < low <= high, got {low} and {high}")

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        factor = low + (high - low) * float(torch.rand((), generator=generator))
        return _warp(x, [[1 / factor, 0.0], [0.0, 1 / factor]])

    return Transform(f"scale({low:g}, {high:g})", function)


def rotate(degrees: float) -> Transform:
    """Turn about the centre by up to `degrees` either way; what comes in at the corners is a reflection."""

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        angle = math.radians(degrees * (2 * float(torch.rand((), generator=generator)) - 1))
        aspect = x.shape[2] / x.shape[3]
        cos, sin = math.cos(angle), math.sin(angle)
        return _warp(x, [[cos, -sin * aspect], [sin / aspect, cos]])

    return Transform(f"rotate({degrees:g})", function)


def _warp(x: Tensor, matrix: list[list[float]]) -> Tensor:
    """Sample x where the 2 x 2 matrix sends each place (in coordinates from -1 to 1), bilinearly."""
    theta = torch.tensor([[*row, 0.0] for row in matrix]).to(x).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def compose(*transforms: Transform) -> Transform:
    """One transform after the other."""

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        for transform in transforms:
            x = transform(x, generator)
        return x

    return Transform(f"compose({', '.join(map(repr, transforms))})", function)
