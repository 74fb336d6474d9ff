"""Where attribution maps point, on composed photographs of one object and of two, whose masks are known."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib import attribution, cutouts, models
from course_lib.errors import require
from course_lib.measure import interval, iou, paired, pointing_game
from course_lib.progress import bar
from course_lib.reproduce import runs

__all__ = ["CENTRE", "RULES", "Run", "add_parsers", "run", "summary"]

SEED = 5_000  # of the scenes
Rule = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, image, label -> (1, 1, h, w)


class Run(NamedTuple):
    """One map of one scene.

    Attributes:
        objects: How many objects stand in the scene, 1 or 2; with 2, the map is of the first one's class.
        scene: Number of the scene, from 0.
        rule: Name of the rule, one of RULES.
        hit: Whether the map's largest value lies on the object, 0 or 1 (`measure.pointing_game`).
        iou: Overlap of the mask with as many of the map's largest values (`measure.iou`).
        covered: Fraction of the image that the object covers, which is chance for `hit`.
    """

    objects: int
    scene: int
    rule: str
    hit: int
    iou: float
    covered: float


def _centre(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    """What any map must beat: the middle of the image."""
    rows, columns = (torch.linspace(-1, 1, side) for side in x.shape[2:])
    return (2 - rows[:, None].square() - columns.square())[None, None]


CENTRE = "centre of the image"
#: What is compared, by name. The first two look at no network, the third at one without training.
RULES: dict[str, Rule] = {
    CENTRE: _centre,
    "edges of the image": lambda net, x, label: x.diff(dim=3, prepend=x[..., :1]).abs().amax(1, keepdim=True),
    "saliency, random weights": lambda net, x, label: attribution.saliency(_untrained(), x, label),
    "saliency": attribution.saliency,
    "guided": partial(attribution.saliency, rule="guided"),
    "deconvnet": partial(attribution.saliency, rule="deconvnet"),
    "SmoothGrad": attribution.smooth_grad,
    "integrated gradients": lambda net, x, label: attribution.integrated_gradients(net, x, label).abs(),
    "Grad-CAM": attribution.grad_cam,
    "occlusion": lambda net, x, label: attribution.occlusion(net, x, label, patch=48, stride=16),
}


def _untrained() -> models.Network:
    return models.load("efficientnet_lite0", weights="random")


def add_parsers(tables: Any) -> None:
    """The command pointing.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("pointing", help="where attribution maps point, on composed photographs")
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
    title = "pointing, EfficientNet-Lite0, 224 px"
    done = runs.stored(given.out / "runs.csv", Run, title)
    there = {(one.objects, one.scene, one.rule) for one in done}
    for objects in (1, 2):
        scenes = cutouts.compose(given.count, seed=SEED, among=among, second=objects == 2)
        keys = [(i, rule) for i in range(given.count) for rule in given.rules]
        for i, rule in bar([key for key in keys if (objects, *key) not in there], desc=f"{objects} in a scene"):
            hit, overlap, covered = _measured(net, scenes[i], RULES[rule])
            done.append(Run(objects, i, rule, hit, overlap, covered))
            runs.keep(given.out / "runs.csv", done[-1])
    runs.tabulate(given.out / "table.csv", title, summary([one for one in done if one.scene < given.count]))


def _measured(net: nn.Module, scene: cutouts.Scenes, rule: Rule) -> tuple[int, float, float]:
    """Hit, overlap, and how much the object covers."""
    heat = rule(net, scene.images, scene.labels)
    return int(pointing_game(heat, scene.masks)), float(iou(heat, scene.masks)), float(scene.masks.float().mean())


def summary(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each rule and number of objects.

    Args:
        done: The runs.

    Returns:
        Rows {column: value}: the share of hits and the overlap, with 95 % intervals over scenes; how many more hits
        than the centre of the image has on the same scenes, with Wilcoxon's p; and what the objects cover.
    """
    rows: list[dict[str, Any]] = []
    centre = {(one.objects, one.scene): one.hit for one in done if one.rule == CENTRE}
    for objects, rule in dict.fromkeys((one.objects, one.rule) for one in done):
        of = [one for one in done if (one.objects, one.rule) == (objects, rule)]
        pairs = [(float(one.hit), float(centre[objects, one.scene])) for one in of if (objects, one.scene) in centre]
        over = paired(*torch.tensor(pairs).T) if len(pairs) > 1 else None
        rows.append(
            {
                "objects": objects,
                "rule": rule,
                "n": len(of),
                "hits": str(interval(torch.tensor([bool(one.hit) for one in of]))),
                "overlap": str(interval([one.iou for one in of])),
                "over the centre": str(over.difference) if over else "",
                "p": over.p if over else "",
                "covered": sum(one.covered for one in of) / len(of),
            }
        )
    return rows
