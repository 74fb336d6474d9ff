"""Named activations, the backward rules of the ReLU, receptive fields."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from course_lib.errors import unknown

RULES = ("gradient", "guided", "deconvnet", "redirected")


class Taps(nn.Module):
    """The activations of named layers: Taps(net, "conv3", "fc7")(x) -> {"conv3": ..., "fc7": ...}.

    The forward pass stops once the last of the layers has answered. A layer's name is the one that `named_modules`
    gives it; "" is the output. A layer that runs several times (a ReLU shared by a block) gives its last answer.
    Values are those that the layer returned, even where an in-place ReLU overwrites them later.

    Raises ValueError for a name that the network does not have, with the nearest ones, and for a layer that the
    forward pass never runs. Hooks live only during the call.
    """

    def __init__(self, net: nn.Module, *layers: str):
        super().__init__()
        known = dict(net.named_modules())
        for layer in layers:
            if layer not in known:
                raise unknown("layer", layer, [name for name in known if name])
        if not layers:
            raise ValueError("no layer to tap: name at least one, or '' for the output")
        self.net = net
        self.layers = layers
        self._tapped = tuple((layer, known[layer]) for layer in dict.fromkeys(layers))
        self._calls: dict[str, int] | None = None  # how often each layer runs in a forward pass
        self._overwritten: set[str] = set()  # whose answers a later in-place operation changes

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if self._calls is None:
            self._explore(x)
        calls = dict(cast(dict[str, int], self._calls))
        found: dict[str, Tensor] = {}

        def record(layer: str, output: Tensor) -> None:
            calls[layer] -= 1
            if calls[layer] == 0:
                last = len(found) + 1 == len(self._tapped) and "" not in self.layers
                found[layer] = output.clone() if layer in self._overwritten and not last else output
                if last:
                    raise Enough

        with suppress(Enough):
            self._run(x, record)
        return {layer: found[layer] for layer in self.layers}

    @torch.no_grad()
    def _explore(self, x: Tensor) -> None:
        """One whole forward pass, to learn how often each layer runs and whether its answer is overwritten."""
        calls = dict.fromkeys(self.layers, 0)
        answers: dict[str, tuple[Tensor, int]] = {}

        def count(layer: str, output: Tensor) -> None:
            calls[layer] += 1
            answers[layer] = output, output._version

        self._run(x[:1], count)
        for layer, n in calls.items():
            if n == 0:
                raise ValueError(f"layer {layer!r} does not run in the forward pass, so it has no activation")
        self._overwritten = {layer for layer, (output, version) in answers.items() if output._version != version}
        self._calls = calls

    def _run(self, x: Tensor, record: Any) -> None:
        hooks = [
            module.register_forward_hook(lambda module, inputs, output, layer=layer: record(layer, output))
            for layer, module in self._tapped
        ]
        try:
            self.net(x)
        finally:
            for hook in hooks:
                hook.remove()


@contextmanager
def hooked(net: nn.Module, layer: str, function: Callable[[Tensor], Any]) -> Iterator[None]:
    """Inside, function(output) each time that the layer runs; a tensor that it returns takes the output's place.

    Raises AttributeError for a layer that the network does not have.
    """
    handle = net.get_submodule(layer).register_forward_hook(lambda module, inputs, output: function(output))
    try:
        yield
    finally:
        handle.remove()


class Enough(BaseException):
    """What was wanted of a forward pass is there. Not an Exception, so that no network catches it on the way."""


class _RuledReLU(torch.autograd.Function):
    """A ReLU whose backward pass follows a rule; forward as usual."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: str, inplace: bool) -> Tensor:
        ctx.rule = rule
        if inplace:
            ctx.mark_dirty(x)
        y = x.clamp_(min=0) if inplace else x.clamp(min=0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        (y,) = ctx.saved_tensors
        on, positive = y > 0, gradient > 0
        passes = {"guided": on & positive, "deconvnet": positive, "redirected": on | ~positive}[ctx.rule]
        return gradient * passes, None, None


class ReLURule(TorchFunctionMode):
    """Answers every spelling of the ReLU with one that follows a rule; `count` says how many it answered."""

    PLAIN = {F.relu, torch.relu, Tensor.relu}
    INPLACE = {F.relu_, torch.relu_, Tensor.relu_}

    def __init__(self, rule: str):
        super().__init__()
        self.rule = rule
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in self.PLAIN and func not in self.INPLACE:
            return func(*args, **kwargs)
        self.count += 1
        x = args[0] if args else kwargs["input"]
        inplace = func in self.INPLACE or (args[1] if len(args) > 1 else kwargs.get("inplace", False))
        return _RuledReLU.apply(x, self.rule, inplace)


@contextmanager
def relu_backward(rule: str) -> Iterator[ReLURule | None]:
    """Forward passes run inside send gradients back through every ReLU by this rule.

    With y = max(x, 0) and the gradient g that arrives at y, what leaves towards x is
        "gradient":  g where y > 0               (Simonyan 2014: the derivative)
        "deconvnet": g where g > 0               (Zeiler and Fergus 2014)
        "guided":    g where y > 0 and g > 0     (Springenberg 2015)
        "redirected": g where y > 0 or g < 0     (Olah 2017: an energy that falls when a silent unit wakes can wake it)
    and zero elsewhere.

    Every spelling counts: nn.ReLU, F.relu, torch.relu, x.relu(), each also in place. The network is not touched and
    gets no hooks: the calls themselves are answered while the block runs, so nothing remains afterwards, even after
    an exception. Other activations (GELU, ReLU6) keep their derivative; `count` of the yielded rule says how many
    ReLUs were answered (None for "gradient", which changes nothing). A scripted network (torch.jit) hides its calls.

    Raises ValueError for another rule.
    """
    if rule not in RULES:
        raise unknown("ReLU rule", rule, RULES)
    if rule == "gradient":
        yield None
        return
    with ReLURule(rule) as mode:
        yield mode


# ---------------------------------------------------------------- receptive fields


@dataclass(frozen=True)
class ReceptiveField:
    """The box of input pixels that a unit can see: the unit at place (0, 0) sees `size` pixels from `start`.

    size, stride, start: in input pixels; an int, or (rows, columns) where the two differ. The unit at place i sees
    start + i * stride to start + i * stride + size - 1. start is negative where padding lets the box hang over the
    border. stride is 0 for a layer that sees the whole picture.
    """

    size: int | tuple[int, int]
    stride: int | tuple[int, int]
    start: int | tuple[int, int]

    @property
    def axes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """(size, stride, start) along the rows, and along the columns."""
        rows, columns = zip(*(_two(value) for value in (self.size, self.stride, self.start)), strict=True)
        return rows, columns

    def box(self, row: int = 0, column: int = 0) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of what the unit at that place sees, half open, not cut at the border."""
        (top, height), (left, width) = (
            (start + place * stride, size)
            for (size, stride, start), place in zip(self.axes, (row, column), strict=True)
        )
        return top, left, top + height, left + width


@torch.no_grad()
def receptive_field(net: nn.Module, layer: str, size: int | tuple[int, int] | None = None) -> ReceptiveField:
    """What part of the picture a unit of that layer can see: kernels, strides, padding, dilation, branches.

    A window of k places, d apart, over units that see r pixels and lie s pixels apart sees r + (k - 1) d s pixels;
    where branches meet, the boxes are united (Araujo 2019). The calls of a forward pass are followed as they run, so
    every block and every spelling counts.

    size: of the pictures, by default the network's image_size or 224. It matters only to layers that look at
    everything: their box spans what all units below can see, padding included (the convention behind AlexNet's 355
    for fc6). Layers that regroup places, like the windows of a transformer, count as looking at everything.

    The answer is put to a test: the unit in the middle must not change with what lies outside its box. Raises
    ValueError where it does (the network mixes places in a way that is not followed), for an unknown layer, one that
    does not depend on the picture, or one behind an upsampling.
    """
    kernel = next((p for p in net.parameters() if p.dim() == 4), torch.zeros(1, 3, 1, 1))
    height, width = _two(size or getattr(net, "image_size", 224))
    x = kernel.new_zeros(1, kernel.shape[1], height, width)
    taps = Taps(net, layer)
    modes = [(module, module.training) for module in net.modules()]
    net.eval()  # batch statistics and dropout would mix or change what is followed
    try:
        return _follow(taps, layer, x)
    finally:
        for module, training in modes:
            module.training = training


def _follow(taps: Taps, layer: str, x: Tensor) -> ReceptiveField:
    with _Follow(x) as follow:
        answer = taps(x)[layer]
    field = follow.field(answer)
    if field is None:
        raise ValueError(f"layer {layer!r} does not depend on the picture, so it has no receptive field")
    pairs = [(axis.last - axis.first + 1, axis.step, axis.first) for axis in field.axes]
    found = ReceptiveField(*(a if a == b else (a, b) for a, b in zip(*pairs, strict=True)))
    if field.places(answer) and not _blind_outside(taps, layer, x, field, found):
        raise ValueError(f"layer {layer!r} mixes places in a way that is not followed: it sees more than {found}")
    return found


def _blind_outside(taps: Taps, layer: str, x: Tensor, field: "_Field", found: ReceptiveField) -> bool:
    """Whether the unit in the middle of a map stays the same when everything outside its box changes."""
    generator = torch.Generator().manual_seed(0)
    picture, other = (torch.rand(x.shape, generator=generator).to(x) for _ in range(2))
    answer = taps(picture)[layer]
    middle = [side // 2 for side in field.places(answer)]
    top, left, bottom, right = (max(edge, 0) for edge in found.box(*middle))
    other[..., top:bottom, left:right] = picture[..., top:bottom, left:right]
    rows, columns = (d % answer.dim() for d in field.dims)
    unit, moved = (
        a.select(max(rows, columns), middle[columns > rows]).select(min(rows, columns), middle[columns < rows])
        for a in (answer, taps(other)[layer])
    )
    return torch.allclose(unit, moved, rtol=1e-3, atol=1e-4 * float(answer.abs().max()))


class _Axis(NamedTuple):
    """Along one axis, unit i sees first + i * step to last + i * step; a step of 0 says that all see the same."""

    first: int
    last: int
    step: int

    def window(self, kernel: int, stride: int, padding: int, dilation: int) -> "_Axis":
        reach = (kernel - 1) * dilation
        return _Axis(self.first - padding * self.step, self.last + (reach - padding) * self.step, stride * self.step)

    def whole(self, count: int) -> "_Axis":
        """Behind something that looks at all `count` units."""
        return _Axis(self.first, self.last + (count - 1) * self.step, 0)


class _Field(NamedTuple):
    """What the units of a tensor see along rows and columns, and which of its dimensions, from the end, those are."""

    axes: tuple[_Axis, _Axis]
    dims: tuple[int, int] = (-2, -1)

    def map(self, function: Callable[..., _Axis], *each: Any) -> "_Field":
        """function(axis, argument of each for that axis), for both axes; each lists what holds of dimensions -2, -1."""
        rows, columns = (
            function(axis, *(pair[d] for pair in each)) for axis, d in zip(self.axes, self.dims, strict=True)
        )
        return _Field((rows, columns), self.dims)

    def places(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape[d] for d in self.dims) if x.dim() >= 3 else ()


class _Follow(TorchFunctionMode):
    """Follows which part of x each tensor sees, from call to call."""

    # By the names of PyTorch's functions. All others are taken to work place by place, as long as the places are there.
    TURNED = {"permute", "transpose", "movedim", "swapaxes", "swapdims", "mT", "T"}
    MIXED = {"group_norm", "instance_norm", "matmul", "bmm", "einsum", "roll", "flip", "scaled_dot_product_attention"}
    UNKNOWN = {"conv_transpose2d", "interpolate", "lp_pool2d", "pixel_shuffle", "grid_sample", "fold", "unfold"}

    def __init__(self, x: Tensor):
        super().__init__()
        # by identity; the tensors are kept, so that no other one gets their address
        self.seen = {id(x): (x, _Field((_Axis(0, 0, 1), _Axis(0, 0, 1))))}

    def field(self, x: Any) -> _Field | None:
        return self.seen[id(x)][1] if id(x) in self.seen else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        answer = func(*args, **kwargs)
        inputs = [(field, x) for x in _tensors((args, kwargs)) if (field := self.field(x)) is not None]
        changed = args[0] if getattr(func, "__name__", "") == "__setitem__" else answer
        for output in _tensors(changed) if inputs else ():
            self.seen[id(output)] = output, self._behind(func, args, kwargs, inputs, output)
        return answer

    def _behind(self, func: Any, args: Any, kwargs: Any, inputs: list[Any], output: Tensor) -> _Field:
        name = getattr(func, "__name__", "").rstrip("_").removesuffix("_with_indices")
        if name == "__get":  # a property; its name is that of what was asked
            name = func.__self__.__name__
        field, x = inputs[0]
        if name in self.UNKNOWN or "circular" in (*args[2:3], kwargs.get("mode")):
            raise ValueError(f"what a unit behind {name} can see is not a box that moves evenly")
        if name in WINDOWS and min(field.dims) >= -2:
            return field.map(_Axis.window, *WINDOWS[name](*args, **kwargs))
        if name == "pad":
            ones = (1,) * x.dim()
            return field.map(_Axis.window, ones, ones, _before(*args, **kwargs), ones)
        if name in ("adaptive_avg_pool2d", "adaptive_max_pool2d") and min(field.dims) >= -2:
            return field.map(_adaptive, x.shape[-2:], output.shape[-2:])
        if name in self.TURNED:
            marked: Tensor = torch.empty([2 + d for d in range(x.dim())], device="meta")  # every size another
            turned = list(func(marked, *args[1:], **kwargs).shape)
            rows, columns = (turned.index(2 + d % x.dim()) - x.dim() for d in field.dims)
            return field._replace(dims=(rows, columns))
        normalized = 1 if name == "linear" else len(args[1]) if name == "layer_norm" else 0  # of the last dimensions
        apart = name not in self.MIXED and normalized < -max(field.dims)
        return _unite(inputs, output, apart)


def _unite(inputs: list[tuple[_Field, Tensor]], output: Tensor, apart: bool) -> _Field:
    """Behind what joins tensors place by place, if `apart` and if the places are still there; otherwise as wholes."""
    dims = inputs[0][0].dims
    local = [apart and field.places(x) == field.places(output) for field, x in inputs]
    axes = []
    for i in range(2):
        each = [field.axes[i] for field, _ in inputs]
        if not (all(local) and len({axis.step for axis in each}) == 1):
            each = [field.axes[i].whole((*field.places(x), 1, 1)[i]) for field, x in inputs]
        axes.append(_Axis(min(axis.first for axis in each), max(axis.last for axis in each), each[0].step))
    return _Field((axes[0], axes[1]), dims)


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _two(value: Any) -> tuple[int, int]:
    """A size for both axes; PyTorch takes 3, (3,) and (3, 5)."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values[0], values[-1]


# The windows of a call, each (rows, columns): kernel, stride, padding before, dilation. Signatures are PyTorch's.


def _convolution(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> Any:
    kernel, gaps = weight.shape[2:], _two(dilation)
    same = tuple((k - 1) * d // 2 for k, d in zip(kernel, gaps, strict=True))
    pads = {"same": same, "valid": (0, 0)}[padding] if isinstance(padding, str) else _two(padding)
    return kernel, _two(stride), pads, gaps


def _max_pool(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *_: Any, **__: Any
) -> Any:
    return _two(kernel_size), _two(stride or kernel_size), _two(padding), _two(dilation)


def _avg_pool(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *_: Any, **__: Any) -> Any:
    return _max_pool(input, kernel_size, stride, padding)


WINDOWS: dict[str, Callable[..., Any]] = {"conv2d": _convolution, "max_pool2d": _max_pool, "avg_pool2d": _avg_pool}


def _before(input: Any, pad: Any, *_: Any, **__: Any) -> list[int]:
    """What F.pad puts before each dimension; it lists the last one first, and leaves out the first ones."""
    return ([0] * input.dim() + list(pad)[::2][::-1])[-input.dim() :]


def _adaptive(axis: _Axis, before: int, after: int) -> _Axis:
    """Pooling to a fixed number of places: even windows, or everything where they are uneven."""
    if before % after == 0:
        return axis.window(before // after, before // after, 0, 1)
    return axis.whole(before)
