"""Dreams that take longer than a page may: one of full size, and what each of the three tricks is for."""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from course_lib import data, models, plotting, recipes
from course_lib.energy import squared_norm
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
    each.add_argument("--count", type=int, default=2 * len(PHOTOGRAPHS), help="crops of photographs, at most 12")
