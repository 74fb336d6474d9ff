"""Named activations, and the backward rules of the ReLU."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

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
                last = len(found) + 1 == len(set(self.layers)) and "" not in self.layers
                found[layer] = output.clone() if layer in self._overwritten and not last else output
                if last:
                    raise _Enough

        with suppress(_Enough):
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
            self.net.get_submodule(layer).register_forward_hook(
                lambda module, inputs, output, layer=layer: record(layer, output)
            )
            for layer in set(self.layers)
        ]
        try:
            self.net(x)
        finally:
            for hook in hooks:
                hook.remove()


class _Enough(BaseException):
    """Every tapped layer has answered. Not an Exception, so that no network catches it on the way."""


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
