"""Numbers as they come, as tensors without a NaN."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import require

Values = Tensor | np.ndarray | Sequence[Any] | float


def finite(values: Values, what: str, shape: str = "", dims: tuple[int, ...] = ()) -> Tensor:
    """Numbers as a tensor: floating, whole or bool as they are.

    Args:
        values: A tensor, an array, or a list, nested or not; lists become float64, int64 or bool.
        what: What they are, for the error: "values".
        shape: Of what is wanted, for the error: "(n,)".
        dims: How many dimensions it may have; any number by default.

    Raises:
        TypeError: Something else than numbers.
        ValueError: No number at all, another number of dimensions, or values that are not finite (the rows are named).
    """
    try:
        tensor = values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what} are numbers, in a tensor, an array or a list, got {values!r}") from error
    fits = not dims or tensor.dim() in dims
    require(fits and tensor.numel() > 0, f"{what} have shape {shape or 'of some numbers'}, got {tuple(tensor.shape)}")
    if not (good := tensor.detach().isfinite()).all():
        bad = (~good).flatten(1).any(1) if tensor.dim() > 1 else ~good.reshape(-1)
        rows = bad.nonzero()[:, 0].tolist()
        shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise ValueError(f"{what} {shown} of {len(bad)} are not finite: leave them out, or find out why")
    return tensor


def real(values: Values, what: str, shape: str = "", dims: tuple[int, ...] = ()) -> Tensor:
    """The same, as floating numbers.

    Args:
        values: As in `finite`.
        what: As in `finite`.
        shape: As in `finite`.
        dims: As in `finite`.

    Raises:
        TypeError: As `finite`.
        ValueError: As `finite`.
    """
    tensor = finite(values, what, shape, dims)
    return tensor if tensor.is_floating_point() else tensor.float()
