"""How true a map is: pointing, overlap, deletion and insertion."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.inputs import Label, binary, check_maps, logits, ready, scores
from course_lib.measure.values import Values, real

Classifier = nn.Module | Callable[[Tensor], Tensor]


def pointing_game(heat: Tensor, masks: Tensor) -> Tensor:
    """Whether the hottest pixel of each map lies on its object.

    Chance is the mask's share of the image. Of several pixels that are equally hot the first counts, row by row; a map
    that is the same everywhere points at nothing, which is a miss (Grad-CAM gives such maps).

    Args:
        heat: (n, 1, h, w), finite.
        masks: (n, 1, h, w), True (or 1) on the object, none of them empty.

    Returns:
        (n,) bool, on the device of the maps.

    Raises:
        TypeError: Not tensors.
        ValueError: Maps that are not finite (they are named); masks of another shape, of values other than 0 and 1, or
            empty.

    Source: Zhang 2018. Deviation: they allow 15 pixels of slack; here there is none.

    Example:
        >>> heat = torch.tensor([[[[0.0, 9.0], [1.0, 2.0]]]])
        >>> pointing_game(heat, heat > 1)
        tensor([True])
    """
    hot, on = _pixels(heat, masks)
    return on.gather(1, hot.argmax(1, keepdim=True))[:, 0] & ~_flat(hot)


def iou(heat: Tensor, masks: Tensor) -> Tensor:
    """Overlap ``|A and B| / |A or B|`` of the object B with A, as many of the hottest pixels of its map.

    As many pixels as the object has, so that no threshold is chosen. Chance is p / (2 - p) where the object is a share
    p of the image. A map that is the same everywhere has no hottest pixels, and overlaps with nothing.

    Args:
        heat: As in `pointing_game`.
        masks: As in `pointing_game`.

    Returns:
        (n,) in [0, 1].

    Raises:
        TypeError: As `pointing_game`.
        ValueError: As `pointing_game`.

    Example:
        >>> heat = torch.tensor([[[[3.0, 2.0], [1.0, 0.0]]]])
        >>> iou(heat, torch.tensor([[[[True, False], [True, False]]]]))  # one of three
        tensor([0.3333])
    """
    found = []
    for values, mask, flat in zip(*(pixels := _pixels(heat, masks)), _flat(pixels[0]), strict=True):
        chosen = torch.zeros_like(mask)
        chosen[values.topk(int(mask.sum())).indices] = not flat
        found.append((chosen & mask).sum() / (chosen | mask).sum())
    return torch.stack(found)


def _pixels(heat: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Maps and masks, checked, as rows of pixels: (n, h * w) each."""
    check_maps(heat)
    masks = binary(masks).to(heat.device)
    require(heat.shape == masks.shape, f"maps {tuple(heat.shape)} and masks {tuple(masks.shape)} differ in shape")
    require(bool(masks.flatten(1).any(1).all()), "a mask is empty: there is nothing to point at")
    return heat.detach().flatten(1), masks.flatten(1)


def _flat(rows: Tensor) -> Tensor:
    return (rows == rows[:, :1]).all(1)


# ---------------------------------------------------------------- the score while pixels come and go


def deletion(
    net: Classifier, x: Tensor, label: Label, heat: Tensor, *, steps: int = 16, hidden: float | Tensor = 0.5
) -> Tensor:
    """P(label) while the hottest pixels are taken away, from the whole image to none of it.

    In column k the share k / steps of the pixels, the hottest of the map, is replaced by `hidden`; of pixels that are
    equally hot the first go first, row by row. A good map makes the curve fall early: see `area`.

    Args:
        net: A classifier, or any function from images to logits (n, classes). A module is evaluated, whatever mode it
            is in.
        x: (n, 3, h, w), in [0, 1] for a `models.Network`.
        label: One class for all images or one for each; class names where the network has them.
        heat: (n, 1, h, w), finite.
        steps: Number of equal portions, from 1 to the number of pixels.
        hidden: What pixels are replaced by: a number (0.5 is grey), or an image that broadcasts to x.

    Returns:
        (n, steps + 1) in [0, 1].

    Raises:
        TypeError: Labels that are no whole numbers or names.
        ValueError: A label without a class, another number of labels than one or n, maps of another size or not finite,
            steps out of range, a `hidden` that does not fit, images that the network cannot take.

    Source: Petsiuk 2018. Deviation: `steps` equal portions of pixels.

    Example:
        >>> from course_lib import attribution, models, world
        >>> net, scenes = models.load("coursenet"), world.draw(2, seed=1)
        >>> curve = deletion(net, scenes.images, scenes.labels, attribution.saliency(net, scenes.images, scenes.labels))
        >>> tuple(curve.shape), bool((curve[:, 0] > curve[:, -1]).all())
        ((2, 17), True)
    """
    with ready(_module(net), x, label) as (module, x, chosen), torch.no_grad():
        return _curve(module, x, _filled(hidden, x), chosen, heat, steps)


def insertion(
    net: Classifier, x: Tensor, label: Label, heat: Tensor, *, steps: int = 16, hidden: float | Tensor | None = None
) -> Tensor:
    """P(label) while the hottest pixels are brought in, from none of the image to all of it.

    A good map makes the curve rise early.

    Args:
        net: As in `deletion`.
        x: As in `deletion`.
        label: As in `deletion`.
        heat: As in `deletion`.
        steps: As in `deletion`.
        hidden: What is there before: as in `deletion`, by default the image itself, blurred until no shape is left
            (a Gaussian whose standard deviation is a tenth of the shorter side), which adds no edges.

    Returns:
        (n, steps + 1) in [0, 1].

    Raises:
        TypeError: As `deletion`.
        ValueError: As `deletion`.

    Source: Petsiuk 2018. Deviation: `steps` equal portions of pixels.
    """
    # torchvision takes as long to load as torch itself: where it is used, and no sooner
    from torchvision.transforms.functional import gaussian_blur

    with ready(_module(net), x, label) as (module, x, chosen), torch.no_grad():
        side = min(x.shape[2:])
        before = gaussian_blur(x, 2 * (side // 5) + 1, side / 10) if hidden is None else _filled(hidden, x)
        return _curve(module, before, x, chosen, heat, steps)


class _Function(nn.Module):
    """Any function as a module, so that it comes through the same door."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.forward = function


def _module(net: Classifier) -> nn.Module:
    return net if isinstance(net, nn.Module) else _Function(net)


def _filled(hidden: float | Tensor, x: Tensor) -> Tensor:
    """What replaces the pixels of x, as large as x."""
    filler = real(hidden, "hidden values").to(x)
    try:
        return filler.expand_as(x)
    except RuntimeError as error:
        raise ValueError(f"hidden {tuple(filler.shape)} does not broadcast to images {tuple(x.shape)}") from error


def _curve(net: nn.Module, before: Tensor, after: Tensor, label: Tensor, heat: Tensor, steps: int) -> Tensor:
    """P(label) while pixels change from `before` to `after`, the hottest first."""
    check_maps(heat, before)
    pixels = heat[0].numel()
    require(1 <= steps <= pixels, f"steps go from 1 to the number of pixels, {pixels}, got {steps}")
    order = heat.detach().to(before.device).flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(pixels, device=order.device).expand_as(order))
    rank = rank.view(heat.shape)
    columns = []
    for k in range(steps + 1):
        output = logits(net, torch.where(rank < k * pixels // steps, after, before))
        columns.append(scores(output.softmax(1, torch.promote_types(output.dtype, torch.float32)), label))
    return torch.stack(columns, 1)


def area(curve: Values) -> Tensor:
    """Area under curves over [0, 1], by trapezoids.

    Args:
        curve: (n, k), k >= 2 values at equal distances from 0 to 1, as `deletion` outputs them; or one curve, (k,).

    Returns:
        (n,), or () for one curve.

    Raises:
        ValueError: Fewer than 2 values a curve, another shape, or values that are not finite.

    Example:
        >>> area(torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]))
        tensor([0.5000, 0.2500])
    """
    curve = real(curve, "curves", "(n, k)", (1, 2))
    k = curve.shape[-1]
    require(k >= 2, f"a curve needs at least 2 values, got {k}")
    return torch.trapezoid(curve, dx=1 / (k - 1), dim=-1)
