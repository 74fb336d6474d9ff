"""Tables of codes, checked."""

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import require

BLOCK = 4096  # codes read, or compared, at a time


def table(codes: Tensor | np.ndarray, what: str = "codes") -> Tensor:
    """Codes as a tensor (n, d) of float32 or float64, without a history.

    Args:
        codes: (n, d), of any dtype; an array or a nested list is one, too.
        what: What they are, for the error.

    Raises:
        ValueError: Another shape.
    """
    codes = torch.as_tensor(codes)
    codes = codes.detach() if codes.requires_grad else codes
    require(codes.dim() == 2 and codes.numel() > 0, f"{what} have shape (n, d), got {tuple(codes.shape)}")
    return codes if codes.dtype in (torch.float32, torch.float64) else codes.float()


def finite(codes: Tensor | np.ndarray, what: str = "codes") -> Tensor:
    """Codes as a finite tensor (n, d).

    Args:
        codes: As in `table`.
        what: As in `table`.

    Raises:
        ValueError: Another shape, or values that are not finite (their rows are named).
    """
    codes = table(codes, what)
    bad = (~torch.isfinite(codes.norm(dim=1))).nonzero()[:, 0].tolist()  # a norm sees every number, and is cheap
    if bad:
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(f"{len(bad)} of {len(codes)} {what} are not finite, in rows {shown}")
    return codes


def different(codes: Tensor | np.ndarray, what: str = "codes") -> Tensor:
    """Codes as a finite tensor (n, d) whose rows are not all the same.

    Args:
        codes: As in `table`.
        what: As in `table`.

    Raises:
        ValueError: As `finite`, or rows that are all the same.
    """
    codes = finite(codes, what)
    require(bool((codes != codes[0]).any()), f"all {what} are the same, so there is nothing to tell apart")
    return codes
