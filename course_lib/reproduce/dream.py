"""Dreams that take longer than a page may, what each of their tricks is for, and how smooth a caricature should be."""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from course_lib import data, models, plotting, recipes
from course_lib.energy import squared_norm, total_variation
from course_lib.images import Pixels, jitter
from course_lib.measure import interval, paired
from course_lib.models import Network
from course_lib.preimage import minimize
from course_lib.progress import bar
from course_lib.reproduce import runs
from course_lib.taps import Taps

LAYERS = {"vgg19_features": "relu4_4", "efficientnet_lite0": "block9"}
STEP = 1.5 / 255
PHOTOGRAPHS = ("astronaut", "chelsea", "china", "coffee", "flower", "rocket")
SIDE, SHIFT = 96, 48  # of a crop, and from the first to the second along both axes


class Run(NamedTuple):
    """A dream of one crop.

    Attributes:
        tricks: Which of them were used, a key of `TRICKS`.
        photograph: Its name.
        crop: Number of the crop, which is also the seed of the shifts.
        broad: Share of what was added that survives a blur by 4 pixels.
        clipped: Share of the colour values that are 0 or 1.
        seconds: How long it took.
    """

    tricks: str
    photograph: str
    crop: int
    broad: float
    clipped: float
    seconds: float

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells this run from the others: tricks, photograph and crop."""
        return self.tricks, self.photograph, self.crop


def plain_gradient(net: Network, x: Tensor, layer: str, *, seed: int = 0) -> Tensor:
    """40 steps in proportion to the gradient, at one size, of which the first moves a pixel as far as DeepDream's.

    Args:
        net: The network.
        x: (1, 3, h, w).
        layer: Whose squared norm is ascended.
        seed: Of the shifts.
    """
    loss = -1 * squared_norm(layer)
    y = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(Taps(net, layer)(y), y), y)
    descent = partial(torch.optim.SGD, lr=STEP / float(g.abs().mean()))
    return minimize(net, loss, Pixels(x), transform=jitter(32), steps=40, optimizer=descent, seed=seed).image


def _dream(net: Network, x: Tensor, layer: str, *, seed: int, **options: Any) -> Tensor:
    return recipes.deepdream(net, x, layer, seed=seed, progress=False, **options).image


TRICKS: dict[str, Callable[..., Tensor]] = {
    "all three": _dream,
    "no octaves": partial(_dream, octaves=1, steps=40),
    "no jitter": partial(_dream, jitter=0),
    "plain gradient": plain_gradient,
}


def crops(count: int) -> list[tuple[str, int, Tensor]]:
    """(photograph, number, image) of the first crops: the upper left of each photograph, then the lower right.

    Args:
        count: How many, at most 12.
    """
    found = []
    for number, at in enumerate((0, SHIFT)):
        for name in PHOTOGRAPHS:
            x = data.photograph(name, SIDE + SHIFT)
            found.append((name, number, x[..., at : at + SIDE, at : at + SIDE].contiguous()))
    return found[:count]


def table(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each set of tricks: both measures, and their difference from all three on the same crops.

    Args:
        done: All runs.

    Returns:
        Rows {column: value}; the columns of a difference are "" for all three.
    """
    rows = []
    for tricks in TRICKS:
        row: dict[str, Any] = {"tricks": tricks}
        for name in ("broad", "clipped"):
            own, whole = (
                {one.key[1:]: getattr(one, name) for one in done if one.tricks == which}
                for which in (tricks, "all three")
            )
            found = interval(list(own.values()))
            row |= {"n": found.n, name: found.mean, f"{name} low": found.low, f"{name} high": found.high}
            columns = [f"{name} {what}" for what in ("difference", "from", "to", "p")]
            row |= dict.fromkeys(columns, "")
            if tricks != "all three":
                d, p = paired(list(own.values()), [whole[key] for key in own])
                row |= dict(zip(columns, (d.mean, d.low, d.high, p), strict=True))
        rows.append(row)
    return rows


def tricks(given: argparse.Namespace) -> None:
    """Dream the crops with each set of tricks, and tabulate.

    Args:
        given: The command's arguments.
    """
    path = given.out / "runs.csv"
    layer = LAYERS[given.network]
    title = f"{given.network}, {layer}, {SIDE} px"
    done = {one.key: one for one in runs.stored(path, Run, title)}
    net = models.load(given.network)
    for name, number, x in bar(crops(given.count), desc="crops"):
        for which, dream in TRICKS.items():
            key, start = (which, name, number), time.perf_counter()
            if key in done:
                continue
            y = dream(net, x, layer, seed=number)
            added = y - x
            broad = float(gaussian_blur(added, 25, 4.0).square().sum() / added.square().sum())
            clipped = float(((y <= 0) | (y >= 1)).float().mean())
            done[key] = Run(*key, broad, clipped, time.perf_counter() - start)
            runs.keep(path, done[key])
    runs.tabulate(given.out / "table.csv", f"DeepDream without each trick: {title}", table([*done.values()]))


# ---------------------------------------------------------------- how smooth a caricature should be

SITTING, SMOOTHNESS = "relu4_1", (0.0, 0.1, 0.3, 1.0)


class Caricature(NamedTuple):
    """A caricature of one crop.

    Attributes:
        smoothness: Weight of the total variation.
        photograph: Its name.
        crop: Number of the crop.
        times: ``<f(y), a> / |a|^2``: so many times as much of what the layer noticed.
        rough: Total variation, over that of the crop.
        fine: Share of the power that was added beyond 1/4 cycle a pixel.
        elsewhere: As `times`, for EfficientNet-Lite0's block11, which was not asked.
        seconds: How long it took.
    """

    smoothness: float
    photograph: str
    crop: int
    times: float
    rough: float
    fine: float
    elsewhere: float
    seconds: float


def _times(net: Network, layer: str, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        a, f = (Taps(net, layer)(image)[layer] for image in (x, y))
    a = a.clamp(min=0)
    return float((a * f).sum() / a.square().sum())


def fine(added: Tensor) -> float:
    """The share of an image's power beyond 1/4 cycle a pixel: of patterns finer than 4 pixels.

    Args:
        added: (1, 3, h, w); its mean over colours is taken, and fades out towards the border.
    """
    grey = added.mean(1)[0]
    height, width = (torch.hann_window(side, periodic=False) for side in grey.shape)
    power = torch.fft.fft2((grey - grey.mean()) * height[:, None] * width).abs().square()
    radius = torch.hypot(*(torch.fft.fftfreq(side)[shape] for side, shape in zip(grey.shape, _AXES, strict=True)))
    return float(power[radius > 0.25].sum() / power.sum())


_AXES = ((slice(None), None), (None, slice(None)))


def smoothness(given: argparse.Namespace) -> None:
    """Draw the crops with each weight, and tabulate.

    Args:
        given: The command's arguments.
    """
    path = given.out / "runs.csv"
    done = {one[:3]: one for one in runs.stored(path, Caricature, f"VGG-19, {SITTING}, {SIDE} px, 30 steps")}
    net, other, rough = models.load("vgg19_features"), models.load("efficientnet_lite0"), total_variation()
    for name, number, x in bar(crops(given.count), desc="crops"):
        for weight in SMOOTHNESS:
            key, start = (weight, name, number), time.perf_counter()
            if key in done:
                continue
            y = recipes.caricature(net, x, SITTING, smoothness=weight, steps=30, seed=number, progress=False).image
            seconds = time.perf_counter() - start
            measured = _times(net, SITTING, x, y), float(rough({}, y) / rough({}, x)), fine(y - x)
            done[key] = Caricature(*key, *measured, _times(other, "block11", x, y), seconds)
            runs.keep(path, done[key])
    rows = [_of_weight([one for one in done.values() if one.smoothness == weight]) for weight in SMOOTHNESS]
    runs.tabulate(given.out / "table.csv", f"caricatures of {SIDE} px, VGG-19, {SITTING}", rows)


def _of_weight(done: Sequence[Caricature]) -> dict[str, Any]:
    row: dict[str, Any] = {"smoothness": done[0].smoothness, "n": len(done)}
    for name in ("times", "rough", "fine", "elsewhere"):
        found = interval([getattr(one, name) for one in done])
        row |= {name: found.mean, f"{name} low": found.low, f"{name} high": found.high}
    return row


# ---------------------------------------------------------------- one dream, and the commands


def full_size(given: argparse.Namespace) -> None:
    """Dream one photograph at its own size, and write it as JPEG.

    Args:
        given: The command's arguments.
    """
    net, x = models.load("vgg19_features"), data.photograph(given.photograph, None)
    dreamt = recipes.deepdream(net, x, given.layer, octaves=given.octaves, steps=given.steps)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{given.photograph}-{given.layer}.jpg"
    path.write_bytes(plotting.encode(dreamt.image, "jpeg", 80))
    print(f"{path}: {x.shape[3]} x {x.shape[2]} pixels, {path.stat().st_size / 1000:.0f} kB")


def add_parsers(tables: Any) -> None:
    """Add the commands `dream` and `dream-tricks`.

    Args:
        tables: What argparse's `add_subparsers` gave.
    """
    one = tables.add_parser("dream", help="DeepDream of a whole photograph by VGG-19, at its own size")
    one.add_argument("--photograph", choices=PHOTOGRAPHS, default="coffee")
    one.add_argument("--layer", default=LAYERS["vgg19_features"])
    one.add_argument("--octaves", type=int, default=6, help="number of copies")
    one.add_argument("--steps", type=int, default=15, help="for each of them")
    one.set_defaults(run=full_size)
    each = tables.add_parser("dream-tricks", help="DeepDream without octaves, jitter, steps of a fixed size")
    each.add_argument("--network", choices=LAYERS, default="vgg19_features")
    each.set_defaults(run=tricks)
    drawn = tables.add_parser("caricature-smoothness", help="caricatures by VGG-19 with four weights of smoothness")
    drawn.set_defaults(run=smoothness)
    for parser in (each, drawn):
        parser.add_argument("--count", type=int, default=2 * len(PHOTOGRAPHS), help="crops of photographs, at most 12")
