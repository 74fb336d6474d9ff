"""More of what is there: DeepDream and caricature."""

from collections.abc import Iterator
from functools import partial
from typing import Unpack

import torch
from torch import Tensor, nn

from course_lib import images
from course_lib.energy import Activations, Energy, inner_product, squared_norm, total_variation
from course_lib.errors import check_options, require
from course_lib.images import Pixels, resize
from course_lib.optimizers import Steepest
from course_lib.preimage import Features, MakeOptimizer, MinimizeOptions, Preimage, in_turn, minimize, tapped
from course_lib.recipes.given import check_one, descending
from course_lib.tiles import Tiled

__all__ = ["DreamOptions", "caricature", "deepdream", "dream_zoom", "octave_sizes"]

GENTLE: MakeOptimizer = partial(torch.optim.Adam, lr=0.01)  # for images that should stay near their initial one


class DreamOptions(MinimizeOptions, total=False):
    """What `dream_zoom` hands on to `deepdream`.

    Attributes:
        octaves: Number of copies.
        zoom: From one copy to the next.
        step: Mean change of a step.
        jitter: Largest random shift, in pixels.
        guide: Another image to take features from.
    """

    octaves: int
    zoom: float
    step: float
    jitter: int
    guide: Tensor | None


def deepdream(
    net: nn.Module,
    x: Tensor,
    layer: str,
    *,
    octaves: int = 4,
    zoom: float = 1.4,
    step: float = 1.5 / 255,
    jitter: int = 32,
    guide: Tensor | None = None,
    **options: Unpack[MinimizeOptions],
) -> Preimage:
    """More of what the layer sees in x: ``argmax |f(x)|^2`` by ascent, first on a small copy of the image, then larger.

    A step is ``x <- x + step g / mean |g|``, g the gradient, after a random shift. What the dream has added to one copy
    is enlarged and laid over the next. Large images run in tiles (`tiles.Tiled`).

    Args:
        net: Any network that takes images in [0, 1].
        x: (n, 3, h, w) in [0, 1], of any size.
        layer: Name of the layer.
        octaves: Number of copies, at least 1. Those that are too small for the network are left out.
        zoom: Each copy is so many times as large as the one before, above 1.
        step: Mean change of a colour value in a step.
        jitter: Largest random shift in a step, in pixels; 0 for none.
        guide: Another image (1, 3, h, w). Then each position moves towards the position of the guide that it is most
            like: ``argmax sum_i max_j <f_i(x), f_j(guide)>``.
        options: For `minimize`: regularizer (over any layers), steps (for each copy, by default 10), seed (of the
            shifts) and progress.

    Returns:
        The dream, (n, 3, h, w) in [0, 1], and each term's history.

    Raises:
        TypeError: An unknown option, and images of another dtype than the network's.
        ValueError: A layer that the network does not have, octaves < 1, zoom <= 1, steps < 1, jitter < 0, and a large
            image at a layer that looks at the whole of it.
        Interrupted: Ctrl-C; it holds the dream so far, at full size.

    Source: Mordvintsev 2015 and the code published with it. Deviation: without the network's own scale of colours.

    Example:
        >>> from course_lib import models, world
        >>> found = deepdream(models.load("coursenet"), world.draw(1).images, "relu3", octaves=2, steps=2)
        >>> found.image.shape, list(found.energy)
        (torch.Size([1, 3, 96, 96]), ["squared_norm('relu3')"])
    """
    own = ("octaves", "zoom", "step", "jitter", "guide")
    given = check_options("deepdream", options, MinimizeOptions, without=("transform", "optimizer"), beside=own)
    given = {"steps": 10, "regularizer": None, **given}
    given["transform"], given["optimizer"] = images.jitter(jitter), partial(Steepest, step=step, norm="mean")
    require(octaves >= 1, f"octaves must be at least 1, got {octaves}")
    require(zoom > 1, f"zoom must be above 1, got {zoom}")
    require(given["steps"] >= 1, f"steps must be at least 1, got {given['steps']}")
    guides = [] if guide is None else [guide]
    with descending(net, x, *guides) as (net, (x, *guides), restore):
        features = Tiled(net, layer)
        dream = _guided(layer, features, *guides) if guides else squared_norm(layer)
        regularizer = given["regularizer"]
        layers = features if regularizer is None else tapped(features, regularizer)
        look = _added_up(features, dream, regularizer)

        def descents() -> Iterator[Preimage]:
            detail = torch.zeros_like(x)
            for size in octave_sizes(layers, x, octaves, zoom):
                base = resize(x, size)
                found = minimize(
                    look,
                    -1 * _value(dream),
                    Pixels((base + resize(detail, size)).clamp(0, 1)),
                    **given,
                )
                detail = found.image - base
                yield found

        def at_full_size(dreamt: Tensor) -> Tensor:
            detail = dreamt - resize(x, dreamt.shape[2:])
            return (x + resize(detail, x.shape[2:])).clamp(0, 1)

        return restore(in_turn(descents(), at_full_size))


def _added_up(features: Tiled, dream: Energy, regularizer: Energy | None) -> Features:
    """x -> the dream's value, which tiles add up without holding the map, and the layers that a regularizer needs."""
    name, total = repr(dream), features.total(dream)
    if regularizer is None or not regularizer.layers:
        return lambda x: {name: total(x)}
    together, apart = tapped(features, regularizer), tapped(Tiled(features.net, side=features.side), regularizer)

    def look(x: Tensor) -> Activations:
        if not features.whole(x):
            return {name: total(x)} | dict(apart(x))
        activations = dict(together(x))  # in one pass
        return {name: dream(activations, x)} | activations

    return look


def _value(dream: Energy) -> Energy:
    name = repr(dream)
    return Energy.of(name, lambda activations, image: activations[name], [name])


def dream_zoom(
    net: nn.Module,
    x: Tensor,
    layer: str,
    *,
    frames: int = 24,
    closer: float = 1.05,
    **options: Unpack[DreamOptions],
) -> Iterator[Tensor]:
    """A walk into the dream, frame by frame: dream, enlarge the middle, dream again.

    Args:
        net: As in `deepdream`.
        x: As in `deepdream`.
        layer: As in `deepdream`.
        frames: Number of frames.
        closer: How many times the middle is enlarged from frame to frame, at least 1.
        options: For `deepdream`: octaves, zoom, steps, step, jitter, guide, regularizer, seed and progress. Frame k
            dreams with seed + k. A walk takes fewer octaves and steps than a single image, because they add up.

    Returns:
        An iterator over the frames, (n, 3, h, w) each; a frame is made when it is asked for.

    Raises:
        TypeError: As `deepdream`.
        ValueError: closer < 1, and as `deepdream`.
        Interrupted: As `deepdream`.
    """
    own, without = ("frames", "closer"), ("transform", "optimizer")
    given = check_options("dream_zoom", options, DreamOptions, without=without, beside=own)
    require(closer >= 1, f"closer must be at least 1, got {closer}")

    def walk(x: Tensor) -> Iterator[Tensor]:
        for frame in range(frames):
            one: DreamOptions = {**given, "seed": given.get("seed", 0) + frame}
            x = deepdream(net, x, layer, **one).image
            yield x
            x = _nearer(x, closer)

    return walk(x)


def _nearer(x: Tensor, closer: float) -> Tensor:
    """The middle of an image, enlarged to its size; in single precision at least, since resizing knows no other."""
    height, width = (round(side / closer) for side in x.shape[2:])
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    middle = x[..., top : top + height, left : left + width]
    return resize(middle.to(torch.promote_types(x.dtype, torch.float32)), x.shape[2:]).clamp(0, 1).to(x)


def caricature(
    net: nn.Module,
    x: Tensor,
    layer: str,
    *,
    smoothness: float = 0.3,
    jitter: int = 2,
    **options: Unpack[MinimizeOptions],
) -> Preimage:
    """What the layer notices in the image, exaggerated: ``argmax <f(y), a> / |a|^2``, ``a = max(f(x), 0)``, from y = x.

    The quotient begins at 1, so that 3 is three times as much of it.

    Args:
        net: Any network that takes images in [0, 1].
        x: (n, 3, h, w) in [0, 1].
        layer: Name of the layer.
        smoothness: Weight of ``TV(y) / TV(x)``. At the default a caricature is about as rough as its photograph.
        jitter: Largest random shift in a step, in pixels; 0 for none.
        options: For `minimize`: regularizer (over any layers, besides the smoothness), steps (by default 60), optimizer
            (by default Adam with a rate of 0.01), seed (of the shifts) and progress.

    Returns:
        The caricature, (n, 3, h, w) in [0, 1], and each term's history.

    Raises:
        TypeError: An unknown option, and images of another dtype than the network's.
        ValueError: A layer that the network does not have, and an image that does not activate the layer at all.
        Interrupted: Ctrl-C; it holds the caricature so far.

    Source: Mahendran and Vedaldi 2016, section 3. Deviation: pixels that stay in [0, 1] take the place of their
    alpha-norm.
    """
    own = ("smoothness", "jitter")
    given = check_options("caricature", options, MinimizeOptions, without=("transform",), beside=own)
    with descending(net, x) as (net, (x,), restore):
        features = Tiled(net, layer)
        with torch.no_grad():
            noticed = features(x)[layer].clamp(min=0)
        strength = noticed.flatten(1).square().sum(1)  # (n,)
        require(bool((strength > 0).all()), f"the image does not activate layer {layer!r}: nothing to exaggerate")
        smooth = smoothness * _relative_variation(x)
        regularizer = given.get("regularizer")
        given = {"steps": 60, "optimizer": GENTLE, "transform": images.jitter(jitter), **given}
        given["regularizer"] = smooth if regularizer is None else smooth + regularizer
        aim = noticed / _by_image(strength, noticed)
        return restore(minimize(features, -1 * inner_product({layer: aim}), Pixels(x), **given))


def _by_image(values: Tensor, like: Tensor) -> Tensor:
    """(n,) numbers, one for each image, so that they multiply (n, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))


def _relative_variation(x: Tensor) -> Energy:
    """sum over images of TV(y) / TV(x), with squares (beta = 2), so that an image can be divided by sqrt TV(x)."""
    rough = total_variation()
    each = torch.stack([rough({}, image) for image in torch.split(x, 1)])
    scale = _by_image(each.clamp(min=1e-6).rsqrt(), x)
    return Energy.of("total_variation", lambda activations, y: rough(activations, scale * y))


def _guided(layer: str, features: Tiled, guide: Tensor) -> Energy:
    """sum over positions i of max over positions j of <f_i, g_j>, g the features of one other image."""
    check_one(guide, "guide")
    with torch.no_grad():
        a = features(guide)[layer]
    require(a.dim() == 4, f"layer {layer!r} has no positions, so no guide can lead it")
    g = a[0].flatten(1)  # (c, positions)

    def function(activations: Activations, image: Tensor) -> Tensor:
        f = activations[layer].flatten(2).mT  # (n, positions, c)
        with torch.no_grad():
            best = (f @ g).argmax(2)
        return torch.sum(f * g.T[best])

    return Energy.of(f"guided({layer!r})", function, [layer])


def octave_sizes(features: Features, x: Tensor, octaves: int, zoom: float) -> list[tuple[int, int]]:
    """The sizes of the copies, small to large, from the smallest that the features take; the last is that of x.

    Args:
        features: What the copies are run through.
        x: (n, 3, h, w).
        octaves: Number of copies.
        zoom: From one copy to the next.
    """
    height, width = x.shape[2:]
    sizes = [(round(height / zoom**k), round(width / zoom**k)) for k in reversed(range(octaves))]
    while len(sizes) > 1 and not (min(sizes[0]) >= 1 and _takes(features, resize(x[:1], sizes[0]))):
        sizes.pop(0)
    return sizes


@torch.no_grad()
def _takes(features: Features, x: Tensor) -> bool:
    try:
        features(x)
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError):  # of a Network, and of a plain module
        return False
    return True
