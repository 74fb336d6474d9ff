"""The front door: networks, labels, images, maps, brought into one form or refused by name."""

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from numbers import Real
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.errors import require, unknown

__all__ = [
    "Label",
    "binary",
    "check_alike",
    "check_batch",
    "check_differentiable",
    "check_images",
    "check_maps",
    "check_range",
    "count",
    "device_of",
    "differentiable",
    "dtype_of",
    "evaluation",
    "labels",
    "logits",
    "number",
    "plain",
    "ready",
    "scores",
    "tensor",
    "trusted",
    "unwrapped",
    "whole",
]

Label = int | str | Sequence[int] | Sequence[str] | np.ndarray | Tensor

# ---------------------------------------------------------------- networks


def unwrapped(net: nn.Module) -> nn.Module:
    """The network inside `torch.compile` and DataParallel, whose layers carry the names that the user knows.

    Hooks and the modes that follow a forward pass see nothing of a compiled graph, so the plain module runs instead;
    its values are the same.

    Args:
        net: Any module.

    Returns:
        The innermost module.

    Raises:
        TypeError: `net` is no `nn.Module`.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"a network is a torch.nn.Module, got {type(net).__name__}")
    while True:
        if isinstance(compiled := getattr(net, "_orig_mod", None), nn.Module):
            net = compiled
        elif isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
            net = net.module
        else:
            return net


_lock = threading.Lock()
_held: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # modules taken out of training -> by how many callers


@contextmanager
def evaluation(net: nn.Module | Iterable[nn.Module]) -> Iterator[None]:
    """Inside, every module of the network is in evaluation mode; afterwards each is as it was, also after an error.

    Batch normalisation then uses its stored statistics and leaves them alone, and dropout does nothing. Several threads
    may evaluate one network: the last one to leave puts the modules back.

    Args:
        net: A network, or the modules of one.
    """
    modules = net.modules() if isinstance(net, nn.Module) else net
    with _lock:
        some = len(_held) > 0  # asked once: this runs in each step of each loop
        held = [module for module in modules if module.training or (some and module in _held)]
        for module in held:
            _held[module] = _held.get(module, 0) + 1
            module.training = False
    try:
        yield
    finally:
        with _lock:
            for module in held:
                _held[module] -= 1
                if not _held[module]:
                    del _held[module]
                    module.training = True


@contextmanager
def differentiable(net: nn.Module) -> Iterator[nn.Module]:
    """Inside, the network is in evaluation mode and gradients can be taken through it, also where these are turned off.

    Args:
        net: Any module.

    Yields:
        The network without wrappers.

    Raises:
        TypeError: `net` is no module.
        ValueError: It was made in inference mode.
    """
    net = unwrapped(net)
    check_differentiable(net)
    with evaluation(net), torch.inference_mode(False), torch.enable_grad():
        yield net


@contextmanager
def ready(net: nn.Module, x: Tensor, label: Label) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
    """What a function of a network, images and labels works with, for as long as it works.

    Inside, the network is in evaluation mode and gradients can be taken, also where the caller has turned them off.

    Args:
        net: Any classifier.
        x: Images, (n, 3, h, w); a `models.Network` takes them in [0, 1], a plain module takes what it takes.
        label: One label for all images, or one for each: whole numbers, or names where the network has `classes`.

    Yields:
        The network without wrappers, the images without a history, and the labels as (n,) int64 on the CPU.

    Raises:
        TypeError: `net` is no module, or images or labels are of a type that cannot be meant.
        ValueError: Images that the network cannot take, or another number of labels than one or n.
    """
    net = unwrapped(net)
    check_batch(net, x)
    with differentiable(net):
        yield net, plain(x), labels(label, len(x), net)


def check_differentiable(net: nn.Module) -> None:
    """Raise unless gradients can be taken through a network.

    Args:
        net: Any module.

    Raises:
        ValueError: It was made in inference mode.
    """
    require(
        not any(p.is_inference() for p in net.parameters()),
        "the network was made under torch.inference_mode, so no gradient can be taken through it; make it outside",
    )


def device_of(net: nn.Module) -> torch.device:
    """The device of a network's parameters, or of its buffers; the CPU where it has neither.

    Args:
        net: Any module.
    """
    first = _first(net)
    return torch.device("cpu") if first is None else first.device


def dtype_of(net: nn.Module) -> torch.dtype:
    """The dtype that a network computes in; torch's default where it has no floating-point tensor.

    Args:
        net: Any module.
    """
    first = _first(net)
    return torch.get_default_dtype() if first is None else first.dtype


def _first(net: nn.Module) -> Tensor | None:
    """The first floating-point tensor of a network, weight or buffer, module by module."""
    groups = (group for module in net.modules() for group in (module._parameters, module._buffers))
    tensors = (tensor for group in groups for tensor in group.values() if tensor is not None)
    return next((tensor for tensor in tensors if tensor.is_floating_point()), None)


# ---------------------------------------------------------------- what a network or a layer outputs


def tensor(output: object, what: str = "the network") -> Tensor:
    """The one tensor that an output stands for.

    A tensor is itself. Of a mapping or a dataclass it is the entry "logits", or else "out", or else the first that
    holds a tensor; of a tuple or list it is the first that holds one.

    Args:
        output: What a network or a layer returned.
        what: What returned it, for the error.

    Raises:
        TypeError: It holds no tensor.
    """
    found = _tensor(output)
    if found is None:
        raise TypeError(f"{what} outputs {type(output).__name__} without a tensor, so there is nothing to look at")
    return found


def _tensor(output: object) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    parts: Iterable[object] = ()
    if isinstance(output, Mapping):
        parts = _named_first(output)
    elif is_dataclass(output) and not isinstance(output, type):
        parts = _named_first({field.name: getattr(output, field.name) for field in fields(output)})
    elif isinstance(output, tuple | list):
        parts = output
    return next((found for part in parts if (found := _tensor(part)) is not None), None)


def _named_first(parts: Mapping[str, object]) -> list[object]:
    first = [parts[name] for name in ("logits", "out") if name in parts]
    return [*first, *parts.values()]


def logits(net: nn.Module, x: Tensor) -> Tensor:
    """The scores (n, classes) of a classifier for images.

    Args:
        net: A classifier, whatever it wraps its scores in (see `tensor`).
        x: Images that it takes.

    Raises:
        ValueError: It outputs something else than a row of scores for each image.
    """
    scores = tensor(net(x))
    if scores.dim() != 2 or len(scores) != len(x):
        raise ValueError(
            f"a classifier outputs (n, classes), but this network {tuple(scores.shape)} for {len(x)} images"
        )
    return scores


def scores(output: Tensor, label: Tensor) -> Tensor:
    """The score of each image's own label.

    Args:
        output: (n, classes).
        label: (n,) int64, from `labels`.

    Returns:
        (n,).

    Raises:
        ValueError: A label without a class.
    """
    check_range(label, output.shape[1], "class of the output")
    return output.gather(1, label.to(output.device)[:, None])[:, 0]


# ---------------------------------------------------------------- labels


def whole(value: Label, what: str) -> int | Tensor:
    """A whole number, or several.

    Args:
        value: An int, or a list, tuple, array or tensor of ints, of any whole dtype and on any device.
        what: What the numbers are, for the error: "channel".

    Returns:
        An int, or (n,) int64 on the CPU.

    Raises:
        TypeError: Something that is no whole number.
        ValueError: No number at all, or a table of them.
    """
    if type(value) is int:
        return value
    if isinstance(value, str) or (isinstance(value, Sequence) and any(isinstance(v, str) for v in value)):
        raise TypeError(f"the {what} is a whole number, got {value!r}")
    try:
        numbers = plain(value).cpu() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"the {what} is a whole number or a list of them, got {value!r}") from error
    require(numbers.dim() < 2 and numbers.numel() > 0, f"the {what} is one int, or a list of them, got {value!r}")
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise TypeError(f"the {what} is a whole number, got {value!r}")
    return int(numbers) if numbers.dim() == 0 else numbers.long()


def labels(label: Label, n: int, net: nn.Module | None = None, what: str = "label") -> Tensor:
    """One label for each of n images.

    Args:
        label: One for all images, or n of them: whole numbers of any kind (see `whole`), or class names.
        n: Number of images.
        net: The network whose `classes` give names their numbers.
        what: What the labels are, for the error: "target".

    Returns:
        (n,) int64 on the CPU.

    Raises:
        TypeError: Labels that are no whole numbers, or names for a network without names.
        ValueError: Another number of labels than one or n, or a name that is no class (the nearest are listed).
    """
    if isinstance(label, np.ndarray) and label.dtype.kind in "US":
        label = label.tolist()
    if isinstance(label, str):
        label = _class_number(net, label, what)
    elif isinstance(label, list | tuple) and any(isinstance(each, str) for each in label):
        label = [_class_number(net, each, what) if isinstance(each, str) else each for each in label]
    numbers = whole(label, what)
    if isinstance(numbers, int):
        return torch.full((n,), numbers)
    require(len(numbers) == n, f"one {what} for all, or one for each of {n} images; got {len(numbers)}")
    return numbers


def _class_number(net: nn.Module | None, name: str, what: str) -> int:
    classes = getattr(net, "classes", None)
    if not classes:
        raise TypeError(f"the {what} is {name!r}, but the network has no class names; give the number of the class")
    if name not in classes:
        raise unknown(f"class of {getattr(net, 'name', 'the network')}", name, classes)
    return tuple(classes).index(name)


def check_range(chosen: int | Tensor, count: int, what: str, n: int | None = None) -> None:
    """Raise unless every number chosen is one of 0 ... count - 1.

    Args:
        chosen: An int, or whole numbers (n,).
        count: How many there are.
        what: What they are, for the error: "channel of layer 'conv3'".
        n: Number of images, where there must be one number for all of them or one for each.

    Raises:
        ValueError: A number out of range, or another number of them than one or n.
    """
    if isinstance(chosen, int):  # the usual case, in each step of each loop: no tensors
        least = most = chosen
    else:
        require(n in (None, len(chosen)), f"the {what} is one int or {n} of them, got {len(chosen)}")
        least, most = (int(bound) for bound in torch.aminmax(chosen))
    if least < 0 or most >= count:
        wrong = least if least < 0 else most
        raise ValueError(f"no {what} with number {wrong}: they go from 0 to {count - 1}")


# ---------------------------------------------------------------- images


def check_images(x: Tensor, low: float = 0.0, high: float = 1.0) -> None:
    """Raise unless x is a batch of images: (n, 3, h, w), n >= 1, floating, finite, in [low, high].

    A thousandth outside the range is let pass: filters and Fourier sums round.

    Args:
        x: What should be images.
        low: Least value.
        high: Largest value.

    Raises:
        TypeError: Not a floating tensor.
        ValueError: Another shape, no image, NaN, or values out of range.
    """
    _check_floating(x)
    # `if`, not require: this runs in each step of each loop, and a message costs more than its test
    if x.dim() != 4 or x.shape[1] != 3:
        raise ValueError(f"images have shape (n, 3, h, w), got {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"no images in a batch of shape {tuple(x.shape)}")
    least, most = (bound.item() for bound in torch.aminmax(x.detach()))
    if least != least:
        raise ValueError("images hold NaN")
    if least < low - 1e-3 or most > high + 1e-3:
        raise ValueError(f"images lie in [{low:g}, {high:g}], got [{least:.4g}, {most:.4g}]")


def check_batch(net: nn.Module, x: Tensor) -> None:
    """Raise unless the network can take x: images in [0, 1] where it is a `models.Network`, finite numbers elsewhere.

    Args:
        net: Any network.
        x: A batch for it.

    Raises:
        TypeError: Not a floating tensor, or of another dtype than the network computes in.
        ValueError: Not images, nothing in the batch, values that are not finite, or another device than the network's.
    """
    if hasattr(net, "image_size"):
        check_images(x)
    else:
        _check_floating(x)
        require(x.dim() > 0 and x.numel() > 0, f"no images in a batch of shape {tuple(x.shape)}")
        require(bool(x.detach().isfinite().all()), "images hold values that are not finite")
    check_alike(net, x)


# Inside a loop, whether a batch of this kind has passed the checks of `models.Network`, and so needs them no more.
trusted: ContextVar[bool] = ContextVar("trusted", default=False)


def check_alike(net: nn.Module, x: Tensor) -> None:
    """Raise unless x has the dtype of the network's weights and lies on their device.

    Args:
        net: Any network.
        x: A batch for it.

    Raises:
        TypeError: Another dtype.
        ValueError: Another device.
    """
    first = _first(net)
    if first is None:
        return
    if first.device != x.device:
        raise ValueError(
            f"the network is on {first.device} and the images on {x.device}: move one, x.to({str(first.device)!r})"
        )
    if first.dtype != x.dtype:
        raise TypeError(f"the network computes in {first.dtype} and the images are {x.dtype}: give x.to({first.dtype})")


def _check_floating(x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"images are a torch tensor (n, 3, h, w), got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"images are float in [0, 1], got {x.dtype}; divide 8-bit values by 255")


def plain(x: Tensor) -> Tensor:
    """x without its history, as a tensor that gradients can be taken at, also if it was made in inference mode.

    Args:
        x: Any tensor.
    """
    x = x.detach()
    if not x.is_inference():
        return x
    with torch.inference_mode(False):
        return x.clone()


# ---------------------------------------------------------------- maps


def check_maps(heat: Tensor, x: Tensor | None = None) -> None:
    """Raise unless heat is finite maps (n, 1, h, w), and those of the images x if these are given.

    Args:
        heat: What should be maps.
        x: The images (n, c, h, w) that they belong to.

    Raises:
        TypeError: Not a tensor.
        ValueError: Another shape, or values that are not finite.
    """
    if not isinstance(heat, Tensor):
        raise TypeError(f"maps are a torch tensor (n, 1, h, w), got {type(heat).__name__}")
    require(heat.dim() == 4 and heat.shape[1] == 1, f"maps have shape (n, 1, h, w), got {tuple(heat.shape)}")
    if x is not None:
        fits = heat.shape == (len(x), 1, *x.shape[2:])
        require(fits, f"maps {tuple(heat.shape)} do not fit images {tuple(x.shape)}")
    bad = (~heat.detach().isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    require(not bad, f"maps {bad} hold values that are not finite")


def binary(masks: Tensor, what: str = "masks") -> Tensor:
    """Masks as bool.

    Args:
        masks: Of bool, or of zeros and ones of any dtype.
        what: What they are, for the error.

    Raises:
        TypeError: Not a tensor.
        ValueError: Other values than 0 and 1, such as the 255 of an image file.
    """
    if not isinstance(masks, Tensor):
        raise TypeError(f"{what} are a torch tensor (n, 1, h, w), got {type(masks).__name__}")
    if masks.dtype == torch.bool:
        return masks
    values = bool(((masks == 0) | (masks == 1)).all())
    require(values, f"{what} are True and False, or 1 and 0; got values up to {masks.max()}; write {what} > 0")
    return masks.bool()


# ---------------------------------------------------------------- numbers


def count(value: object, what: str, least: int = 1) -> int:
    """A whole number of things.

    Args:
        value: An int, of Python, numpy or a tensor without dimensions.
        what: Its name, for the error: "steps".
        least: The least that makes sense.

    Returns:
        An int, at least `least`.

    Raises:
        TypeError: No whole number: True, 2.0, "2", None.
        ValueError: Less than `least`.

    Example:
        >>> count(3, "steps")
        3
    """
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a whole number, got {value!r}")
    require(value >= least, f"{what} must be at least {least}, got {value}")
    return value


def number(
    value: object, what: str, low: float = -math.inf, high: float = math.inf, *, low_is_in: bool = True
) -> float:
    """A finite number in a range.

    Args:
        value: A number, of Python, numpy or a tensor without dimensions.
        what: Its name, for the error: "epsilon".
        low: Lower end of the range.
        high: Upper end of the range, which is in it.
        low_is_in: Whether the lower end is in the range too.

    Returns:
        A float.

    Raises:
        TypeError: No number: True, "0.1", None.
        ValueError: NaN, infinite, or out of the range.

    Example:
        >>> number(0.25, "epsilon", 0, 1)
        0.25
    """
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} is a number, got {value!r}")
    found = float(value)
    inside = (low <= found if low_is_in else low < found) and found <= high  # NaN is neither
    require(inside and math.isfinite(found), f"{what} {_range(low, high, low_is_in)}, got {found:g}")
    return found


def _scalar(value: object) -> object:
    """A number of Python instead of one of numpy or torch."""
    return value.item() if isinstance(value, Tensor | np.ndarray | np.generic) and value.ndim == 0 else value


def _range(low: float, high: float, low_is_in: bool) -> str:
    if math.isfinite(high):
        return f"is in {'[' if low_is_in else '('}{low:g}, {high:g}]"
    if math.isfinite(low):
        return f"must be {'at least' if low_is_in else 'above'} {low:g}"
    return "must be finite"
