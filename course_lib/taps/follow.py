"""A forward pass followed from call to call: which pixels each tensor sees, and along which dimensions."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Axis(NamedTuple):
    """Along one axis, unit i sees ``first + i * step`` to ``last + i * step``.

    Attributes:
        first: First pixel that unit 0 sees.
        last: Last pixel that unit 0 sees.
        step: Pixels from one unit to the next; 0 says that all see the same.
    """

    first: int
    last: int
    step: int

    def window(self, kernel: int, stride: int, padding: int, dilation: int) -> "Axis":
        """Behind a sliding window.

        Args:
            kernel: Units in the window.
            stride: Units from one window to the next.
            padding: Units added before the first.
            dilation: Units from one in the window to the next.
        """
        reach = (kernel - 1) * dilation
        return Axis(self.first - padding * self.step, self.last + (reach - padding) * self.step, stride * self.step)

    def whole(self, count: int) -> "Axis":
        """Behind something that looks at all units.

        Args:
            count: How many there are.
        """
        return Axis(self.first, self.last + (count - 1) * self.step, 0)


class Field(NamedTuple):
    """What the units of a tensor see along rows and columns, and which of its dimensions, from the end, those are.

    Attributes:
        axes: Of the rows and of the columns.
        dims: Of the rows and of the columns.
        sure: Whether a reshape on the way may have moved them elsewhere.
    """

    axes: tuple[Axis, Axis]
    dims: tuple[int, int] = (-2, -1)
    sure: bool = True

    def map(self, function: Callable[..., Axis], *each: Any) -> "Field":
        """function(axis, argument of each for that axis), for both axes.

        Args:
            function: Makes an axis from one, and from what holds of it.
            each: Lists what holds of dimensions -2, -1.
        """
        rows, columns = (
            function(axis, *(pair[d] for pair in each)) for axis, d in zip(self.axes, self.dims, strict=True)
        )
        return self._replace(axes=(rows, columns))

    def positions(self, x: Tensor) -> tuple[int, ...]:
        """Rows and columns of a tensor, as far as it has them.

        Args:
            x: The tensor.
        """
        return tuple(x.shape[d] for d in self.dims) if x.dim() >= max(3, -min(self.dims)) else ()


class Follow(TorchFunctionMode):
    """Follows which part of x each tensor sees, from call to call.

    Args:
        x: The image, (n, c, h, w).
        strict: Raise ValueError at a call behind which a unit sees no box that moves evenly, instead of going on.
    """

    # By the names of PyTorch's functions. All others are taken to work position by position, where these are there.
    TURNED = {"permute", "transpose", "movedim", "swapaxes", "swapdims", "mT", "T"}
    MIXED = {"group_norm", "instance_norm", "matmul", "bmm", "einsum", "roll", "flip", "scaled_dot_product_attention"}
    RESHAPED = {"view", "reshape", "unflatten", "view_as", "reshape_as", "einsum", "expand"}
    UNKNOWN = {"conv_transpose2d", "interpolate", "lp_pool2d", "pixel_shuffle", "grid_sample", "fold", "unfold"}

    def __init__(self, x: Tensor, *, strict: bool = True):
        super().__init__()
        self.strict = strict
        # by identity; the tensors are kept, so that no other one gets their address
        self.seen = {id(x): (x, Field((Axis(0, 0, 1), Axis(0, 0, 1))))}

    def field(self, x: Any) -> Field | None:
        """What the units of a tensor see; None where it does not depend on the image.

        Args:
            x: The tensor.
        """
        return self.seen[id(x)][1] if id(x) in self.seen else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs = [(field, x) for x in tensors((args, kwargs)) if (field := self.field(x)) is not None]
        changed = args[0] if getattr(func, "__name__", "") == "__setitem__" else result
        for output in tensors(changed) if inputs else ():
            self.seen[id(output)] = output, self._behind(func, args, kwargs, inputs, output)
        return result

    def _behind(self, func: Any, args: Any, kwargs: Any, inputs: list[Any], output: Tensor) -> Field:
        name = getattr(func, "__name__", "").rstrip("_").removesuffix("_with_indices")
        if name == "__get":  # a property; its name is that of what was asked
            name = func.__self__.__name__
        field: Field = inputs[0][0]
        x: Tensor = inputs[0][1]
        if self.strict and (name in self.UNKNOWN or "circular" in (*args[2:3], kwargs.get("mode"))):
            raise ValueError(f"what a unit behind {name} can see is not a box that moves evenly")
        if name in WINDOWS and min(field.dims) >= -2:
            return field.map(Axis.window, *WINDOWS[name](*args, **kwargs))
        if name == "pad":
            ones = (1,) * x.dim()
            return field.map(Axis.window, ones, ones, _before(*args, **kwargs), ones)
        if name in ("adaptive_avg_pool2d", "adaptive_max_pool2d") and min(field.dims) >= -2:
            return field.map(_adaptive, x.shape[-2:], output.shape[-2:])
        if name in self.TURNED and len(field.positions(x)) == 2:
            marked: Tensor = torch.empty([2 + d for d in range(x.dim())], device="meta")  # every size another
            turned = list(func(marked, *args[1:], **kwargs).shape)
            rows, columns = (turned.index(2 + d % x.dim()) - x.dim() for d in field.dims)
            return field._replace(dims=(rows, columns))
        normalized = 1 if name == "linear" else len(args[1]) if name == "layer_norm" else 0  # of the last dimensions
        apart = name not in self.MIXED and normalized < -max(field.dims)
        return _unite(inputs, output, apart, name in self.RESHAPED)


def _unite(inputs: list[tuple[Field, Tensor]], output: Tensor, apart: bool, reshaped: bool) -> Field:
    """Behind what joins tensors position by position, if `apart` and if these are still there; otherwise as wholes."""
    kept = [
        field
        for field, x in inputs
        if field.sure and (field.positions(x) == field.positions(output) or (x.dim() == output.dim() and not reshaped))
    ]
    dims = kept[0].dims if kept else inputs[0][0].dims
    local = [apart and field.positions(x) == field.positions(output) for field, x in inputs]
    axes = []
    for i in range(2):
        each = [field.axes[i] for field, _ in inputs]
        if not (all(local) and len({axis.step for axis in each}) == 1):
            each = [field.axes[i].whole((*field.positions(x), 1, 1)[i]) for field, x in inputs]
        axes.append(Axis(min(axis.first for axis in each), max(axis.last for axis in each), each[0].step))
    return Field((axes[0], axes[1]), dims, bool(kept))


def tensors(value: Any) -> Iterable[Tensor]:
    """The tensors in nested tuples, lists and dicts.

    Args:
        value: Anything.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def two(value: Any) -> tuple[int, int]:
    """A size for both axes; PyTorch takes 3, (3,) and (3, 5).

    Args:
        value: The size.
    """
    values = (value,) if isinstance(value, int) else tuple(value)
    return values[0], values[-1]


# The windows of a call, each (rows, columns): kernel, stride, padding before, dilation. Signatures are PyTorch's.


def _convolution(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> Any:
    kernel, gaps = weight.shape[2:], two(dilation)
    same = tuple((k - 1) * d // 2 for k, d in zip(kernel, gaps, strict=True))
    pads = {"same": same, "valid": (0, 0)}[padding] if isinstance(padding, str) else two(padding)
    return kernel, two(stride), pads, gaps


def _max_pool(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *_: Any, **__: Any
) -> Any:
    return two(kernel_size), two(stride or kernel_size), two(padding), two(dilation)


def _avg_pool(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *_: Any, **__: Any) -> Any:
    return _max_pool(input, kernel_size, stride, padding)


WINDOWS: dict[str, Callable[..., Any]] = {"conv2d": _convolution, "max_pool2d": _max_pool, "avg_pool2d": _avg_pool}


def _before(input: Any, pad: Any, *_: Any, **__: Any) -> list[int]:
    """What F.pad puts before each dimension; it lists the last one first, and leaves out the first ones."""
    return ([0] * input.dim() + list(pad)[::2][::-1])[-input.dim() :]


def _adaptive(axis: Axis, before: int, after: int) -> Axis:
    """Pooling to a fixed number of positions: even windows, or everything where they are uneven."""
    if before % after == 0:
        return axis.window(before // after, before // after, 0, 1)
    return axis.whole(before)
