"""The statistics of one image on another: texture synthesis and style transfer by Gram matrices."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, log2
from typing import Unpack

import torch
from torch import Tensor, nn

from course_lib.descriptors import luma
from course_lib.energy import Energy, distance, gram_distance, gram_matrix
from course_lib.errors import check_options, require, unknown
from course_lib.images import Unbounded, resize
from course_lib.inputs import check_images, plain
from course_lib.optimizers import lbfgs
from course_lib.preimage import MakeOptimizer, MinimizeOptions, Preimage, in_turn, minimize, tapped
from course_lib.recipes.given import check_one, descending
from course_lib.taps import Taps
from course_lib.texture import scattered
from course_lib.tiles import SIDE, Tiled

__all__ = ["COLOURS", "LBFGS", "recoloured", "synthesize_texture", "transfer_style"]

#: One step is up to 20 iterations. The line search, on pixels that nothing clips, keeps it from black and from NaN.
LBFGS: MakeOptimizer = lbfgs(20)
#: What `transfer_style` does with colours.
COLOURS = ("style", "luminance", "histogram")

Size = tuple[int, int]
Layers = str | Sequence[str] | Mapping[str, float]
Features = Callable[[Tensor], Mapping[str, Tensor]]
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
    **options: Unpack[MinimizeOptions],
) -> Preimage:
    """A new image with the exemplar's texture: ``argmin_x sum_l w_l E_l(x)``, E_l the `gram_distance` in layer l.

    A first layer that steps by 2 leaves grain of single pixels, and one without padding (SqueezeNet's) a frame in the
    small copies: a little `total_variation` as regularizer and a larger `coarsest` help.

    Args:
        net: Any network that takes images in [0, 1], trained or random.
        exemplar: (1, 3, h, w) in [0, 1].
        layers: Name of a layer, several, or {layer: weight w_l}; weights are 1 by default.
        size: (height, width) of the result in pixels, the exemplar's by default.
        scaled: Divide each E_l by the norm ``|dE_l/dx|`` of its gradient at the initial image, so that every layer
            contributes in whatever network (scaled correlations: He 2016); otherwise the w_l count as given.
        coarsest: Shorter side in pixels of the copy to begin with, which is doubled until the size is reached: large
            structure first. With None at full size at once.
        histogram: Give each channel of the result the exemplar's histogram at the end, as Gatys' code does.
        options: For `minimize`: regularizer (over any layers, but for images that run in tiles), transform, steps (for
            each copy, by default 10), optimizer (by default L-BFGS, whose step is up to 20 iterations), seed (of the
            initial image: the exemplar's pixels in random order, some left out and some repeated) and progress.

    Returns:
        The texture (1, 3, height, width) in [0, 1], and each term's history.

    Raises:
        TypeError: An unknown option, and an exemplar of another dtype than the network's.
        ValueError: A layer that the network does not have or that has no positions, a size below 1 or one that the
            network reduces to nothing, and a regularizer over layers of an image beyond 768 pixels.
        Interrupted: Ctrl-C; it holds the texture so far, at full size.

    Source: Gatys 2015. Deviations: the network's own pooling; pixels are sigmoids of real numbers.

    Example:
        >>> from course_lib import models
        >>> net, exemplar = models.load("coursenet", weights="random"), torch.rand(1, 3, 32, 32)
        >>> synthesize_texture(net, exemplar, ["relu1", "relu2"], size=(32, 48), steps=1).image.shape
        torch.Size([1, 3, 32, 48])
    """
    own = ("size", "scaled", "coarsest", "histogram")
    given = _defaults(check_options("synthesize_texture", options, MinimizeOptions, beside=own), steps=10)
    with descending(net, exemplar) as (net, (exemplar,), restore):
        check_one(exemplar, "exemplar")
        weights = _weights(layers)
        shape: Size = (exemplar.shape[2], exemplar.shape[3]) if size is None else size
        require(min(shape) >= 1, f"a size has at least 1 pixel a side, got {shape[0]} x {shape[1]}")
        _check_regularizer(net, given["regularizer"], shape)
        noise = scattered(exemplar, shape, torch.Generator().manual_seed(given["seed"]))

        def problem(copy: Size) -> tuple[Features, Energy]:
            features = _statistics(net, weights, max(copy))
            terms = _gram_terms(net, weights, _zoomed(exemplar, copy[0] / shape[0]))
            return features, _sum(_balanced(terms, features, resize(noise, copy)) if scaled else terms)

        def finish(x: Tensor) -> Tensor:
            return _with_histogram(x, exemplar) if histogram else x

        return restore(_coarse_to_fine(problem, _sizes(shape, coarsest), noise, finish, given))


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
    **options: Unpack[MinimizeOptions],
) -> Preimage:
    """The content of one image in the style of another: ``argmin_x C(x) + weight sum_l w_l E_l(x)``, from the content.

    C is the `distance` to the content in content_layer, E_l the `gram_distance` to the style in layer l. Each term is
    divided by the norm of its gradient at a noise image, so that one weight begins alike for any network and layers.
    What it ends with differs: compare networks at equal content, not at equal weight. Images beyond 768 pixels run in
    tiles.

    Args:
        net: Any network that takes images in [0, 1].
        content: (1, 3, h, w) in [0, 1]; the result has its size.
        style: An image (1, 3, h, w) in [0, 1] of any size, or several. Styles are seen at the scale at which they would
            cover the area of the content.
        content_layer: Name of the layer of C.
        style_layers: Name of a layer, several, or {layer: weight w_l}; weights are 1 by default.
        weight: Of the style; with several styles one for each, or the same for all.
        mask: Where the style may go, (1, 1, h, w) from 0 to 1, or (k, 1, h, w) for k styles. Elsewhere only C acts.
        colour: "style" takes the style's colours. Two keep the content's (Gatys 2017): "luminance" makes only the
            luminance anew, in the content's own contrast, "histogram" first gives the style the content's mean and
            covariance (`recoloured`).
        coarsest: As in `synthesize_texture`; every size begins with the same small copy, and so gets the same look.
        options: For `minimize`: regularizer (over any layers, but for images that run in tiles), transform, steps (for
            each copy, by default 5), optimizer (by default L-BFGS, whose step is up to 20 iterations), seed (of the
            noise image) and progress.

    Returns:
        The image (1, 3, h, w) in [0, 1], and each term's history.

    Raises:
        TypeError: An unknown option, and images of another dtype than the network's.
        ValueError: A layer or colour that is not there, other numbers of weights or masks than styles, a mask of
            another size or range, a mask or a regularizer over layers on an image that runs in tiles, and a size that
            the network reduces to nothing.
        Interrupted: Ctrl-C; it holds the image so far, at full size.

    Source: Gatys 2016. Deviations: terms balanced by their gradients, max-pooling, pixels as sigmoids of real numbers.
    """
    own = ("weight", "mask", "colour", "coarsest")
    given = _defaults(check_options("transfer_style", options, MinimizeOptions, beside=own), steps=5)
    styles = [style] if isinstance(style, Tensor) else list(style)
    require(len(styles) >= 1, "transfer_style needs at least one style")
    with descending(net, content, *styles) as (net, (content, *styles), restore):
        check_one(content, "content")
        for image in styles:
            check_one(image, "style")
        shape: Size = (content.shape[2], content.shape[3])
        strengths = _one_for_each(weight, len(styles))
        masks = _masks(mask, len(styles), content)
        _check_regularizer(net, given["regularizer"], shape)
        if colour not in COLOURS:
            raise unknown("colour", colour, COLOURS)
        seen = content
        if colour == "luminance":
            seen = _grey(content)
            styles = [recoloured(_grey(image), seen) for image in styles]
        elif colour == "histogram":
            styles = [recoloured(image, content) for image in styles]
        weights = _weights(style_layers)
        noise = scattered(seen, shape, torch.Generator().manual_seed(given["seed"]))

        def problem(copy: Size) -> tuple[Features, Energy]:
            features = _statistics(net, [content_layer, *weights], max(copy), whole=content_layer)
            with torch.no_grad():
                goal = features(resize(seen, copy).clamp(0, 1))[content_layer]
            terms = [distance({content_layer: goal})]
            for image, strength, where in zip(styles, strengths, masks, strict=True):
                area = (copy[0] * copy[1] / (image.shape[2] * image.shape[3])) ** 0.5
                parts = _gram_terms(net, weights, _zoomed(image, area), None if where is None else resize(where, copy))
                terms += [strength * part for part in parts]
            return features, _sum(_balanced(terms, features, resize(noise, copy)))

        def finish(x: Tensor) -> Tensor:
            if colour != "luminance":
                return x
            return (content + _grey(x) - seen).clamp(0, 1)  # a change of luminance is the same in R, G and B

        return restore(_coarse_to_fine(problem, _sizes(shape, coarsest), seen, finish, given))


def recoloured(x: Tensor, goal: Tensor) -> Tensor:
    """x with the mean and the covariance of goal's colours: ``C_g^(1/2) C_x^(-1/2) (x - mean) + mean_g``.

    A direction in which x has no colours (a grey image has but one that it has) stays empty.

    Args:
        x: An image, (1, 3, h, w) in [0, 1].
        goal: The image whose colours it gets, (1, 3, h, w) in [0, 1].

    Returns:
        (1, 3, h, w), clipped to [0, 1].

    Raises:
        TypeError: Not floating tensors.
        ValueError: Not one image each, in [0, 1].

    Source: Gatys 2017, section 5. Deviation: clipped.
    """
    for image, what in ((x, "image"), (goal, "goal")):
        check_images(image)
        check_one(image, what)
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
    return luma(x).expand_as(x)


# ---------------------------------------------------------------- what the user gave


def _weights(layers: Layers) -> dict[str, float]:
    if isinstance(layers, Mapping):
        return dict(layers)
    return dict.fromkeys([layers] if isinstance(layers, str) else layers, 1.0)


def _defaults(given: MinimizeOptions, steps: int) -> MinimizeOptions:
    return {"steps": steps, "optimizer": LBFGS, "seed": 0, "regularizer": None, **given}


def _check_regularizer(net: nn.Module, regularizer: Energy | None, shape: Size) -> None:
    """Its layers are looked up before the first copy; in tiles, layers give their statistics alone."""
    if regularizer is None or not regularizer.layers:
        return
    tapped(net, regularizer)
    require(
        max(shape) <= SIDE,
        f"an image beyond {SIDE} pixels runs in tiles, where {regularizer!r} cannot have its layers; take a smaller "
        "image, or a regularizer over the image",
    )


def _one_for_each(weight: float | Sequence[float], count: int) -> list[float]:
    if not isinstance(weight, Sequence):
        return [weight] * count
    require(len(weight) == count, f"{len(weight)} weights for {count} style{'s' * (count > 1)}")
    return list(weight)


def _masks(mask: Tensor | None, count: int, content: Tensor) -> list[Tensor] | list[None]:
    if mask is None:
        return [None] * count
    wanted = (count, 1, *content.shape[2:])
    require(tuple(mask.shape) == wanted, f"the mask of {count} styles is {wanted}, got {tuple(mask.shape)}")
    require(bool(((mask >= 0) & (mask <= 1)).all()), "a mask goes from 0 to 1")
    require(max(mask.shape) <= SIDE, f"an image beyond {SIDE} pixels runs in tiles, and tiles know no mask")
    require(all(part.max() > 0 for part in mask), "a mask is zero everywhere: its style has nowhere to go")
    return list(torch.split(plain(mask).to(content), 1))


# ---------------------------------------------------------------- the energy


def _statistics(net: nn.Module, layers: Sequence[str] | Mapping[str, float], side: int, whole: str = "") -> Features:
    """What the terms need of each layer: its map, or, for an image that needs tiles, its correlations G / M.

    The layer `whole` always gives its map.
    """
    if side <= SIDE:
        return Taps(net, *dict.fromkeys(layers))
    maps = {layer: Tiled(net, layer, side=SIDE) for layer in layers}

    def run(x: Tensor) -> dict[str, Tensor]:
        return {
            layer: tiled(x)[layer] if layer == whole else _correlations(tiled.sum(_gram_and_count)(x))
            for layer, tiled in maps.items()
        }

    return run


def _gram_and_count(a: Tensor) -> Tensor:
    """The Gram matrix, and a row that says of how many positions: (n, c + 1, c)."""
    return torch.cat([gram_matrix(a), a.new_full((len(a), 1, a.shape[1]), a[0, 0].numel())], 1)


def _correlations(sums: Tensor) -> Tensor:
    return sums[:, :-1] / sums[:, -1:]


def _gram_terms(
    net: nn.Module, weights: Mapping[str, float], exemplar: Tensor, where: Tensor | None = None
) -> list[Energy]:
    with torch.no_grad():
        target = _statistics(net, weights, max(exemplar.shape[2:]))(exemplar)
    for layer, a in target.items():
        require(a.dim() > 2, f"layer {layer!r} has no positions, so it has no Gram matrix")
    return [weight * gram_distance({layer: target[layer]}, where) for layer, weight in weights.items()]


def _balanced(terms: Sequence[Energy], features: Features, x: Tensor) -> list[Energy]:
    """Each term over the norm of the gradient that its unweighted self has at x."""
    balanced = []
    for term in terms:
        (only,) = term.terms
        y = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(only.function(features(y), y), y)
        balanced.append(term / max(float(gradient.norm()), 1e-12))
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


def _coarse_to_fine(
    problem: Problem,
    sizes: Sequence[Size],
    initial: Tensor,
    finish: Callable[[Tensor], Tensor],
    options: MinimizeOptions,
) -> Preimage:
    """One descent for each size, from the enlarged result of the one before; then what finishes the last."""

    def descents() -> Iterator[Preimage]:
        x = initial
        for size in sizes:
            features, energy = problem(size)
            found = minimize(features, energy, Unbounded(resize(x, size).clamp(0, 1)), **options)
            x = found.image
            yield found

    return in_turn(descents(), lambda x: finish(resize(x, sizes[-1]).clamp(0, 1)))
