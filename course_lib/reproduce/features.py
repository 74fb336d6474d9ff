"""Whether attacks carry features: a network learns from attacked scenes with wrong labels, and names clean ones."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib import adversarial, models, world
from course_lib.errors import require
from course_lib.measure import interval
from course_lib.progress import bar
from course_lib.reproduce import runs
from course_lib.train.coursenet import BATCH, coursenet, draw_ahead

__all__ = ["ARMS", "Run", "add_parsers", "run", "summary"]

SEED = 7  # of the scenes to learn from: other blocks than those of the shipped weights
FRESH_SEED = 61_000  # of the scenes to name
EPSILON, STEPS = 8 / 255, 5
Attacker = Callable[[], nn.Module]


class Run(NamedTuple):
    """One network that was trained, and how it named clean scenes.

    Attributes:
        arm: What it learned from, one of ARMS.
        scenes: How many scenes it learned from.
        fitted: Share of the last 1000 of them that it gives their training label.
        fresh: How many clean scenes it was tested on.
        right: How many of these it named rightly.
    """

    arm: str
    scenes: int
    fitted: float
    fresh: int
    right: int


#: Who attacks the scenes, by the name of what is learned from; None leaves them as they are.
ARMS: dict[str, Attacker | None] = {
    "attacks on CourseNet, random labels": lambda: models.load("coursenet"),
    "attacks on an untrained network, random labels": lambda: models.load("coursenet", weights="random", seed=11),
    "clean scenes, true labels": None,
}


def add_parsers(tables: Any) -> None:
    """The command features.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("features", help="a network learns from attacked scenes with wrong labels")
    one.add_argument("--scenes", type=int, default=3072, help="how many to learn from (default 3072)")
    one.add_argument("--passes", type=int, default=8, help="how often each is seen (default 8)")
    one.add_argument("--fresh", type=int, default=1000, help="how many clean ones to name (default 1000)")
    one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Make the table. A network that was trained is not trained again; a run that was stopped goes on.

    Args:
        given: The arguments of features, with `out`, the folder for the results.

    Raises:
        ValueError: Fewer than a batch of scenes, passes < 1, fresh < 2, or a folder for the results that holds the
            runs of something else.
    """
    require(given.scenes >= BATCH, f"scenes must be at least {BATCH}, got {given.scenes}")
    require(given.passes >= 1, f"passes must be at least 1, got {given.passes}")
    require(given.fresh >= 2, f"fresh must be at least 2, got {given.fresh}")
    torch.set_flush_denormal(True)  # as in course_lib.train
    title = f"features, {given.scenes} scenes, {given.passes} passes, attacks of 8/255"
    done = runs.stored(given.out / "runs.csv", Run, title)
    missing = [arm for arm in ARMS if arm not in {one.arm for one in done}]
    if missing:
        images, labels = draw_ahead(given.scenes, SEED)
        fresh = world.draw(given.fresh, seed=FRESH_SEED)
    for arm in missing:
        x, y = _lesson(images, labels, ARMS[arm])
        net = coursenet(x, y, given.passes, seed=SEED)
        fitted = _named(net, x[-1000:].float() / 255, y[-1000:]).float().mean()
        right = int(_named(net, fresh.images, fresh.labels).sum())
        done.append(Run(arm, given.scenes, float(fitted), given.fresh, right))
        runs.keep(given.out / "runs.csv", done[-1])
    runs.tabulate(given.out / "table.csv", title, summary(done))


def _lesson(images: Tensor, labels: Tensor, attacker: Attacker | None) -> tuple[Tensor, Tensor]:
    """Images as bytes and labels to learn: attacked towards random classes, or as they are."""
    if attacker is None:
        return images, labels
    net = attacker()
    wanted = torch.randint(10, labels.shape, generator=torch.Generator().manual_seed(SEED))
    rows = bar(_blocks(len(labels)), total=-(-len(labels) // BATCH), desc="attacking", unit="batch")
    attacked = [_attacked(net, images[block].float() / 255, wanted[block]) for block in rows]
    return torch.cat(attacked), wanted


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + BATCH) for start in range(0, n, BATCH))


def _attacked(net: nn.Module, x: Tensor, wanted: Tensor) -> Tensor:
    moved = adversarial.pgd(net, x, wanted, EPSILON, STEPS, targeted=True, anyway=True)
    return (moved * 255).round().byte()  # within the ball: x and 8/255 are 8-bit values


@torch.no_grad()
def _named(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(n,) bool. The network that training returns takes (x - 0.5) / 0.25."""
    return torch.cat([net((x[b] - 0.5) / 0.25).argmax(1) == y[b] for b in _blocks(len(y))])


def summary(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each thing that was learned from.

    Args:
        done: The runs.

    Returns:
        Rows {column: value}: how well the training labels were learned, and the share of clean scenes that are named
        rightly, with its 95 % interval (chance is 0.1).
    """
    return [
        {
            "learned from": one.arm,
            "scenes": one.scenes,
            "fitted": one.fitted,
            "clean scenes": str(interval(torch.arange(one.fresh) < one.right)),
            "n": one.fresh,
        }
        for one in done
    ]
