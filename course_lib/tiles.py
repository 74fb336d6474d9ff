"""Features of images of any size, tile by tile, with the values of the whole."""

from collections.abc import Callable, Iterator
from functools import cached_property, reduce
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.energy import Energy
from course_lib.errors import require
from course_lib.taps import Named, ReceptiveField, Taps, receptive_field

Tile = tuple[tuple[Any, slice, slice], tuple[slice, slice]]  # the pixels to run, which units of their map to keep


class Tiled(Named):
    """The activation of one layer, as Taps gives it, in the memory of a tile: Tiled(net, "conv3")(x) -> {"conv3": ...}.

    A tile is a block of the layer's units, `side` pixels wide, and runs on all that these units see. So neither value
    nor gradient depends on where the cuts are. Tiles are run again on the way back, and only one is alive at a time.
    A picture of at most `side` pixels each way is run whole.

    Raises ValueError for a layer that the network does not have, and, for larger pictures, for one whose units have no
    receptive field of their own (a fully connected layer, an adaptive pooling).
    """

    def __init__(self, net: nn.Module, layer: str, side: int = 768):
        super().__init__()
        require(side >= 1, f"side must be at least 1 pixel, got {side}")
        self.taps, self.layer, self.side = Taps(net, layer), layer, side

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if max(x.shape[2:]) <= self.side:
            return self.taps(x)
        return {self.layer: _Assembled.apply(x, self)}

    def total(self, energy: Energy) -> Callable[[Tensor], Tensor]:
        """x -> energy(features(x), x), added up over the tiles; the map itself is never held.

        energy: a sum over the places of the layer, such as `squared_norm`.
        """

        def run(x: Tensor) -> Tensor:
            if max(x.shape[2:]) <= self.side:
                return energy(self.taps(x), x)
            return _Total.apply(x, self, energy)

        return run

    def sum(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """x -> function(map of the layer), added up over the tiles; the map itself is never held.

        function: a sum over the places of the map, such as `gram_matrix`. Every tile runs again on the way back.
        """

        def run(x: Tensor) -> Tensor:
            if max(x.shape[2:]) <= self.side:
                return function(self.taps(x)[self.layer])
            return _Sum.apply(x, self, function)

        return run

    def block(self, window: Tensor, kept: tuple[slice, slice]) -> Tensor:
        """The layer's answers to a tile's pixels, of the units that the tile keeps: (n, c, rows, columns)."""
        return self.taps(window)[self.layer][..., *kept]

    def grid(self, x: Tensor) -> list[list[Tile]]:
        """The tiles of a picture, row by row."""
        rows, columns = (
            list(_spans(length, self.side, *axis)) for length, axis in zip(x.shape[2:], self.field.axes, strict=True)
        )
        return [[((..., down, across), (i, j)) for across, j in columns] for down, i in rows]

    @cached_property
    def field(self) -> ReceptiveField:
        """What a unit sees, which must be the same in a picture of another size."""
        size = getattr(self.taps.net, "image_size", 224)
        field, other = (receptive_field(self.taps.net, self.layer, s) for s in (size, 2 * size + 31))
        require(
            field == other and min(stride for _, stride, _ in field.axes) > 0,
            f"layer {self.layer!r} looks at the whole picture, so a picture larger than {self.side} pixels cannot be "
            "run in tiles; choose an earlier layer or a smaller picture",
        )
        return field


def _spans(length: int, side: int, size: int, stride: int, start: int) -> Iterator[tuple[slice, slice]]:
    """Along one axis of so many pixels: what to run, and which of its units to keep.

    Every span begins where a stride does, so that its units are those of the whole; it ends where the last unit's
    field does, or with the picture, whose padding is then the same.
    """
    count = -(-length // side)
    units = -(-length // (stride * count))  # in a block
    first, end = 0, 0
    while end < length:
        origin = max(0, (start + first * stride) // stride * stride)
        end = start + (first + units - 1) * stride + size
        if end + stride > length:  # whether there is another unit depends on padding: this block takes it
            end = length
        kept = first - origin // stride
        yield slice(origin, end), slice(kept, kept + units if end < length else None)
        first += units


class _Assembled(torch.autograd.Function):
    """The map of a layer, from its tiles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, features: Tiled) -> Tensor:
        ctx.features = features
        ctx.save_for_backward(x)
        rows = [torch.cat([features.block(x[pixels], kept) for pixels, kept in row], 3) for row in features.grid(x)]
        return torch.cat(rows, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        slope = torch.zeros_like(x)
        bottom = 0
        for row in ctx.features.grid(x):
            top, right = bottom, 0
            for pixels, kept in row:
                with torch.enable_grad():
                    window = x[pixels].detach().requires_grad_()
                    block = ctx.features.block(window, kept)
                left, right, bottom = right, right + block.shape[3], top + block.shape[2]
                arriving = gradients[0][..., top:bottom, left:right]
                slope[pixels] += torch.autograd.grad(block, window, arriving)[0]
        return slope, None


class _Total(torch.autograd.Function):
    """An energy added up over the tiles. Its slope is found on the way there, so that each tile runs once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, features: Tiled, energy: Energy) -> Tensor:
        slope, total = torch.zeros_like(x), x.new_zeros(())
        for pixels, kept in chain.from_iterable(features.grid(x)):
            with torch.enable_grad():
                window = x[pixels].detach().requires_grad_()
                part = energy({features.layer: features.block(window, kept)}, window)
            slope[pixels] += torch.autograd.grad(part, window)[0]
            total += part.detach()
        ctx.save_for_backward(slope)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] * ctx.saved_tensors[0], None, None


class _Sum(torch.autograd.Function):
    """A function of the map, of any shape, added up over the tiles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, features: Tiled, function: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.features, ctx.function = features, function
        ctx.save_for_backward(x)
        tiles = chain.from_iterable(features.grid(x))
        return reduce(torch.add, (function(features.block(x[pixels], kept)) for pixels, kept in tiles))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        slope = torch.zeros_like(x)
        for pixels, kept in chain.from_iterable(ctx.features.grid(x)):
            with torch.enable_grad():
                window = x[pixels].detach().requires_grad_()
                part = ctx.function(ctx.features.block(window, kept))
            slope[pixels] += torch.autograd.grad(part, window, gradients[0])[0]
        return slope, None, None
