"""Pictures by the papers' own network, which take longer than a page may: inversions, and photographs x styles."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib import data, models, paintings, plotting, recipes
from course_lib.energy import total_variation
from course_lib.models import Network
from course_lib.progress import bar
from course_lib.recipes.inversion import Stages
from course_lib.reproduce import runs
from course_lib.taps import Taps

PHOTOGRAPHS = ("chelsea", "astronaut", "coffee", "rocket", "flower", "china")
#: Layer of VGG-19 -> the weight of smoothness in its inversion.
LAYERS = {"relu1_2": 0.5, "relu2_2": 0.5, "relu3_4": 0.5, "relu4_4": 2.0, "relu5_4": 10.0}
STAGES: Stages = [(partial(torch.optim.Adam, lr=lr), n) for lr, n in ((0.1, 60), (0.03, 60), (0.01, 40))]
STYLES: dict[str, Callable[[], Tensor]] = {
    "night": paintings.night,
    "glass": paintings.glass,
    "engraving": paintings.engraving,
}
CONTENT = "relu4_2"  # Gatys 2016
STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
WEIGHT, SMOOTH = 0.2, 1e-4


def add_parsers(tables: Any) -> None:
    """The commands inversion-grid and style-grid.

    Args:
        tables: The subparsers (`argparse`) that the commands are added to.
    """
    one = tables.add_parser("inversion-grid", help="photographs inverted through the blocks of VGG-19")
    one.set_defaults(run=inversions)
    other = tables.add_parser("style-grid", help="photographs in drawn styles, by VGG-19 (Gatys 2016)")
    other.add_argument("--styles", nargs="+", choices=list(STYLES), default=list(STYLES), help="by default all")
    other.set_defaults(run=styles)
    for command, size in ((one, 224), (other, 256)):
        command.add_argument("--photographs", nargs="+", choices=PHOTOGRAPHS, default=list(PHOTOGRAPHS[:2]))
        command.add_argument("--size", type=int, default=size, help=f"side of the images (default {size})")


def inversions(given: argparse.Namespace) -> None:
    """Invert each photograph through each block; a PNG for each, inversions.webp: a photograph a row, and table.csv.

    Args:
        given: The arguments of inversion-grid, with `out`, the folder for the results.

    Raises:
        MissingWeights: VGG-19's package is not installed.
    """
    net = models.load("vgg19_features")
    features, rows = Taps(net, *LAYERS), []
    distances: dict[str, list[float]] = {layer: [] for layer in LAYERS}
    for name in bar(given.photographs, desc="photographs"):
        x = data.photograph(name, given.size)
        rows.append(x)
        code = features(x)
        for layer, weight in LAYERS.items():
            path = given.out / f"{name}-{layer}-{given.size}.png"
            rows.append(_kept(path, partial(_inverted, net, layer, weight, x)))
            missed = features(rows[-1])[layer] - code[layer]
            distances[layer].append(float(100 * missed.norm() / code[layer].norm()))
    _sheet(given.out / "inversions.webp", rows, 1 + len(LAYERS))
    title = f"inversion-grid, {', '.join(given.photographs)}, {given.size} px"
    runs.tabulate(given.out / "table.csv", title, [_distance(layer, of) for layer, of in distances.items()])


def _distance(layer: str, of: list[float]) -> dict[str, Any]:
    """A row: ``|f(x*) - f(x)| / |f(x)|`` in %, its mean, least and largest."""
    return {"layer": layer, "n": len(of), "distance": sum(of) / len(of), "least": min(of), "largest": max(of)}


def _inverted(net: Network, layer: str, smoothness: float, x: Tensor) -> Tensor:
    return recipes.invert(Taps(net, layer), x, smoothness=smoothness, stages=STAGES).image


def styles(given: argparse.Namespace) -> None:
    """Paint each photograph in each style; a PNG for each, and styles.webp: a photograph a row, below the styles.

    Args:
        given: The arguments of style-grid, with `out`, the folder for the results.

    Raises:
        MissingWeights: VGG-19's package is not installed.
    """
    net = models.average_pooling(models.load("vgg19_features"))
    rows: list[Tensor] = []
    for name in bar(given.photographs, desc="photographs"):
        x = data.photograph(name, given.size)
        for style in given.styles:
            path = given.out / f"{name}-{style}-{given.size}.png"
            rows.append(_kept(path, partial(_painted, net, x, STYLES[style]())))
    _sheet(given.out / "styles.webp", rows, len(given.styles))


def _painted(net: Network, x: Tensor, style: Tensor) -> Tensor:
    smooth = SMOOTH * total_variation()
    return recipes.transfer_style(net, x, style, CONTENT, STYLE, weight=WEIGHT, regularizer=smooth, steps=3).image


def _kept(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """An image from its file, made where that is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(plotting.encode(make(), "png"))
    return data.read(path, None)


def _sheet(path: Path, tiles: Sequence[Tensor], columns: int) -> None:
    path.write_bytes(plotting.encode(plotting.sheet(torch.cat(list(tiles)), columns, gap=6), "webp", 78))
