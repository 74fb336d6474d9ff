"""Named activations."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from course_lib.errors import unknown
from course_lib.inputs import evaluation, tensor, trusted, unwrapped
from course_lib.taps.follow import Follow


class Named(nn.Module):
    """A module whose output is a dict of named activations, {layer: (n, ...)}, so that nobody need tap it."""

    def with_layers(self, *layers: str) -> "Named":
        """The same with the activations of further layers of its network; itself where it gives these, or has none.

        Args:
            layers: Names of the layers that are needed.
        """
        return self


class Taps(Named):
    """The activations of named layers: ``Taps(net, "conv3", "fc7")(x)`` is ``{"conv3": ..., "fc7": ...}``.

    The forward pass, in evaluation mode, stops once the last of the layers has run. A layer that runs several times (a
    ReLU shared by a block) gives its last output. Values are those that the layer returned, even where an in-place ReLU
    overwrites them later; of a tuple, dict or dataclass it is the tensor that `inputs.tensor` finds. Maps come with
    their channels before their positions, (n, c, h, w), also from a layer that has them last (Swin, ConvNeXt). Hooks
    live only during the call, and see only the thread that made it.

    Args:
        net: Any network; `torch.compile` and DataParallel around it are looked through.
        layers: Names as `named_modules` gives them; "" is the output.

    Attributes:
        net: The network.
        layers: The names.

    Raises:
        ValueError: A name that the network does not have (the nearest are listed), no name at all, and, when called, a
            layer that does not run in the forward pass, or whose positions cannot be told from its channels.

    Example:
        >>> from course_lib import models, world
        >>> x = world.draw(2).images
        >>> {layer: tuple(a.shape) for layer, a in Taps(models.load("coursenet"), "conv3", "fc7")(x).items()}
        {'conv3': (2, 96, 12, 12), 'fc7': (2, 256)}
    """

    def __init__(self, net: nn.Module, *layers: str):
        super().__init__()
        net = unwrapped(net)
        known = dict(net.named_modules())
        for layer in layers:
            if layer not in known:
                raise unknown("layer", layer, [name for name in known if name])
        if not layers:
            raise ValueError("no layer to tap: name at least one, or '' for the output")
        self.net = net
        self.layers = layers
        self._tapped = tuple(dict.fromkeys(layers))
        self._modules_inside = tuple(net.modules())
        self._plans: dict[torch.Size, _Plan] = {}  # by the size of the images, which may change what runs
        self._standing: dict[int, _Hooks] = {}  # by thread, inside `listening`

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if not isinstance(x, Tensor):
            raise TypeError(f"images are a torch tensor (n, 3, h, w), got {type(x).__name__}")
        standing = self._standing.get(threading.get_ident())
        if standing is None:
            with evaluation(self._modules_inside):
                return self._forward(x, None)
        return self._forward(x, standing)

    def _forward(self, x: Tensor, standing: "_Hooks | None") -> dict[str, Tensor]:
        plan = self._plan(x)
        left = dict(plan.calls)
        found: dict[str, Tensor] = {}

        def record(layer: str, output: object) -> None:
            left[layer] -= 1
            if left[layer] == 0:
                last = len(found) + 1 == len(self._tapped) and "" not in self._tapped
                a = tensor(output, f"layer {layer!r}")
                found[layer] = a.clone() if layer in plan.overwritten and not last else a
                if last:
                    raise Enough

        if standing is None:
            self._run(x, record)
        else:
            standing.run(x, record)
        return {layer: channels_first(found[layer], plan.positions[layer]) for layer in self.layers}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, hooks and evaluation mode stay from pass to pass, and `models.Network` checks the first alone.

        For loops that run a small network a thousand times, in which looking for the layers would take as long as one.
        It holds for the thread that made it.
        """
        mine = threading.get_ident()
        if mine in self._standing:
            yield
            return
        with evaluation(self._modules_inside):
            hooks = self._standing[mine] = _Hooks(self.net, self._tapped)
            try:
                yield
            finally:
                del self._standing[mine]
                hooks.remove()

    def with_layers(self, *layers: str) -> "Taps":
        """The taps of these layers too.

        Args:
            layers: Names of the layers that are needed.
        """
        missing = [layer for layer in layers if layer not in self.layers]
        return Taps(self.net, *self.layers, *missing) if missing else self

    def positions(self, x: Tensor) -> dict[str, tuple[int, int] | None]:
        """Which dimensions of each layer's own output are rows and columns, counted from the end; None where none are.

        Args:
            x: Images, of which the first is run.
        """
        with evaluation(self._modules_inside):
            return self._plan(x).positions

    def _plan(self, x: Tensor) -> "_Plan":
        size = x.shape[1:]
        if size not in self._plans:
            self._plans[size] = self._explore(x[:1])
        return self._plans[size]

    @torch.no_grad()
    def _explore(self, x: Tensor) -> "_Plan":
        """One whole forward pass, to learn how often each layer runs, and what becomes of its output."""
        plan = _Plan(dict.fromkeys(self._tapped, 0))
        outputs: dict[str, tuple[Tensor, int, tuple[int, int] | None]] = {}

        with Follow(x, strict=False) as follow:

            def note(layer: str, output: object) -> None:
                plan.calls[layer] += 1
                a = tensor(output, f"layer {layer!r}")
                field = follow.field(a)
                outputs[layer] = a, version(a), field.dims if field is not None and field.sure else None

            try:
                self._run(x, note)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ValueError):  # behind the layers an image may be too small, as a tile often is
                if not all(plan.calls.values()):
                    raise
        for layer, n in plan.calls.items():
            if n == 0:
                raise ValueError(f"layer {layer!r} does not run in the forward pass, so it has no activation")
        for layer, (a, before, followed) in outputs.items():
            plan.positions[layer] = _where(layer, a, x, followed)
            if version(a) != before:
                plan.overwritten.add(layer)
        return plan

    def _run(self, x: Tensor, function: "_Function") -> None:
        hooks = _Hooks(self.net, self._tapped)
        try:
            hooks.run(x, function)
        finally:
            hooks.remove()


_Function = Callable[[str, object], None]


class _Hooks:
    """Hooks on layers of a network, for passes of one thread.

    No context managers here: in a small network, Enough on its way through them takes as long as a layer.
    """

    def __init__(self, net: nn.Module, layers: Sequence[str]):
        self._net = net
        self._function: _Function | None = None  # outside a pass of these hooks, nobody hears of the layers
        self._checked: set[tuple[torch.Size, torch.dtype, torch.device]] = set()  # kinds of batches that have passed
        self._handles = [_hook(net, layer, partial(self._hear, layer)) for layer in layers]

    def run(self, x: Tensor, function: _Function) -> None:
        """One forward pass, as far as function raises Enough, which hears of each layer that has run."""
        kind = x.shape, x.dtype, x.device
        before, token = self._function, trusted.set(kind in self._checked)
        self._function = function
        try:
            self._net(x)
        except Enough:
            pass
        finally:
            trusted.reset(token)
            self._function = before
        self._checked.add(kind)

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _hear(self, layer: str, output: object) -> None:
        if self._function is not None:
            self._function(layer, output)


class _Plan:
    """What one forward pass showed of each layer: how often it runs, where its rows and columns are, what is lost."""

    def __init__(self, calls: dict[str, int]):
        self.calls = calls
        self.positions: dict[str, tuple[int, int] | None] = {}
        self.overwritten: set[str] = set()  # whose output a later in-place operation changes


def version(a: Tensor) -> int:
    """How often a tensor was changed in place; 0 where nobody counts (under `torch.inference_mode`)."""
    return 0 if a.is_inference() else a._version


def _where(layer: str, a: Tensor, x: Tensor, followed: tuple[int, int] | None) -> tuple[int, int] | None:
    """The dimensions of rows and columns of a layer's output; ValueError where they cannot be told."""
    if a.dim() != 4:
        return None
    alike = abs(a.shape[1] * x.shape[-1] - a.shape[2] * x.shape[-2]) < max(x.shape[-2:])  # rows to columns, as in x
    if followed is None and alike and a.shape[2] != a.shape[3]:
        raise ValueError(
            f"layer {layer!r} outputs {tuple(a.shape)}, and which of these are positions and which channels cannot be "
            "followed; choose the layer after it"
        )
    return followed or (-2, -1)


def channels_first(a: Tensor, positions: tuple[int, int] | None) -> Tensor:
    """Maps with their channels before rows and columns, (n, c, h, w); what has no positions stays as it is.

    Args:
        a: The output of a layer.
        positions: Its dimensions of rows and columns (see `Taps.positions`).
    """
    return a if positions in (None, (-2, -1)) else a.movedim(positions, (-2, -1))


@contextmanager
def hooked(net: nn.Module, layer: str, function: Callable[[Any], Tensor | None]) -> Iterator[None]:
    """Inside, function(output) runs each time that the layer has run in this thread.

    Args:
        net: The network.
        layer: Name as in `named_modules`.
        function: Gets what the layer returned. A tensor that it returns takes the output's place.

    Raises:
        AttributeError: The network has no such layer.
    """
    handle = _hook(net, layer, function)
    try:
        yield
    finally:
        handle.remove()


def _hook(net: nn.Module, layer: str, function: Callable[[Any], Tensor | None]) -> RemovableHandle:
    """Until the handle is removed, function(output) runs each time that the layer has run in this thread."""
    mine = threading.get_ident()

    def hook(module: nn.Module, inputs: Sequence[Any], output: Any) -> Tensor | None:
        return function(output) if threading.get_ident() == mine and not _unheard.get() else None

    return net.get_submodule(layer).register_forward_hook(hook)


_unheard: ContextVar[bool] = ContextVar("unheard", default=False)


@contextmanager
def without_hooks() -> Iterator[None]:
    """Inside, what `hooked` has hooked runs without its function: a network can try something out unheard."""
    token = _unheard.set(True)
    try:
        yield
    finally:
        _unheard.reset(token)


class Enough(BaseException):
    """Raised by a hook to stop the forward pass once all requested activations are recorded.

    Not an Exception, so that no network catches it on the way.
    """
