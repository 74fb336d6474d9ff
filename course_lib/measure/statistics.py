"""How sure a number is."""

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.measure.values import Values, finite


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval, printed as ``0.75 [0.30, 0.95]``.

    Attributes:
        mean: Of the values.
        low: Lower end.
        high: Upper end.
        n: Number of values.
    """

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(values: Values) -> Interval:
    """Mean and 95 % interval of independent values: Student's, ``m +- t s / sqrt(n)``; Wilson's for True and False.

    s is the standard deviation, with n - 1 in its denominator, and t the 97.5 % point of Student's distribution with
    n - 1 degrees of freedom: 2.78 for n = 5, 1.96 for many.

    Args:
        values: (n,), numbers or bool, n >= 2: a tensor, an array or a list.

    Returns:
        The mean, both ends and n. Student's ends may leave the range of the values, Wilson's stay in [0, 1].

    Raises:
        TypeError: Something else than numbers.
        ValueError: Fewer than 2 values, another shape, or values that are not finite (they are named).

    Source: Student 1908; Wilson 1927. Deviation: none.

    Example:
        >>> print(interval([1.0, 2.0, 3.0]))
        2.00 [-0.48, 4.48]
        >>> print(interval([True, True, True, False]))
        0.75 [0.30, 0.95]
    """
    values = finite(values, "values", "(n,)", (1,)).detach()
    n = len(values)
    require(n >= 2, f"an interval needs at least 2 values, got {n}")
    low, high = _wilson(values) if values.dtype == torch.bool else _student(values.double())
    return Interval(float(values.double().mean()), low, high, n)


def _wilson(values: Tensor) -> tuple[float, float]:
    from scipy.stats import binomtest  # slow to import, and only the chapters that measure need it

    bounds = binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)


def _student(values: Tensor) -> tuple[float, float]:
    from scipy.stats import t

    n, mean = len(values), float(values.mean())
    half = float(t.ppf(0.975, n - 1)) * float(values.std()) / n**0.5
    return mean - half, mean + half


class Paired(NamedTuple):
    """Two measurements of the same things, compared thing by thing.

    Attributes:
        difference: a - b in the mean over pairs, with its 95 % interval.
        p: Wilcoxon's, for no difference (two-sided).
    """

    difference: Interval
    p: float


def paired(a: Values, b: Values) -> Paired:
    """Two measurements of the same n things: the mean of ``a - b`` with its interval, and Wilcoxon's signed-rank test.

    Args:
        a: (n,), numbers or bool, n >= 2.
        b: (n,), of the same things in the same order.

    Returns:
        The difference, positive where a is larger, and p; p is 1 where all pairs are equal.

    Raises:
        TypeError: Something else than numbers.
        ValueError: Another shape, other lengths, fewer than 2 pairs, or values that are not finite.

    Source: Wilcoxon 1945, as SciPy computes it: exact for few pairs without ties. Deviation: none.

    Example:
        >>> paired([3.0, 5.0, 6.0, 9.0], [1.0, 2.0, 5.0, 4.0]).p
        0.125
    """
    from scipy.stats import wilcoxon

    a, b = (finite(v, "values", "(n,)", (1,)).detach().cpu() for v in (a, b))
    require(len(a) == len(b), f"pairs need two measurements of each thing, got {len(a)} and {len(b)}")
    a, b = (v if v.is_floating_point() else v.double() for v in (a, b))  # bool has no difference, uint8 a wrong one
    p = float(wilcoxon(a.double().numpy(), b.double().numpy()).pvalue) if bool((a != b).any()) else 1.0
    return Paired(interval(a - b), p)
