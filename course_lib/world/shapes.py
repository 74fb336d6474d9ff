"""What the drawn world is made of: signed distances of the shapes, textures, backgrounds.

Each is a function of coordinate fields (n, h, w) and gives a field. Distances and textures live in the object's own
coordinates (u right, v up, radius one); backgrounds in the image's (x, y in [-1, 1], y downwards).
Distances are negative inside; textures and backgrounds are tones, mostly in [0, 1].
"""

from collections.abc import Callable, Mapping
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BACKGROUNDS", "SHAPES", "TEXTURES", "Field", "by_index", "length"]

#: Coordinate fields (n, h, w) -> a field (n, h, w).
Field = Callable[..., Tensor]


def by_index(functions: Mapping[str, Field], index: Tensor, *fields: Tensor) -> Tensor:
    """Each row of the fields through its own function; every function is called once, on the rows that chose it.

    Args:
        functions: The functions, numbered in their order.
        index: (n,) int64, the number of each row's function.
        fields: (n, ...) each, what the functions take.

    Returns:
        (n, ...).
    """
    chosen = [(index == k).nonzero()[:, 0] for k in range(len(functions))]
    parts = [
        function(*(field[rows] for field in fields)) for function, rows in zip(functions.values(), chosen, strict=True)
    ]
    return torch.cat(parts)[torch.cat(chosen).argsort()]


# ---------------------------------------------------------------- shapes


def length(u: Tensor, v: Tensor) -> Tensor:
    """``sqrt(u^2 + v^2)``, with a gradient at 0.

    Args:
        u: Any field.
        v: One of the same shape.

    Returns:
        Their shape.
    """
    return (u * u + v * v).clamp(min=1e-12).sqrt()


def _polygon(u: Tensor, v: Tensor, corners: int, radius: float) -> Tensor:
    """Distance to the nearest side of a regular polygon (exact inside, a lower bound at the corners outside)."""
    sides = (u * torch.sin(a) + v * torch.cos(a) for a in (torch.arange(corners) * 2 + 1) * pi / corners)
    return torch.stack(list(sides)).amax(0) - radius * float(torch.cos(torch.tensor(pi / corners)))


def _segment(u: Tensor, v: Tensor, a: tuple[float, float], b: tuple[float, float]) -> Tensor:
    du, dv = b[0] - a[0], b[1] - a[1]
    t = (((u - a[0]) * du + (v - a[1]) * dv) / (du * du + dv * dv)).clamp(0, 1)
    return length(u - a[0] - t * du, v - a[1] - t * dv)


def _outline(u: Tensor, v: Tensor, corners: list[tuple[float, float]]) -> Tensor:
    """Exact signed distance to a simple polygon: nearest side, sign by the even-odd rule."""
    inside = torch.zeros_like(u, dtype=torch.bool)
    distance = torch.full_like(u, torch.inf)
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        distance = torch.minimum(distance, _segment(u, v, a, b))
        if a[1] != b[1]:
            crossing = ((a[1] > v) != (b[1] > v)) & (u < (b[0] - a[0]) * (v - a[1]) / (b[1] - a[1]) + a[0])
            inside ^= crossing
    return torch.where(inside, -distance, distance)


def _star_corners() -> list[tuple[float, float]]:
    angles = torch.arange(10) * pi / 5
    radii = torch.tensor([1.05, 0.45] * 5)
    return list(zip((radii * angles.sin()).tolist(), (radii * angles.cos()).tolist(), strict=True))


def _cross(u: Tensor, v: Tensor) -> Tensor:
    a, b = u.abs(), v.abs()
    return torch.minimum(torch.maximum(a - 0.95, b - 0.32), torch.maximum(b - 0.95, a - 0.32))


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """Two half discs on the upper sides of a square that stands on its corner."""
    scale = 0.62
    a, b = u.abs() * scale, v * scale + 0.56
    lobe = length(a - 0.25, b - 0.75) - 2**0.5 / 4
    along = 0.5 * (a + b).clamp(min=0)
    side = torch.minimum(length(a, b - 1), length(a - along, b - along)) * torch.sign(a - b)
    return torch.where(a + b > 1, lobe, side) / scale


def _drop(u: Tensor, v: Tensor) -> Tensor:
    """A disc and the tangents to it from a point above."""
    top, low, radius = 1.15, -0.35, 0.62
    sine = radius / (top - low)
    side = u.abs() * (1 - sine**2) ** 0.5 + (v - top) * sine
    cone = torch.maximum(side, low + radius * sine - v)
    return torch.minimum(length(u, v - low) - radius, cone)


#: Signed distance of each shape, of (u, v).
SHAPES: dict[str, Field] = {
    "disc": lambda u, v: length(u, v) - 0.88,
    "square": lambda u, v: torch.maximum(u.abs(), v.abs()) - 0.76,
    "triangle": lambda u, v: _polygon(u, v + 0.15, 3, 1.12),
    "star": lambda u, v: _outline(u, v, _star_corners()),
    "ring": lambda u, v: (length(u, v) - 0.7).abs() - 0.22,
    "cross": _cross,
    "heart": _heart,
    "crescent": lambda u, v: torch.maximum(length(u + 0.1, v) - 0.92, 0.72 - length(u - 0.42, v)),
    "hexagon": lambda u, v: _polygon(u, v, 6, 0.98),
    "drop": _drop,
}

# ---------------------------------------------------------------- textures: of u, v (scaled by a frequency) and noise


def _step(value: Tensor, width: float = 0.08) -> Tensor:
    """A soft step from 0 to 1 at value 0."""
    return torch.sigmoid(value / width)


def _hash(i: Tensor, j: Tensor) -> Tensor:
    """A number in [0, 1) for every pair of whole numbers, the same on every platform (integer arithmetic)."""
    h = (i.long() * 73856093) ^ (j.long() * 19349663)
    return (((h ^ (h >> 7)) * 83492791) % 1021).float() / 1021


def _edge(t: Tensor) -> Tensor:
    """Distance to the nearest whole number."""
    return 0.5 - (t.remainder(1) - 0.5).abs()


def _fur(u: Tensor, v: Tensor, noise: Tensor) -> Tensor:
    """Noise stretched along v, combed by a slow bend."""
    grid = torch.stack([u * 0.95 + 0.08 * torch.sin(3 * v), v * 0.13], -1)
    grid = (grid + 1).remainder(2) - 1
    streaks = F.grid_sample(noise[:, None], grid, align_corners=False, padding_mode="reflection")[:, 0]
    return _step(streaks, 0.35)


def _dots(u: Tensor, v: Tensor, noise: Tensor) -> Tensor:
    """A disc in each cell of a grid."""
    return _step(0.31 - length(u.remainder(1) - 0.5, v.remainder(1) - 0.5), 0.045)


#: Tone of each texture, of (u, v, noise).
TEXTURES: dict[str, Field] = {
    "plain": lambda u, v, noise: torch.zeros_like(u),
    "stripes": lambda u, v, noise: _step(torch.sin(2 * pi * u), 0.15),
    "dots": _dots,
    "checker": lambda u, v, noise: _step(torch.sin(pi * u * 1.3) * torch.sin(pi * v * 1.3)),
    "rings": lambda u, v, noise: _step(torch.sin(2 * pi * length(u, v)), 0.15),
    "fur": _fur,
}

# ---------------------------------------------------------------- backgrounds: of x, y, four numbers a (n, 4) and noise


def _bricks(x: Tensor, y: Tensor, a: Tensor, noise: Tensor) -> Tensor:
    rows = 6 + 4 * a[:, 0, None, None]
    j = torch.floor(y * rows / 2)
    i = x * rows / 4 + 0.5 * j.remainder(2)
    gap = torch.minimum(_edge(i) * 2, _edge(y * rows / 2))
    return (0.35 + 0.5 * _hash(torch.floor(i) + 50, j + 50) + 0.1 * noise) * _step(gap - 0.07, 0.02) - 0.25 * (
        gap < 0.07
    )


def _planks(x: Tensor, y: Tensor, a: Tensor, noise: Tensor) -> Tensor:
    boards = 3 + 4 * a[:, 0, None, None]
    t = torch.where(a[:, 1, None, None] < 0.5, x, y)
    along = torch.where(a[:, 1, None, None] < 0.5, y, x)
    board = torch.floor(t * boards / 2)
    tone = _hash(board + 50, board * 0 + 7)
    rings = torch.sin(2 * pi * (t * boards * 1.4 + 0.35 * torch.sin(1.7 * along + 6 * tone) + 0.25 * noise))
    return (0.25 + 0.5 * tone + 0.13 * rings) * _step(_edge(t * boards / 2) - 0.03, 0.015)


def _leaves(x: Tensor, y: Tensor, a: Tensor, noise: Tensor) -> Tensor:
    """Ellipses on a jittered grid; where they overlap, the one with the larger number lies on top."""
    cells = 2.5 + 1.5 * a[:, 0, None, None]
    i0, j0 = torch.floor(x * cells), torch.floor(y * cells)
    tone, top = -0.1 + 0.1 * noise, torch.zeros_like(x)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            i, j = i0 + di + 50, j0 + dj + 50
            rank = _hash(i, j)
            turn = 2 * pi * _hash(j, i + 31)
            u, v = x * cells - i + 49.5 + 0.5 * (rank - 0.5), y * cells - j + 49.5
            p, q = u * turn.cos() + v * turn.sin(), v * turn.cos() - u * turn.sin()
            leaf = 1 - (p / 0.95) ** 2 - (q.abs() / 0.42)
            on_top = (leaf > 0) & (rank >= top)
            rib = 0.18 * torch.exp(-((q / 0.05) ** 2))
            tone = torch.where(on_top, 0.15 + 0.6 * rank + 0.25 * leaf.clamp(0, 0.6) - rib, tone)
            top = torch.where(on_top, rank, top)
    return tone


def _waves(x: Tensor, y: Tensor, a: Tensor, noise: Tensor) -> Tensor:
    turn, pitch = 2 * pi * a[:, 0, None, None], 3 + 6 * a[:, 1, None, None]
    t = x * turn.cos() + y * turn.sin()
    s = y * turn.cos() - x * turn.sin()
    return 0.5 + 0.28 * torch.sin(pitch * t + 1.2 * torch.sin(2.3 * s)) + 0.18 * y + 0.08 * noise


#: Tone of each background, of (x, y, four numbers, noise).
BACKGROUNDS: dict[str, Field] = {
    "clouds": lambda x, y, a, noise: 0.5 + 0.32 * noise,
    "waves": _waves,
    "bricks": _bricks,
    "planks": _planks,
    "leaves": _leaves,
}
