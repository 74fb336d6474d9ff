"""The plain data that cross the border of the sandbox, and their bytes.

Nothing is ever unpickled. A message is one line of JSON, in which a tensor is named by its dtype, shape and place, and
then the bytes of the tensors. This module is also loaded inside the sandbox, so it needs torch and nothing else.
"""

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

Plain = Any  # None, bool, int, float, str, Tensor, Net, Seed, and lists, tuples and str-keyed dicts of them

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
}
DEPTH = 6  # of lists in lists


@dataclass(frozen=True)
class Seed:
    """Arrives as a torch.Generator with this seed."""

    value: int

    def build(self) -> Generator:
        return Generator().manual_seed(self.value)


@dataclass(frozen=True)
class Net:
    """Arrives as an nn.Sequential with named layers, in eval mode, its parameters frozen.

    layers: (name, kind, *numbers and tensors), where kind is one of
        ("conv1", "conv", weight, bias, padding)    ("relu1", "relu")    ("pool1", "maxpool", size)
        ("mean", "avgpool")  mean over all places, flattened             ("flat", "flatten")
        ("fc", "linear", weight, bias)
    """

    layers: tuple[tuple[Any, ...], ...]

    def build(self) -> nn.Sequential:
        net = nn.Sequential(OrderedDict((layer[0], _layer(*layer[1:])) for layer in self.layers))
        return net.eval().requires_grad_(False)


def _layer(kind: str, *values: Any) -> nn.Module:
    if kind in ("conv", "linear"):
        weight, bias, *padding = values
        made: nn.Module
        if kind == "conv":
            made = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), padding=padding[0])
        else:
            made = nn.Linear(weight.shape[1], weight.shape[0])
        made.to(weight.dtype).load_state_dict({"weight": weight, "bias": bias})
        return made
    return {
        "relu": lambda: nn.ReLU(),
        "maxpool": lambda: nn.MaxPool2d(*values),
        "avgpool": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "flatten": lambda: nn.Flatten(),
    }[kind]()


def net(generator: Generator, *, channels: tuple[int, ...] = (8, 8), classes: int = 5, size: int = 16) -> Net:
    """A small network with fresh weights, conv1, relu1, pool1, conv2, relu2, ..., flat, fc, for (n, 3, size, size).

    A 3 x 3 convolution and a ReLU for each of `channels`, the first followed by a 2 x 2 max pool. Weights have He's
    deviation, so that no layer dies out. They are float64: in float32 a rounding may switch a ReLU that stands near
    zero, and a right answer that adds in another order would look wrong. Draw the pictures in float64, too.
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
    """What the function gets: `Net` and `Seed` become what they stand for, tensors are copied."""
    if isinstance(value, Net | Seed):
        return value.build()
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, list | tuple):
        return type(value)(build(one) for one in value)
    if isinstance(value, dict):
        return {key: build(one) for key, one in value.items()}
    return value


# ---------------------------------------------------------------- bytes


def encode(value: Plain) -> bytes:
    """One message: a line of JSON, then the tensors' bytes. Raises TypeError for what is not plain."""
    raw: list[bytes] = []
    header = json.dumps(_tree(value, raw, 0), allow_nan=True).encode()
    return header + b"\n" + b"".join(raw)


def _tree(value: Any, raw: list[bytes], depth: int) -> Any:
    if depth > DEPTH:
        raise TypeError(f"lists more than {DEPTH} deep are not plain data")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        name = str(value.dtype).removeprefix("torch.")
        if name not in DTYPES:
            raise TypeError(f"a tensor of dtype {value.dtype} is not plain data; use one of {', '.join(DTYPES)}")
        plain = value.detach().cpu().contiguous()
        raw.append(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
        return {"tensor": name, "shape": list(plain.shape)}
    if isinstance(value, Seed):
        return {"seed": value.value}
    if isinstance(value, Net):
        return {"net": _tree(list(value.layers), raw, depth + 1)}
    if isinstance(value, list | tuple):
        return [_tree(one, raw, depth + 1) for one in value]
    if isinstance(value, dict):
        return {"dict": [[str(key), _tree(one, raw, depth + 1)] for key, one in value.items()]}
    raise TypeError(f"{type(value).__name__} is not plain data")


def decode(message: bytes) -> Plain:
    """What `encode` wrote; tuples come back as lists. Raises ValueError for anything else, trailing bytes included."""
    line, _, raw = message.partition(b"\n")
    try:
        tree = json.loads(line)
        value, end = _value(tree, raw, 0, 0)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, RuntimeError) as error:
        raise ValueError(f"not a message: {type(error).__name__}") from None
    if end != len(raw):
        raise ValueError(f"not a message: {len(raw) - end} bytes are left over")
    return value


def _value(tree: Any, raw: bytes, at: int, depth: int) -> tuple[Plain, int]:
    if depth > 2 * DEPTH:
        raise ValueError("too deep")
    if type(tree) is int and abs(tree) >= 2**63:
        return math.inf if tree > 0 else -math.inf, at  # no tensor holds it
    if tree is None or type(tree) in (bool, int, float, str):
        return tree, at
    if isinstance(tree, list):
        values = []
        for one in tree:
            value, at = _value(one, raw, at, depth + 1)
            values.append(value)
        return values, at
    if set(tree) == {"tensor", "shape"}:
        return _tensor(tree, raw, at)
    if set(tree) == {"seed"}:
        return Seed(int(tree["seed"])), at
    if set(tree) == {"net"}:
        layers, at = _value(tree["net"], raw, at, depth + 1)
        return Net(tuple(tuple(layer) for layer in layers)), at
    if set(tree) == {"dict"}:
        found = {}
        for key, one in tree["dict"]:
            found[str(key)], at = _value(one, raw, at, depth + 1)
        return found, at
    raise ValueError("unknown keys")


def _tensor(tree: Any, raw: bytes, at: int) -> tuple[Tensor, int]:
    dtype, shape = DTYPES[tree["tensor"]], tree["shape"]
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError("a shape is a list of whole numbers")
    end = at + math.prod(shape) * dtype.itemsize
    if end > len(raw):
        raise ValueError("bytes are missing")
    if end == at:
        return torch.zeros(shape, dtype=dtype), at
    if dtype is torch.bool and raw[at:end].strip(b"\0\1"):
        raise ValueError("a bool is 0 or 1")
    return torch.frombuffer(bytearray(raw[at:end]), dtype=dtype).reshape(shape), end
