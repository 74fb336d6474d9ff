"""Each named technique, a few lines over `minimize`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from course_lib import images
from course_lib.descriptors import straight_through
from course_lib.embedding import codes, pca
from course_lib.energy import Energy, activation, alpha_norm, distance, inner_product, squared_norm, total_variation
from course_lib.errors import check_choice, check_pictures, require
from course_lib.images import Centred, Fourier, Image, Pixels, Transform, compose, jitter, rotate, scale
from course_lib.models import Network
from course_lib.optimizers import ForgetfulAdaGrad, Steepest, per_picture
from course_lib.preimage import MakeOptimizer, Preimage, minimize, minimize_in_stages
from course_lib.taps import Taps, relu_backward
from course_lib.tiles import Tiled

WAKING = 48  # steps with redirected ReLUs; Olah's code takes 16, which left half of the silent units asleep here
GENTLE: MakeOptimizer = partial(torch.optim.Adam, lr=0.01)  # for pictures that should stay near their start


def maximize_activation(
    net: Network,
    layer: str,
    channel: int | Tensor,
    *,
    at: tuple[int, int] | None = None,
    image: Image | None = None,
    transform: Transform | None = None,
    steps: int = 128,
    **options: Any,
) -> Preimage:
    """The picture that a unit likes best: argmax_x f(transform(x)), f the mean of a channel, or one place of it.

    layer, channel: "fc8", 3 is a class, "conv4", 17 a feature map (its mean over places, or the place `at`);
        (n,) channels give n pictures, one for each.
    image: the unknown; by default Fourier coordinates at the network's own size. transform: by default jitter by a
    sixteenth of the picture, a zoom by up to a tenth, a turn by up to 10 degrees. options: for `minimize` (regularizer,
    optimizer, seed, progress).

    A unit behind a ReLU can be silent on the start, with no slope to climb. Then a few first steps let the ReLUs pass
    back what would wake it (`relu_backward("redirected")`).

    Raises ValueError for a layer or channel that the network does not have.
    Source: Olah 2017, whose code jitters twice, over a padded canvas, and takes 512 steps.
    """
    side = net.image_size
    device = next(net.parameters()).device
    n = torch.as_tensor(channel).numel()
    unknown = Fourier(side, side, n, seed=options.get("seed", 0)) if image is None else image
    if transform is None:
        transform = compose(jitter(side // 16), scale(0.9, 1.1), rotate(10))
    climb = partial(minimize, loss=-1 * activation(layer, channel, at), image=unknown.to(device), transform=transform)
    features = Taps(net, layer)
    if _silent(features, unknown, layer, channel, at):
        climb(_redirected(features), steps=WAKING, **options | {"progress": False})
    return climb(features, steps=steps, **options)


@torch.no_grad()
def _silent(features: Taps, image: Image, layer: str, channel: int | Tensor, at: tuple[int, int] | None) -> bool:
    """Whether some unit, or the one at that place, answers nothing but zeros to the start."""
    a = features(image())[layer]  # (n, c) or (n, c, h, w)
    check_choice(channel, len(a), a.shape[1], f"channel of layer {layer!r}")
    chosen = torch.as_tensor(channel).expand(len(a))
    maps = a[torch.arange(len(a)), chosen]  # (n,) or (n, h, w)
    if at is not None and maps.dim() == 3:
        maps = maps[:, at[0] : at[0] + 1, at[1] : at[1] + 1]
    return bool((maps.reshape(len(a), -1) == 0).all(1).any())


def _redirected(features: Taps) -> Callable[[Tensor], dict[str, Tensor]]:
    def run(x: Tensor) -> dict[str, Tensor]:
        with relu_backward("redirected"):
            return features(x)

    return run


def multifaceted(
    net: Network,
    layer: str,
    channel: int,
    images: Tensor,
    *,
    code_layer: str,
    facets: int = 4,
    nearest: int = 15,
    sigma: float = 0.5,
    steps: int = 128,
    seed: int = 0,
    **options: Any,
) -> Preimage:
    """Several pictures that a unit likes, one for each kind of picture that it likes: (facets, 3, h, w).

    images: (m, 3, h, w) that the unit answers to: the pictures of a class, or the unit's top patches. Their codes in
    code_layer are reduced to 50 numbers (PCA) and parted in k-means clusters, the largest first. Facet k begins at the
    mean of the `nearest` pictures about the centre of cluster k, and ascends with a centre bias of width `sigma`
    (`images.Centred`). With steps=0 it returns the beginnings. options: for `maximize_activation`.

    seed: of the clusters, the faint noise and the transform. Raises ValueError for facets < 1 or more than pictures.
    Source: Nguyen 2016 (multifaceted), who reduces the codes further by t-SNE, and ascends in pixels.
    """
    check_pictures(images)
    require(1 <= facets <= len(images), f"facets must be from 1 to the number of pictures, {len(images)}, got {facets}")
    start = torch.stack([images[rows].mean(0) for rows in _kinds(net, code_layer, images, facets, nearest, seed)])
    image = Centred(start, sigma, seed=seed)
    units = torch.full((facets,), channel, device=start.device)
    return maximize_activation(net, layer, units, image=image, steps=steps, seed=seed, **options)


def _kinds(net: Network, layer: str, images: Tensor, facets: int, nearest: int, seed: int) -> list[Tensor]:
    """The rows of the pictures nearest to the centre of each cluster of codes, the largest cluster first."""
    answers = codes(net, layer, images, progress=False)
    table = pca(answers, min(50, *answers.shape)).numpy()
    found = KMeans(facets, n_init=10, random_state=seed).fit(table)
    member, away = torch.from_numpy(found.labels_).long(), torch.from_numpy(found.transform(table))
    order = member.bincount(minlength=facets).argsort(descending=True, stable=True)
    rows = [(member == k).nonzero()[:, 0] for k in order]
    return [those[away[those, k].argsort(stable=True)[:nearest]] for those, k in zip(rows, order, strict=True)]


def match(
    features: Callable[[Tensor], Tensor | dict[str, Tensor]],
    start: Tensor,
    goal: Tensor,
    *,
    radius: float | None = None,
    rates: Sequence[float] = (0.01, 0.005, 0.003, 0.002, 0.001, 0.0005, 0.0002),
    steps: int = 400,
    bridge: bool = True,
    **options: Any,
) -> Preimage:
    """A picture with the code of `goal`, near `start`: argmin_x |f(x) - f(goal)|^2 / |f(goal)|^2, by descent from it.

    start, goal: (n, 3, h, w) in [0, 1]. What keeps the picture like the start is that the descent begins there, the
    `radius` in every pixel if one is given, and a regularizer among the options, which are for `minimize`.
    rates: Adam's step sizes in turn, `steps` steps with each. Each begins with a fresh memory: that shakes the picture
    out of the kinks where orientations change their bin, and small rates let it settle.

    bridge: cross the zero slopes of HOG and DenseSIFT (`descriptors.straight_through`). Slower but closer, for bilinear
    bins: without a bridge, first `HOG(bilinear=True, clamp=inf)`, then the clamped code from there. HOG reads each
    pixel's steepest colour alone: a regularizer that holds two of the three lets them go on showing the start.
    Raises ValueError for no rates. Source: Tatu 2011, who takes plain gradient steps.
    """
    require(len(rates) > 0, "rates must name at least one step size")
    with torch.no_grad():
        loss = distance(features(goal))
    stages = [(partial(torch.optim.Adam, lr=rate), steps) for rate in rates]
    with straight_through() if bridge else nullcontext():
        return minimize_in_stages(features, loss, Pixels(start, radius), stages, **options)


# ---------------------------------------------------------------- the same code

CONTRAST = 68.9 / 255  # root mean square of natural pictures about their mean (Mahendran and Vedaldi 2015, the code)
BOUND = 151 / 255  # the |x| at which their alpha-norm costs as much as a code of zeros
Stages = Sequence[tuple[MakeOptimizer, int]]
_RATES = ((0.1, 60), (0.05, 60), (0.02, 80), (0.01, 60), (0.003, 60), (0.001, 40))
ADAM_IN_STAGES: Stages = tuple((partial(torch.optim.Adam, lr=rate), steps) for rate, steps in _RATES)


def invert(
    features: Callable[[Tensor], Tensor | dict[str, Tensor]],
    x: Tensor,
    *,
    target: Tensor | Mapping[str, Tensor] | None = None,
    smoothness: float = 0.5,
    restarts: int = 1,
    image: Image | None = None,
    stages: Stages = ADAM_IN_STAGES,
    bridge: bool = True,
    seed: int = 0,
    **options: Any,
) -> Preimage:
    """Natural pictures with the code of x: argmin_y |f(y) - f(x)|^2 / |f(x)|^2 + R(y), R = `natural(smoothness)`.

    features: pictures -> code: HOG(), Taps(net, "conv3", "fc6") (the sum over its layers), any module or function.
    x: (n, 3, h, w) in [0, 1]. target: another code to aim at; x then gives no more than the size.
    restarts: so many starts for each picture, (n * restarts, 3, h, w), those of one picture side by side.
    image: the unknown; by default pixels, at first noise as strong as a natural picture.
    stages: (optimizer, steps) pairs; by default Adam in six falling rates, which lets each picture of a batch descend
        as it would alone; `inversion_2015` and `inversion_2016` are the published ones. L-BFGS takes a third of the
        time for one picture, to the same error in a first layer, up to three times the error in others
        (bench/inversion.py).
    bridge: cross the zero slopes of HOG and DenseSIFT (`descriptors.straight_through`); off for L-BFGS.
    seed: of the noise and the transform.
    options: for `minimize`; a `regularizer` among them takes R's place. A transform is seen by the data term alone.

    Raises ValueError for a code that is zero (a constant picture has no HOG), for a target of another shape, and for
    restarts < 1. Source: Mahendran and Vedaldi 2015, eq. 3.
    """
    check_pictures(x)
    require(restarts >= 1, f"restarts must be at least 1, got {restarts}")
    with torch.no_grad():
        code = features(x) if target is None else target
    named = {"": code} if isinstance(code, Tensor) else code
    for layer, value in named.items():
        silent = (value.flatten(1) == 0).all(1).nonzero().flatten().tolist()
        what = f"the code in layer {layer!r}" if layer else "the code"
        require(not silent, f"{what} is zero for pictures {silent}: there is nothing in it to invert")
    aims = {layer: value.repeat_interleave(restarts, 0) for layer, value in named.items()}
    height, width = x.shape[2:]
    if image is None:
        noise = torch.randn(len(x) * restarts, 3, height, width, generator=torch.Generator().manual_seed(seed))
        image = Pixels((0.5 + CONTRAST * noise).clamp(0, 1).to(x))
    options = {"regularizer": natural(height, width, smoothness), "seed": seed} | options
    with straight_through() if bridge else nullcontext():
        return minimize_in_stages(features, distance(aims), image, stages, **options)


def natural(height: int, width: int, smoothness: float = 0.5) -> Energy:
    """mean |(x - 1/2) / 0.59|^6 + smoothness mean |grad x|^2 / 0.27^2, over places and channels: R of eq. 3.

    lambda_alpha R_alpha + lambda_V R_V of Mahendran and Vedaldi 2015, equal at their 227 pixels, for pictures in [0, 1]
    of any size. smoothness is their lambda_V: 0.5, 5 and 50 from shallow to deep layers.
    """
    values = 3 * height * width
    return (1 / values / BOUND**6) * alpha_norm() + (smoothness / values / CONTRAST**2) * total_variation()


def inversion_2015(height: int, width: int, *, rate: float = 0.004, steps: Sequence[int] = (100, 200, 100)) -> Stages:
    """Mahendran and Vedaldi 2015: momentum 0.9, a rate that falls to a tenth in each stage, and a fresh start in each.

    Their unknown has norm one; here it has s = 0.27 sqrt(3 height width), so that the rate grows by s^2.
    They take steps (200, 200, 200, 200) for HOG and DSIFT.
    """
    scale = 3 * height * width * CONTRAST**2
    return [(partial(torch.optim.SGD, lr=rate * 0.1**k * scale, momentum=0.9), n) for k, n in enumerate(steps)]


def inversion_2016(height: int, width: int) -> Stages:
    """Mahendran and Vedaldi 2016: 300 steps of ForgetfulAdaGrad at 0.05 B^2 height width / 6, then 50 at a tenth.

    B = 80 of 255 levels, in which they step. Their jitter is the caller's `transform`, and would be off in the last 50.
    """
    rate = 0.05 * 80**2 * height * width / 6
    return [(partial(_InLevels, lr=rate / 255), 300), (partial(_InLevels, lr=rate / 2550), 50)]


class _InLevels(ForgetfulAdaGrad):
    """The published step, in levels of 0 ... 255, for pictures in [0, 1]."""

    def change(self, x: nn.Parameter, group: dict[str, Any]) -> Tensor:
        return super().change(x, group) / 255


# ---------------------------------------------------------------- more of what is there


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
    check_pictures(x)
    features = Tiled(net, layer)
    dream = squared_norm(layer) if guide is None else _guided(layer, features, guide)
    found: list[Preimage] = []
    detail = torch.zeros_like(x)
    for size in _octaves(features, x, octaves, zoom):
        base = _resize(x, size)
        found.append(
            minimize(
                features.total(dream),
                -1 * Energy.of(repr(dream), lambda total, image: total[""]),
                Pixels((base + _resize(detail, size)).clamp(0, 1)),
                transform=images.jitter(jitter),
                steps=steps,
                optimizer=partial(Steepest, step=step, norm="mean"),
                seed=seed,
                progress=progress,
            )
        )
        detail = found[-1].image - base
        if found[-1].interrupted:
            break
    picture = (x + _resize(detail, x.shape[2:])).clamp(0, 1)
    energy = {repr(dream): [value for octave in found for value in octave.total]}
    return Preimage(picture, energy, found[-1].interrupted)


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
        x = _resize(x[..., top : top + height, left : left + width], x.shape[2:]).clamp(0, 1)


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
    check_pictures(x)
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
    check_pictures(guide)
    require(len(guide) == 1, f"the guide is one picture (1, 3, h, w), got {tuple(guide.shape)}")
    with torch.no_grad():
        g = features(guide)[layer][0].flatten(1)  # (c, places)

    def function(activations: Mapping[str, Tensor], image: Tensor) -> Tensor:
        f = activations[layer].flatten(2).mT  # (n, places, c)
        with torch.no_grad():
            best = (f @ g).argmax(2)
        return (f * g.T[best]).sum()

    return Energy.of(f"guided({layer!r})", function)


def _octaves(features: Tiled, x: Tensor, octaves: int, zoom: float) -> list[tuple[int, int]]:
    """The sizes of the copies, small to large, from the smallest that the network takes; the last is that of x."""
    height, width = x.shape[2:]
    sizes = [(round(height / zoom**k), round(width / zoom**k)) for k in reversed(range(octaves))]
    while len(sizes) > 1 and not _takes(features, _resize(x[:1], sizes[0])):
        sizes.pop(0)
    return sizes


@torch.no_grad()
def _takes(features: Tiled, x: Tensor) -> bool:
    try:
        features(x)
    except ValueError:
        return False
    return True


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)
