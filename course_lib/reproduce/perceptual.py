"""The generic perceptual loss put to the test: three tasks, learnt without it and with it."""

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib import models, plotting, world
from course_lib.errors import require, unknown
from course_lib.measure import Interval, interval
from course_lib.perceptual import PerceptualLoss, pixelwise, untrained_vgg
from course_lib.perceptual.pixelwise import TASKS, Task
from course_lib.progress import bar
from course_lib.reproduce import runs
from course_lib.world import Scenes

WEIGHTS = (0.2, 1.0, 5.0, 25.0)  # one is chosen for each arm
SWEEP = 100  # the seed on which it is chosen; those that are reported begin at 0
TRAINING, CHOOSING, TESTING = 30_000_000, 31_000_000, 32_000_000  # seeds of the scenes
WITHOUT = "without"
DEEP = ("relu1_2", "relu2_2", "relu3_2")
EARLY = ("relu1", "relu2", "relu3")  # CourseNet's

# (sample of the maps, seed) -> the extra loss, or none
Arm = Callable[[Tensor, int], PerceptualLoss | None]


def _without(sample: Tensor, seed: int) -> None:
    return None


def _untrained(sample: Tensor, seed: int) -> PerceptualLoss:
    return PerceptualLoss(untrained_vgg(sample, seed=seed), DEEP)


def _linear(sample: Tensor, seed: int) -> PerceptualLoss:
    return PerceptualLoss(untrained_vgg(sample, rectified=False, seed=seed), DEEP)


def _one_convolution(sample: Tensor, seed: int) -> PerceptualLoss:
    return PerceptualLoss(untrained_vgg(sample, seed=seed), ("relu1_1",))


def _untrained_coursenet(sample: Tensor, seed: int) -> PerceptualLoss:
    return PerceptualLoss(models.load("coursenet", weights="random", seed=seed).to(sample.device), EARLY)


def _trained_coursenet(sample: Tensor, seed: int) -> PerceptualLoss:
    return PerceptualLoss(models.load("coursenet").to(sample.device), EARLY)


# The first arm of a task is what the others are compared with; later ones are also compared with each other.
ARMS: dict[str, dict[str, Arm]] = {
    "segmentation": {WITHOUT: _without, "untrained VGG": _untrained},
    "depth": {
        WITHOUT: _without,
        "untrained VGG": _untrained,
        "the same without ReLU": _linear,
        "its first convolution": _one_convolution,
    },
    "super-resolution": {
        WITHOUT: _without,
        "untrained CourseNet": _untrained_coursenet,
        "trained CourseNet": _trained_coursenet,
    },
}


class Run(NamedTuple):
    """One training.

    Attributes:
        task: Name of the task, a key of `TASKS`.
        arm: Name of the extra loss, a key of the task in `ARMS`.
        weight: Weight of the extra loss; 0 without one.
        seed: Seed of the scenes and of the training.
        measures: {measure: value} of the trained network, on scenes that it was not trained on.
        seconds: How long the training took.
    """

    task: str
    arm: str
    weight: float
    seed: int
    measures: dict[str, float]
    seconds: float

    @property
    def key(self) -> tuple[str, str, float, int]:
        """What tells this run from the others: task, arm, weight and seed."""
        return self.task, self.arm, self.weight, self.seed


def add_parsers(tables: Any) -> None:
    """The command perceptual-loss.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    parser = tables.add_parser("perceptual-loss", help="three tasks learnt without it and with it (Liu 2021)")
    parser.set_defaults(run=run)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help=f"default: {' '.join(TASKS)}")
    parser.add_argument("--seeds", type=int, default=5, help="how many trainings of each arm (default 5)")
    parser.add_argument("--steps", type=int, default=600, help="of each training (default 600)")
    parser.add_argument("--scenes", type=int, default=1024, help="that each training may see (default 1024)")
    parser.add_argument("--size", type=int, default=48, help="side of the scenes, a multiple of 4 (default 48)")


def run(given: argparse.Namespace) -> None:
    """Train every arm of every task, then write runs.csv, table.csv and differences.png to a folder.

    For each arm a weight is chosen with the seed and on the scenes of the sweep; then come trainings with the seeds
    0, 1, ..., measured on other scenes.

    Args:
        given: The arguments of perceptual-loss, with `out`, the folder for the results.

    Raises:
        ValueError: Unknown tasks, too few or too many seeds, a size that does not fit, or a folder that holds something
            else.
    """
    for task in given.tasks:
        if task not in TASKS:
            raise unknown("task", task, TASKS)
    enough = 2 <= given.seeds <= SWEEP
    require(enough, f"seeds go from 2, or there is no spread, to {SWEEP}, which is the sweep's, got {given.seeds}")
    require(given.size >= 16 and given.size % 4 == 0, f"size is a multiple of 4, at least 16, got {given.size}")
    out = given.out
    out.mkdir(parents=True, exist_ok=True)
    title = f"perceptual-loss, {given.steps} steps, {given.scenes} scenes, {given.size} px"
    store = _Store(out / "runs.csv", title)
    bench = _Bench(given.steps, given.scenes, given.size)
    for name in given.tasks:
        with bar(desc=name, unit="run") as progress:
            for wanted in _plan(name, given.seeds, store.runs):
                if wanted not in {one.key for one in store.runs}:
                    store.add(bench.run(*wanted))
                    progress.update()
    rows = summary(store.runs, given.tasks, given.seeds)
    runs.tabulate(out / "table.csv", title, rows)
    _show(rows, out)


def _plan(task: str, seeds: int, runs: list[Run]) -> Iterator[tuple[str, str, float, int]]:
    """The trainings in their order: the sweep, whose results `runs` must hold by then, and the reported ones."""
    arms = list(ARMS[task])
    yield from ((task, arm, weight, SWEEP) for arm in arms[1:] for weight in WEIGHTS)
    for seed in range(seeds):
        yield from ((task, arm, _chosen_weight(runs, task, arm), seed) for arm in arms)


def _chosen_weight(runs: Sequence[Run], task: str, arm: str) -> float:
    """The weight whose first measure is the best in the sweep; 0 for the arm without the loss."""
    if arm == WITHOUT:
        return 0.0
    measure, larger = next(iter(TASKS[task].larger.items()))
    found = {one.weight: one.measures[measure] for one in runs if (one.task, one.arm, one.seed) == (task, arm, SWEEP)}
    return (max if larger else min)(WEIGHTS, key=found.__getitem__)


class _Bench:
    """Draws the scenes, trains and measures. Scenes are drawn when they are needed, and those of a seed kept."""

    def __init__(self, steps: int, scenes: int, size: int):
        self.steps, self.scenes, self.size = steps, scenes, size
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.drawn: dict[int, Scenes] = {}

    def draw(self, n: int, seed: int) -> Scenes:
        if seed not in self.drawn:
            held = [kept for kept in self.drawn if kept >= CHOOSING]  # training scenes are many: one seed at a time
            self.drawn = {kept: self.drawn[kept] for kept in held}
            self.drawn[seed] = world.draw(n, seed=seed, size=self.size).to(self.device)
        return self.drawn[seed]

    def run(self, name: str, arm: str, weight: float, seed: int) -> Run:
        task: Task = TASKS[name]
        scenes = self.draw(self.scenes, TRAINING + seed)
        extra = ARMS[name][arm](task.wanted(scenes)[:32], seed)
        start = time.perf_counter()
        network = pixelwise.train(task, scenes, extra=extra, weight=weight, steps=self.steps, seed=seed)
        seconds = time.perf_counter() - start
        fresh = self.draw(500, CHOOSING if seed == SWEEP else TESTING)
        return Run(name, arm, weight, seed, task.measures(pixelwise.predict(task, network, fresh), fresh), seconds)


class _Store:
    """The runs in a file, each written as it ends, after a first line that says of what."""

    FIELDS = ("task", "arm", "weight", "seed", "seconds")
    MEASURES = tuple(dict.fromkeys(measure for task in TASKS.values() for measure in task.larger))

    def __init__(self, path: Path, title: str):
        self.path = path
        header = [f"# {title}", ",".join([*self.FIELDS, *self.MEASURES])]
        text = path.read_text() if path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines() or header  # a crash may cut the last one
        require(lines[0] == header[0], f"{path} holds {lines[0].removeprefix('# ')}; choose another --out")
        path.write_text("\n".join([*lines, ""]))
        self.runs = [self._read(row) for row in csv.DictReader(lines[1:])]

    def add(self, run: Run) -> None:
        values = [run.task, run.arm, f"{run.weight:g}", str(run.seed), f"{run.seconds:.1f}"]
        measures = [f"{run.measures[name]:.6g}" if name in run.measures else "" for name in self.MEASURES]
        with self.path.open("a") as file:
            file.write(",".join([*values, *measures]) + "\n")
        self.runs.append(run)

    def _read(self, row: dict[str, str]) -> Run:
        measures = {name: float(row[name]) for name in self.MEASURES if row[name]}
        return Run(row["task"], row["arm"], float(row["weight"]), int(row["seed"]), measures, float(row["seconds"]))


# ---------------------------------------------------------------- the table


def summary(runs: Sequence[Run], tasks: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    """A row for each task, measure and pair of arms: the mean, and its paired difference to the other arm.

    Pairs share the seed: initial weights, scenes and their order. Columns low and high are the 95 % interval of the
    difference.

    Args:
        runs: All runs, those of the sweep among them.
        tasks: Names of the tasks, keys of `TASKS`.
        seeds: How many seeds are reported: 0, 1, ..., at least 2.

    Returns:
        Rows {column: value}; the first arm is compared with none: its `against` is "" and its difference 0.
    """
    rows = []
    for task in tasks:
        arms = list(ARMS[task])
        for measure, larger in TASKS[task].larger.items():
            values = {}
            for arm in arms:
                weight = _chosen_weight(runs, task, arm)
                of = {one.seed: one.measures[measure] for one in runs if one.key[:3] == (task, arm, weight)}
                values[arm] = torch.tensor([of[seed] for seed in range(seeds)], dtype=torch.float64)
            for i, arm in enumerate(arms):
                for against in arms[:i] or [arm]:
                    difference = interval(values[arm] - values[against])
                    rows.append(
                        {
                            "task": task,
                            "measure": measure,
                            "better": "larger" if larger else "smaller",
                            "arm": arm,
                            "weight": _chosen_weight(runs, task, arm),
                            "n": seeds,
                            "mean": float(values[arm].mean()),
                            "deviation": float(values[arm].std()),
                            "against": "" if against == arm else against,
                            "difference": difference.mean,
                            "low": difference.low,
                            "high": difference.high,
                        }
                    )
    return rows


def _show(rows: list[dict[str, Any]], out: Path) -> None:
    """What each arm changes against the one without, in percent of that one's mean; to the right is better."""
    base = {(row["task"], row["measure"]): row["mean"] for row in rows if row["arm"] == WITHOUT}
    names, values = [], []
    for row in rows:
        if row["against"] == WITHOUT:
            scale = (100 if row["better"] == "larger" else -100) / base[row["task"], row["measure"]]
            low, high = sorted((scale * row["low"], scale * row["high"]))
            names.append(f"{row['task']}, {row['measure']}: {row['arm']}")
            values.append(Interval(scale * row["difference"], low, high, row["n"]))

    def draw(ax: Any) -> None:
        plotting.intervals(ax, names, values)
        ax.axvline(0, color=plotting.QUIET, lw=1)
        ax.set_xlabel("% better than without, 95 % interval")

    plotting.chart(draw, width=9, height=0.8 + 0.3 * len(names)).save(str(out / "differences.png"))
