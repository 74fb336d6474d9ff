"""Many copies of one image, each changed in a box: only what the box reaches is computed again."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from course_lib.attribution.changed import Changed, Clean, whole
from course_lib.inputs import logits

Content = Callable[[list[int]], Tensor]  # box -> what lies there, (c, height, width)
BATCH = 16  # copies at a time: enough that the bookkeeping of each call does not count


def chain(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """Names of the modules that a sequential network runs one after another; other modules count as one."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential):
            yield from chain(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@torch.no_grad()
def outputs(net: nn.Module, image: Tensor, boxes: Tensor, content: Content, label: int | None = None) -> Tensor:
    """The network's output for copies of an image with content(box) in each box.

    A forward pass runs on `changed.Changed`: every convolution, pooling and elementwise function computes a window
    around what has changed, all else is computed in full. If only one class counts, and the network ends in a
    convolution with a channel for each class, only that channel is computed.

    Exact up to rounding, and put to the test: where three of the copies give another output than in full, all of them
    are computed in full.

    Args:
        net: A classifier in evaluation mode.
        image: (1, c, h, w).
        boxes: (m, 4) integers: top, left, bottom, right, half open.
        content: box -> what lies there, (c, height, width).
        label: The only class that is asked for; None for all.

    Returns:
        (m, classes), or (m, 1) with a label.

    Raises:
        ValueError: A label without a class, and as `inputs.logits`.

    Source: Nakandala 2019 (incremental inference). Deviation: by calls of a forward pass, not by layers.
    """
    image = image.contiguous(memory_format=torch.channels_last)
    few = boxes[[0, len(boxes) // 2, len(boxes) - 1]]
    truth = _columns(_in_full(net, image, few, content), label)
    clean = Clean()
    if not _agree(truth, lambda: _columns(_in_windows(net, image, few, content, clean), label)):
        parts = [_in_full(net, image, some, content) for some in boxes.split(BATCH)]
        return _columns(torch.cat(parts), label)
    narrow = clean.narrowed(label)
    if narrow is not None and _agree(truth, lambda: _in_windows(net, image, few, content, narrow)):
        clean, label = narrow, None
    order = _alike(boxes, image)
    parts = [_in_windows(net, image, boxes[some], content, clean) for some in order.split(BATCH)]
    return _columns(torch.cat(parts)[order.argsort()], label)


def _columns(output: Tensor, label: int | None) -> Tensor:
    """All of them, or that of a label."""
    if label is None:
        return output
    if not 0 <= label < output.shape[1]:
        raise ValueError(f"no class of the output with number {label}: they go from 0 to {output.shape[1] - 1}")
    return output[:, label : label + 1]


def _agree(truth: Tensor, run: Callable[[], Tensor]) -> bool:
    try:
        found = run()
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):  # what fits the whole fits no window
        return False
    return found.shape == truth.shape and torch.allclose(found, truth, rtol=1e-3, atol=1e-4 * float(truth.abs().max()))


def _alike(boxes: Tensor, image: Tensor) -> Tensor:
    """An order of the boxes in which those stand together that are equally far from the border.

    What they reach is cut off alike, so that their windows have nearly one size.
    """
    height, width = image.shape[2:]
    rows, columns = (
        torch.minimum(boxes[:, axis], side - boxes[:, axis + 2]) for axis, side in enumerate((height, width))
    )
    return (rows * (height + width) + columns).argsort(stable=True)


def _in_full(net: nn.Module, image: Tensor, boxes: Tensor, content: Content) -> Tensor:
    return logits(net, whole(_copies(Clean(), image, boxes, content)))


def _in_windows(net: nn.Module, image: Tensor, boxes: Tensor, content: Content, clean: Clean) -> Tensor:
    clean.begin()
    output: Tensor = whole(logits(net, _copies(clean, image, boxes, content)))
    return output


def _copies(clean: Clean, image: Tensor, boxes: Tensor, content: Content) -> Changed:
    """The image with its boxes, which may differ in size: the smaller ones come with some of the image around them."""
    found = boxes.tolist()
    height, width = (max(box[axis + 2] - box[axis] for box in found) for axis in (0, 1))
    windows, corners = [], []
    for box in found:
        top, left = min(box[0], image.shape[2] - height), min(box[1], image.shape[3] - width)
        window = image[0, :, top : top + height, left : left + width].clone()
        window[:, box[0] - top : box[2] - top, box[1] - left : box[3] - left] = content(box)
        windows.append(window)
        corners.append((top, left))
    part = torch.stack(windows).contiguous(memory_format=torch.channels_last)
    return Changed(clean, image, part, corners)
