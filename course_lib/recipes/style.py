"""The statistics of one picture on another: texture synthesis and style transfer by Gram matrices."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, log2
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.energy import Energy, distance, gram_distance, gram_matrix
from course_lib.errors import require, unknown
from course_lib.images import Unbounded, resize
from course_lib.inputs import check_images
from course_lib.optimizers import lbfgs
from course_lib.preimage import MakeOptimizer, Preimage, in_turn, minimize
from course_lib.taps import Taps
from course_lib.texture import scattered
from course_lib.tiles import Tiled

# One step is up to 20 iterations. The line search, on pixels without walls, is what keeps it from black and from NaN.
LBFGS: MakeOptimizer = lbfgs(20)
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (Rec. 601)
COLOURS = ("style", "luminance", "histogram")
SIDE = 768  # larger pictures run in tiles

Size = tuple[int, int]
Layers = str | Sequence[str] | Mapping[str, float]
Features = Callable[[Tensor], dict[str, Tensor]]
Problem = Callable[[Size], tuple[Features, Energy]]  # of a copy of that size


def synthesize_texture(
    net: nn.Module,
    exemplar: Tensor,
    layers: Layers,
    *,
    size: Size | None = None,
    scaled: bool = True,
    coarsest: int | None = 32,
    histogram: bool = False,
    steps: int = 10,
    optimizer: MakeOptimizer = LBFGS,
    seed: int = 0,
    **options: Any,
) -> Preimage:
    """A new picture with the exemplar's texture: argmin_x sum_l w_l E_l(x), E_l the `gram_distance` in layer l.

    exemplar: (1, 3, h, w) in [0, 1]. layers: one, several, or {layer: weight}, of any network, trained or random.
    size: (height, width) of the result, the exemplar's by default.
    scaled: divide each E_l by the size |dE_l/dx| of its slope at the start, so that every layer has a say in whatever
        network (scaled correlations: He 2016); otherwise the w_l are as given, all 1 by default.
    coarsest: begin with a copy whose shorter side is that of so many pixels, and double it until the size is reached:
        large structure first. With None at full size at once.
    histogram: give each channel of the result the exemplar's histogram at the end, as Gatys' code does.
    steps, optimizer: for each copy; a step of the default is up to 20 iterations of L-BFGS.
        A first layer that steps by 2 leaves grain of single pixels, and one without padding (SqueezeNet's) a frame in
        the small copies: a little total_variation as regularizer and a larger `coarsest` help.
    seed: of the start, pixels of the exemplar thrown together at random. options: for `minimize`.

    Raises ValueError for an unknown layer, one without places, and a size that the network reduces to nothing.
    Source: Gatys 2015. Deviations: the network's own pooling; pixels are sigmoids of real numbers.
    """
    weights = _weights(layers)
    _check_one(exemplar, "exemplar")
    shape: Size = (exemplar.shape[2], exemplar.shape[3]) if size is None else size
    require(min(shape) >= 1, f"a size has at least 1 pixel a side, got {shape[0]} x {shape[1]}")
    noise = scattered(exemplar, shape, torch.Generator().manual_seed(seed))

    def problem(copy: Size) -> tuple[Features, Energy]:
        features = _statistics(net, weights, max(copy))
        terms = _gram_terms(net, weights, _zoomed(exemplar, copy[0] / shape[0]))
        return features, _sum(_balanced(terms, features, resize(noise, copy)) if scaled else terms)

    found = _coarse_to_fine(problem, _sizes(shape, coarsest), noise, steps=steps, optimizer=optimizer, **options)
    if not histogram:
        return found
    return Preimage(_with_histogram(found.image, exemplar), found.energy)


def transfer_style(
    net: nn.Module,
    content: Tensor,
    style: Tensor | Sequence[Tensor],
    content_layer: str,
    style_layers: Layers,
    *,
    weight: float | Sequence[float] = 1.0,
    mask: Tensor | None = None,
    colour: str = "style",
    coarsest: int | None = 128,
    steps: int = 5,
    optimizer: MakeOptimizer = LBFGS,
    seed: int = 0,
    **options: Any,
) -> Preimage:
    """The content of one picture in the style of another: argmin_x C(x) + weight sum_l w_l E_l(x), from the content.

    C is the `distance` to the content in content_layer, E_l the `gram_distance` to the style in layer l. Each is
    divided by the size of its own slope at noise, so that one weight begins alike for any network and layers. What it
    ends with differs: compare networks at equal content, not at equal weight.

    content: (1, 3, h, w) in [0, 1]; the result has its size. style: a picture of any size, or several;
        weight: then one for each, or the same for all. Styles are seen at the scale at which they would cover the area
        of the content.
    mask: (1, 1, h, w) from 0 to 1, where the style may go, or (k, 1, h, w) for k styles. Elsewhere only C acts.
    colour: "style" takes the style's colours. Two keep the content's (Gatys 2017): "luminance" makes only the
        brightness anew, in the content's own contrast, "histogram" first gives the style the content's mean and
        covariance (`recoloured`).
    coarsest: as in `synthesize_texture`; every size begins with the same small copy, and so gets the same look.
    steps, optimizer: for each copy. Pictures beyond 768 pixels run in tiles. options: for `minimize`.
    seed: of the noise at which slopes are taken.

    Raises ValueError for an unknown layer or colour, other numbers of weights or masks than styles, a mask of another
    size or range or on a picture that needs tiles, and a size that the network reduces to nothing.
    Source: Gatys 2016. Deviations: terms balanced by their slopes, max-pooling, pixels as sigmoids of real numbers.
    """
    styles = [style] if isinstance(style, Tensor) else list(style)
    require(len(styles) >= 1, "transfer_style needs at least one style")
    _check_one(content, "content")
    for picture in styles:
        _check_one(picture, "style")
    shape: Size = (content.shape[2], content.shape[3])
    strengths = _one_for_each(weight, len(styles))
    masks = _masks(mask, len(styles), shape)
    if colour not in COLOURS:
        raise unknown("colour", colour, COLOURS)
    seen = content
    if colour == "luminance":
        seen = _grey(content)
        styles = [recoloured(_grey(picture), seen) for picture in styles]
    elif colour == "histogram":
        styles = [recoloured(picture, content) for picture in styles]
    weights = _weights(style_layers)
    noise = scattered(seen, shape, torch.Generator().manual_seed(seed))

    def problem(copy: Size) -> tuple[Features, Energy]:
        features = _statistics(net, [content_layer, *weights], max(copy), whole=content_layer)
        with torch.no_grad():
            goal = features(resize(seen, copy).clamp(0, 1))[content_layer]
        terms = [distance({content_layer: goal})]
        for picture, strength, where in zip(styles, strengths, masks, strict=True):
            area = (copy[0] * copy[1] / (picture.shape[2] * picture.shape[3])) ** 0.5
            parts = _gram_terms(net, weights, _zoomed(picture, area), None if where is None else resize(where, copy))
            terms += [strength * part for part in parts]
        return features, _sum(_balanced(terms, features, resize(noise, copy)))

    found = _coarse_to_fine(problem, _sizes(shape, coarsest), seen, steps=steps, optimizer=optimizer, **options)
    if colour != "luminance":
        return found
    changed = content + _grey(found.image) - seen  # a change of luminance is the same in R, G and B
    return Preimage(changed.clamp(0, 1), found.energy)


def recoloured(x: Tensor, goal: Tensor) -> Tensor:
    """x (1, 3, h, w) with the mean and the covariance of goal's colours: C_g^(1/2) C_x^(-1/2) (x - mean) + mean_g.

    Clipped to [0, 1]. A direction in which x has no colours (a grey picture has but one that it has) stays empty.
    Source: Gatys 2017, section 5.
    """
    check_images(x)
    check_images(goal)
    (mean, _, inverse), (mean_g, root_g, _) = _colours(x), _colours(goal)
    made = root_g @ inverse @ (x[0].flatten(1).double() - mean) + mean_g
    return made.clamp(0, 1).view_as(x[0])[None].to(x)


def _colours(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean (3, 1) of the colours, the square root (3, 3) of their covariance, and the inverse of that."""
    pixels = x[0].flatten(1).double()
    values, axes = torch.linalg.eigh(pixels.cov(correction=0))
    roots = values.clamp(min=0).sqrt()
    inverse = torch.where(roots > 1e-4, 1 / roots.clamp(min=1e-4), 0.0)
    return pixels.mean(1, keepdim=True), axes * roots @ axes.T, axes * inverse @ axes.T


def _grey(x: Tensor) -> Tensor:
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True).expand_as(x)


# ---------------------------------------------------------------- what the user gave


def _weights(layers: Layers) -> dict[str, float]:
    if isinstance(layers, Mapping):
        return dict(layers)
    return dict.fromkeys([layers] if isinstance(layers, str) else layers, 1.0)


def _check_one(x: Tensor, what: str) -> None:
    check_images(x)
    require(len(x) == 1, f"one {what} is (1, 3, h, w), got {tuple(x.shape)}")


def _one_for_each(weight: float | Sequence[float], count: int) -> list[float]:
    if not isinstance(weight, Sequence):
        return [weight] * count
    require(len(weight) == count, f"{len(weight)} weights for {count} style{'s' * (count > 1)}")
    return list(weight)


def _masks(mask: Tensor | None, count: int, shape: Size) -> list[Tensor] | list[None]:
    if mask is None:
        return [None] * count
    wanted = (count, 1, *shape)
    require(tuple(mask.shape) == wanted, f"the mask of {count} styles is {wanted}, got {tuple(mask.shape)}")
    require(bool(((mask >= 0) & (mask <= 1)).all()), "a mask goes from 0 to 1")
    require(max(shape) <= SIDE, f"a picture beyond {SIDE} pixels runs in tiles, and tiles know no mask")
    require(all(part.max() > 0 for part in mask), "a mask is zero everywhere: its style has no place to go")
    return list(mask.float().split(1))


# ---------------------------------------------------------------- the energy


def _statistics(net: nn.Module, layers: Sequence[str] | Mapping[str, float], side: int, whole: str = "") -> Features:
    """What the terms need of each layer: its map, or, for a picture that needs tiles, its correlations G / M.

    whole: the layer whose map is always given.
    """
    if side <= SIDE:
        return Taps(net, *dict.fromkeys(layers))
    maps = {layer: Tiled(net, layer, SIDE) for layer in layers}

    def run(x: Tensor) -> dict[str, Tensor]:
        return {
            layer: tiled(x)[layer] if layer == whole else _correlations(tiled.sum(_gram_and_count)(x))
            for layer, tiled in maps.items()
        }

    return run


def _gram_and_count(a: Tensor) -> Tensor:
    """The Gram matrix, and a row that says of how many places: (n, c + 1, c)."""
    return torch.cat([gram_matrix(a), a.new_full((len(a), 1, a.shape[1]), a[0, 0].numel())], 1)


def _correlations(sums: Tensor) -> Tensor:
    return sums[:, :-1] / sums[:, -1:]


def _gram_terms(
    net: nn.Module, weights: Mapping[str, float], exemplar: Tensor, where: Tensor | None = None
) -> list[Energy]:
    with torch.no_grad():
        target = _statistics(net, weights, max(exemplar.shape[2:]))(exemplar)
    for layer, a in target.items():
        require(a.dim() > 2, f"layer {layer!r} has no places, so it has no Gram matrix")
    return [weight * gram_distance({layer: target[layer]}, where) for layer, weight in weights.items()]


def _balanced(terms: Sequence[Energy], features: Features, x: Tensor) -> list[Energy]:
    """Each term over the size of the slope that its unweighted self has at x."""
    balanced = []
    for term in terms:
        (only,) = term.terms
        with torch.enable_grad():
            y = x.clone().requires_grad_()
            (slope,) = torch.autograd.grad(only.function(features(y), y), y)
        balanced.append(term / max(float(slope.norm()), 1e-12))
    return balanced


def _sum(terms: Sequence[Energy]) -> Energy:
    return Energy(*(only for term in terms for only in term.terms))


# ---------------------------------------------------------------- from small to large


def _with_histogram(x: Tensor, exemplar: Tensor) -> Tensor:
    """Each channel of x with the exemplar's values, from dark to light; exact, also where there are but few values."""
    order, values = x.flatten(2).argsort(2), exemplar.flatten(2).sort(2).values
    n, m = order.shape[2], values.shape[2]
    ranks = ((torch.arange(n, device=x.device) + 0.5) * m / n).long()
    return torch.empty_like(x.flatten(2)).scatter_(2, order, values[..., ranks]).view_as(x)


def _sizes(size: Size, coarsest: int | None) -> list[Size]:
    """Sizes of the same shape, each at most twice the one before, from the coarsest to the full one."""
    if coarsest is None or min(size) <= coarsest:
        return [size]
    require(coarsest >= 1, f"coarsest must be at least 1 pixel, got {coarsest}")
    ratio = min(size) / coarsest
    doublings = ceil(log2(ratio))
    return [
        (round(size[0] * ratio ** (k / doublings - 1)), round(size[1] * ratio ** (k / doublings - 1)))
        for k in range(doublings + 1)
    ]


def _zoomed(x: Tensor, factor: float) -> Tensor:
    return resize(x, [max(1, round(side * factor)) for side in x.shape[2:]]).clamp(0, 1)


def _coarse_to_fine(problem: Problem, sizes: Sequence[Size], start: Tensor, **options: Any) -> Preimage:
    def descents() -> Iterator[Preimage]:
        x = start
        for size in sizes:
            features, energy = problem(size)
            found = minimize(features, energy, Unbounded(resize(x, size).clamp(0, 1)), **options)
            x = found.image
            yield found

    return in_turn(descents(), lambda x: resize(x, sizes[-1]).clamp(0, 1))
