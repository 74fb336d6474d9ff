"""The backward rules of the ReLU."""

import inspect
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from course_lib.errors import unknown
from course_lib.taps.follow import tensors

RULES = ("gradient", "guided", "deconvnet", "redirected")


class _RuledReLU(torch.autograd.Function):
    """min(max(x, low), high), whose backward pass follows a rule; forward as usual."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: str, low: float, high: float, inplace: bool) -> Tensor:
        ctx.rule, ctx.low, ctx.high = rule, low, high
        if inplace:
            ctx.mark_dirty(x)
        y = x.clamp_(low, high) if inplace else x.clamp(low, high)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        (y,) = ctx.saved_tensors
        above, below, positive = y > ctx.low, y < ctx.high, gradient > 0
        passes = {
            "guided": above & below & positive,
            "deconvnet": positive,
            "redirected": (above | ~positive) & (below | positive),
        }[ctx.rule]
        return gradient * passes, None, None, None, None


class ReLURule(TorchFunctionMode):
    """Runs every spelling of the ReLU as one that follows a rule, and refuses other activation functions.

    Args:
        rule: One of RULES but "gradient".

    Attributes:
        rule: The same.
        count: Number of ReLUs that have run on the image's path so far.
    """

    RULED = {"relu", "relu6", "hardtanh"}
    # Activation functions, and what can stand for one, by the names of PyTorch's functions. Normalisations, poolings
    # and products keep their derivative under every rule.
    WITHOUT_A_RULE = {
        *("gelu", "silu", "mish", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu", "softplus", "logsigmoid"),
        *("hardswish", "hardsigmoid", "hardshrink", "softshrink", "tanhshrink", "softsign", "sigmoid", "tanh"),
        *("threshold", "clamp", "clip", "clamp_min", "clamp_max", "where", "maximum", "minimum", "abs", "glu"),
    }

    def __init__(self, rule: str):
        super().__init__()
        self.rule = rule
        self.count = 0
        self._on_path: MutableMapping[Tensor, bool] = (
            WeakTensorKeyDictionary()
        )  # tensors made inside -> whether the image leads to them

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        spelling = getattr(func, "__name__", "")
        name = spelling.strip("_")
        on_path = any(self._leads_to(x) for x in tensors((args, kwargs)))
        if on_path and name in self.WITHOUT_A_RULE:
            raise ValueError(
                f"rule {self.rule!r} says what a ReLU passes back, but the image passes through {name}, which has no "
                "such rule; use rule 'gradient', or a network whose activation functions are ReLUs"
            )
        if name in self.RULED and on_path:
            self.count += 1
            result = self._ruled(spelling, *args, **kwargs)
        else:
            result = func(*args, **kwargs)
        for output in tensors(result):
            self._on_path[output] = on_path
        return result

    def _leads_to(self, x: Tensor) -> bool:
        """Whether the image leads to x: made inside from what it leads to, or else a root of the graph, no weight."""
        if x in self._on_path:
            return self._on_path[x]
        return x.requires_grad and not isinstance(x, nn.Parameter)

    def _ruled(self, spelling: str, *args: Any, **kwargs: Any) -> Tensor:
        name = spelling.strip("_")
        given = _SIGNATURES[name].bind(*args, **kwargs).arguments
        low, high = {
            "relu": (0.0, float("inf")),
            "relu6": (0.0, 6.0),
            "hardtanh": (given.get("min_val", -1.0), given.get("max_val", 1.0)),
        }[name]
        inplace = spelling.endswith("_") or given.get("inplace", False)
        return cast(Tensor, _RuledReLU.apply(given["input"], self.rule, low, high, inplace))


_SIGNATURES = {name: inspect.signature(getattr(F, name)) for name in ReLURule.RULED}


@contextmanager
def relu_backward(rule: str) -> Iterator[ReLURule | None]:
    """Forward passes run inside send gradients back through every ReLU by this rule.

    With ``y = max(x, 0)`` and the gradient g that arrives at y, what leaves towards x is ::

        "gradient":   g where y > 0              (Simonyan 2014: the derivative)
        "deconvnet":  g where g > 0              (Zeiler and Fergus 2014)
        "guided":     g where y > 0 and g > 0    (Springenberg 2015)
        "redirected": g where y > 0 or g < 0     (Olah 2017: lets a silent unit be woken by descent)

    and zero elsewhere. ReLU6 and hardtanh, ``y = min(max(x, low), high)``, follow the same rules, ``low < y < high`` in
    the place of ``y > 0``; "redirected" passes back what would bring y inside.

    Every spelling counts: nn.ReLU, F.relu, torch.relu, x.relu(), each also in place. The network is not touched and
    gets no hooks: the calls themselves are replaced while the block runs, so nothing remains afterwards, even after an
    exception. Another activation function on the image's path has no such rule and is refused. The image is every
    tensor that requires a gradient and is no `nn.Parameter`. A scripted network (torch.jit) hides its calls.

    Args:
        rule: "gradient", "guided", "deconvnet" or "redirected".

    Yields:
        The rule, whose `count` says how many ReLUs it has replaced on the image's path; None for "gradient", which
        changes nothing.

    Raises:
        ValueError: Another rule, and, inside, an activation function that is no ReLU (it is named).
    """
    if rule not in RULES:
        raise unknown("ReLU rule", rule, RULES)
    if rule == "gradient":
        yield None
        return
    with ReLURule(rule) as mode:
        yield mode
