"""How true attribution maps are, on composed photographs of one object and of two, whose masks are known."""

import argparse
from collections.abc import Callable, Sequence
from functools import cache, partial
from math import nan
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib import attribution, cutouts, models
from course_lib.errors import require
from course_lib.measure import area, deletion, insertion, interval, iou, paired, pointing_game
from course_lib.progress import bar
from course_lib.reproduce import runs

__all__ = ["BASELINES", "CENTRE", "EDGES", "RULES", "Run", "add_parsers", "run", "summary"]

SEED = 5_000  # of the scenes
STEPS = 16  # of deletion and insertion
TITLE = "maps of EfficientNet-Lite0, 224 px; SmoothGrad 8 copies; integrated gradients 10 steps; occlusion 64/40 px"
Rule = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, image, label -> (1, 1, h, w)


class Run(NamedTuple):
    """One map of one scene.

    Attributes:
        objects: How many objects stand in the scene, 1 or 2; with 2, the map is of the first one's class.
        scene: Number of the scene, from 0.
        rule: Name of the rule, one of RULES.
        hit: Whether the map's largest value lies on the object, 0 or 1 (`measure.pointing_game`).
        other: Whether it lies on the other object, 0 or 1; 0 with one object.
        iou: Overlap of the mask with as many of the map's largest values (`measure.iou`).
        deletion: Area under P(class) while the map's largest pixels turn grey (`measure.deletion`), nan with two
            objects and for the rules in POINTING_ONLY.
        insertion: Area under P(class) while they are brought back into the blurred image, or nan.
        covered: Fraction of the image that the object covers, which is chance for `hit`.
    """

    objects: int
    scene: int
    rule: str
    hit: int
    other: int
    iou: float
    deletion: float
    insertion: float
    covered: float


def _random(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    """Noise that depends on the image alone, so that each scene has its own, whatever ran before."""
    seed = int(x.double().sum().mul(1000).round().remainder(2**31))
    return torch.rand(x[:, :1].shape, generator=torch.Generator().manual_seed(seed))


def _centre(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    """What any map must beat: a disc in the middle of the image."""
    rows, columns = (torch.linspace(-1, 1, side) for side in x.shape[2:])
    return (2 - rows[:, None].square() - columns.square())[None, None]


@cache
def _untrained() -> models.Network:
    return models.load("efficientnet_lite0", weights="random")


RANDOM, CENTRE, EDGES = "random pixels", "centre of the image", "edges of the image"
#: What is compared, by name. The first three look at no network, the fourth at one without training.
RULES: dict[str, Rule] = {
    RANDOM: _random,
    CENTRE: _centre,
    EDGES: lambda net, x, label: x.diff(dim=3, prepend=x[..., :1]).abs().amax(1, keepdim=True),
    "saliency, random weights": lambda net, x, label: attribution.saliency(_untrained(), x, label),
    "saliency": attribution.saliency,
    "guided": partial(attribution.saliency, rule="guided"),
    "deconvnet": partial(attribution.saliency, rule="deconvnet"),
    "SmoothGrad": partial(attribution.smooth_grad, samples=8),
    "integrated gradients": lambda net, x, label: attribution.integrated_gradients(net, x, label, steps=10).abs(),
    "Grad-CAM": attribution.grad_cam,
    "occlusion": partial(attribution.occlusion, patch=64, stride=40),
}
#: With what every rule is compared, scene by scene.
BASELINES = (CENTRE, EDGES)
#: Rules whose deletion and insertion are not measured: controls, and a map that is the same for every image.
POINTING_ONLY = (RANDOM, "saliency, random weights", "deconvnet")
CRITERIA = ("hit", "iou", "deletion", "insertion")


def add_parsers(tables: Any) -> None:
    """The command pointing.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("pointing", help="how true attribution maps are, on composed photographs")
    one.add_argument("--count", type=int, default=200, help="how many scenes (default 200)")
    one.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES), help="by default all")
    one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Make the table. Each map is measured once; a run that was stopped goes on.

    Args:
        given: The arguments of pointing, with `out`, the folder for the results.

    Raises:
        FileNotFoundError: The cut-outs, or the weights of the network, are not on this machine.
        ValueError: count < 2, or a folder for the results that holds the runs of something else.
    """
    require(given.count >= 2, f"count must be at least 2, got {given.count}")
    net = models.load("efficientnet_lite0")
    among = cutouts.recognised(net)
    done = runs.stored(given.out / "runs.csv", Run, TITLE)
    there = {(one.objects, one.scene, one.rule) for one in done}
    worlds = {objects: cutouts.compose(given.count, seed=SEED, among=among, second=objects == 2) for objects in (1, 2)}
    # Scene by scene, so that a run that was stopped has all of them for the same scenes
    keys = [(objects, i, rule) for i in range(given.count) for objects in worlds for rule in given.rules]
    for objects, i, rule in bar([key for key in keys if key not in there], desc="maps"):
        done.append(Run(objects, i, rule, *_measured(net, worlds[objects][i], rule)))
        runs.keep(given.out / "runs.csv", done[-1])
    runs.tabulate(given.out / "table.csv", TITLE, summary([one for one in done if one.scene < given.count]))


def _measured(net: nn.Module, scene: cutouts.Scenes, rule: str) -> tuple[int, int, float, float, float, float]:
    """What a `Run` holds behind its rule."""
    x, label, mask = scene.images, scene.labels, scene.masks
    heat = RULES[rule](net, x, label)
    second = scene.factors.get("second_mask")
    other = second is not None and bool(second.any()) and bool(pointing_game(heat, second))
    areas = (nan, nan)
    if second is None and rule not in POINTING_ONLY:
        curves = deletion(net, x, label, heat, steps=STEPS), insertion(net, x, label, heat, steps=STEPS)
        areas = float(area(curves[0])), float(area(curves[1]))
    return int(pointing_game(heat, mask)), int(other), float(iou(heat, mask)), *areas, float(mask.float().mean())


def summary(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each rule and number of objects.

    Args:
        done: The runs.

    Returns:
        Rows {column: value}: the means of `hit`, `other`, `iou`, `deletion` and `insertion` with 95 % intervals over
        scenes; for each of BASELINES and of the four criteria the mean difference to it on the same scenes with its
        interval, and Wilcoxon's p; and what the objects cover. A cell without a measurement is empty.
    """
    by_key = {(one.objects, one.rule, one.scene): one for one in done}
    rows: list[dict[str, Any]] = []
    for objects, rule in dict.fromkeys((one.objects, one.rule) for one in done):
        of = [one for one in done if (one.objects, one.rule) == (objects, rule)]
        row: dict[str, Any] = {"objects": objects, "rule": rule, "n": len(of)}
        row |= {criterion: _mean([getattr(one, criterion) for one in of]) for criterion in ("other", *CRITERIA)}
        row["covered"] = sum(one.covered for one in of) / len(of)
        for baseline in BASELINES:
            pairs = [(one, by_key[key]) for one in of if (key := (objects, baseline, one.scene)) in by_key]
            for criterion in CRITERIA:
                row |= _over(pairs, criterion, f"{criterion} over {baseline}")
        rows.append(row)
    return rows


def _mean(values: Sequence[float]) -> str:
    """The mean and its interval: Wilson's for counts, "" where there are no values, or too few."""
    measured = [value for value in values if value == value]
    if len(measured) < 2:
        return ""
    counts = all(isinstance(value, int) for value in measured)
    return str(interval(torch.tensor(measured) > 0 if counts else measured))


def _over(pairs: Sequence[tuple[Run, Run]], criterion: str, name: str) -> dict[str, Any]:
    """The difference of a criterion over pairs of runs of the same scene, and its p."""
    both = torch.tensor([[float(getattr(one, criterion)) for one in pair] for pair in pairs]).view(-1, 2)
    both = both[both.isfinite().all(1)]
    if len(both) < 2:
        return {name: "", f"p of {name}": ""}
    found = paired(*both.T)
    return {name: str(found.difference), f"p of {name}": found.p}
