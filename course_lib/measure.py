"""Does a map tell the truth: pointing game, overlap, and how sure a number is."""

from typing import NamedTuple

import torch
from scipy.stats import binomtest
from torch import Tensor

from course_lib.errors import require


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(values: Tensor) -> Interval:
    """Mean and 95 % interval of independent values (n,): Wilson's for bool, else mean +- 1.96 s / sqrt(n)."""
    n = len(values)
    require(n >= 2, f"an interval needs at least 2 values, got {n}")
    mean = float(values.double().mean())
    if values.dtype == torch.bool:
        bounds = binomtest(int(values.sum()), n).proportion_ci(method="wilson")
        return Interval(mean, float(bounds.low), float(bounds.high), n)
    half = 1.96 * float(values.double().std()) / n**0.5
    return Interval(mean, mean - half, mean + half, n)


def _same_places(heat: Tensor, masks: Tensor) -> None:
    require(heat.shape == masks.shape, f"maps {tuple(heat.shape)} and masks {tuple(masks.shape)} differ in shape")
    require(bool(masks.flatten(1).any(1).all()), "a mask is empty: there is nothing to point at")


def pointing_game(heat: Tensor, masks: Tensor) -> Tensor:
    """(n,) bool: whether the hottest pixel of each map (n, 1, h, w) lies on its object, masks (n, 1, h, w) bool.

    Chance is the mask's share of the picture. Zhang 2018 allows 15 pixels of slack; here there is none.
    """
    _same_places(heat, masks)
    hottest = heat.flatten(1).argmax(1, keepdim=True)
    return masks.flatten(1).gather(1, hottest)[:, 0]


def iou(heat: Tensor, masks: Tensor) -> Tensor:
    """(n,) in [0, 1]: overlap |A and B| / |A or B| of the object B with A, the hottest |B| pixels of its map.

    As many pixels as the object has, so that no threshold is chosen. Chance is p / (2 - p) where the object is a share
    p of the picture.
    """
    _same_places(heat, masks)
    scores = []
    for values, mask in zip(heat.flatten(1), masks.flatten(1), strict=True):
        chosen = torch.zeros_like(mask)
        chosen[values.topk(int(mask.sum())).indices] = True
        scores.append((chosen & mask).sum() / (chosen | mask).sum())
    return torch.stack(scores)
