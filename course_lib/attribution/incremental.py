"""Many copies of one image, each changed in a box: only what the box reaches is computed again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.inputs import logits
from course_lib.taps import hooked

Content = Callable[[list[int]], Tensor]  # box -> what lies there, (c, height, width)
BATCH = 8  # windows at a time; larger batches are no faster on a CPU


class Reach(NamedTuple):
    """Along one axis, unit i of a layer sees `size` positions of what is before it, from start + i * stride."""

    size: int
    stride: int
    start: int

    def after(self, before: "Reach") -> "Reach":
        """The same in units of a layer before, where both are given in pixels."""
        size, start = self.size - before.size, self.start - before.start
        return Reach(size // before.stride + 1, self.stride // before.stride, start // before.stride)


class _Level(NamedTuple):
    """The image, or a layer's maps, and for each of m copies what changes there and the window that is computed."""

    layer: str
    clean: Tensor  # (1, c, h, w), of the unchanged image
    changed: Tensor  # (m, 4), a box: top, left, bottom, right, half open
    arrived: Tensor  # (m, 2), where the first unit that the window before gives rise to lies
    origin: Tensor  # (m, 2), upper left corner of this level's window
    size: tuple[int, int]


def chain(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """Names of the modules that a sequential network runs one after another; other modules count as one."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential):
            yield from chain(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@torch.no_grad()
def outputs(
    net: nn.Module,
    image: Tensor,
    boxes: Tensor,
    content: Content,
    reaches: Mapping[str, tuple[Reach, Reach]],
) -> Tensor:
    """The network's output for copies of an image with content(box) in each box.

    Each layer computes a window around what has changed, with enough around it for its units to see what they always
    see; the rest is what the unchanged image gave. Behind the last layer the network runs in full. Exact up to
    rounding, and put to the test: where three of the copies give another output than in full, the network is no chain,
    and all of them are computed in full.

    Args:
        net: A classifier in evaluation mode.
        image: (1, c, h, w).
        boxes: (m, 4) integers: top, left, bottom, right, half open.
        content: box -> what lies there, (c, height, width).
        reaches: For layers of a chain, first to last, what their units see of the image, (rows, columns).

    Returns:
        (m, classes).

    Source: Nakandala 2019 (incremental inference).
    """
    full = _levels(net, image, boxes, {})
    windows = _levels(net, image, boxes, reaches)
    if len(windows) > 1 and not _agree(net, windows, full, content):
        windows = full
    return torch.cat([_run(net, windows, rows, content) for rows in torch.arange(len(boxes)).split(BATCH)])


def _agree(net: nn.Module, windows: list[_Level], full: list[_Level], content: Content) -> bool:
    m = len(full[0].changed)
    few = torch.tensor([0, m // 2, m - 1])
    truth = _run(net, full, few, content)
    try:
        found = _run(net, windows, few, content)
    except (RuntimeError, ValueError):  # what ran on a window did not fit what runs on the whole
        return False
    return found.shape == truth.shape and torch.allclose(found, truth, rtol=1e-3, atol=1e-4 * float(truth.abs().max()))


# ---------------------------------------------------------------- which windows


def _levels(net: nn.Module, image: Tensor, boxes: Tensor, reaches: Mapping[str, tuple[Reach, Reach]]) -> list[_Level]:
    """The image and each layer; the window of the last is its whole map."""
    clean = _maps(net, image, list(reaches))
    levels: list[_Level] = []
    layer, maps, changed, arrived = "", image, boxes.cpu(), torch.zeros(len(boxes), 2, dtype=torch.long)
    seen = (Reach(1, 1, 0),) * 2
    for name, reach in reaches.items():
        if name not in clean:
            break
        axes = [
            _through(changed[:, axis], changed[:, axis + 2], now.after(before), maps.shape[axis + 2], after)
            for axis, (now, before, after) in enumerate(zip(reach, seen, clean[name].shape[2:], strict=True))
        ]
        (first, last, origin, next_arrived, size) = zip(*axes, strict=True)
        levels.append(_Level(layer, maps, changed, arrived, torch.stack(origin, 1), (size[0], size[1])))
        layer, maps, seen = name, clean[name], reach
        changed, arrived = torch.stack([*first, *last], 1), torch.stack(next_arrived, 1)
    whole = (maps.shape[2], maps.shape[3])
    return [*levels, _Level(layer, maps, changed, arrived, torch.zeros_like(arrived), whole)]


def _maps(net: nn.Module, image: Tensor, layers: list[str]) -> dict[str, Tensor]:
    """The layers' outputs for the image, of those that run exactly once and have positions."""
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}

    def record(layer: str, output: object) -> None:
        if isinstance(output, Tensor):
            found[layer].append(output.clone())  # a ReLU in place may overwrite it

    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(hooked(net, layer, partial(record, layer)))
        if layers:
            net(image)
    return {layer: maps[0] for layer, maps in found.items() if len(maps) == 1 and maps[0].dim() == 4}


def _through(
    low: Tensor, high: Tensor, reach: Reach, before: int, after: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Along one axis: which units [first, last) see something of [low, high), and the window that they need.

    Returns first, last, the origin of the window, the unit that it begins with, and its size. Windows have one size,
    and begin where a unit's stride does; only at the border of the map is there padding to rely on.
    """
    size, stride, start = reach
    first = (-((start + size - 1 - low) // stride)).clamp(0, after)
    last = ((high - 1 - start) // stride + 1).clamp(0, after)
    begin = torch.minimum(low, start + first * stride).clamp(min=0)
    end = torch.maximum(high, start + (last - 1) * stride + size).clamp(max=before)
    origin = begin // stride * stride
    length = int((end - origin).max())
    length += (before - length) % stride  # so that a window can end where the map does
    origin = origin.clamp(max=before - length)
    return first, last, origin, origin // stride, length


# ---------------------------------------------------------------- through the network


def _run(net: nn.Module, levels: list[_Level], rows: Tensor, content: Content) -> Tensor:
    """The network's outputs for the copies of these numbers; hooks replace each layer's window by the next one."""

    def replaced(level: _Level, output: Tensor) -> Tensor:
        def part(j: int) -> Tensor:
            i = int(rows[j])
            top, left, bottom, right = (level.changed[i] - level.arrived[i].repeat(2)).tolist()
            return output[j, :, top:bottom, left:right]

        return _windows(level, rows, part)

    with ExitStack() as stack:
        for level in levels[1:]:
            stack.enter_context(hooked(net, level.layer, partial(replaced, level)))
        return logits(net, _windows(levels[0], rows, lambda j: content(levels[0].changed[int(rows[j])].tolist())))


def _windows(level: _Level, rows: Tensor, part: Callable[[int], Tensor]) -> Tensor:
    """(rows, c, height, width): the unchanged maps, with part(j) where copy j has changed."""
    size = (len(rows), level.clean.shape[1], *level.size)
    windows = torch.empty(size, dtype=level.clean.dtype, device=level.clean.device, memory_format=torch.channels_last)
    for j, i in enumerate(rows.tolist()):
        y, x = level.origin[i].tolist()
        windows[j] = level.clean[0, :, y : y + level.size[0], x : x + level.size[1]]
        top, left, bottom, right = (level.changed[i] - level.origin[i].repeat(2)).tolist()
        windows[j, :, top:bottom, left:right] = part(j)
    return windows
