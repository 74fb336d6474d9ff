"""Which pixels mattered: gradient rules, occlusion, CAM, segmentation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from itertools import product
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torchvision.transforms.functional import gaussian_blur

from course_lib import incremental
from course_lib.energy import activation
from course_lib.errors import check_choice, check_pictures, require, unknown
from course_lib.taps import Enough, Taps, receptive_field, relu_backward

FILLS = ("grey", "blur", "noise", "inpaint")
SCORES = ("logit", "probability")
BATCH = 5  # pictures at a time on the way back; larger batches are no faster on a CPU


def gradient(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
    rule: str = "gradient",
    *,
    layer: str = "",
    at: tuple[int, int] | None = None,
) -> Tensor:
    """dS/dx, (n, 3, h, w), signed: how the score S of `label` answers a small change of each pixel.

    S is the unnormalised score (the logit), not the probability: the softmax would mix in the other classes.
    label: an int, or (n,) integers, one for each picture. rule: "gradient", "guided" or "deconvnet", what every ReLU
    passes back (see taps.relu_backward). layer, at: explain channel `label` of an inner layer instead, at one place
    (row, column), or its mean over places.

    A `models.Network` takes pictures in [0, 1], and says so; a plain module takes what it takes.
    Raises ValueError for a label or layer that is not there, and for a rule that would change nothing because the
    network runs no ReLU.
    Source: Simonyan 2014; Springenberg 2015 (guided); Zeiler and Fergus 2014 (deconvnet).
    """
    _check(net, x)
    return _slope(net, x, label, rule, layer, at)


def _check(net: nn.Module, x: Tensor) -> None:
    if hasattr(net, "image_size"):
        check_pictures(x)


def _slope(
    net: nn.Module, x: Tensor, label: int | Tensor, rule: str, layer: str = "", at: tuple[int, int] | None = None
) -> Tensor:
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        with relu_backward(rule) as ruled:
            answers = Taps(net, layer)(x) if layer else {"": net(x)}
        require(
            ruled is None or ruled.count > 0,
            f"the network runs no ReLU, so rule {rule!r} would change nothing",
        )
        score = activation(layer, label, at)(answers, x)
    (slope,) = torch.autograd.grad(score, x)
    return slope


def saliency(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
    rule: str = "gradient",
    *,
    layer: str = "",
    at: tuple[int, int] | None = None,
) -> Tensor:
    """max over R, G, B of |dS/dx|, (n, 1, h, w), at least 0: the saliency map of Simonyan 2014, section 3.1.

    Arguments and errors as in `gradient`.
    """
    return gradient(net, x, label, rule, layer=layer, at=at).abs().amax(1, keepdim=True)


# ---------------------------------------------------------------- averages of gradients


def smooth_grad(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
    rule: str = "gradient",
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """max over R, G, B of |mean of dS/dx over noisy copies of x|, (n, 1, h, w), at least 0.

    The noise is Gaussian; its deviation is `noise` times the range max - min of each picture, and the copies may leave
    [0, 1]. The mean is signed, as in the paper's formula, and the absolute value comes last. All pictures of a batch
    get the same noise, so that each is explained as it would be alone.

    Raises as `gradient`, and ValueError for samples < 1 or noise < 0. Source: Smilkov 2017.
    """
    require(samples >= 1, f"smooth_grad needs at least 1 sample, got {samples}")
    require(noise >= 0, f"noise is a share of the picture's range, at least 0, got {noise}")
    _check(net, x)
    generator = torch.Generator().manual_seed(seed)
    span = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    total = torch.zeros_like(x)
    for _ in range(samples):
        total += _slope(net, x + span * torch.randn(x.shape[1:], generator=generator).to(x), label, rule)
    return (total / samples).abs().amax(1, keepdim=True)


def integrated_gradients(
    net: nn.Module, x: Tensor, label: int | Tensor, baseline: float | Tensor = 0.0, *, steps: int = 50
) -> Tensor:
    """sum over R, G, B of (x - b) * integral of dS/dx along the straight line from b to x: (n, 1, h, w), signed.

    The pixels of a map sum to S(x) - S(b), as far as `steps` points of Gauss-Legendre quadrature go (completeness).
    baseline: b, what counts as nothing there: a number (0 is black), or a picture that broadcasts to x.

    Where the first layer of a chain is linear, gradients are averaged before they go back through it, once and for all.
    Raises as `gradient`, and ValueError for steps < 1. Source: Sundararajan 2017.
    """
    require(steps >= 1, f"integrated gradients need at least 1 step, got {steps}")
    _check(net, x)
    start = torch.as_tensor(baseline).to(x).expand_as(x)
    return torch.cat(
        [
            ((one - b) * _along(net, one, b, each, steps)).sum(1, keepdim=True)
            for one, b, each in zip(x.split(1), start.split(1), _labels(label, len(x)), strict=True)
        ]
    )


def _labels(label: int | Tensor, n: int) -> list[int]:
    """One label for each of n pictures."""
    check_choice(label, n, torch.iinfo(torch.long).max, "class of the output")
    return [int(each) for each in torch.as_tensor(label).expand(n)]


def _along(net: nn.Module, x: Tensor, b: Tensor, label: int, steps: int) -> Tensor:
    """The mean of dS/dx on the way from b to x, (1, c, h, w)."""
    on_two, twice = np.polynomial.legendre.leggauss(steps)  # places in [-1, 1], weights that sum to 2
    places, weights = (torch.from_numpy(a).to(x) for a in ((1 + on_two) / 2, twice / 2))
    # The layer still runs at every point. Interpolated, its answers would be off by rounding, which switches ReLUs
    # behind it and moves a map by 1e-3 of its largest value.
    layer = _first_linear(net, x, b)
    mean = x.new_zeros(())
    for t, w in zip(places.split(BATCH), weights.split(BATCH), strict=True):
        mean = mean + _slope_behind(net, layer, b + t[:, None, None, None] * (x - b), label, w)
    if not layer:
        return mean
    picture = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        answer = _front(net, layer, picture)
    return torch.autograd.grad(answer, picture, mean)[0]


def _slope_behind(net: nn.Module, layer: str, x: Tensor, label: int, weights: Tensor) -> Tensor:
    """sum_k w_k dS(x_k)/da_k, a what the layer answers to x, or x itself if layer is ""; (1, c, h, w).

    An in-place ReLU may follow the layer: the slope is asked for at its edge of the graph, which needs no copy.
    """
    x = x.detach().requires_grad_()
    edges = [get_gradient_edge(x)]

    def note(output: Tensor) -> None:
        edges.append(get_gradient_edge(output))

    with torch.enable_grad(), _hook(net, layer, note) if layer else nullcontext():
        logits = net(x)
        check_choice(label, len(logits), logits.shape[1], "class of the output")
        score = (weights * logits[:, label]).sum()
    slopes = torch.autograd.grad(score, edges[-1])[0]
    # Summed in the order of their memory, channels last: ten times as fast.
    return slopes.permute(0, 2, 3, 1).sum(0, keepdim=True).permute(0, 3, 1, 2)


def _first_linear(net: nn.Module, x: Tensor, b: Tensor) -> str:
    """A chain's first convolution, if its answers to what is between two pictures (1, c, h, w) lie on a line; or "".

    They do unless something before it is not linear; it is tried half way. The layer must run once in a forward pass,
    and be the picture's only way into the network.
    """
    layer = next(incremental.chain(net), "")
    if not layer or not isinstance(net.get_submodule(layer), nn.Conv2d):
        return ""
    picture = x.detach().clone().requires_grad_()
    runs: list[Tensor] = []

    def cut(output: Tensor) -> Tensor:
        runs.append(output)
        return output.detach()

    with torch.enable_grad(), _hook(net, layer, cut):
        beside = net(picture).sum()  # has a slope if the picture reaches it on another way
    if len(runs) != 1:
        return ""
    if beside.requires_grad and torch.autograd.grad(beside, picture, allow_unused=True)[0] is not None:
        return ""
    with torch.no_grad():
        at_b, at_x, half_way = _front(net, layer, torch.cat([b, x, (b + x) / 2]))
    return layer if torch.allclose(half_way, (at_b + at_x) / 2, rtol=1e-3, atol=1e-4) else ""


def _front(net: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What the layer answers the first time that it runs; nothing behind it is run."""
    answers: list[Tensor] = []

    def leave(output: Tensor) -> None:
        answers.append(output)
        raise Enough

    with suppress(Enough), _hook(net, layer, leave):
        net(x)
    return answers[0]


@contextmanager
def _hook(net: nn.Module, layer: str, function: Callable[[Tensor], Any]) -> Iterator[None]:
    """function(output) each time that the layer runs; a tensor that it returns takes the output's place."""
    handle = net.get_submodule(layer).register_forward_hook(lambda module, inputs, output: function(output))
    try:
        yield
    finally:
        handle.remove()


# ---------------------------------------------------------------- class activation maps


def grad_cam(
    net: nn.Module, x: Tensor, label: int | Tensor, layer: str | None = None, *, upsample: bool = True
) -> Tensor:
    """max(sum over channels of w_c A_c, 0), w_c the mean over places of dS/dA_c: (n, 1, h, w), at least 0.

    A are the maps of `layer`, by default the last one that has places. The map has their size and is upsampled to the
    picture's (bilinear); upsample=False leaves it as it is.
    Raises as `gradient`, and ValueError for a layer without places. Source: Selvaraju 2017, eq. 1 and 2.
    """
    _check(net, x)
    layer = _last_with_places(net, x) if layer is None else layer
    with torch.enable_grad():
        logits, maps = _with_maps(net, x.detach().clone().requires_grad_(), layer)
        require(maps.dim() == 4, f"layer {layer!r} has no places: it answers {tuple(maps.shape)}")
        (slopes,) = torch.autograd.grad(activation("", label)({"": logits}, x), maps)
    heat = (slopes.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True).relu()
    return F.interpolate(heat, size=x.shape[2:], mode="bilinear", align_corners=False) if upsample else heat


def _with_maps(net: nn.Module, x: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The logits, and the layer's maps on the way to them: what follows gets a copy, which it may overwrite."""
    Taps(net, layer)(x[:1])  # its errors
    found = []

    def record(output: Tensor) -> Tensor:
        found.append(output)
        return output.clone()

    with _hook(net, layer, record):
        return net(x), found[-1]


def _last_with_places(net: nn.Module, x: Tensor) -> str:
    """The last module without parts whose answer is (n, c, h, w) with more than one place."""
    found = []

    def record(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            found.append(name)

    parts = [(name, module) for name, module in net.named_modules() if name and not list(module.children())]
    hooks = [module.register_forward_hook(partial(record, name)) for name, module in parts]
    try:
        with torch.no_grad():
            net(x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    require(bool(found), "the network has no layer with places, so there is nothing for Grad-CAM to weigh")
    return found[-1]


# ---------------------------------------------------------------- covering


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
    _check(net, x)
    require(1 <= patch <= min(x.shape[2:]), f"a patch of {patch} does not fit a picture of {tuple(x.shape[2:])}")
    require(1 <= stride <= patch, f"stride goes from 1 to the patch's {patch}, or pixels stay uncovered; got {stride}")
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    boxes = _boxes(x, patch, stride)
    filler = _filler(x, fill, patch)
    reaches = _reaches(net, x, patch)
    grids = []
    for i, each in enumerate(_labels(label, len(x))):
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
    part = _bytes(picture[:, y : bottom + margin, x : right + margin])
    hole = np.zeros(part.shape[:2], np.uint8)
    hole[top - y : bottom - y, left - x : right - x] = 1
    filled = torch.from_numpy(cv2.inpaint(part, hole, 3, cv2.INPAINT_TELEA)).permute(2, 0, 1).to(picture) / 255
    return filled[:, top - y : bottom - y, left - x : right - x]


def _bytes(picture: Tensor) -> np.ndarray:
    """(3, h, w) in [0, 1] as (h, w, 3) bytes."""
    return np.ascontiguousarray((picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


# ---------------------------------------------------------------- from a map to an object


def segment(x: Tensor, heat: Tensor, *, foreground: float = 0.95, background: float = 0.30, rounds: int = 5) -> Tensor:
    """The object that a map points at, (n, 1, h, w) bool: GrabCut, seeded by the map and cut along the picture's edges.

    The hottest pixels, from the quantile `foreground` up, are the object's for good; those up to the quantile
    `background` are not. GrabCut starts with the others as background and decides about them, `rounds` times over.
    Occlusion maps make the best seeds, and fine lines should be blurred first (measured in chapter 5).
    Source: Simonyan 2014, section 3.2, whose seeds give the colours only and may change sides; Rother 2004.

    Raises ValueError for shapes that differ, quantiles out of order, and a flat map: it points at nothing.
    """
    check_pictures(x)
    require(heat.shape == (len(x), 1, *x.shape[2:]), f"maps {tuple(heat.shape)} do not fit {tuple(x.shape)}")
    require(0 <= background < foreground <= 1, f"quantiles rise from 0 to 1, got {background} and {foreground}")
    require(rounds >= 1, f"GrabCut needs at least 1 round, got {rounds}")
    masks = []
    for i, (one, hot) in enumerate(zip(x, heat[:, 0].detach().float(), strict=True)):
        low, high = hot.quantile(background), hot.quantile(foreground)
        seeds = (hot >= high) & (hot > low)
        require(bool(seeds.any()), f"map {i} is flat: no pixel is hotter than the quantile {background:g}")
        masks.append(_cut(one, seeds, hot <= low, rounds))
    return torch.stack(masks)[:, None].to(x.device)


def _cut(picture: Tensor, inside: Tensor, outside: Tensor, rounds: int) -> Tensor:
    """(h, w) bool, by GrabCut from seeds (h, w) bool."""
    kinds = np.full(inside.shape, cv2.GC_PR_BGD, np.uint8)
    kinds[outside.cpu().numpy()] = cv2.GC_BGD
    kinds[inside.cpu().numpy()] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # its k-means draws from OpenCV's own generator
    models = np.zeros((1, 65)), np.zeros((1, 65))  # of the colours behind and on the object; OpenCV fills them in
    cv2.grabCut(_bytes(picture), kinds, (0, 0, 1, 1), *models, rounds, cv2.GC_INIT_WITH_MASK)  # the box is not used
    return torch.from_numpy((kinds == cv2.GC_FGD) | (kinds == cv2.GC_PR_FGD))
