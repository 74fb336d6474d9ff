"""How true attribution maps are, where masks are known: composed photographs of one object and two, drawn scenes."""

import argparse
from collections.abc import Callable, Sequence
from functools import cache, partial
from math import nan
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib import attribution, cutouts, models, world
from course_lib.errors import require
from course_lib.measure import area, deletion, insertion, interval, iou, paired, pointing_game
from course_lib.progress import bar
from course_lib.reproduce import runs

__all__ = ["BASELINES", "CENTRE", "EDGES", "WORLDS", "Run", "World", "add_parsers", "run", "summary"]

STEPS = 16  # of deletion and insertion
Rule = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, image, label -> (1, 1, h, w)


class Run(NamedTuple):
    """One map of one scene.

    Attributes:
        objects: How many objects stand in the scene, 1 or 2; with 2, the map is of the first one's class.
        scene: Number of the scene, from 0.
        rule: Name of the rule, a key of `World.rules`.
        hit: Whether the map's largest value lies on the object, 0 or 1 (`measure.pointing_game`).
        other: Whether it lies on the other object, 0 or 1; 0 with one object.
        iou: Overlap of the mask with as many of the map's largest values (`measure.iou`).
        deletion: Area under P(class) while the map's largest pixels turn grey (`measure.deletion`), nan with two
            objects and for the rules in `World.pointing_only`.
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


def _edges(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    """How much neighbours in a row differ."""
    return x.diff(dim=3, prepend=x[..., :1]).abs().amax(1, keepdim=True)


RANDOM, CENTRE, EDGES, UNTRAINED = (
    "random pixels",
    "centre of the image",
    "edges of the image",
    "saliency, random weights",
)
#: With what every rule is compared, scene by scene.
BASELINES = (CENTRE, EDGES)
CRITERIA = ("hit", "iou", "deletion", "insertion")


class World(NamedTuple):
    """Where maps are measured, and with which settings.

    Attributes:
        title: Of the results: the network, the settings.
        network: Name of the network that is explained.
        objects: How many objects stand in a scene: each number is measured for itself.
        scenes: (count, number of objects) -> that many scenes, the first of a longer call first.
        rules: What is compared, by name. The first three look at no network, the fourth at one without training.
        pointing_only: Rules whose deletion and insertion are not measured.
    """

    title: str
    network: str
    objects: tuple[int, ...]
    scenes: Callable[[int, int], Any]
    rules: dict[str, Rule]
    pointing_only: tuple[str, ...]


def _rules(network: str, noise: float, patch: int, stride: int) -> dict[str, Rule]:
    @cache
    def untrained() -> models.Network:
        return models.load(network, weights="random")

    return {
        RANDOM: _random,
        CENTRE: _centre,
        EDGES: _edges,
        UNTRAINED: lambda net, x, label: attribution.saliency(untrained(), x, label),
        "saliency": attribution.saliency,
        "guided": partial(attribution.saliency, rule="guided"),
        "deconvnet": partial(attribution.saliency, rule="deconvnet"),
        "SmoothGrad": partial(attribution.smooth_grad, samples=5, noise=noise),
        "integrated gradients": lambda net, x, label: attribution.integrated_gradients(net, x, label, steps=5).abs(),
        "Grad-CAM": attribution.grad_cam,
        "occlusion": partial(attribution.occlusion, patch=patch, stride=stride),
    }


def _composed(n: int, objects: int) -> cutouts.Scenes:
    among = cutouts.recognised(models.load("efficientnet_lite0"))
    return cutouts.compose(n, seed=5_000, among=among, second=objects == 2)


#: By name. SmoothGrad's noise is the one of its paper on photographs; CourseNet has never seen as much.
WORLDS = {
    "photographed": World(
        "maps of EfficientNet-Lite0, 224 px; SmoothGrad 5 copies; integrated gradients 5 steps; occlusion 64/40 px",
        "efficientnet_lite0",
        (1, 2),
        _composed,
        _rules("efficientnet_lite0", 0.15, 64, 40),
        (RANDOM, UNTRAINED, "deconvnet"),  # controls, and a map that is the same for every image
    ),
    "drawn": World(
        "maps of CourseNet, 96 px; SmoothGrad 5 copies, noise 0.05; integrated gradients 5 steps; occlusion 24/12 px",
        "coursenet",
        (1,),
        lambda n, objects: world.draw(n, seed=5_000),
        _rules("coursenet", 0.05, 24, 12),
        (),
    ),
}


def add_parsers(tables: Any) -> None:
    """The command pointing.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    names = WORLDS["photographed"].rules
    one = tables.add_parser("pointing", help="how true attribution maps are, on composed photographs or drawn scenes")
    one.add_argument("--count", type=int, default=200, help="how many scenes (default 200)")
    one.add_argument("--rules", nargs="+", choices=list(names), default=list(names), help="by default all")
    one.add_argument("--world", choices=list(WORLDS), default="photographed", help="by default photographed")
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
    where = WORLDS[given.world]
    net = models.load(where.network)
    done = runs.stored(given.out / "runs.csv", Run, where.title)
    there = {(one.objects, one.scene, one.rule) for one in done}
    scenes = {objects: where.scenes(given.count, objects) for objects in where.objects}
    # Scene by scene, so that a run that was stopped has all rules for the same scenes
    keys = [(objects, i, rule) for i in range(given.count) for objects in scenes for rule in given.rules]
    for objects, i, rule in bar([key for key in keys if key not in there], desc="maps"):
        found = _measured(net, scenes[objects][i], where.rules[rule], areas=rule not in where.pointing_only)
        done.append(Run(objects, i, rule, *found))
        runs.keep(given.out / "runs.csv", done[-1])
    runs.tabulate(given.out / "table.csv", where.title, summary([one for one in done if one.scene < given.count]))


def _measured(net: nn.Module, scene: Any, rule: Rule, *, areas: bool) -> tuple[int, int, float, float, float, float]:
    """What a `Run` holds behind its rule."""
    x, label, mask = scene.images, scene.labels, scene.masks
    heat = rule(net, x, label)
    second = scene.factors.get("second_mask")
    other = second is not None and bool(second.any()) and bool(pointing_game(heat, second))
    gone = back = nan
    if second is None and areas:
        gone = float(area(deletion(net, x, label, heat, steps=STEPS)))
        back = float(area(insertion(net, x, label, heat, steps=STEPS)))
    return int(pointing_game(heat, mask)), int(other), float(iou(heat, mask)), gone, back, float(mask.float().mean())


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
