"""Maps of many copies of an image, which differ from the unchanged image's in a window each."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

aten = torch.ops.aten
Corner = tuple[int, int]  # top, left
LARGE = 0.8  # share of a map from which on a window saves nothing


class Clean:
    """What a forward pass of the unchanged image gave, call by call; computed when it is first asked for.

    Attributes:
        call: Number of the call that runs, from 1.
    """

    def __init__(self) -> None:
        self.call = 0
        self._known: dict[tuple[int, str], Any] = {}
        self._last = 0  # convolution
        self._only: dict[int, slice] = {}  # call -> of its filters

    def begin(self) -> None:
        """A forward pass begins."""
        self.call = 0

    def once(self, make: Callable[[], Any], what: str = "output") -> Any:
        """What the call that runs gives for the unchanged image.

        Args:
            make: Computes it.
            what: Which of the things that a call needs.
        """
        key = self.call, what
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def filters(self) -> slice:
        """Which filters of the convolution that runs are needed."""
        self._last = max(self._last, self.call)
        return self._only.get(self.call, slice(None))

    def narrowed(self, filter: int | None) -> "Clean | None":
        """The same for a pass whose last convolution has only one of its filters, or None if there is none to choose.

        Args:
            filter: Its number; None for all.
        """
        if filter is None or not self._last:
            return None
        narrow = Clean()
        narrow._known = {key: value for key, value in self._known.items() if key[0] < self._last}
        narrow._only = {self._last: slice(filter, filter + 1)}
        return narrow


class Changed(Tensor):
    """m maps (m, c, h, w), equal to clean (1, c, h, w) but in a window each.

    PyTorch's functions take it for the whole maps. Those of RULES compute the window of their output from the windows
    of their inputs; before any other the maps are put together.

    Args:
        known: Of the pass that runs.
        clean: (1, c, h, w), of the unchanged image.
        part: (m, c, height, width), the windows.
        at: Their upper left corners.
    """

    known: Clean
    clean: Tensor
    part: Tensor
    at: list[Corner]

    @staticmethod
    def __new__(cls, known: Clean, clean: Tensor, part: Tensor, at: list[Corner]) -> "Changed":
        self: Changed = Tensor._make_wrapper_subclass(
            cls,
            (len(at), *clean.shape[1:]),
            strides=(clean[0].numel(), *clean.stride()[1:]),
            dtype=clean.dtype,
            device=clean.device,
        )
        self.known, self.clean, self.part, self.at = known, clean, part, at
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        kwargs = kwargs or {}
        known = next(_changed((args, kwargs))).known
        known.call += 1
        found = RULES[func](partial(func, **kwargs), known, *args) if func in RULES else None
        return func(*tree_map(whole, args), **tree_map(whole, kwargs)) if found is None else found


def _changed(value: Any) -> Iterator[Changed]:
    if isinstance(value, Changed):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _changed(part)


def whole(x: Any) -> Any:
    """The maps put together, as a plain tensor.

    Args:
        x: `Changed`; anything else is returned as it is.
    """
    if not isinstance(x, Changed):
        return x
    if x.part.shape == x.shape:
        return x.part
    height, width = x.part.shape[2:]
    full = torch.empty_like(x.clean.expand(x.shape), memory_format=_order(x.clean)).copy_(x.clean)
    for maps, part, (top, left) in zip(full, x.part, x.at, strict=True):
        maps[:, top : top + height, left : left + width] = part
    return full


def _order(x: Tensor) -> torch.memory_format:
    channels_last: bool = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _cut(
    maps: Tensor,
    x: Changed,
    at: list[Corner],
    size: Corner,
    shift: Corner = (0, 0),
    into: Tensor | None = None,
) -> Tensor:
    """Windows of maps (1, c, ...), the clean ones of x moved by `shift`, with what has changed in x pasted in.

    `into` takes them, (m, height, width, c); new memory by default.
    """
    (height, width), (h, w) = size, x.part.shape[2:]
    background = maps.permute(0, 2, 3, 1)[0]  # of channels last, this is how they lie in memory
    windows = background.new_empty(len(at), height, width, background.shape[2]) if into is None else into
    offsets = [(y + shift[0] - top, u + shift[1] - left) for (y, u), (top, left) in zip(x.at, at, strict=True)]
    parts = x.part.permute(0, 2, 3, 1)
    if (h, w) != size or any(map(any, offsets)):
        for window, (top, left) in zip(windows, at, strict=True):
            window.copy_(background[top : top + height, left : left + width])
    if len(set(offsets)) == 1:
        pairs = [(windows, parts, offsets[0])]
    else:
        pairs = [(windows[j : j + 1], parts[j : j + 1], offset) for j, offset in enumerate(offsets)]
    for window, part, (y, u) in pairs:
        top, left, bottom, right = max(y, 0), max(u, 0), min(y + h, height), min(u + w, width)
        if bottom > top and right > left:
            window[:, top:bottom, left:right] = part[:, top - y : bottom - y, left - u : right - u]
    return windows.permute(0, 3, 1, 2)


# ---------------------------------------------------------------- rules: (function, known, its arguments) -> its output


def _slide(
    known: Clean,
    x: Changed,
    in_full: Callable[[Tensor], Tensor],
    without_padding: Callable[[Tensor], Tensor],
    window: Sequence[Sequence[int]],
    beyond: float = 0.0,
) -> Changed:
    """A sliding window: (kernel, stride, padding, dilation), each (rows, columns); `beyond` is what padding holds."""
    clean = known.once(lambda: in_full(x.clean))
    axes = [
        _units([corner[i] for corner in x.at], x.part.shape[2 + i], clean.shape[2 + i], *each)
        for i, each in enumerate(zip(*window, strict=True))
    ]
    (tops, rows, height), (lefts, columns, width) = axes
    if rows * columns > LARGE * clean.shape[2] * clean.shape[3]:
        return Changed(known, clean, in_full(whole(x)), [(0, 0)] * len(x.at))
    (down, across), (above, beside) = window[1:3]
    at = [(top * down, left * across) for top, left in zip(tops, lefts, strict=True)]
    if (height, width) == tuple(x.part.shape[2:]) and at == x.at and not above and not beside:
        return Changed(known, clean, without_padding(x.part), list(zip(tops, lefts, strict=True)))
    below, right = (
        max((clean.shape[2 + i] - 1) * s + (k - 1) * d + 1 - p - x.clean.shape[2 + i], 0)
        for i, (k, s, p, d) in enumerate(zip(*window, strict=True))
    )
    padded = known.once(lambda: _padded(x.clean, (beside, right, above, below), beyond), "padded")
    windows = _cut(padded, x, at, (height, width), (above, beside))
    return Changed(known, clean, without_padding(windows), list(zip(tops, lefts, strict=True)))


def _units(
    corners: list[int], size: int, count: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[list[int], int, int]:
    """Along one axis: the first unit that sees a part of each window, how many of them do, and how much these see."""
    reach = (kernel - 1) * dilation + 1
    first = [max(-((reach - 1 - padding - corner) // stride), 0) for corner in corners]
    last = [min((corner + size - 1 + padding) // stride, count - 1) for corner in corners]
    units = max(1, *(b - a + 1 for a, b in zip(first, last, strict=True)))
    return [min(a, count - units) for a in first], units, (units - 1) * stride + reach


def _padded(x: Tensor, widths: tuple[int, int, int, int], value: float) -> Tensor:
    return F.pad(x, widths, value=value).contiguous(memory_format=_order(x)) if any(widths) else x


def _two(value: Any) -> tuple[int, int]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values[0], values[-1]


def _convolution(
    func: Any,
    known: Clean,
    x: Any,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Any:
    if not isinstance(x, Changed) or transposed or weight.dim() != 4:
        return None
    only = known.filters()
    weight, bias = weight[only], bias if bias is None else bias[only]

    def run(padding: Any, x: Tensor) -> Any:
        return func(x, weight, bias, stride, padding, dilation, False, output_padding, groups)

    window = weight.shape[2:], _two(stride), _two(padding), _two(dilation)
    return _slide(known, x, partial(run, padding), partial(run, [0, 0]), window)


def _max_pool(
    func: Any, known: Clean, x: Changed, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, *ceil: bool
) -> Any:
    stride = stride or kernel
    window = _two(kernel), _two(stride), _two(padding), _two(dilation)
    found = _slide(
        known,
        x,
        lambda x: func(x, kernel, stride, padding, dilation, *ceil)[0],
        lambda x: func(x, kernel, stride, 0, dilation, False)[0],
        window,
        float("-inf"),
    )
    return found, torch.empty(0, dtype=torch.long)  # where the largest lay, for which nobody asks


def _avg_pool(func: Any, known: Clean, x: Changed, kernel: Any, stride: Any = (), padding: Any = 0, *more: Any) -> Any:
    if any(_two(padding)) or any(more[:1]):  # what is beyond the border counts for less
        return None
    stride = stride or kernel
    run = partial(func, kernel_size=kernel, stride=stride)
    return _slide(known, x, run, run, (_two(kernel), _two(stride), (0, 0), (1, 1)))


def _pointwise(func: Any, known: Clean, x: Any, *more: Any) -> Any:
    if not isinstance(x, Changed) or any(isinstance(each, Tensor) for each in more):
        return None
    return _mapped(func, known, x, lambda x: func(x, *more))


def _mapped(func: Any, known: Clean, x: Changed, run: Callable[[Tensor], Tensor]) -> Changed:
    if not _in_place(func):
        return Changed(known, known.once(lambda: run(x.clean)), run(x.part), x.at)
    x.clean = known.once(lambda: run(x.clean.clone()))
    run(x.part)
    return x


def _in_place(func: Any) -> bool:
    return bool(func.func._schema.is_mutable)


def _arithmetic(func: Any, known: Clean, x: Any, y: Any) -> Any:
    if isinstance(x, Changed) and isinstance(y, Changed):
        return _both(func, known, x, y)
    if isinstance(x, Changed):
        return _mapped(func, known, x, lambda x: func(x, y)) if _everywhere(y) else None
    return _mapped(func, known, y, lambda y: func(x, y)) if _everywhere(x) and not _in_place(func) else None


def _everywhere(value: Any) -> bool:
    """Whether it is the same at every position, and for every copy."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return True
    return value.dim() in (3, 4) and value.numel() == value.shape[-3]


def _both(func: Any, known: Clean, x: Changed, y: Changed) -> Changed | None:
    if x.shape != y.shape or _in_place(func):
        return None
    clean = known.once(lambda: func(x.clean, y.clean))
    at, size = _together([x, y])
    same = [each.at == at and tuple(each.part.shape[2:]) == size for each in (x, y)]
    parts = [each.part if fits else _cut(each.clean, each, at, size) for each, fits in zip((x, y), same, strict=True)]
    return Changed(known, clean, func(*parts), at)


def _together(maps: list[Changed]) -> tuple[list[Corner], Corner]:
    """Where windows lie that hold those of all of them, and how large they are."""
    axes = []
    for i in (0, 1):
        ranges = [[(corner[i], corner[i] + x.part.shape[2 + i]) for corner in x.at] for x in maps]
        low = [min(a for a, _ in each) for each in zip(*ranges, strict=True)]
        high = [max(b for _, b in each) for each in zip(*ranges, strict=True)]
        size = max(b - a for a, b in zip(low, high, strict=True))
        axes.append(([min(a, maps[0].shape[2 + i] - size) for a in low], size))
    (tops, height), (lefts, width) = axes
    return list(zip(tops, lefts, strict=True)), (height, width)


def _concatenation(func: Any, known: Clean, maps: Sequence[Any], dim: int = 0) -> Any:
    if dim not in (1, -3) or not all(isinstance(x, Changed) for x in maps):
        return None
    clean = known.once(lambda: func([x.clean for x in maps], 1))
    at, size = _together(list(maps))
    parts = clean.new_empty(len(at), *size, clean.shape[1])
    for x, into in zip(maps, parts.split([x.shape[1] for x in maps], dim=3), strict=True):
        _cut(x.clean, x, at, size, into=into)
    return Changed(known, clean, parts.permute(0, 3, 1, 2), at)


def _mean(func: Any, known: Clean, x: Changed, dims: Any, keepdim: bool = False) -> Any:
    """The mean over positions: the unchanged one, and what the windows add to it."""
    if sorted(d % 4 for d in dims or ()) != [2, 3]:
        return None
    if x.part.shape == x.shape:
        return func(x.part, dims, keepdim)
    clean = known.once(lambda: func(x.clean, dims, keepdim))
    height, width = x.part.shape[2:]
    before = [x.clean[0, :, top : top + height, left : left + width].sum((1, 2)) for top, left in x.at]
    added = (x.part.sum((2, 3)) - torch.stack(before)) / x.clean[0, 0].numel()
    return clean + (added[:, :, None, None] if keepdim else added)


def _pad(func: Any, known: Clean, x: Changed, widths: Sequence[int], value: float = 0.0) -> Any:
    if len(widths) != 4 or min(widths) < 0:
        return None
    clean = known.once(lambda: _padded(x.clean, (widths[0], widths[1], widths[2], widths[3]), value))
    left, _, above, _ = widths
    return Changed(known, clean, x.part.clone(), [(top + above, start + left) for top, start in x.at])


def _range(func: Any, known: Clean, x: Changed) -> Any:
    """Least and largest value; one of the unchanged maps is that of some copy, unless all windows cover it."""
    for i in (0, 1):
        corners = [corner[i] for corner in x.at]
        if max(corners) >= min(corners) + x.part.shape[2 + i]:
            (low, high), (least, most) = known.once(lambda: func(x.clean)), func(x.part)
            return torch.minimum(low, least), torch.maximum(high, most)
    return None


def _normalization(
    func: Any, known: Clean, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *more: Any
) -> Any:
    if training or not isinstance(x, Changed):
        return None
    found = _mapped(func, known, x, lambda x: func(x, weight, bias, mean, variance, False, *more)[0])
    return found, x.part.new_empty(0), x.part.new_empty(0)


RULES: dict[Any, Callable[..., Any]] = {
    aten.convolution.default: _convolution,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.avg_pool2d.default: _avg_pool,
    aten.cat.default: _concatenation,
    aten.mean.dim: _mean,
    aten.constant_pad_nd.default: _pad,
    aten.aminmax.default: _range,
    aten.native_batch_norm.default: _normalization,
    **dict.fromkeys(
        (
            getattr(aten, name).default
            for name in (
                *("relu", "relu_", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "elu", "elu_", "gelu"),
                *("silu", "silu_", "sigmoid", "sigmoid_", "hardsigmoid", "hardswish", "hardswish_", "tanh", "tanh_"),
                *("clamp", "clamp_", "clamp_min", "clamp_min_", "abs", "neg", "exp", "sqrt", "detach"),
            )
        ),
        _pointwise,
    ),
    **dict.fromkeys((aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor), _arithmetic),
    **dict.fromkeys((aten.add_.Tensor, aten.sub_.Tensor, aten.mul_.Tensor, aten.div_.Tensor), _arithmetic),
}
