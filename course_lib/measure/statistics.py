"""How sure a number is, and how alike two images."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.stats import binomtest, t, wilcoxon
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
    """Mean and 95 % interval of independent values (n,): Wilson's for bool, else Student's, mean +- t s / sqrt(n).

    t is the 97.5 % point of Student's distribution with n - 1 degrees of freedom: 2.78 for n = 5, 1.96 for many.
    Raises ValueError for fewer than 2 values.
    """
    n = len(values)
    require(n >= 2, f"an interval needs at least 2 values, got {n}")
    mean = float(values.double().mean())
    if values.dtype == torch.bool:
        bounds = binomtest(int(values.sum()), n).proportion_ci(method="wilson")
        return Interval(mean, float(bounds.low), float(bounds.high), n)
    half = float(t.ppf(0.975, n - 1)) * float(values.double().std()) / n**0.5
    return Interval(mean, mean - half, mean + half, n)


class Paired(NamedTuple):
    """a - b in the mean over pairs with its 95 % interval, and Wilcoxon's p for no difference."""

    difference: Interval
    p: float


def paired(a: Tensor, b: Tensor) -> Paired:
    """Two measurements (n,) of the same n things, compared thing by thing."""
    return Paired(interval(a - b), float(wilcoxon(a.double().numpy(), b.double().numpy()).pvalue))


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, of the colour values of two pictures, for each of (n, 3, h, w): (n,) in [-1, 1]."""
    a, b = (v.flatten(1) - v.flatten(1).mean(1, keepdim=True) for v in (a, b))
    return F.cosine_similarity(a, b)
