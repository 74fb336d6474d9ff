"""The plain data that enter and leave the sandbox, and their bytes.

Nothing is ever unpickled. A message is one line of JSON, in which a tensor stands as its dtype and shape, and then the
bytes of the tensors in the same order. This module is also loaded inside the sandbox, so it needs torch, numpy and
nothing else.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

Plain = Any  # None, bool, int, float, str, Tensor, Net, Seed, and lists, tuples and str-keyed dicts of them

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
}
DEPTH = 6  # of lists in lists
ANSWER = 100_000  # bytes of one answer; the largest one asked for has 20 kB
HEADER = 1_000  # bytes beside the answer that its message may have
VALUES = 10_000  # numbers, texts, lists, tensors in one answer; a tensor counts once


@dataclass(frozen=True)
class Seed:
    """A seed, which reaches the student's function as a torch.Generator.

    Attributes:
        value: The seed.
    """

    value: int

    def build(self) -> Generator:
        """The generator.

        Returns:
            A new generator on the CPU with this seed.
        """
        return Generator().manual_seed(self.value)


@dataclass(frozen=True)
class Net:
    """A small network, which reaches the student's function as an nn.Sequential with named layers.

    Each layer is a tuple of its name, its operation, and numbers or tensors, one of::

        ("conv1", "conv", weight, bias, padding)    ("relu1", "relu")    ("pool1", "maxpool", size)
        ("mean", "avgpool")  mean over all positions, flattened          ("flat", "flatten")
        ("fc", "linear", weight, bias)                                   ("range", "sigmoid")
        ("image", "unflatten", 3, height, width)  rows to images

    Attributes:
        layers: The layers, in their order.
    """

    layers: tuple[tuple[Any, ...], ...]

    def build(self) -> nn.Sequential:
        """The network.

        Returns:
            A new module in evaluation mode, its parameters frozen.
        """
        net = nn.Sequential(OrderedDict((layer[0], _layer(*layer[1:])) for layer in self.layers))
        return net.eval().requires_grad_(False)


def _layer(operation: str, *values: Any) -> nn.Module:
    """The module of one layer of a `Net`."""
    if operation in ("conv", "linear"):
        weight, bias, *padding = values
        made: nn.Module
        if operation == "conv":
            made = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), padding=padding[0])
        else:
            made = nn.Linear(weight.shape[1], weight.shape[0])
        made.to(weight.dtype).load_state_dict({"weight": weight, "bias": bias})
        return made
    makers: dict[str, Callable[[], nn.Module]] = {
        "relu": lambda: nn.ReLU(),
        "maxpool": lambda: nn.MaxPool2d(*values),
        "avgpool": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "flatten": lambda: nn.Flatten(),
        "unflatten": lambda: nn.Unflatten(1, values),
        "sigmoid": lambda: nn.Sigmoid(),
    }
    return makers[operation]()


def net(generator: Generator, *, channels: tuple[int, ...] = (8, 8), classes: int = 5, size: int = 16) -> Net:
    """A small network with random weights: conv1, relu1, pool1, conv2, relu2, ..., flat, fc.

    A 3 x 3 convolution and a ReLU for each of `channels`, the first followed by a 2 x 2 max pool. Weights are float64:
    in float32 a rounding error may switch a ReLU whose input is near zero, and a right answer that adds in another
    order would look wrong. Draw the images in float64, too.

    Args:
        generator: Source of the random weights.
        channels: Number of channels of each convolution.
        classes: Number of outputs.
        size: Side of the images that it takes, (n, 3, size, size); even.

    Returns:
        The network as plain data.

    Source: weights of He 2015, eq. 10, which keep the scale of the activations. Deviation: biases have a standard
    deviation of 0.1, where the paper starts them at 0; the last layer lacks the factor 2, as no ReLU follows it.
    """
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    layers: list[tuple[Any, ...]] = []
    before = 3
    for i, after in enumerate(channels, start=1):
        weight = draw(after, before, 3, 3) * math.sqrt(2 / (9 * before))
        layers.append((f"conv{i}", "conv", weight, 0.1 * draw(after), 1))
        layers.append((f"relu{i}", "relu"))
        if i == 1:
            layers.append(("pool1", "maxpool", 2))
        before = after
    inputs = before * (size // 2) ** 2
    weight = draw(classes, inputs) / math.sqrt(inputs)
    layers += [("flat", "flatten"), ("fc", "linear", weight, 0.1 * draw(classes))]
    return Net(tuple(layers))


def build(value: Plain) -> Any:
    """Plain data as the function gets them: `Net` and `Seed` become what they stand for, tensors are copied.

    Args:
        value: Plain data, at any depth of lists, tuples and dictionaries.

    Returns:
        The same structure, ready to be passed to the function.

    Example:
        >>> build({"generator": Seed(0), "x": [1, 2]})["generator"].initial_seed()
        0
    """
    if isinstance(value, Net | Seed):
        return value.build()
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, list | tuple):
        return type(value)(build(one) for one in value)
    if isinstance(value, dict):
        return {key: build(one) for key, one in value.items()}
    return value


def changed(inputs: Mapping[str, Plain], built: Mapping[str, Any]) -> list[str]:
    """The arguments that a function has changed in place.

    Args:
        inputs: The arguments as plain data, as they were.
        built: What the function was called with, from `build`.

    Returns:
        Their names, in order; of a network, where its parameters differ or hooks are left behind.

    Example:
        >>> changed({"x": torch.zeros(2), "k": 3}, {"x": torch.ones(2), "k": 3})
        ['x']
    """
    return [name for name, value in inputs.items() if not _kept(value, built[name])]


def _kept(before: Plain, after: Any) -> bool:
    """Whether tensors and networks, and lists and dictionaries that hold them, are what they were."""
    if isinstance(before, Tensor):
        return isinstance(after, Tensor) and before.shape == after.shape and torch.equal(before, after.detach())
    if isinstance(before, Net):
        hooked = any(one._forward_hooks or one._backward_hooks for one in after.modules())
        return not hooked and _kept(before.build().state_dict(), after.state_dict())
    if isinstance(before, Mapping):
        return set(before) == set(after) and all(_kept(before[key], after[key]) for key in before)
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(_kept, before, after))
    return True


# ---------------------------------------------------------------- bytes


def encode(value: Plain) -> bytes:
    """One message: a line of JSON, then the tensors' bytes.

    Args:
        value: Plain data, its lists at most six deep.

    Returns:
        The bytes that `decode` reads.

    Raises:
        TypeError: The value holds something that is not plain data; the message names it.

    Example:
        >>> encode({"steps": 3})
        b'{"dict": [["steps", 3]]}\\n'
    """
    raw: list[bytes] = []
    header = json.dumps(_tree(value, raw, 0), allow_nan=True).encode()
    return header + b"\n" + b"".join(raw)


def _tree(value: Any, raw: list[bytes], depth: int) -> Any:
    """A value as JSON can hold it; the bytes of its tensors are appended to `raw`."""
    if depth > DEPTH:
        raise TypeError(f"lists more than {DEPTH} deep are not plain data")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray | np.generic):
        plain = _known(value)
        raw.append(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
        return {"tensor": str(plain.dtype).removeprefix("torch."), "shape": list(plain.shape)}
    if isinstance(value, Seed):
        return {"seed": value.value}
    if isinstance(value, Net):
        return {"net": _tree(list(value.layers), raw, depth + 1)}
    if isinstance(value, list | tuple):
        return [_tree(one, raw, depth + 1) for one in value]
    if isinstance(value, dict):
        return {"dict": [[str(key), _tree(one, raw, depth + 1)] for key, one in value.items()]}
    raise TypeError(f"{type(value).__name__} is not plain data")


def _known(value: Any) -> Tensor:
    """A tensor or an array as a contiguous tensor on the CPU, of the nearest of DTYPES that holds its numbers."""
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"an array of dtype {array.dtype} is not plain data")
        wide = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}[array.dtype.kind]
        kept = ("bool", "int64", "int32", "uint8", "float64", "float32")
        value = torch.from_numpy(np.array(array, array.dtype.name if array.dtype.name in kept else wide, order="C"))
    plain = value.detach().cpu()
    if str(plain.dtype).removeprefix("torch.") not in DTYPES:
        if plain.is_complex() or plain.is_quantized:
            raise TypeError(f"a tensor of dtype {plain.dtype} is not plain data; use one of {', '.join(DTYPES)}")
        plain = plain.to(torch.float64 if plain.is_floating_point() else torch.int64)
    made: Tensor = (plain.to_dense() if plain.layout != torch.strided else plain).resolve_neg().contiguous()
    return made


def decode(message: bytes, *, answer: bool = False) -> Plain:
    """The plain data in a message; tuples come back as lists.

    Args:
        message: What `encode` wrote, or bytes that anybody may have made.
        answer: What comes out of a sandbox: it holds no `Net` and no `Seed`, at most 100 kB, and at most 10 000
            values, so that reading it costs next to nothing.

    Returns:
        Plain data of exact types. A whole number that no tensor can hold comes back as infinity.

    Raises:
        ValueError: The bytes are no message; bytes that are left over count.

    Example:
        >>> decode(encode(("a", 1.5)))
        ['a', 1.5]
    """
    if answer and len(message) > ANSWER + HEADER:
        raise ValueError("not a message: it is too long")
    line, _, raw = message.partition(b"\n")
    try:
        reader = _Reader(raw, VALUES + 4 if answer else None)
        value = reader.value(json.loads(line), 0)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, RuntimeError, MemoryError) as error:
        raise ValueError(f"not a message: {type(error).__name__}") from None
    if reader.at != len(raw):
        raise ValueError(f"not a message: {len(raw) - reader.at} bytes are left over")
    return value


def check(message: bytes) -> None:
    """Raise unless this is small enough for an answer.

    Args:
        message: What `encode` made of an answer.

    Raises:
        ValueError: It has too many bytes, or holds too many values.
    """
    if len(message) > ANSWER:
        raise ValueError(f"the answer has {len(message) / 1000:.0f} kB, and {ANSWER // 1000} kB is the most")
    try:
        decode(message, answer=True)
    except ValueError:
        raise ValueError(f"the answer holds more than {VALUES} values, or no data: return a tensor") from None


class _Reader:
    """Reads values out of JSON whose tensors' bytes follow it; counts them where they come out of a sandbox."""

    def __init__(self, raw: bytes, most: int | None):
        self.raw, self.most, self.at, self.count = raw, most, 0, 0

    def value(self, tree: Any, depth: int) -> Plain:
        """The value of a piece of JSON."""
        self.count += 1
        if depth > 2 * DEPTH or (self.most is not None and self.count > self.most):
            raise ValueError("too deep, or too many values")
        if type(tree) is int and abs(tree) >= 2**63:
            return math.inf if tree > 0 else -math.inf  # no tensor holds it
        if tree is None or type(tree) in (bool, int, float, str):
            return tree
        if type(tree) is list:
            return [self.value(one, depth + 1) for one in tree]
        if set(tree) == {"tensor", "shape"}:
            return self.tensor(tree)
        if set(tree) == {"dict"}:
            return self.dictionary(tree["dict"], depth)
        if self.most is not None or set(tree) not in ({"seed"}, {"net"}):
            raise ValueError("unknown keys")
        if "seed" in tree:
            return Seed(int(tree["seed"]))
        return Net(tuple(tuple(layer) for layer in self.value(tree["net"], depth + 1)))

    def dictionary(self, items: Any, depth: int) -> dict[str, Plain]:
        """The dictionary of a list of [key, value]."""
        found: dict[str, Plain] = {}
        for key, one in items:
            if type(key) is not str or key in found:
                raise ValueError("a key is a text, and occurs once")
            found[key] = self.value(one, depth + 1)
        return found

    def tensor(self, tree: dict[str, Any]) -> Tensor:
        """The tensor whose bytes come next."""
        dtype, shape = DTYPES[tree["tensor"]], tree["shape"]
        if type(shape) is not list or len(shape) > 8 or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("a shape is a list of whole numbers")
        begin, self.at = self.at, self.at + math.prod(shape) * dtype.itemsize
        if self.at > len(self.raw):
            raise ValueError("bytes are missing")
        if begin == self.at:
            return torch.zeros(shape, dtype=dtype)
        data = bytearray(self.raw[begin : self.at])
        if dtype is torch.bool and data.strip(b"\0\1"):
            raise ValueError("a bool is 0 or 1")
        return torch.frombuffer(data, dtype=dtype).reshape(shape)
