"""More of what is there: DeepDream and caricature."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from course_lib import images
from course_lib.energy import Energy, inner_product, squared_norm, total_variation
from course_lib.errors import require
from course_lib.images import Pixels, resize
from course_lib.inputs import check_images
from course_lib.models import Network
from course_lib.optimizers import Steepest, per_picture
from course_lib.preimage import MakeOptimizer, Preimage, in_turn, minimize
from course_lib.tiles import Tiled

GENTLE: MakeOptimizer = partial(torch.optim.Adam, lr=0.01)  # for pictures that should stay near their start


def deepdream(
    net: Network,
    x: Tensor,
    layer: str,
    *,
    octaves: int = 4,
    zoom: float = 1.4,
    steps: int = 10,
    step: float = 1.5 / 255,
    jitter: int = 32,
    guide: Tensor | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Preimage:
    """More of what the layer sees in x: argmax |f(x)|^2 by ascent, first on a small copy of the picture, then larger.

    x: (n, 3, h, w) in [0, 1], of any size; large ones run in tiles (`tiles.Tiled`).
    octaves, zoom: each of the copies is `zoom` times as large as the one before. What the dream has added to one is
        enlarged and laid over the next. Copies that are too small for the network are left out.
    steps, step, jitter: so often x <- x + step g / mean |g|, after a random shift by up to `jitter` pixels.
    guide: another picture (1, 3, h, w). Then each place moves towards the place of the guide that it is most like:
        argmax sum_i max_j <f_i(x), f_j(guide)>.

    Raises ValueError for an unknown layer, octaves < 1, zoom <= 1, steps < 1, and a large picture at a layer that looks
    at the whole of it. Source: Mordvintsev 2015 and the code published with it, without the network's own scale.
    """
    require(octaves >= 1, f"octaves must be at least 1, got {octaves}")
    require(zoom > 1, f"zoom must be above 1, got {zoom}")
    require(steps >= 1, f"steps must be at least 1, got {steps}")
    check_images(x)
    features = Tiled(net, layer)
    dream = squared_norm(layer) if guide is None else _guided(layer, features, guide)

    def descents() -> Iterator[Preimage]:
        detail = torch.zeros_like(x)
        for size in octave_sizes(features, x, octaves, zoom):
            base = resize(x, size)
            found = minimize(
                features.total(dream),
                -1 * Energy.of(repr(dream), lambda total, image: total[""], [""]),
                Pixels((base + resize(detail, size)).clamp(0, 1)),
                transform=images.jitter(jitter),
                steps=steps,
                optimizer=partial(Steepest, step=step, norm="mean"),
                seed=seed,
                progress=progress,
            )
            detail = found.image - base
            yield found

    def at_full_size(dreamt: Tensor) -> Tensor:
        detail = dreamt - resize(x, dreamt.shape[2:])
        return (x + resize(detail, x.shape[2:])).clamp(0, 1)

    return in_turn(descents(), at_full_size)


def dream_zoom(
    net: Network, x: Tensor, layer: str, *, frames: int = 24, closer: float = 1.05, **options: Any
) -> Iterator[Tensor]:
    """A walk into the dream, frame by frame (n, 3, h, w): dream, enlarge the middle `closer` times, dream again.

    options: for `deepdream`; a walk takes fewer octaves and steps than a single picture, because they add up.
    Raises ValueError for closer < 1.
    """
    require(closer >= 1, f"closer must be at least 1, got {closer}")
    for frame in range(frames):
        x = deepdream(net, x, layer, **options | {"seed": options.get("seed", 0) + frame}).image
        yield x
        height, width = (round(side / closer) for side in x.shape[2:])
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        x = resize(x[..., top : top + height, left : left + width], x.shape[2:]).clamp(0, 1)


def caricature(
    net: Network,
    x: Tensor,
    layer: str,
    *,
    smoothness: float = 0.1,
    steps: int = 60,
    jitter: int = 2,
    optimizer: MakeOptimizer = GENTLE,
    **options: Any,
) -> Preimage:
    """What the layer notices in the picture, exaggerated: argmax <f(y), a> / |a|^2, a = max(f(x), 0), from y = x.

    x: (n, 3, h, w) in [0, 1]. The quotient begins at 1, so that 3 is three times as much of it.
    smoothness: the price of TV(y) / TV(x). jitter: a random shift by up to so many pixels in each step.
    options: for `minimize` (seed, progress).

    Raises ValueError for an unknown layer, and for a picture to which the layer does not answer at all.
    Source: Mahendran and Vedaldi 2016, section 3; pixels that stay in [0, 1] take the place of their alpha-norm.
    """
    check_images(x)
    features = Tiled(net, layer)
    with torch.no_grad():
        noticed = features(x)[layer].clamp(min=0)
    strength = noticed.flatten(1).square().sum(1)  # (n,)
    require(bool((strength > 0).all()), f"layer {layer!r} does not answer to the picture: nothing to exaggerate")
    return minimize(
        features,
        -1 * inner_product({layer: noticed / per_picture(strength, noticed)}),
        Pixels(x),
        regularizer=smoothness * _relative_variation(x),
        transform=images.jitter(jitter),
        steps=steps,
        optimizer=optimizer,
        **options,
    )


def _relative_variation(x: Tensor) -> Energy:
    """sum over pictures of TV(y) / TV(x), with squares (beta = 2), so that a picture can be divided by sqrt TV(x)."""
    rough = total_variation()
    each = torch.stack([rough({}, picture) for picture in x.split(1)])
    scale = per_picture(each.clamp(min=1e-6).rsqrt(), x)
    return Energy.of("total_variation", lambda activations, y: rough(activations, scale * y))


def _guided(layer: str, features: Tiled, guide: Tensor) -> Energy:
    """sum over places i of max over places j of <f_i, g_j>, g the features of one other picture."""
    check_images(guide)
    require(len(guide) == 1, f"the guide is one picture (1, 3, h, w), got {tuple(guide.shape)}")
    with torch.no_grad():
        g = features(guide)[layer][0].flatten(1)  # (c, places)

    def function(activations: Mapping[str, Tensor], image: Tensor) -> Tensor:
        f = activations[layer].flatten(2).mT  # (n, places, c)
        with torch.no_grad():
            best = (f @ g).argmax(2)
        return (f * g.T[best]).sum()

    return Energy.of(f"guided({layer!r})", function, [layer])


def octave_sizes(features: Tiled, x: Tensor, octaves: int, zoom: float) -> list[tuple[int, int]]:
    """The sizes of the copies, small to large, from the smallest that the network takes; the last is that of x."""
    height, width = x.shape[2:]
    sizes = [(round(height / zoom**k), round(width / zoom**k)) for k in reversed(range(octaves))]
    while len(sizes) > 1 and not _takes(features, resize(x[:1], sizes[0])):
        sizes.pop(0)
    return sizes


@torch.no_grad()
def _takes(features: Tiled, x: Tensor) -> bool:
    try:
        features(x)
    except ValueError:
        return False
    return True
