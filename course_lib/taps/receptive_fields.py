"""What part of the image a unit of any layer sees."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.inputs import device_of, evaluation, unwrapped
from course_lib.taps.activations import Taps
from course_lib.taps.follow import Field, Follow, two


@dataclass(frozen=True)
class ReceptiveField:
    """The box of input pixels that a unit can see.

    The unit at position i sees ``start + i * stride`` to ``start + i * stride + size - 1``. All are in input pixels: an
    int, or (rows, columns) where the two differ.

    Attributes:
        size: Of the box.
        stride: From one unit to the next; 0 for a layer that sees the whole image.
        start: Of the box of unit (0, 0); negative where padding lets it hang over the border.
    """

    size: int | tuple[int, int]
    stride: int | tuple[int, int]
    start: int | tuple[int, int]

    @property
    def axes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """(size, stride, start) along the rows, and along the columns."""
        rows, columns = zip(*(two(value) for value in (self.size, self.stride, self.start)), strict=True)
        return rows, columns

    def box(self, row: int = 0, column: int = 0) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of what one unit sees, half open, not cut at the border.

        Args:
            row: Of the unit in its map.
            column: Of the unit in its map.
        """
        (top, height), (left, width) = (
            (start + i * stride, size) for (size, stride, start), i in zip(self.axes, (row, column), strict=True)
        )
        return top, left, top + height, left + width


@torch.no_grad()
def receptive_field(net: nn.Module, layer: str, size: int | tuple[int, int] | None = None) -> ReceptiveField:
    """What part of the image a unit of a layer can see: kernels, strides, padding, dilation, branches.

    A window of k units, d apart, over units that see r pixels and lie s pixels apart sees ``r + (k - 1) d s`` pixels;
    where branches meet, the boxes are united. The calls of a forward pass are followed as they run, so every block and
    every spelling counts, and the result is put to a test: the unit in the middle must not change with what lies
    outside its box.

    Args:
        net: Any network; it is evaluated.
        layer: Name of the layer; "" is the output.
        size: Of the images, one number or (height, width); by default the network's image_size or 224. It matters only
            to layers that look at everything: their box spans what all units below can see, padding included (the
            convention behind AlexNet's 355 for fc6). Layers that regroup positions, like the windows of a transformer,
            count as looking at everything.

    Raises:
        ValueError: An unknown layer, one that does not depend on the image, one behind an upsampling, or one that mixes
            positions in a way that is not followed.

    Source: Araujo 2019.

    Example:
        >>> from course_lib import models
        >>> receptive_field(models.load("coursenet"), "conv2")
        ReceptiveField(size=27, stride=4, start=-13)
    """
    net = unwrapped(net)
    height, width = two(size or getattr(net, "image_size", 224))
    kernel, channels = _first_kernel(net)
    x, taps = kernel.new_zeros(1, channels, height, width), Taps(net, layer)
    with evaluation(net):  # batch statistics and dropout would mix or change what is followed
        taps.positions(x)  # explored before the pass is followed, which would follow that too
        with Follow(x) as follow:
            a = taps(x)[layer]
        field = follow.field(a)
        if field is None:
            raise ValueError(f"layer {layer!r} does not depend on the image, so it has no receptive field")
        pairs = [(axis.last - axis.first + 1, axis.step, axis.first) for axis in field.axes]
        found = ReceptiveField(*(a if a == b else (a, b) for a, b in zip(*pairs, strict=True)))
        if field.positions(a) and not _blind_outside(taps, layer, x, field, found):
            raise ValueError(
                f"layer {layer!r} mixes positions in a way that is not followed: it sees more than {found}"
            )
    return found


def _first_kernel(net: nn.Module) -> tuple[Tensor, int]:
    """The weights of the first convolution, and how many channels it takes; of RGB where there is none."""
    convolution = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if convolution is not None:
        return convolution.weight, convolution.in_channels
    kernel = next((p for p in net.parameters() if p.dim() == 4), torch.zeros(1, 3, 1, 1, device=device_of(net)))
    return kernel, kernel.shape[1]


def _blind_outside(taps: Taps, layer: str, x: Tensor, field: Field, found: ReceptiveField) -> bool:
    """Whether the unit in the middle of a map stays the same when everything outside its box changes."""
    generator = torch.Generator().manual_seed(0)
    image, other = (torch.rand(x.shape, generator=generator).to(x) for _ in range(2))
    a = taps(image)[layer]
    middle = [side // 2 for side in field.positions(a)]
    top, left, bottom, right = (max(edge, 0) for edge in found.box(*middle))
    other[..., top:bottom, left:right] = image[..., top:bottom, left:right]
    rows, columns = (d % a.dim() for d in field.dims)
    unit, moved = (
        maps.select(max(rows, columns), middle[columns > rows]).select(min(rows, columns), middle[columns < rows])
        for maps in (a, taps(other)[layer])
    )
    return torch.allclose(unit, moved, rtol=1e-3, atol=1e-4 * float(a.abs().max()))
