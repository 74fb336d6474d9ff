"""Pictures of classes and of units at their best, and whether another network recognises the classes."""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib import cutouts, data, models, plotting, recipes
from course_lib.energy import Energy, activation, total_variation
from course_lib.images import (
    Fourier,
    Image,
    Phase,
    Pixels,
    Transform,
    compose,
    grey,
    jitter,
    resize,
    rotate,
    scale,
)
from course_lib.measure import interval, paired
from course_lib.models import MissingWeights, Network
from course_lib.preimage import minimize
from course_lib.progress import bar
from course_lib.reproduce import runs

__all__ = ["CLASSES", "SIDE", "UNITS", "UNKNOWNS", "Run", "Unknown", "add_parsers", "run", "table"]

SIDE = 224  # of the image, which the network sees whole
CONTRAST = 0.17  # of a Fourier image as it is shown: small steps leave it pale; six photographs have 0.12 to 0.33
SCENES = 200  # real photographs that the judge is tried on
#: The lecture's eight and four more, by EfficientNet-Lite0's names.
CLASSES = (
    "Indian cobra",
    "ground beetle",
    "pelican",
    "monarch",
    "black swan",
    "hartebeest",
    "goldfish",
    "daisy",
    "flamingo",
    "zebra",
    "pool table",
    "beach wagon",
)
#: Network -> the layers whose units are shown, from early to late.
UNITS = {
    "efficientnet_lite0": ("block3.expand", "block5.expand", "block8.expand", "block12.expand", "block15.expand"),
    "vgg19_features": ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_2"),
}
CHANNELS = (3, 10)  # of each of those layers, chosen before any was seen


class Unknown(NamedTuple):
    """How an image is sought.

    Attributes:
        image: seed -> the unknown, of one image.
        optimizer: For `minimize`.
        steps: For `minimize`, for a class.
        transform: What the network sees of the image.
        regularizer: For `minimize`.
    """

    image: Callable[[int], Image]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    steps: int
    transform: Transform | None = None
    regularizer: Energy | None = None


def _noise(seed: int) -> Tensor:
    noise = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return (grey(SIDE, SIDE) + 0.02 * noise).clamp(0, 1)


VIEWS = compose(jitter(24), scale(0.8, 1.8), rotate(15), jitter(8))  # from near and from far
#: What is compared, by name.
UNKNOWNS = {
    "phase": Unknown(
        lambda seed: Phase(SIDE, SIDE, seed=seed),
        partial(torch.optim.NAdam, lr=0.5),
        steps=256,
        transform=VIEWS,
    ),
    "Fourier": Unknown(
        lambda seed: Fourier(SIDE, SIDE, seed=seed),
        partial(torch.optim.Adam, lr=0.005),
        steps=256,
        transform=VIEWS,
        regularizer=0.02 * total_variation(),
    ),
    "pixels": Unknown(lambda seed: Pixels(_noise(seed)), partial(torch.optim.Adam, lr=0.01), steps=50),
}


class Run(NamedTuple):
    """One image of a class, or one real photograph, before the judge.

    Attributes:
        unknown: Name of the unknown, a key of UNKNOWNS, or "photographs".
        name: The class.
        seed: Of the image; or the number of the photograph.
        own: The probability of the class for the network that made the image, unchanged.
        first: Whether the judge's first class is this one, 0 or 1; -1 where nobody judged.
        five: Whether it is among the judge's first five; the same.
        seconds: How long the image took.
    """

    unknown: str
    name: str
    seed: int
    own: float
    first: int
    five: int
    seconds: float

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells this run from the others: unknown, name and seed."""
        return self.unknown, self.name, self.seed


# ---------------------------------------------------------------- the command


def add_parsers(tables: Any) -> None:
    """The command gallery.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("gallery", help="pictures of classes and units, and who recognises them")
    one.add_argument("--parts", nargs="+", choices=["classes", *UNITS], default=["classes", *UNITS])
    one.add_argument("--classes", nargs="+", default=list(CLASSES), help="names of ImageNet's classes")
    one.add_argument("--unknowns", nargs="+", choices=list(UNKNOWNS), default=list(UNKNOWNS), help="by default all")
    one.add_argument("--seeds", type=int, default=1, help="images of each class (default 1)")
    one.add_argument("--steps", type=int, default=None, help="instead of each unknown's own number")
    one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Make the images that are not there yet, let SqueezeNet judge those of classes, and put them on sheets.

    Args:
        given: The arguments of gallery, with `out`, the folder for the results: a PNG for each image, runs.csv,
            table.csv, a sheet of the classes for each unknown, one of the units for each network, and units.webp, both
            networks side by side.

    Raises:
        ValueError: A name that is no class, or a folder that holds the runs of something else.
    """
    if "classes" in given.parts:
        _classes(given)
    shown = [_units(name, given) for name in UNITS if name in given.parts]
    if len(shown) == len(UNITS):
        _sheet(given.out / "units.webp", torch.cat(shown, 1).flatten(0, 1), len(CHANNELS) * len(UNITS))


def _classes(given: argparse.Namespace) -> None:
    net, judge = models.load("efficientnet_lite0"), _judge()
    title = f"gallery, EfficientNet-Lite0, {SIDE} px, steps {given.steps or 'as they are'}"
    done = {one.key: one for one in runs.stored(given.out / "runs.csv", Run, title)}
    wanted = [(u, name, s) for s in range(given.seeds) for u in given.unknowns for name in given.classes]
    for unknown, name, seed in bar([key for key in wanted if key not in done], desc="classes"):
        label, began = net.index(name), time.perf_counter()
        x = _synthesised(UNKNOWNS[unknown], seed, net, "", label, given.steps)
        seconds = time.perf_counter() - began
        own = float(net(x).softmax(1)[0, label])
        _keep(done, given.out, Run(unknown, name, seed, own, *_verdict(judge, x, label), seconds))
        (given.out / _file(unknown, name, seed)).write_bytes(plotting.encode(x, "png"))
    if judge is not None and cutouts.available():
        _real(judge, done, given.out)
    runs.tabulate(given.out / "table.csv", title, table(list(done.values())))
    for unknown in given.unknowns:
        drawn = [_shown(given.out, unknown, name, net) for name in given.classes]
        _sheet(given.out / f"classes-{unknown}.webp", torch.cat(drawn), 4 if len(drawn) > 3 else len(drawn))


def _judge() -> Network | None:
    """SqueezeNet, which needs a download; where it is missing, nobody judges."""
    try:
        return models.load("squeezenet1_0")
    except MissingWeights:
        return None


def _synthesised(how: Unknown, seed: int, net: Network, layer: str, channel: int, steps: int | None) -> Tensor:
    found = minimize(
        net,
        -1 * activation(layer, channel),
        how.image(seed),
        regularizer=how.regularizer,
        transform=how.transform,
        steps=how.steps if steps is None else steps,
        optimizer=how.optimizer,
        seed=seed,
        progress=False,
    )
    return found.image


def _verdict(judge: Network | None, x: Tensor, label: int) -> tuple[int, int]:
    if judge is None:
        return -1, -1
    best = judge(resize(x, (224, 224))).topk(5).indices[0].tolist()
    return int(best[0] == label), int(label in best)


def _keep(done: dict[Any, Run], out: Path, one: Run) -> None:
    done[one.key] = one
    runs.keep(out / "runs.csv", one)


def _real(judge: Network, done: dict[Any, Run], out: Path) -> None:
    """What the judge says of composed photographs, whose class is known."""
    scenes = cutouts.compose(SCENES, seed=77)
    for i in bar(range(SCENES), desc="photographs"):
        label = int(scenes.labels[i])
        if ("photographs", judge.classes[label], i) not in done:
            verdict = _verdict(judge, scenes.images[i : i + 1], label)
            _keep(done, out, Run("photographs", judge.classes[label], i, 1.0, *verdict, 0.0))


def _file(unknown: str, name: str, seed: int) -> str:
    """What the image of a class is called."""
    return f"{unknown}-{name}-{seed}.png".replace(" ", "_")


def table(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each unknown, and one for real photographs.

    Args:
        done: The runs.

    Returns:
        Rows {column: value}: shares that the judge recognises, as its first class and among its first five, with 95 %
        intervals; the difference of "phase" from each other unknown in the share of five, on the same classes and
        seeds, and Wilcoxon's p; the mean probability that the network itself gives, and the seconds of an image.
    """
    rows = []
    of = {name: {one.key[1:]: one for one in done if one.unknown == name} for name in dict.fromkeys(o[0] for o in done)}
    for name, found in of.items():
        ones = list(found.values())
        judged = [one for one in ones if one.five >= 0]
        shared = sorted(found.keys() & of.get("phase", {}).keys()) if name != "phase" else []
        both = [(float(of["phase"][key].five), float(found[key].five)) for key in shared]
        less = paired(*torch.tensor(both).T) if len(both) > 1 else None
        rows.append(
            {
                "unknown": name,
                "n": len(ones),
                "first": str(interval(torch.tensor([one.first == 1 for one in judged]))) if judged else "",
                "five": str(interval(torch.tensor([one.five == 1 for one in judged]))) if judged else "",
                "phase has more": str(less.difference) if less else "",
                "p": less.p if less else "",
                "own": sum(one.own for one in ones) / len(ones),
                "seconds": sum(one.seconds for one in ones) / len(ones),
            }
        )
    return rows


# ---------------------------------------------------------------- pictures


def _shown(out: Path, unknown: str, name: str, net: Network) -> Tensor:
    """A class's first image as it is shown: by phases, out of focus where the score does not look; else contrasted."""
    x = data.read(out / _file(unknown, name, 0), None)
    if unknown == "phase":
        return recipes.in_focus(net, "", net.index(name), x, transform=VIEWS)
    return _contrasted(x) if unknown == "Fourier" else x


def _contrasted(x: Tensor) -> Tensor:
    """One image with the contrast of a photograph: its colours deviate by CONTRAST; the mean goes half way to grey."""
    mean = x.mean((2, 3), keepdim=True)
    return ((mean + 0.5) / 2 + CONTRAST * (x - mean) / (x - mean).std()).clamp(0, 1)


def _units(name: str, given: argparse.Namespace) -> Tensor:
    """The images of a network's channels, (layers, channels, 3, h, w), made where they are missing."""
    net, shown = models.load(name), []
    for layer in bar(UNITS[name], desc=name):
        for channel in CHANNELS:
            path = given.out / f"{name}-{layer}-{channel}.png"
            if not path.exists():
                given.out.mkdir(parents=True, exist_ok=True)
                path.write_bytes(plotting.encode(_unit(net, layer, channel, given.steps), "png"))
            shown.append(data.read(path, None))
    _sheet(given.out / f"{name}.webp", torch.cat(shown), len(CHANNELS))
    images: Tensor = torch.cat(shown).unflatten(0, (-1, len(CHANNELS)))
    return images


def _unit(net: Network, layer: str, channel: int, steps: int | None) -> Tensor:
    """The image of a channel, 224 px: its mean over all positions is climbed."""
    found = recipes.maximize_activation(
        net,
        layer,
        channel,
        image=Phase(224, 224, decay=1.0),
        transform=compose(jitter(112), rotate(8), scale(0.9, 1.2)),  # no position is spared: the border is none
        optimizer=partial(torch.optim.NAdam, lr=0.5),
        steps=48 if steps is None else steps,
        progress=False,
    )
    return found.image


def _sheet(path: Path, tiles: Tensor, columns: int) -> None:
    path.write_bytes(plotting.encode(plotting.sheet(tiles, columns, gap=6), "webp", 72))
