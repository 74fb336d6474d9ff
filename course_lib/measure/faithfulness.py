"""How true a map is, what a unit or a filter holds, how alike two pictures, how sure a number."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.stats import binomtest, t, wilcoxon
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from course_lib.errors import check_choice, require


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(values: Tensor) -> Interval:
    """Mean and 95 % interval of independent values (n,): Wilson's for bool, else Student's, mean +- t s / sqrt(n).

    t is the 97.5 % point of Student's distribution with n - 1 degrees of freedom: 2.78 for n = 5, 1.96 for many.
    Raises ValueError for fewer than 2 values.
    """
    n = len(values)
    require(n >= 2, f"an interval needs at least 2 values, got {n}")
    mean = float(values.double().mean())
    if values.dtype == torch.bool:
        bounds = binomtest(int(values.sum()), n).proportion_ci(method="wilson")
        return Interval(mean, float(bounds.low), float(bounds.high), n)
    half = float(t.ppf(0.975, n - 1)) * float(values.double().std()) / n**0.5
    return Interval(mean, mean - half, mean + half, n)


class Paired(NamedTuple):
    """a - b in the mean over pairs with its 95 % interval, and Wilcoxon's p for no difference."""

    difference: Interval
    p: float


def paired(a: Tensor, b: Tensor) -> Paired:
    """Two measurements (n,) of the same n things, compared thing by thing."""
    return Paired(interval(a - b), float(wilcoxon(a.double().numpy(), b.double().numpy()).pvalue))


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, of the colour values of two pictures, for each of (n, 3, h, w): (n,) in [-1, 1]."""
    a, b = (v.flatten(1) - v.flatten(1).mean(1, keepdim=True) for v in (a, b))
    return F.cosine_similarity(a, b)


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


# ---------------------------------------------------------------- what the network says when pixels go


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
        check_choice(label, n, logits.shape[1], "class of the output")
        wanted = torch.as_tensor(label, device=logits.device).expand(n).long()
        columns.append(logits.softmax(1).gather(1, wanted[:, None])[:, 0])
    return torch.stack(columns, 1)


def area(curve: Tensor) -> Tensor:
    """Area under curves (n, k) over [0, 1], by trapezoids: (n,)."""
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)


# ---------------------------------------------------------------- of units and filters


def explained(values: Tensor, factor: Tensor) -> Tensor:
    """Share of the variance of each unit's values (n, c) that a factor (n,) of whole numbers explains: (c,), at most 1.

    epsilon^2 = 1 - (SS_within / (n - k)) / (SS_total / (n - 1)) over the k kinds of the factor (Kelley 1935): 0 on
    average for a unit that knows nothing of it, where the plain share SS_between / SS_total would be (k - 1) / (n - 1).
    A unit that never changes gets 0.
    """
    require(values.dim() == 2 and factor.shape == values.shape[:1], f"{len(factor)} factors for {tuple(values.shape)}")
    kinds, kind = factor.unique(return_inverse=True)
    n, k = len(values), len(kinds)
    require(1 < k < n, f"a factor needs at least 2 kinds and fewer than pictures, got {k} for {n}")
    values = values.double()
    means = torch.stack([values[kind == i].mean(0) for i in range(k)])  # (k, c)
    within, total = ((values - mean).square().sum(0) for mean in (means[kind], values.mean(0)))
    return torch.where(total > 0, 1 - (within / (n - k)) / (total / (n - 1)).clamp(min=1e-30), 0.0)


def colour_energy(filters: Tensor) -> Tensor:
    """Share of the squared weights of RGB filters (n, 3, h, w) that is colour and not grey: (n,) in [0, 1].

    1 - 3 |mean over RGB|^2 / |w|^2. A grey or an empty filter has 0, independent random weights 2/3 on average.
    """
    require(filters.dim() == 4 and filters.shape[1] == 3, f"filters are (n, 3, h, w), got {tuple(filters.shape)}")
    colour = (filters - filters.mean(1, keepdim=True)).square().sum((1, 2, 3))  # what is left without the grey
    return colour / filters.square().sum((1, 2, 3)).clamp(min=1e-30)


def orientation_energy(filters: Tensor) -> Tensor:
    """How much the spectrum of filters (n, c, h, w) lies along one direction: (n,) in [0, 1].

    |sum P exp(2 i theta)| / sum P over spatial frequencies between 0 and Nyquist, P the power and theta the direction:
    near 1 for a grating, above 1/2 for a step, 0 for a blob and, but for chance, for noise.
    """
    require(filters.dim() == 4, f"filters are (n, c, h, w), got {tuple(filters.shape)}")
    side = 64  # zero-padded: a small filter has few frequencies of its own
    power = torch.fft.fft2(filters, s=(side, side)).abs().square().sum(1)  # (n, side, side)
    f = torch.fft.fftfreq(side, device=filters.device)
    radius, theta = (f[:, None] ** 2 + f**2).sqrt(), torch.atan2(f[:, None].expand(side, side), f.expand(side, side))
    power = power * ((radius > 0) & (radius < 0.5))  # a full circle, so that no direction has more frequencies
    turned = (power * torch.exp(2j * theta)).sum((1, 2)).abs()
    return turned / power.sum((1, 2)).clamp(min=1e-30)
