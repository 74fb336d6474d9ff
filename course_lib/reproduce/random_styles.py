"""Style without training: the third claim of He, Wang and Hopcroft 2016, at equal content."""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib import cutouts, data, plotting, recipes
from course_lib.errors import require
from course_lib.measure import content_lost, interval
from course_lib.models import Network
from course_lib.progress import bar
from course_lib.reproduce import runs
from course_lib.reproduce.random_textures import COURSENET, SQUEEZENET, apart, load, resampled, verdict, vgg

#: A photograph and the material it is painted with; all differ, so that the pairs are independent.
PAIRS = (
    ("chelsea", "tissue"),
    ("coffee", "gravel"),
    ("astronaut", "plumage"),
    ("rocket", "grass"),
    ("flower", "brick"),
    ("china", "leaves"),
)
WEIGHTS = (0.03, 0.3, 3.0, 30.0)  # of the style
BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the material
MARGIN = 0.25  # of d': differences below it count as none
CEILING = 0.9999  # of an area, so that d' is finite
STEPS = 2  # of up to 20 iterations of L-BFGS, for each copy


class Arm(NamedTuple):
    """A network that paints.

    Attributes:
        load: Gives the network of a seed.
        seeds: How many seeds: 0, 1, ...
        content: Name of the layer that holds the content.
        style: Names of the layers that hold the style.
    """

    load: Callable[[int], Network]
    seeds: int
    content: str
    style: tuple[str, ...]


_VGG = "relu4_2", ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # Gatys 2016
ARMS = {
    "trained SqueezeNet": Arm(partial(load, "squeezenet1_0", "pretrained"), 1, "features.5", SQUEEZENET),
    "untrained SqueezeNet": Arm(partial(load, "squeezenet1_0", "random"), 2, "features.5", SQUEEZENET),
    "trained CourseNet": Arm(partial(load, "coursenet", "pretrained"), 2, "relu3", COURSENET),
    "untrained CourseNet": Arm(partial(load, "coursenet", "random"), 2, "relu3", COURSENET),
    "trained VGG-19": Arm(partial(vgg, "pretrained"), 1, *_VGG),
    "untrained VGG-19": Arm(partial(vgg, "random"), 1, *_VGG),
}
NETWORKS = ("VGG-19", "SqueezeNet", "CourseNet")


class Run(NamedTuple):
    """One painted photograph.

    Attributes:
        arm: A key of `ARMS`, or "blend": the photograph and the material laid over each other, the judge's own test.
        pair: The photograph and the material.
        seed: Of the network.
        weight: Of the style; of a blend, the material's share.
        apart: `random_textures.apart` from the material's unseen piece.
        content: `measure.content_lost`.
        seconds: How long it took.
    """

    arm: str
    pair: str
    seed: int
    weight: float
    apart: float
    content: float
    seconds: float

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What tells this run from the others: arm, pair, seed and weight."""
        return self.arm, self.pair, self.seed, self.weight


def add_parsers(tables: Any) -> None:
    """The command random-styles.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("random-styles", help="styles by trained and untrained networks (He 2016), judged")
    one.add_argument("--size", type=int, default=128, help="side of the images (default 128)")
    one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Paint every pair with every network and weight; write runs.csv, table.csv and the images to a folder.

    Args:
        given: The arguments of random-styles, with `out`, the folder for the results.

    Raises:
        FileNotFoundError: The weights of a network, or the stamps, are missing.
        ValueError: size < 96, or a folder that holds the runs of something else.
    """
    require(given.size >= 96, f"size must be at least 96, got {given.size}")
    title = f"random-styles, {given.size} px"
    done = {one.key: one for one in runs.stored(given.out / "runs.csv", Run, title)}
    for photograph, material in PAIRS:
        x, style = data.photograph(photograph, given.size), cutouts.material(material, given.size)[:1]
        for share in BLENDS:
            key = ("blend", f"{photograph} in {material}", 0, share)
            _keep(done, given.out, key, partial(torch.lerp, x, style, share), x, given.size)
    for arm, of in ARMS.items():
        for seed in range(of.seeds):
            net = of.load(seed)
            for photograph, material in bar(PAIRS, desc=f"{arm} {seed}"):
                x, style = data.photograph(photograph, given.size), cutouts.material(material, given.size)[:1]
                for weight in WEIGHTS:
                    make = partial(_painted, net, of, x, style, weight)
                    _keep(done, given.out, (arm, f"{photograph} in {material}", seed, weight), make, x, given.size)
    runs.tabulate(given.out / "judge.csv", f"{title}: the judge", judge_table(list(done.values())))
    runs.tabulate(given.out / "table.csv", title, table(list(done.values())))


def _painted(net: Network, arm: Arm, x: Tensor, style: Tensor, weight: float) -> Tensor:
    return recipes.transfer_style(net, x, style, arm.content, arm.style, weight=weight, coarsest=64, steps=STEPS).image


def _keep(
    done: dict[Any, Run], out: Path, key: tuple[str, str, int, float], make: Callable[[], Tensor], x: Tensor, size: int
) -> None:
    if key in done:
        return
    start = time.perf_counter()
    image = make()
    seconds = time.perf_counter() - start
    unseen = cutouts.material(key[1].split(" in ")[1], size)[1:]
    done[key] = Run(*key, apart(image, unseen), content_lost(image, x), seconds)
    runs.keep(out / "runs.csv", done[key])
    (out / f"{'-'.join(map(str, key))}.png".replace(" ", "_")).write_bytes(plotting.encode(image, "png"))


def sensitivity(area: float) -> float:
    """``d' = sqrt(2) Phi^-1(area)``: how many standard deviations two classes are apart, if both are normal.

    Areas near 1 differ little, and the painted photographs all have such areas; d' goes on to grow.

    Args:
        area: Under the ROC curve; at most CEILING counts.

    Source: Green and Swets 1966.
    """
    return 2**0.5 * NormalDist().inv_cdf(min(area, CEILING))


def judge_table(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each pair: d' of the blends, whose order is known.

    Args:
        done: The runs, the blends among them.

    Returns:
        Rows {column: value}: the pair, d' for each share of the material, and whether they fall from each to the next.
    """
    rows = []
    for pair in dict.fromkeys(one.pair for one in done):
        of = {one.weight: sensitivity(one.apart) for one in done if (one.arm, one.pair) == ("blend", pair)}
        line = [of[share] for share in BLENDS]
        row: dict[str, Any] = {"pair": pair} | {f"{share:g}": value for share, value in zip(BLENDS, line, strict=True)}
        rows.append(row | {"in order": line == sorted(line, reverse=True)})
    return rows


def table(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each network: how well what it painted is told apart from the material (d'), at equal content.

    For each pair an arm has a curve, d' over `content_lost`, with a point for each weight. The curves of the
    trained network and of each draw of the untrained one are read in the middle of the range that all of them share; a
    pair whose curves share none is left out. The interval is that of `random_textures.resampled`, over pairs and draws.

    Args:
        done: The runs.

    Returns:
        Rows {column: value}; the difference is the untrained network's, positive where it is further from the material.
    """
    rows = []
    for network in NETWORKS:
        arms = f"trained {network}", f"untrained {network}"
        read = [
            both for pair in dict.fromkeys(one.pair for one in done) if (both := _at_equal_content(done, arms, pair))
        ]
        row: dict[str, Any] = {"network": network, "n": len(read)}
        trained, untrained = (torch.tensor([both[i] for both in read], dtype=torch.float64) for i in (0, 1))
        for name, values in zip(("trained", "untrained"), (trained, untrained), strict=True):
            row[name] = str(interval(values.mean(1)))
        d, low, high = resampled(untrained, trained)
        rows.append(row | {"difference": d, "from": low, "to": high, "verdict": verdict(low, high, MARGIN)})
    return rows


def _at_equal_content(done: Sequence[Run], arms: tuple[str, str], pair: str) -> tuple[list[float], list[float]] | None:
    """d' of each seed of both arms, in the middle of the range of content that all their curves share."""
    curves = [[_curve(done, arm, pair, seed) for seed in range(ARMS[arm].seeds)] for arm in arms]
    every = [curve for of in curves for curve in of]
    low, high = max(float(c[0].min()) for c in every), min(float(c[0].max()) for c in every)
    if low > high:
        return None
    at = (low + high) / 2
    trained, untrained = ([float(np.interp(at, *curve.numpy())) for curve in of] for of in curves)
    return trained, untrained


def _curve(done: Sequence[Run], arm: str, pair: str, seed: int) -> Tensor:
    """(2, weights): content and d', in the order of content."""
    of = [one for one in done if (one.arm, one.pair, one.seed) == (arm, pair, seed)]
    curve = torch.tensor([(one.content, sensitivity(one.apart)) for one in of]).T
    return curve[:, curve[0].argsort()]
