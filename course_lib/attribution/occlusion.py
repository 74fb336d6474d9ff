"""What the score loses when a patch covers a part of the picture."""

from collections.abc import Callable
from functools import partial
from itertools import product

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from course_lib import incremental
from course_lib.attribution.cutting import as_bytes
from course_lib.attribution.slopes import check_input, labels_of
from course_lib.errors import check_choice, require, unknown
from course_lib.taps import receptive_field

FILLS = ("grey", "blur", "noise", "inpaint")
SCORES = ("logit", "probability")


def occlusion(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
    patch: int = 32,
    stride: int = 8,
    fill: str | float | Tensor = "grey",
    *,
    score: str = "logit",
) -> Tensor:
    """How much the score of `label` falls when a patch covers a pixel, (n, 1, h, w), signed.

    The mean of S(x) - S(covered) over all positions of the patch that cover the pixel. Patches start every `stride`
    pixels from the upper left corner; the last of a row or column hangs over the border, if need be, and is cut there.
    fill: "grey" (0.5), "blur", "noise" (uniform, the same for every picture), "inpaint" (continued from around the
    patch; Telea 2004), a number, or a picture that broadcasts to x. score: "logit", or "probability" (Zeiler and
    Fergus 2014).

    Only what the patch can reach is computed again (see `incremental`).
    Raises as `gradient`, and ValueError for a patch that does not fit, a stride outside 1 ... patch (it would leave
    pixels uncovered), and another fill or score.
    """
    grids = occlusion_grid(net, x, label, patch, stride, fill, score=score)
    with torch.no_grad():
        clean = _scores(net(x), label, score)
    drops = clean[:, None, None] - grids
    heat, times = torch.zeros_like(x[:, :1]), torch.zeros_like(x[:1, :1])
    for (top, left, bottom, right), drop in zip(_boxes(x, patch, stride).tolist(), drops.flatten(1).T, strict=True):
        heat[..., top:bottom, left:right] += drop[:, None, None, None]
        times[..., top:bottom, left:right] += 1
    return heat / times


def occlusion_grid(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
    patch: int = 32,
    stride: int = 8,
    fill: str | float | Tensor = "grey",
    *,
    score: str = "probability",
) -> Tensor:
    """The score of `label` with the patch at each position, (n, rows, columns): the heat map of Zeiler and Fergus 2014.

    Low where the covered part was needed. Arguments and errors as in `occlusion`.
    """
    check_input(net, x)
    require(1 <= patch <= min(x.shape[2:]), f"a patch of {patch} does not fit a picture of {tuple(x.shape[2:])}")
    require(1 <= stride <= patch, f"stride goes from 1 to the patch's {patch}, or pixels stay uncovered; got {stride}")
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    boxes = _boxes(x, patch, stride)
    filler = _filler(x, fill, patch)
    reaches = _reaches(net, x, patch)
    grids = []
    for i, each in enumerate(labels_of(label, len(x))):
        covered = incremental.answers(net, x[i : i + 1], boxes, partial(filler, i), reaches)
        grids.append(_scores(covered, each, score).view(len(boxes[:, 0].unique()), -1))
    return torch.stack(grids)


def _scores(logits: Tensor, label: int | Tensor, score: str) -> Tensor:
    check_choice(label, len(logits), logits.shape[1], "class of the output")
    values = logits.softmax(1) if score == "probability" else logits
    return values.gather(1, torch.as_tensor(label, device=logits.device).expand(len(logits)).long()[:, None])[:, 0]


def _boxes(x: Tensor, patch: int, stride: int) -> Tensor:
    """(m, 4): top, left, bottom, right of the patch at each position, row by row."""
    height, width = x.shape[2:]
    tops, lefts = (range(0, -(-(side - patch) // stride) * stride + 1, stride) for side in (height, width))
    return torch.tensor([(t, u, min(t + patch, height), min(u + patch, width)) for t, u in product(tops, lefts)])


def _reaches(net: nn.Module, x: Tensor, patch: int) -> dict[str, tuple[incremental.Reach, incremental.Reach]]:
    """What units of the first layers see, as long as a window around the patch is worth its while."""
    reaches = {}
    for layer in incremental.chain(net):
        if isinstance(net.get_submodule(layer), nn.ReLU | nn.Dropout | nn.BatchNorm2d):
            continue  # place by place: it sees what its input sees
        try:
            field = receptive_field(net, layer, (x.shape[2], x.shape[3]))
        except (ValueError, RuntimeError):
            break
        rows, columns = field.axes
        reach = incremental.Reach(*rows), incremental.Reach(*columns)
        wide = any(4 * (axis.size + patch) > 3 * side for axis, side in zip(reach, x.shape[2:], strict=True))
        if wide or min(axis.stride for axis in reach) == 0:
            break
        reaches[layer] = reach
    return reaches


Filler = Callable[[int, list[int]], Tensor]  # (number of the picture, its box) -> what covers it, (c, height, width)


def _filler(x: Tensor, fill: str | float | Tensor, patch: int) -> Filler:
    if isinstance(fill, str) and fill not in FILLS:
        raise unknown("fill", fill, FILLS)
    if fill == "inpaint":
        return lambda i, box: _inpainted(x[i], box)
    if fill == "blur":
        cover = gaussian_blur(x, 4 * (patch // 2) + 1, patch / 2)
    elif fill == "noise":
        cover = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x).expand_as(x)
    else:
        cover = torch.as_tensor(0.5 if fill == "grey" else fill).to(x).expand_as(x)
    return lambda i, box: cover[i, :, box[0] : box[2], box[1] : box[3]]


def _inpainted(picture: Tensor, box: list[int]) -> Tensor:
    """The box filled in from the pixels around it; a margin of them is enough."""
    margin = 8
    top, left, bottom, right = box
    y, x = max(top - margin, 0), max(left - margin, 0)
    part = as_bytes(picture[:, y : bottom + margin, x : right + margin])
    hole = np.zeros(part.shape[:2], np.uint8)
    hole[top - y : bottom - y, left - x : right - x] = 1
    filled = torch.from_numpy(cv2.inpaint(part, hole, 3, cv2.INPAINT_TELEA)).permute(2, 0, 1).to(picture) / 255
    return filled[:, top - y : bottom - y, left - x : right - x]
