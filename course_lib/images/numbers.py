"""Counts and magnitudes as parameters: one named error for what cannot be meant."""

import math
from numbers import Real

import numpy as np
from torch import Tensor

from course_lib.errors import require


def count(value: object, what: str, least: int = 1) -> int:
    """A whole number of things.

    Args:
        value: An int, of Python, numpy or a tensor without dimensions.
        what: Its name, for the error: "steps".
        least: The least that makes sense.

    Returns:
        An int, at least `least`.

    Raises:
        TypeError: No whole number: True, 2.0, "2", None.
        ValueError: Less than `least`.

    Example:
        >>> count(3, "steps")
        3
    """
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a whole number, got {value!r}")
    require(value >= least, f"{what} must be at least {least}, got {value}")
    return value


def number(
    value: object, what: str, low: float = -math.inf, high: float = math.inf, *, low_is_in: bool = True
) -> float:
    """A finite number in a range.

    Args:
        value: A number, of Python, numpy or a tensor without dimensions.
        what: Its name, for the error: "epsilon".
        low: Lower end of the range.
        high: Upper end of the range, which is in it.
        low_is_in: Whether the lower end is in the range too.

    Returns:
        A float.

    Raises:
        TypeError: No number: True, "0.1", None.
        ValueError: NaN, infinite, or out of the range.

    Example:
        >>> number(0.25, "epsilon", 0, 1)
        0.25
    """
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} is a number, got {value!r}")
    found = float(value)
    inside = (low <= found if low_is_in else low < found) and found <= high  # NaN is neither
    require(inside and math.isfinite(found), f"{what} {_range(low, high, low_is_in)}, got {found:g}")
    return found


def _scalar(value: object) -> object:
    """A number of Python instead of one of numpy or torch."""
    return value.item() if isinstance(value, Tensor | np.ndarray | np.generic) and value.ndim == 0 else value


def _range(low: float, high: float, low_is_in: bool) -> str:
    if math.isfinite(high):
        return f"is in {'[' if low_is_in else '('}{low:g}, {high:g}]"
    if math.isfinite(low):
        return f"must be {'at least' if low_is_in else 'above'} {low:g}"
    return "must be finite"
