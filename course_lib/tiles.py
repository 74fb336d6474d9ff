"""Features of images of any size, tile by tile, with the values of the whole."""

from collections.abc import Callable, Iterator
from functools import cached_property, reduce
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from course_lib.energy import Energy
from course_lib.errors import require
from course_lib.inputs import unwrapped
from course_lib.taps import Named, ReceptiveField, Taps, receptive_field

__all__ = ["SIDE", "Tiled"]

SIDE = 768  # pixels; larger images run in tiles

Tile = tuple[tuple[Any, slice, slice], tuple[slice, slice]]  # the pixels to run, which units of their map to keep


class Tiled(Named):
    """The activations of layers, as `Taps` gives them, in the memory of a tile: ``Tiled(net, "conv3")(x)["conv3"]``.

    A tile is a block of a layer's units, `side` pixels wide, and runs on all that these units see. So neither value nor
    gradient depends on where the cuts are. Tiles are run again on the way back, and only one is alive at a time. An
    image of at most `side` pixels each way is run whole, all layers at once.

    Args:
        net: Any network, as in `Taps`.
        layers: Names of the layers. `minimize` adds those that an energy needs besides.
        side: Of a tile, in pixels, at least 1.

    Attributes:
        net: The network.
        layers: The names.
        side: The side of a tile.

    Raises:
        ValueError: A layer that the network does not have, a side below 1, and, when called with a larger image, a
            layer whose units have no receptive field of their own (a fully connected layer, an adaptive pooling).

    Example:
        >>> from course_lib import models
        >>> Tiled(models.load("coursenet"), "conv3", side=64)(torch.rand(1, 3, 150, 200))["conv3"].shape
        torch.Size([1, 96, 19, 25])
    """

    def __init__(self, net: nn.Module, *layers: str, side: int = SIDE):
        super().__init__()
        require(side >= 1, f"side must be at least 1 pixel, got {side}")
        self.net, self.layers, self.side = unwrapped(net), layers, side
        self.taps = Taps(self.net, *layers) if layers else None
        self.tiles = {layer: _Layer(self.net, layer, side) for layer in layers}

    def with_layers(self, *layers: str) -> "Tiled":
        """The tiles of these layers too.

        Args:
            layers: Names of the layers that are needed.
        """
        missing = [layer for layer in layers if layer not in self.layers]
        return Tiled(self.net, *self.layers, *missing, side=self.side) if missing else self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if not isinstance(x, Tensor):
            raise TypeError(f"images are a torch tensor (n, c, h, w), got {type(x).__name__}")
        if self.taps is not None and self.whole(x):
            return cast(dict[str, Tensor], self.taps(x))
        return {layer: _Assembled.apply(x, tiles) for layer, tiles in self.tiles.items()}

    def whole(self, x: Tensor) -> bool:
        """Whether images are small enough to run whole.

        Args:
            x: (n, 3, h, w).
        """
        return max(x.shape[2:]) <= self.side

    def total(self, energy: Energy) -> Callable[[Tensor], Tensor]:
        """``x -> energy(features(x), x)``, added up over the tiles; the map itself is never held.

        Args:
            energy: A sum over the positions of one layer, such as `squared_norm`.

        Returns:
            A function of images (n, 3, h, w) that gives a scalar.

        Raises:
            ValueError: An energy of several layers, whose tiles would differ, or of none.
        """
        tiles = self._only(energy.layers, repr(energy))

        def run(x: Tensor) -> Tensor:
            if self.whole(x):
                return energy(tiles.taps(x), x)
            return cast(Tensor, _Total.apply(x, tiles, energy))

        return run

    def sum(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """``x -> function(map of the layer)``, added up over the tiles; the map itself is never held.

        Args:
            function: A sum over the positions of a map (n, c, h, w), such as `gram_matrix`. Every tile runs again on
                the way back.

        Returns:
            A function of images (n, 3, h, w).

        Raises:
            ValueError: These are the tiles of several layers, or of none.
        """
        tiles = self._only(self.layers, "a sum over tiles")

        def run(x: Tensor) -> Tensor:
            if self.whole(x):
                return function(tiles.taps(x)[tiles.layer])
            return cast(Tensor, _Sum.apply(x, tiles, function))

        return run

    def grid(self, x: Tensor) -> list[list[Tile]]:
        """The tiles of an image, row by row.

        Args:
            x: (n, 3, h, w).

        Returns:
            For each tile the pixels that run, and which units of their map are kept.

        Raises:
            ValueError: These are the tiles of several layers, or of none; a layer that looks at the whole image.
        """
        return self._only(self.layers, "a grid").grid(x)

    def _only(self, layers: tuple[str, ...], what: str) -> "_Layer":
        require(len(layers) == 1, f"{what} is of one layer, got {len(layers)}: {', '.join(map(repr, layers))}")
        return self.tiles.get(layers[0]) or _Layer(self.net, layers[0], self.side)


class _Layer:
    """One layer of a network, and how its map is cut."""

    def __init__(self, net: nn.Module, layer: str, side: int):
        self.taps, self.layer, self.side = Taps(net, layer), layer, side

    def block(self, window: Tensor, kept: tuple[slice, slice]) -> Tensor:
        """The layer's activations for a tile's pixels, of the units that the tile keeps: (n, c, rows, columns)."""
        return cast(Tensor, self.taps(window)[self.layer][..., *kept])

    def grid(self, x: Tensor) -> list[list[Tile]]:
        """The tiles of an image, row by row."""
        rows, columns = (
            list(_spans(length, self.side, *axis)) for length, axis in zip(x.shape[2:], self.field.axes, strict=True)
        )
        return [[((..., down, across), (i, j)) for across, j in columns] for down, i in rows]

    @cached_property
    def field(self) -> ReceptiveField:
        """What a unit sees, which must be the same in an image of another size."""
        size = getattr(self.taps.net, "image_size", 224)
        field, other = (receptive_field(self.taps.net, self.layer, s) for s in (size, 2 * size + 31))
        require(
            field == other and min(stride for _, stride, _ in field.axes) > 0,
            f"layer {self.layer!r} looks at the whole image, so an image larger than {self.side} pixels cannot be "
            "run in tiles; choose an earlier layer or a smaller image",
        )
        return field


def _spans(length: int, side: int, size: int, stride: int, start: int) -> Iterator[tuple[slice, slice]]:
    """Along one axis of so many pixels: what to run, and which of its units to keep.

    Every span begins where a stride does, so that its units are those of the whole; it ends where the last unit's
    field does, or with the image, whose padding is then the same.
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
    def forward(ctx: Any, x: Tensor, tiles: _Layer) -> Tensor:
        ctx.tiles = tiles
        ctx.save_for_backward(x)
        rows = [torch.cat([tiles.block(x[pixels], kept) for pixels, kept in row], 3) for row in tiles.grid(x)]
        return torch.cat(rows, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        gradient = torch.zeros_like(x)
        bottom = 0
        for row in ctx.tiles.grid(x):
            top, right = bottom, 0
            for pixels, kept in row:
                with torch.enable_grad():
                    window = x[pixels].detach().requires_grad_()
                    block = ctx.tiles.block(window, kept)
                left, right, bottom = right, right + block.shape[3], top + block.shape[2]
                arriving = gradients[0][..., top:bottom, left:right]
                gradient[pixels] += torch.autograd.grad(block, window, arriving)[0]
        return gradient, None


class _Total(torch.autograd.Function):
    """An energy added up over the tiles. Its gradient is found in the forward pass, so that each tile runs once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tiles: _Layer, energy: Energy) -> Tensor:
        gradient, total = torch.zeros_like(x), x.new_zeros(())
        for pixels, kept in chain.from_iterable(tiles.grid(x)):
            with torch.enable_grad():
                window = x[pixels].detach().requires_grad_()
                part = energy({tiles.layer: tiles.block(window, kept)}, window)
            gradient[pixels] += torch.autograd.grad(part, window)[0]
            total += part.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] * ctx.saved_tensors[0], None, None


class _Sum(torch.autograd.Function):
    """A function of the map, of any shape, added up over the tiles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tiles: _Layer, function: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.tiles, ctx.function = tiles, function
        ctx.save_for_backward(x)
        each = chain.from_iterable(tiles.grid(x))
        return reduce(torch.add, (function(tiles.block(x[pixels], kept)) for pixels, kept in each))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        gradient = torch.zeros_like(x)
        for pixels, kept in chain.from_iterable(ctx.tiles.grid(x)):
            with torch.enable_grad():
                window = x[pixels].detach().requires_grad_()
                part = ctx.function(ctx.tiles.block(window, kept))
            gradient[pixels] += torch.autograd.grad(part, window, gradients[0])[0]
        return gradient, None, None
