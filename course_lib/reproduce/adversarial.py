"""How often and by how little a network trained on photographs is fooled: PGD, and L-BFGS beside it."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib import adversarial, cutouts, data, models
from course_lib.errors import require
from course_lib.measure import interval, paired
from course_lib.progress import bar
from course_lib.reproduce import runs

__all__ = ["LEVELS", "METHODS", "Run", "add_parsers", "run", "summary"]

SEED = 6_000  # of the scenes
LEVELS = (1, 2, 4, 8)  # of 255: an image that a small ball does not hold is attacked in the next larger one
ROUNDS, STEPS = 5, 10  # how often the radius is halved; of each attack
Attack = Callable[[nn.Module, Tensor, int], Tensor]


class Run(NamedTuple):
    """One attack on one image.

    Attributes:
        image: Its number, from 0.
        method: One of METHODS.
        reached: Whether the network gives the result its target, 0 or 1.
        largest: Largest change of a colour value, in units of 1/255.
        length: Euclidean length of the change.
        seconds: That the attack took.
    """

    image: int
    method: str
    reached: int
    largest: float
    length: float
    seconds: float


def _ladder(net: nn.Module, x: Tensor, target: int) -> Tensor:
    """PGD in larger and larger boxes, until one holds the target."""
    for level in LEVELS:
        moved = adversarial.pgd(net, x, target, level / 255, STEPS, targeted=True)
        if _is(net, moved, target):
            break
    return moved


def _shortest(net: nn.Module, x: Tensor, target: int) -> Tensor:
    """PGD in L2, in the smallest ball that bisection finds."""
    low, high, best = 0.0, 4.0, x
    for _ in range(ROUNDS):
        radius = (low + high) / 2
        moved = adversarial.pgd(net, x, target, radius, STEPS, targeted=True, norm="l2")
        if _is(net, moved, target):
            high, best = radius, moved
        else:
            low = radius
    return best


def _lbfgs(net: nn.Module, x: Tensor, target: int) -> Tensor:
    return adversarial.lbfgs(net, x, target, weight=1.0, searches=ROUNDS, steps=2 * STEPS)


#: The attacks, by name.
METHODS: dict[str, Attack] = {"PGD by largest change": _ladder, "PGD by length": _shortest, "L-BFGS": _lbfgs}


@torch.no_grad()
def _is(net: nn.Module, x: Tensor, target: int) -> bool:
    return int(net(x).argmax(1)) == target


def add_parsers(tables: Any) -> None:
    """The command adversarial.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("adversarial", help="how often, and by how little, EfficientNet-Lite0 is fooled")
    one.add_argument("--folder", type=Path, help="photographs to attack; composed scenes by default")
    one.add_argument("--count", type=int, default=200, help="how many images (default 200)")
    one.add_argument(
        "--sizes", type=int, default=10, help="how many of them by the slow methods too, or 0 (default 10)"
    )
    one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Make the table. Each image is attacked once by each method; a run that was stopped goes on.

    Targets are drawn at random among the classes that the network does not give to the image already.

    Args:
        given: The arguments of adversarial, with `out`, the folder for the results.

    Raises:
        FileNotFoundError: There is no such folder, or the cut-outs or the weights are not on this machine.
        ValueError: count < 2, sizes neither 0 nor in [2, count], a folder with fewer images, or a folder for the
            results that holds the runs of something else.
    """
    require(given.count >= 2, f"count must be at least 2, got {given.count}")
    few = given.sizes == 0 or 2 <= given.sizes <= given.count
    require(few, f"sizes is 0 or in [2, {given.count}], got {given.sizes}")
    net = models.load("efficientnet_lite0")
    title = f"adversarial, EfficientNet-Lite0, {'scenes' if given.folder is None else 'photographs'}, random targets"
    done = runs.stored(given.out / "runs.csv", Run, title)
    there = {(one.image, one.method) for one in done}
    image = _images(net, given.folder, given.count)
    shift = torch.randint(1, len(net.classes), (given.count,), generator=torch.Generator().manual_seed(SEED))
    counts = {method: given.sizes if i else given.count for i, method in enumerate(METHODS)}
    keys = sorted((i, method) for method, count in counts.items() for i in range(count))
    for i, method in bar([key for key in keys if key not in there], desc="attacks"):
        x = image(i)
        target = int((net(x).argmax(1) + shift[i]) % len(net.classes))
        start = time.perf_counter()
        moved = METHODS[method](net, x, target)
        seconds = time.perf_counter() - start
        change = (moved - x).abs()
        sizes = float(255 * change.max()), float(change.norm())
        done.append(Run(i, method, int(_is(net, moved, target)), *sizes, seconds))
        runs.keep(given.out / "runs.csv", done[-1])
    runs.tabulate(given.out / "table.csv", title, summary([one for one in done if one.image < given.count]))


def _images(net: models.Network, folder: Path | None, count: int) -> Callable[[int], Tensor]:
    """Image i, (1, 3, h, w): a file of a folder, or a composed scene whose object the network names rightly."""
    if folder is not None:
        files = data.folder(folder)
        require(len(files) >= count, f"{folder} holds {len(files)} images, fewer than --count {count}")
        return lambda i: data.pick(files, [i], net.image_size)
    among = cutouts.recognised(net)
    found: list[Tensor] = []
    for block in range(count):  # blocks of 32, until there are enough
        scenes = cutouts.compose(32, seed=SEED + block, among=among)
        with torch.no_grad():
            right = torch.cat([net(x[None]).argmax(1) for x in scenes.images]) == scenes.labels
        found.extend(scenes.images[right])
        if len(found) >= count:
            break
    return lambda i: found[i][None]


def summary(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each method, and for PGD one for each level, too.

    Args:
        done: The runs.

    Returns:
        Rows {column: value}: the share of targets that are reached, within the level where there is one, with its 95 %
        interval; the means of the largest change (in 1/255), of the length, and of the seconds; and how much longer
        the change is than that of L-BFGS, image by image, as a ratio: the mean logarithm, with its interval, as a
        power of e, and Wilcoxon's p.
    """
    shortest = {one.image: one.length for one in done if one.method == "L-BFGS" and one.reached}
    rows: list[dict[str, Any]] = []
    for method in dict.fromkeys(one.method for one in done):
        of = [one for one in done if one.method == method]
        levels = LEVELS if method == next(iter(METHODS)) else (255,)
        for level in levels:
            held = torch.tensor([bool(one.reached and one.largest <= level + 1e-3) for one in of])
            rows.append({"method": f"{method} {level}/255" if len(levels) > 1 else method, "n": len(of)})
            rows[-1]["reached"] = str(interval(held))
        rows[-1] |= {
            "largest x 255": str(interval([one.largest for one in of])),
            "length": str(interval([one.length for one in of])),
            "seconds": sum(one.seconds for one in of) / len(of),
        }
        both = [(one.length, shortest[one.image]) for one in of if one.reached and one.image in shortest]
        if len(both) > 1:
            over = paired(*torch.tensor(both).log().T)
            rows[-1] |= {
                "over L-BFGS": " ".join(f"{torch.tensor(end).exp():.2f}" for end in over.difference[:3]),
                "pairs": len(both),
                "p": over.p,
            }
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, "") for name in columns} for row in rows]
