"""What `minimize` costs over the bare loop: seconds a step, and peak memory.

The bare loop is what one would write by hand: normalise, run the network as far as the layer, backward, optimiser step,
clamp. It runs once with channels_last weights, as `models.load` gives them, and once in plain contiguous format.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from bench.measuring import cost, in_a_fresh_process, interleaved, timed
from bench.rows import show, versus
from course_lib import models
from course_lib.energy import activation
from course_lib.images import Pixels, grey
from course_lib.preimage import minimize, tapped
from project.benches import Row


class Case(NamedTuple):
    """A network, and steps that take about half a second."""

    title: str
    layer: str
    size: int
    steps: int


CASES = {
    "squeezenet1_0": Case("SqueezeNet 1.0", "features.9", 224, 30),
    "coursenet": Case("CourseNet", "conv5", 96, 200),
    "vgg16": Case("VGG-16", "features.21", 224, 4),
}
CHANNEL, ROUNDS = 7, 15
PEAKS = 3  # rounds of memory, which hardly differs from run to run
VARIANTS = ("minimize", "bare", "bare, contiguous")
Loop = Callable[[int], None]


def until(net: models.Network, layer: str) -> nn.Module:
    """The wrapped network cut after the layer, by hand."""
    if "." not in layer:
        return nn.Sequential(*[part for _, part in net.named_children()][: net.layers.index(layer) + 1])
    features, last = net.get_submodule("features"), int(layer.split(".")[1])
    assert isinstance(features, nn.Sequential)
    return features[: last + 1]


def bare(name: str, memory_format: torch.memory_format) -> Loop:
    case = CASES[name]
    net = models.load(name, weights="random", initialization="kaiming")
    cut = until(net, case.layer).to(memory_format=memory_format)
    x = nn.Parameter(grey(case.size, case.size))
    optimizer = torch.optim.Adam([x], lr=0.01)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            normalised = (x.contiguous(memory_format=memory_format) - net.mean) / net.std
            loss = -cut(normalised)[:, CHANNEL].mean()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                x.clamp_(0, 1)

    return run


def ours(name: str) -> Loop:
    case = CASES[name]
    net = models.load(name, weights="random", initialization="kaiming")
    loss = -1 * activation(case.layer, CHANNEL)
    features = tapped(net, loss)  # once: a round is too short for the pass that finds out which layers run, and when
    image = Pixels(grey(case.size, case.size))
    optimizer = torch.optim.Adam(image.parameters(), lr=0.01)

    def run(steps: int) -> None:
        minimize(features, loss, image, steps=steps, optimizer=optimizer, progress=False)

    return run


def make(variant: str, name: str) -> Loop:
    formats = {"bare": torch.channels_last, "bare, contiguous": torch.contiguous_format}
    return ours(name) if variant == "minimize" else bare(name, formats[variant])


def added(variant: str, name: str) -> float:
    """MiB that twenty steps add to the memory of the process."""
    return cost(partial(make(variant, name), 20)).added


def rows() -> Iterator[Row]:
    for name, (title, layer, size, steps) in CASES.items():
        loops = [make(variant, name) for variant in VARIANTS]
        for run in loops:
            run(3)
        times = timed(ROUNDS, *(partial(run, steps) for run in loops))
        mine, theirs, contiguous = ([total / steps for total in one] for one in times)
        what, by_hand = f"a step of minimize, {title}, {layer}, {size} px", "the bare loop written by hand"
        yield versus(what, by_hand, mine, theirs, bar="at most 1.05")
        yield versus(what, f"{by_hand}, in contiguous format", mine, contiguous, bar="at most 1")
        peaks = interleaved(PEAKS, *(partial(in_a_fresh_process, added, variant, name) for variant in VARIANTS[:2]))
        what = f"memory that minimize adds, {title}, {layer}, {size} px"
        yield versus(what, by_hand, *peaks, unit="memory", bar="at most 1.1")


if __name__ == "__main__":
    show(rows())
