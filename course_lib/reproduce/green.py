"""The green of inverted photographs (Mahendran and Vedaldi 2015): whose is it, the network's or the descent's?"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib import data, models, recipes
from course_lib.errors import require
from course_lib.measure import interval
from course_lib.progress import bar
from course_lib.reproduce import runs
from course_lib.reproduce.grids import STAGES
from course_lib.taps import Taps

__all__ = ["LAYERS", "Run", "add_parsers", "greenness", "least_green", "run"]

#: Network -> (layer, weight of smoothness), in the middle and near the end of its convolutions.
LAYERS = {
    "vgg19_features": (("relu3_4", 0.5), ("relu5_4", 10.0)),
    "squeezenet1_0": (("features.5", 0.5), ("features.12", 10.0)),
    "efficientnet_lite0": (("block3", 0.5), ("block11", 10.0)),
}
MARGIN = 0.02  # a pixel is green where its green lies so far above its red and its blue


class Run(NamedTuple):
    """One photograph, inverted.

    Attributes:
        network: Name of the network.
        weights: "pretrained" or "random".
        layer: What was inverted.
        picture: Number of the photograph, from 0, the least green one.
        before: `greenness` of the photograph.
        after: That of its pre-image.
    """

    network: str
    weights: str
    layer: str
    picture: int
    before: float
    after: float


def add_parsers(tables: Any) -> None:
    """The command green-bias.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    parser = tables.add_parser("green-bias", help="photographs without green, inverted (Mahendran and Vedaldi 2015)")
    parser.set_defaults(run=run)
    parser.add_argument("--folder", type=Path, required=True, help="of photographs; the least green ones are taken")
    parser.add_argument("--count", type=int, default=10, help="how many (default 10, as in the paper)")
    parser.add_argument("--size", type=int, default=96, help="side of the images (default 96)")
    parser.add_argument("--networks", nargs="+", choices=list(LAYERS), default=list(LAYERS), help="by default all")


def run(given: argparse.Namespace) -> None:
    """Invert the photographs through each network, trained and random, then write runs.csv and table.csv.

    Args:
        given: The arguments of green-bias, with `out`, the folder for the results.

    Raises:
        FileNotFoundError: There is no such folder of photographs.
        MissingWeights: Those of a network.
        ValueError: count < 2 or more than the folder holds, or a folder for the results that holds something else.
    """
    require(given.count >= 2, f"count must be at least 2, or there is no spread, got {given.count}")
    x = least_green(given.folder, given.count, given.size)
    title = f"green-bias, {given.folder}, {given.size} px, {given.count} photographs"
    path = given.out / "runs.csv"
    done = runs.stored(path, Run, title)
    arms = [
        (network, weights, *layer)
        for network in given.networks
        for weights in ("pretrained", "random")
        for layer in LAYERS[network]
    ]
    for network, weights, layer, smoothness in bar(arms, desc="green-bias"):
        if sum(one[:3] == (network, weights, layer) for one in done) < given.count:
            done = [one for one in done if one[:3] != (network, weights, layer)]  # a batch that was cut off is redone
            phi = Taps(models.load(network, weights=weights), layer)
            found = recipes.invert(phi, x, smoothness=smoothness, stages=STAGES).image
            pairs = zip(greenness(x).tolist(), greenness(found).tolist(), strict=True)
            for i, (before, after) in enumerate(pairs):
                done.append(Run(network, weights, layer, i, before, after))
                runs.keep(path, done[-1])
    runs.tabulate(given.out / "table.csv", title, [_row(done, *arm[:3]) for arm in arms])


def _row(done: list[Run], network: str, weights: str, layer: str) -> dict[str, Any]:
    of = [one for one in done if one[:3] == (network, weights, layer)]
    change = interval([100 * (one.after - one.before) for one in of])
    return {
        "network": network,
        "weights": weights,
        "layer": layer,
        "n": change.n,
        "before": 100 * sum(one.before for one in of) / len(of),
        "change": change.mean,
        "low": change.low,
        "high": change.high,
    }


def greenness(x: Tensor) -> Tensor:
    """Mean over the image of ``G - (R + B) / 2``, (n,); 0 for a grey image.

    Args:
        x: (n, 3, h, w) in [0, 1].
    """
    red, green, blue = x.mean((2, 3)).unbind(1)
    return green - (red + blue) / 2


def least_green(folder: Path, count: int, size: int) -> Tensor:
    """The photographs of a folder with the smallest share of green pixels, (count, 3, size, size), that one first.

    Args:
        folder: A folder of images.
        count: How many.
        size: Height and width in pixels.
    """
    x = runs.images(folder, max(count, len(data.folder(folder))), size)
    green = x[:, 1] > torch.maximum(x[:, 0], x[:, 2]) + MARGIN
    return x[green.float().mean((1, 2)).argsort(stable=True)[:count]]
