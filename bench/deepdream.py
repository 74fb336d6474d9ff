"""What a dream costs: seconds over the bare passes of the network, and peak memory, also of 12 million pixels.

The bare computation is the same number of forward and backward passes at the same sizes, without tiles: features up to
the layer, sum of squares, `torch.autograd.grad`. Each measurement runs in a process of its own.
"""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch
from torch import Tensor

from bench.measuring import Cost, cost, in_a_fresh_process, interleaved, squeezenet
from bench.rows import duration, mib, show, versus
from course_lib import data, models, recipes
from course_lib.images import resize
from course_lib.recipes.dream import octave_sizes
from course_lib.taps import Taps
from course_lib.tiles import Tiled
from project.benches import Row

LAYER, ROUNDS = "features.9", 3
SMALL, LARGE = (400, 600), (3000, 4000)


def bare(net: models.Network, x: Tensor) -> None:
    taps = Taps(net, LAYER)
    for size in octave_sizes(Tiled(net, LAYER), x, 4, 1.4):
        y = resize(x, size).requires_grad_()
        for _ in range(10):
            torch.autograd.grad(taps(y)[LAYER].square().sum(), y)


def run(what: str) -> Cost:
    net, size = squeezenet(), LARGE if what == "large" else SMALL
    x = resize(data.photograph("china", None), size).clamp(0, 1)
    runs: dict[str, Callable[[], object]] = {
        "bare": partial(bare, net, x),
        "dream": partial(recipes.deepdream, net, x, LAYER, progress=False),
        "large": partial(recipes.deepdream, net, x, LAYER, octaves=2, steps=1, progress=False),
    }
    return cost(runs[what])


def rows() -> Iterator[Row]:
    dream, passes = interleaved(ROUNDS, *(partial(in_a_fresh_process, run, what) for what in ("dream", "bare")))
    what = f"DeepDream, SqueezeNet 1.0, {SMALL[1]} x {SMALL[0]} px, 4 octaves of 10 steps"
    against = "the bare forward and backward passes"
    yield versus(what, against, [one.seconds for one in dream], [one.seconds for one in passes], bar="at most 1.05")
    added = [[one.added for one in side] for side in (dream, passes)]
    yield versus(f"{what}: memory that it adds", against, *added, unit="memory")
    yield Row(f"{what}: peak of the process", "", mib(median(one.peak for one in dream)), "memory", n=ROUNDS)
    large = in_a_fresh_process(run, "large")
    what = f"DeepDream, {LARGE[1]} x {LARGE[0]} px, in tiles, 2 octaves of 1 step"
    yield Row(what, "", duration(large.seconds))
    yield Row(f"{what}: peak of the process", "", mib(large.peak), "memory")


if __name__ == "__main__":
    show(rows())
