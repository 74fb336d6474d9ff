"""Whether attacks carry features: a network learns from attacked scenes with random labels, and names clean ones."""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import adversarial, world
from course_lib.errors import require
from course_lib.measure import interval, paired
from course_lib.optimizers import OneCycle
from course_lib.progress import bar
from course_lib.reproduce import runs

__all__ = ["ARMS", "Run", "add_parsers", "run", "summary"]

SIDE, BATCH = 32, 64
EPSILON, STEPS = 8 / 255, 10
COLOURS = len(world.COLOURS)
#: Whose attacks are learned from.
ARMS = ("a trained network", "an untrained network")


class Run(NamedTuple):
    """How a network that learned from attacks names one clean scene.

    Attributes:
        seed: Of all scenes, weights, orders and labels.
        arm: Whose attacks it learned from, one of ARMS.
        scene: Number of the clean scene, from 0.
        right: Whether it names the colour of the object, 0 or 1.
        source: Whether the trained network that was attacked does.
    """

    seed: int
    arm: str
    scene: int
    right: int
    source: int


def add_parsers(tables: Any) -> None:
    """The command features.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("features", help="a network learns from attacked scenes with random labels")
    one.add_argument("--scenes", type=int, default=4096, help="how many to learn from (default 4096)")
    one.add_argument("--passes", type=int, default=8, help="how often each is seen (default 8)")
    one.add_argument("--fresh", type=int, default=1000, help="how many clean ones to name (default 1000)")
    one.add_argument("--seeds", type=int, default=3, help="how many runs (default 3)")
    one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Make the table: networks of three convolutions name the colour of the object in scenes of 32 x 32 pixels.

    One of them learns from scenes with their true labels. Other scenes get random labels, and are changed towards them
    by PGD of 8/255: once on that network, once on an untrained one. From each set another network learns, which never
    sees a scene with its true label; chance is 1 in 8.

    Args:
        given: The arguments of features, with `out`, the folder for the results.

    Raises:
        ValueError: Fewer than a batch of scenes, passes < 1, fresh < 2, seeds < 1, or a folder for the results that
            holds the runs of something else.
    """
    require(given.scenes >= BATCH, f"scenes must be at least {BATCH}, got {given.scenes}")
    require(given.passes >= 1, f"passes must be at least 1, got {given.passes}")
    require(given.fresh >= 2, f"fresh must be at least 2, got {given.fresh}")
    require(given.seeds >= 1, f"seeds must be at least 1, got {given.seeds}")
    torch.set_flush_denormal(True)  # as in course_lib.train
    title = f"features, {given.scenes} scenes, {given.passes} passes"
    done = runs.stored(given.out / "runs.csv", Run, title)
    whole = {seed for seed in range(given.seeds) if sum(one.seed == seed for one in done) == len(ARMS) * given.fresh}
    done = [one for one in done if one.seed in whole]
    for seed in bar([seed for seed in range(given.seeds) if seed not in whole], desc="features", unit="run"):
        for one in _measured(seed, given.scenes, given.passes, given.fresh):
            done.append(one)
            runs.keep(given.out / "runs.csv", one)
    runs.tabulate(given.out / "table.csv", title, summary(done))


def _measured(seed: int, scenes: int, passes: int, fresh: int) -> list[Run]:
    """One run of both arms."""
    lesson, attacked, clean = (_coloured(n, 40_000 + 10 * seed + i) for i, n in enumerate((scenes, scenes, fresh)))
    source = _trained(*lesson, passes, seed)
    known = _right(source, *clean)
    wanted = torch.randint(COLOURS, (scenes,), generator=torch.Generator().manual_seed(seed))
    found = []
    for arm, net in zip(ARMS, (source, _small(seed + 1000).eval()), strict=True):
        moved = [
            adversarial.pgd(net, x, y, EPSILON, STEPS, targeted=True, anyway=True)
            for x, y in zip(attacked[0].split(256), wanted.split(256), strict=True)
        ]
        pupil = _trained(torch.cat(moved), wanted, passes, seed + 2000)
        right = _right(pupil, *clean)
        found += [Run(seed, arm, i, int(right[i]), int(known[i])) for i in range(fresh)]
    return found


def _coloured(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Scenes and the colours of their objects."""
    scenes = world.draw(n, seed=seed, size=SIDE)
    return scenes.images, scenes.factors["colour"]


def _small(seed: int) -> nn.Sequential:
    """Three convolutions of stride 2 and one linear layer."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for incoming, outgoing in pairwise((3, 24, 48, 64)):
            layers += [nn.Conv2d(incoming, outgoing, 3, 2, 1, bias=False), nn.BatchNorm2d(outgoing), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * (SIDE // 8) ** 2, COLOURS))


def _trained(x: Tensor, y: Tensor, passes: int, seed: int) -> nn.Sequential:
    net, generator = _small(seed).train(), torch.Generator().manual_seed(seed)
    cycle = OneCycle(net, passes * (len(y) // BATCH), rate=3e-3, rise=0.3, decay=0.02)
    for _ in range(passes):
        for rows in torch.randperm(len(y), generator=generator)[: len(y) // BATCH * BATCH].split(BATCH):
            cycle.step(F.cross_entropy(net(x[rows]), y[rows]))
    return net.eval()


@torch.no_grad()
def _right(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    right: Tensor = net(x).argmax(1) == y
    return right


def summary(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each arm of each seed, and one for all seeds.

    Args:
        done: The runs.

    Returns:
        Rows {column: value}: the share of clean scenes that are named rightly, with its 95 % interval, after learning
        from attacks on a trained and on an untrained network; the difference, scene by scene; and the share that the
        trained network names rightly.
    """
    rows: list[dict[str, Any]] = []
    for seed in [*dict.fromkeys(one.seed for one in done), "all"]:
        trained, untrained = ([one for one in done if one.arm == arm and seed in (one.seed, "all")] for arm in ARMS)
        a, b = (torch.tensor([bool(one.right) for one in of]) for of in (trained, untrained))
        rows.append(
            {
                "seed": seed,
                "n": len(a),
                ARMS[0]: str(interval(a)),
                ARMS[1]: str(interval(b)),
                "difference": str(paired(a, b).difference),
                "source": str(interval([bool(one.source) for one in trained])),
            }
        )
    return rows
