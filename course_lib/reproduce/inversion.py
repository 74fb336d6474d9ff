"""Tables 1 and 3 of Mahendran and Vedaldi 2015: how well codes can be inverted."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib import data, models, plotting, recipes
from course_lib.descriptors import HOG, DenseSIFT
from course_lib.energy import total_variation
from course_lib.errors import require
from course_lib.measure import Features, flat, psnr, spread
from course_lib.progress import bar
from course_lib.reproduce import runs
from course_lib.taps import Taps

# Mahendran and Vedaldi 2015, tables 1 and 3 (there lambda_V = 0.5): mean error in %
PAPER = {"HOG": 28.10, "HOGb": 10.67, "DSIFT": 10.89}
PAPER |= {"conv1": 10.0, "relu1": 11.3, "pool1": 21.9, "conv2": 12.4, "relu2": 12.9, "pool2": 15.5, "conv3": 14.5}
PAPER |= {"relu3": 16.5, "conv4": 14.9, "relu4": 13.8, "conv5": 12.6, "relu5": 15.6, "pool5": 16.6, "fc6": 12.4}
PAPER |= {"relu6": 15.8, "fc7": 12.8, "relu7": 10.5, "fc8": 5.3}

DESCRIPTORS: dict[str, Features] = {"HOG": HOG(), "HOGb": HOG(bilinear=True), "DSIFT": DenseSIFT()}
LAYERS = {  # table 3 shows these; of another network, --layers names them
    "coursenet": (
        *("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "conv3", "relu3", "conv4", "relu4"),
        *("conv5", "relu5", "pool5", "fc6", "relu6", "fc7", "relu7", "fc8"),
    ),
    "squeezenet1_0": (*(f"features.{i}" for i in range(13)), "classifier.1", "classifier.3"),
}
__all__ = ["DESCRIPTORS", "LAYERS", "PAPER", "Run", "add_parsers", "run", "summary", "tabulate"]

SHOWN = 6  # images in the figure


class Run(NamedTuple):
    """One inversion.

    Attributes:
        code: Name of the code f: a descriptor or a layer.
        smoothness: ``lambda_V``, the weight of smoothness in the inversion.
        picture: Number of the image x, from 0; the seed of the inversion too.
        distance: ``|f(x*) - f(x)|``, where ``x*`` is the image found.
        variation: Total variation of ``x*`` over that of x.
        psnr: Peak signal-to-noise ratio of ``x*`` to x, in dB.
        seconds: How long the inversion took.
    """

    code: str
    smoothness: float
    picture: int
    distance: float
    variation: float
    psnr: float
    seconds: float

    @property
    def key(self) -> tuple[str, float, int]:
        """What tells this run from the others: code, smoothness and image."""
        return self.code, self.smoothness, self.picture


def add_parsers(tables: Any) -> None:
    """The commands table1 and table3.

    Args:
        tables: The subparsers (`argparse`) that the commands are added to.
    """
    first = tables.add_parser("table1", help="HOG, HOGb and DSIFT inverted (Mahendran and Vedaldi 2015)")
    third = tables.add_parser("table3", help="every layer of a network inverted (Mahendran and Vedaldi 2015)")
    for one in (first, third):
        one.add_argument("--folder", type=Path, help="of photographs (default: drawn scenes)")
        one.add_argument("--size", type=int, help="side of the images")
        one.add_argument("--effort", type=int, default=1, help="multiple of the usual number of steps (default 1)")
        one.set_defaults(run=run)
    first.add_argument("--count", type=int, default=100, help="how many images (default 100)")
    first.add_argument("--smoothness", type=float, nargs="+", default=[0.5], help="lambda_V (default 0.5)")
    third.add_argument("--count", type=int, default=20, help="how many images (default 20)")
    third.add_argument("--smoothness", type=float, nargs="+", default=[0.5, 5, 50], help="lambda_V (default 0.5 5 50)")
    third.add_argument("--network", default="coursenet", help="coursenet, or any of torchvision's (default coursenet)")
    third.add_argument("--layers", nargs="+", help="by default those of coursenet and squeezenet1_0 that matter")


def run(given: argparse.Namespace) -> None:
    """Make one of the tables.

    Args:
        given: The arguments of table1 or table3, with `out`, the folder for the results.

    Raises:
        FileNotFoundError: There is no such folder of photographs, or the weights of a network are missing.
        NotADirectoryError: It is a file.
        ValueError: effort < 1, count < 2 or more than the folder holds, an unknown network or layer, a network whose
            layers must be named, or a folder for the results that holds the runs of something else.
    """
    require(given.effort >= 1, f"effort must be at least 1, got {given.effort}")
    require(given.count >= 2, f"count must be at least 2, or there are no pairs to compare, got {given.count}")
    if given.table == "table1":
        codes, size = DESCRIPTORS, given.size or 128
    else:
        net = models.load(given.network)
        codes, size = _layers(net, given.network, given.layers), given.size or net.image_size
    title = f"{given.table}, {given.folder or 'drawn scenes'}, {size} px, effort {given.effort}"
    tabulate(codes, runs.images(given.folder, given.count, size), given.smoothness, given.out, title, given.effort)


def _layers(net: models.Network, name: str, layers: Sequence[str] | None) -> dict[str, Features]:
    if layers is None:
        require(name in LAYERS, f"name the --layers of {name}, for example {', '.join(net.layers[:4])}")
        layers = LAYERS[name]
    return {layer: Taps(net, layer) for layer in layers}


# ---------------------------------------------------------------- the table


def tabulate(
    codes: dict[str, Features], images: Tensor, smoothness: Sequence[float], out: Path, title: str, effort: int = 1
) -> None:
    """Invert every code of every image, then write runs.csv, table.csv, errors.png and images of them to a folder.

    Each run is stored as it ends, and one that is stored is not made again.

    Args:
        codes: {name: features}, what is inverted.
        images: (n, 3, h, w) in [0, 1], n at least 2.
        smoothness: Values of ``lambda_V``; each code of each image is inverted with each.
        out: The folder for the results, which is made where there is none.
        title: What the table is, in the first line of its runs.
        effort: Factor on the usual number of steps, at least 1.

    Raises:
        ValueError: The folder holds the runs of something else.
    """
    done = runs.stored(out / "runs.csv", Run, title)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = [(code, weight, i) for code in codes for weight in smoothness for i in range(len(images))]
    left = [key for key in wanted if key not in {run.key for run in done}]
    with bar(total=len(wanted), initial=len(wanted) - len(left)) as progress:
        for code, weight, i in left:
            progress.set_description(code)
            run, image = _invert(codes[code], code, weight, i, images[i : i + 1].to(device), effort)
            runs.keep(out / "runs.csv", run)
            done.append(run)
            if i < SHOWN:
                (out / _file(code, weight, i)).write_bytes(plotting.encode(image, "png"))
            progress.update()
    rows = summary([run for run in done if run.key in set(wanted)], codes, images.to(device))
    runs.tabulate(out / "table.csv", title, rows)
    _show(rows, out, images)


def _invert(features: Features, code: str, weight: float, i: int, x: Tensor, effort: int) -> tuple[Run, Tensor]:
    stages = [(optimizer, effort * steps) for optimizer, steps in recipes.ADAM_IN_STAGES]
    start = time.perf_counter()
    found = recipes.invert(features, x, smoothness=weight, stages=stages, seed=i)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        distance = float((flat(features(found.image)) - flat(features(x))).norm())
        variation = float(total_variation()({}, found.image) / total_variation()({}, x))
    return Run(code, weight, i, distance, variation, float(psnr(found.image, x)), seconds), found.image


def _file(code: str, weight: float, i: int) -> str:
    return f"{code}-{weight:g}-{i}.png"


# ---------------------------------------------------------------- errors


def summary(done: Sequence[Run], codes: dict[str, Features], images: Tensor) -> list[dict[str, Any]]:
    """A row for each code and smoothness: errors in % as mean and standard deviation, both conventions.

    Args:
        done: The runs, at least two for each code and smoothness.
        codes: {name: features}.
        images: (n, 3, h, w), all that were inverted; errors are divided by the `measure.spread` of their codes.

    Returns:
        Rows {column: value}: errors in %, the paper's error or "", and the means of variation, psnr and seconds.
    """
    rows = []
    for code, features in codes.items():
        vectors = torch.cat([flat(features(x)) for x in torch.split(images, 1)])
        plain, squared = spread(vectors), spread(vectors, squared=True)
        for weight in dict.fromkeys(run.smoothness for run in done if run.code == code):
            of = [run for run in done if (run.code, run.smoothness) == (code, weight)]
            distance = torch.tensor([run.distance for run in of], dtype=torch.float64)
            error, square = 100 * distance / plain, 100 * distance**2 / squared
            rows.append(
                {
                    "code": code,
                    "smoothness": float(weight),
                    "n": len(of),
                    "error": float(error.mean()),
                    "deviation": float(error.std()),
                    "squared error": float(square.mean()),
                    "squared deviation": float(square.std()),
                    "paper": PAPER.get(code, ""),
                    "variation": sum(run.variation for run in of) / len(of),
                    "psnr": sum(run.psnr for run in of) / len(of),
                    "seconds": sum(run.seconds for run in of) / len(of),
                }
            )
    return rows


# ---------------------------------------------------------------- figures


def _show(rows: list[dict[str, Any]], out: Path, images: Tensor) -> None:
    from scipy.stats import t

    codes = list(dict.fromkeys(row["code"] for row in rows))
    weights = list(dict.fromkeys(row["smoothness"] for row in rows))

    def draw(ax: Any) -> None:
        for weight in weights:
            of = [row for row in rows if row["smoothness"] == weight]
            half = [t.ppf(0.975, row["n"] - 1) * row["deviation"] / row["n"] ** 0.5 for row in of]
            positions = [codes.index(row["code"]) for row in of]
            ax.errorbar(
                positions, [row["error"] for row in of], half, fmt="o-", capsize=3, label=f"$\\lambda_V$ = {weight:g}"
            )
        published = [(i, PAPER[code]) for i, code in enumerate(codes) if code in PAPER]
        if published:
            ax.plot(*zip(*published, strict=True), "D", color=plotting.QUIET, label="the paper's")
        ax.set_xticks(range(len(codes)), codes, rotation=45, ha="right")
        ax.set_ylim(bottom=0)
        ax.set_ylabel("error (%), 95 % interval")
        ax.legend()

    plotting.chart(draw).save(str(out / "errors.png"))
    for weight in weights:
        made = [
            [data.read(out / _file(code, weight, i), None) for i in range(min(SHOWN, len(images)))] for code in codes
        ]
        shown = [images[:SHOWN], *[torch.cat(row) for row in made]]
        plotting.pictures(shown, labels=["original", *codes]).save(str(out / f"pictures-{weight:g}.png"))
