"""A second device without a GPU: tensors that say they are elsewhere, and refuse to meet tensors of the CPU.

Their values are held on the CPU, so results can be compared; their device is "meta". What a real second device would
refuse is refused here: arithmetic with a CPU tensor (but for scalars and indices, which CUDA takes too), numpy, and a
CPU generator that should draw there.
"""

from contextlib import ExitStack, contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")
# What CUDA allows to meet: copies between devices, and CPU tensors as indices.
MAY_MIX = ("aten::_to_copy", "aten::copy_", "aten::index")


class Away(Tensor):
    """A tensor elsewhere; `inner` holds its values."""

    @staticmethod
    def __new__(cls, inner):
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            dtype=inner.dtype,
            device=ELSEWHERE,
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner):
        self.inner = inner.detach()

    def tolist(self):
        return self.inner.tolist()

    def numpy(self, *_, **__):
        raise TypeError("can't convert a tensor elsewhere to numpy; use .cpu() first")

    __array__ = numpy

    def __deepcopy__(self, memo):
        return Away(self.inner.clone()).requires_grad_(self.requires_grad)

    def __repr__(self):
        return f"Away({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func, args, kwargs):
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    away = [t for t in tensors if isinstance(t, Away)]
    here = [t for t in tensors if not isinstance(t, Away) and t.dim() > 0]
    if away and here and not func.name().startswith(MAY_MIX):
        raise RuntimeError(f"Expected all tensors to be on the same device: {func.name()} got one of the CPU")
    target = kwargs.get("device")
    goes_away = bool(away) if target is None else torch.device(target) == ELSEWHERE
    if target is not None:
        kwargs = kwargs | {"device": "cpu"}
    if goes_away and kwargs.get("generator") is not None:
        raise RuntimeError(f"{func.name()}: a generator of the CPU for a tensor elsewhere")
    result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if func.name().startswith("aten::copy_"):
        return args[0]
    known = {id(t.inner): t for t in away}  # an operation in place gives its own argument back
    return tree_map(lambda t: known.get(id(t), Away(t)) if goes_away and isinstance(t, Tensor) else t, result)


def _inner(value):
    return value.inner if isinstance(value, Away) else value


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Constructors(TorchFunctionMode):
    """torch.tensor and its like fill a tensor before any dispatch sees it: they fill one here, which is then moved."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor):
            device = kwargs.get("device")
            if device is not None and torch.device(device) == ELSEWHERE:
                made = func(*args, **{k: v for k, v in kwargs.items() if k != "device"})
                return made if isinstance(made, Away) else away(made)
        if func is Tensor.new_tensor and isinstance(args[0], Away):
            return away(torch.tensor(*args[1:], **{"dtype": args[0].dtype} | kwargs))
        return func(*args, **kwargs)


@contextmanager
def elsewhere():
    """Inside, tensors can be made and used on the second device."""
    with ExitStack() as stack:
        stack.enter_context(_Constructors())
        stack.enter_context(_Dispatch())
        yield


def away(value):
    """Tensors, modules, and what holds them, on the second device."""
    if isinstance(value, nn.Module):
        return _moved(value)
    return tree_map(
        lambda t: Away(t.detach().clone()) if isinstance(t, Tensor) and not isinstance(t, Away) else t, value
    )


def home(value):
    """The values of what came back."""
    return tree_map(lambda t: _inner(t.detach()).cpu() if isinstance(t, Tensor) else t, value)


def _moved(net):
    net = deepcopy(net)
    for module in {id(m): m for top in (net, getattr(net, "wrapped", net)) for m in top.modules()}.values():
        for name, parameter in module._parameters.items():
            if parameter is not None and not isinstance(parameter, Away):
                module._parameters[name] = nn.Parameter(away(parameter), requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None and not isinstance(buffer, Away):
                module._buffers[name] = away(buffer)
    return net
