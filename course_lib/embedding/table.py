"""Tables of codes, checked."""

import torch
from torch import Tensor

from course_lib.errors import require

BLOCK = 4096  # codes read, or compared, at a time


def table(codes: Tensor, what: str = "codes") -> Tensor:
    """Codes as a floating (n, d) tensor; ValueError for another shape."""
    codes = torch.as_tensor(codes)
    require(codes.dim() == 2 and codes.numel() > 0, f"{what} have shape (n, d), got {tuple(codes.shape)}")
    return codes if codes.is_floating_point() else codes.float()


def finite(codes: Tensor, what: str = "codes") -> Tensor:
    """Codes as a finite (n, d) tensor; ValueError that names the rows otherwise."""
    codes = table(codes, what)
    bad = (~torch.isfinite(codes.norm(dim=1))).nonzero()[:, 0].tolist()  # a norm sees every number, and is cheap
    if bad:
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(f"{len(bad)} of {len(codes)} {what} are not finite, in rows {shown}")
    return codes
