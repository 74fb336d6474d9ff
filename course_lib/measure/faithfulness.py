"""How true a map is: pointing, overlap, deletion and insertion."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from course_lib.errors import require
from course_lib.inputs import check_range, whole


def _same_places(heat: Tensor, masks: Tensor) -> None:
    require(heat.shape == masks.shape, f"maps {tuple(heat.shape)} and masks {tuple(masks.shape)} differ in shape")
    require(bool(masks.flatten(1).any(1).all()), "a mask is empty: there is nothing to point at")


def pointing_game(heat: Tensor, masks: Tensor) -> Tensor:
    """(n,) bool: whether the hottest pixel of each map (n, 1, h, w) lies on its object, masks (n, 1, h, w) bool.

    Chance is the mask's share of the picture. Zhang 2018 allows 15 pixels of slack; here there is none.
    """
    _same_places(heat, masks)
    hottest = heat.flatten(1).argmax(1, keepdim=True)
    return masks.flatten(1).gather(1, hottest)[:, 0]


def iou(heat: Tensor, masks: Tensor) -> Tensor:
    """(n,) in [0, 1]: overlap |A and B| / |A or B| of the object B with A, the hottest |B| pixels of its map.

    As many pixels as the object has, so that no threshold is chosen. Chance is p / (2 - p) where the object is a share
    p of the picture.
    """
    _same_places(heat, masks)
    scores = []
    for values, mask in zip(heat.flatten(1), masks.flatten(1), strict=True):
        chosen = torch.zeros_like(mask)
        chosen[values.topk(int(mask.sum())).indices] = True
        scores.append((chosen & mask).sum() / (chosen | mask).sum())
    return torch.stack(scores)


def deletion(
    net: Callable[[Tensor], Tensor],
    x: Tensor,
    label: int | Tensor,
    heat: Tensor,
    *,
    steps: int = 16,
    hidden: float | Tensor = 0.5,
) -> Tensor:
    """P(label) while the hottest pixels are taken away: (n, steps + 1) in [0, 1], from the whole picture to none of it.

    Column k: the share k / steps of the pixels, the hottest by the map (n, 1, h, w), is replaced by `hidden`, a number
    (0.5 is grey) or a picture that broadcasts to x. A good map makes the curve fall early: see `area`.
    net: pictures (n, 3, h, w) -> logits. Raises ValueError for maps of another size, steps < 1 or a label out of range.
    Source: Petsiuk 2018, with `steps` equal portions of pixels.
    """
    return _curve(net, x, torch.as_tensor(hidden).to(x).expand_as(x), label, heat, steps)


def insertion(
    net: Callable[[Tensor], Tensor],
    x: Tensor,
    label: int | Tensor,
    heat: Tensor,
    *,
    steps: int = 16,
    hidden: float | Tensor | None = None,
) -> Tensor:
    """P(label) while the hottest pixels are brought in: (n, steps + 1), from none of the picture to all of it.

    hidden: what is there before; by default the picture itself, blurred until no shape is left (a deviation of a tenth
    of its side), which adds no edges. A good map makes the curve rise early. The rest as in `deletion`.
    """
    if hidden is None:
        side = min(x.shape[2:])
        hidden = gaussian_blur(x, 2 * (side // 5) + 1, side / 10)
    return _curve(net, torch.as_tensor(hidden).to(x).expand_as(x), x, label, heat, steps)


@torch.no_grad()
def _curve(
    net: Callable[[Tensor], Tensor], before: Tensor, after: Tensor, label: int | Tensor, heat: Tensor, steps: int
) -> Tensor:
    """P(label) while pixels change from `before` to `after`, the hottest first."""
    n, pixels = len(before), heat[0].numel()
    require(heat.shape == (n, 1, *before.shape[2:]), f"maps {tuple(heat.shape)} do not fit {tuple(before.shape)}")
    require(1 <= steps <= pixels, f"steps go from 1 to the number of pixels, {pixels}, got {steps}")
    order = heat.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(pixels, device=heat.device).expand_as(order))
    rank = rank.view_as(heat)
    columns = []
    for k in range(steps + 1):
        logits = net(torch.where(rank < k * pixels // steps, after, before))
        check_range(whole(label, "label"), logits.shape[1], "class of the output", n)
        wanted = torch.as_tensor(label, device=logits.device).expand(n).long()
        columns.append(logits.softmax(1).gather(1, wanted[:, None])[:, 0])
    return torch.stack(columns, 1)


def area(curve: Tensor) -> Tensor:
    """Area under curves (n, k) over [0, 1], by trapezoids: (n,)."""
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)
