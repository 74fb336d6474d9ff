"""Whether two images are of one texture: how well a classifier tells their positions apart."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import number
from course_lib.measure.codes import Code
from course_lib.measure.selectivity import auc
from course_lib.measure.values import real

SHRINKAGE = 0.3


def told_apart(a: Code, b: Code, *, shrinkage: float = SHRINKAGE) -> Tensor:
    """How well the positions of two images are told apart by their features: a classifier two-sample test.

    The vectors of all channels at one position are a sample. A linear discriminant, ``<w, v>`` with
    ``w = S^-1 (m_a - m_b)``, S the covariance within the two images, is fitted to the positions of one half of both
    images and ranks those of the other half. The value is the area under its ROC curve, mean over four fits: left,
    right, upper and lower half. The rows or columns in the middle are left out, because neighbours resemble each other.

    As a judge of textures, it needs features that the synthesis has not optimised: of another network.

    Args:
        a: Maps of n images, (n, c, h, w), or {layer: maps} as `Taps` outputs them: all layers, averaged to the
            smallest of their grids. At least 6 positions a side.
        b: Maps of n images, to be compared with those of a one by one: the same channels, any size.
        shrinkage: From 0 to 1, how far S is drawn towards ``trace(S) / c`` times the identity. Above 0, or there must
            be many more positions than channels.

    Returns:
        (n,) float64: 1/2 or less where nothing tells them apart, 1 where every position does.

    Raises:
        TypeError: Something else than numbers.
        ValueError: Other shapes, other numbers of images or channels, too few positions, values that are not finite.

    Source: Lopez-Paz and Oquab 2017 (the test); Fisher 1936, Ledoit and Wolf 2004 (the classifier). Deviations: the
    area under the curve instead of the accuracy, halves of the image instead of random halves of the samples.

    Example:
        >>> a = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> [round(float(v), 1) for v in told_apart(a, torch.stack([a[0].flip(1), a[1] + 5]))]
        [0.5, 1.0]
    """
    shrinkage = number(shrinkage, "shrinkage", 0, 1)
    first, second = (_maps(code, what) for code, what in ((a, "the first maps"), (b, "the second maps")))
    fits = first.shape[:2] == second.shape[:2]
    require(fits, f"maps {tuple(first.shape)} and {tuple(second.shape)} differ in images or channels")
    return torch.stack([_told_apart(x, y, shrinkage) for x, y in zip(first, second, strict=True)])


def _maps(code: Code, what: str) -> Tensor:
    """All layers on the smallest grid, (n, c, h, w) float64."""
    layers = list(code.values()) if isinstance(code, Mapping) else [code]
    require(bool(layers), "a code of no layer: name at least one")
    maps = [real(layer, what, "(n, c, h, w)", (4,)).detach().double() for layer in layers]
    grid = min(layer.shape[2] for layer in maps), min(layer.shape[3] for layer in maps)
    require(min(grid) >= 6, f"{what} have {grid[0]} x {grid[1]} positions, and a half needs 3 a side: take 6 or more")
    return torch.cat([F.adaptive_avg_pool2d(layer, grid) for layer in maps], 1)


def _told_apart(a: Tensor, b: Tensor, shrinkage: float) -> Tensor:
    """The mean area of the four fits; a and b (c, h, w)."""
    areas = []
    for axis in (1, 2):
        halves = [_halves(x, axis) for x in (a, b)]
        for fitted in (0, 1):
            w = _discriminant(halves[0][fitted], halves[1][fitted], shrinkage)
            scores = [pair[1 - fitted] @ w for pair in halves]
            of_a = torch.cat([torch.ones_like(scores[0]), torch.zeros_like(scores[1])]).bool()
            areas.append(auc(torch.cat(scores)[:, None], of_a)[0])
    return torch.stack(areas).mean()


def _halves(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The positions of both halves without those in the middle, (positions, c) each."""
    side = x.shape[axis]
    reach = side // 2 - 1
    low, high = x.narrow(axis, 0, reach), x.narrow(axis, side - reach, reach)
    return low.flatten(1).T, high.flatten(1).T


def _discriminant(a: Tensor, b: Tensor, shrinkage: float) -> Tensor:
    """``S^-1 (m_a - m_b)`` of samples (positions, c): (c,)."""
    means = a.mean(0), b.mean(0)
    apart = torch.cat([a - means[0], b - means[1]])
    within = apart.T @ apart / len(apart)
    scale = within.diagonal().mean().clamp(min=1e-30)
    identity = torch.eye(len(within), dtype=within.dtype, device=within.device)
    shrunk = (1 - shrinkage) * within + shrinkage * scale * identity
    w: Tensor = torch.linalg.lstsq(shrunk, means[0] - means[1]).solution
    return w
