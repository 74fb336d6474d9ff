"""Images of which the truth is known, and how some of them are selected."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import whole

__all__ = ["Truth"]


@dataclass(frozen=True)
class Truth:
    """Images with their truth: what every world of scenes has.

    An index or a mask selects scenes, ``scenes[3]`` (a batch of one), ``scenes[:8]``,
    ``scenes[scenes.factors["visible"] < 1]``.

    Attributes:
        images: (n, 3, size, size) float32 in [0, 1], 8-bit values.
        labels: (n,) int64.
        masks: (n, 1, size, size) bool, where the object is visible.
        factors: Name -> (n,) tensor.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor
    factors: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice | Sequence[int] | Sequence[bool] | np.ndarray | Tensor) -> Self:
        forwards = isinstance(index, slice) and (index.step is None or index.step > 0)  # a view, not a copy
        rows: Any = index if forwards else _rows(index, len(self))
        return self._each(lambda values: values[rows])

    def to(self, device: torch.device | str) -> Self:
        """The same scenes on another device.

        Args:
            device: Where to: "cuda".

        Returns:
            New scenes, or tensors of these where they are there already.
        """
        return self._each(lambda values: values.to(device))

    def _each(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Scenes whose tensors are the function of these."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        factors = {name: function(values) for name, values in parts.pop("factors").items()}
        return type(self)(factors=factors, **{name: function(values) for name, values in parts.items()})


def _rows(index: int | slice | Sequence[int] | Sequence[bool] | np.ndarray | Tensor, n: int) -> Tensor:
    """The numbers of the scenes that an index or a mask selects: (k,) int64."""
    if isinstance(index, slice):
        return torch.arange(n)[list(range(n)[index])]
    chosen = index if isinstance(index, Tensor) else np.asarray(index)
    if chosen.dtype in (torch.bool, np.dtype(bool)):
        require(chosen.shape == (n,), f"a mask of {n} scenes is ({n},), got {tuple(chosen.shape)}")
        return torch.as_tensor(chosen).cpu().nonzero()[:, 0]
    if chosen.shape == (0,):
        return torch.zeros(0, dtype=torch.int64)
    rows = torch.as_tensor(whole(index, "index of a scene")).view(-1)
    outside = rows[(rows < -n) | (rows >= n)].tolist()
    if outside:  # not a ValueError: this ends a loop over the scenes
        raise IndexError(f"no scene {outside[0]}: there are {n}")
    return rows
