"""Textures and styles: what a step costs over the bare passes, plain Python beside the vectorised loops, peak memory.

The bare computation is a forward pass as far as the deepest layer, cut by hand, and a backward pass from it to the
image: once in channels_last, as `models.load` gives the weights, once in plain contiguous format. An evaluation of
ours adds the Gram matrices, their gradients, L-BFGS with its line search, and the bookkeeping; beside it stands the
same loss and its gradient written by hand.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.measuring import cost, in_a_fresh_process, interleaved, seconds
from bench.rows import mib, show, versus
from course_lib import data, models, recipes, texture
from course_lib.images import resize
from project.benches import Row

LAYERS = ("features.1", "features.4", "features.9", "features.18", "features.27")  # relu1_1 and four poolings
INDICES = [int(layer.split(".")[1]) for layer in LAYERS]  # in the features
CONTENT = "features.22"
ROUNDS, PASSES = 9, 15
SIDE, LARGE = 224, 512
SMALL, GROWN = 64, 128


def network() -> models.Network:
    return models.load("vgg19", weights="random", seed=0)


def until(net: models.Network, memory_format: torch.memory_format) -> nn.Sequential:
    """The network cut after the deepest layer, by hand."""
    features = net.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    return features[: INDICES[-1] + 1].to(memory_format=memory_format)


def bare(x: Tensor, memory_format: torch.memory_format) -> Callable[[], None]:
    net = network()
    cut, x = until(net, memory_format), x.contiguous(memory_format=memory_format)

    def run() -> None:
        y = x.clone().requires_grad_()
        cut((y - net.mean) / net.std).sum().backward()

    return run


def by_hand(x: Tensor) -> Callable[[], None]:
    """The texture's loss and its gradient as PyTorch's tutorial of neural style writes them, in contiguous format."""
    net = network()
    cut = until(net, torch.contiguous_format)

    def grams(y: Tensor) -> list[Tensor]:
        found, h = [], (y - net.mean) / net.std
        for i, layer in enumerate(cut):
            h = layer(h)
            if i in INDICES:
                rows = h.view(h.shape[1], -1)
                found.append(rows @ rows.T / rows.numel())
        return found

    with torch.no_grad():
        targets = grams(x)

    def run() -> None:
        y = x.clone().requires_grad_()
        loss = torch.stack([F.mse_loss(g, g0) for g, g0 in zip(grams(y), targets, strict=True)]).sum()
        torch.autograd.backward(loss)

    return run


class Counted(torch.optim.LBFGS):
    """L-BFGS as the recipes use it, that counts its evaluations and takes the time of its steps alone."""

    evaluations = 0
    seconds = 0.0

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        def counted() -> Tensor:
            Counted.evaluations += 1
            return closure()

        start = time.perf_counter()
        loss: Tensor = super().step(counted)  # type: ignore[no-untyped-call]
        Counted.seconds += time.perf_counter() - start
        return loss


COUNTED = partial(Counted, **recipes.style.LBFGS.keywords)  # type: ignore[attr-defined]


def each(run: Callable[[], object]) -> float:
    """Seconds an evaluation."""
    Counted.evaluations, Counted.seconds = 0, 0.0
    seconds(run)
    return Counted.seconds / Counted.evaluations


def mean_seconds(run: Callable[[], None]) -> float:
    """Seconds a pass."""

    def passes() -> None:
        for _ in range(PASSES):
            run()

    return seconds(passes) / PASSES


def plain_efros_leung(exemplar: Tensor, window: int) -> None:
    """Loops over pixels and candidates, as one would write them first: the time of one new pixel in the middle."""
    e, reach = exemplar[0].permute(1, 2, 0).tolist(), window // 2
    height, width = len(e), len(e[0])
    for y in range(reach, height - reach):
        for x in range(reach, width - reach):
            total = 0.0
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    for a, b in zip(e[y + dy][x + dx], e[reach + dy][reach + dx], strict=True):
                        total += (a - b) ** 2


def plain_wei_levoy(exemplar: Tensor, window: int) -> None:
    """The same for one pixel of one level: every candidate, every neighbour before it."""
    e, reach = exemplar[0].permute(1, 2, 0).tolist(), window // 2
    height, width = len(e), len(e[0])
    around = [(dy, dx) for dy in range(-reach, 1) for dx in range(-reach, reach + 1) if (dy, dx) < (0, 0)]
    for y in range(height):
        for x in range(width):
            total = 0.0
            for dy, dx in around:
                here, there = e[(y + dy) % height][(x + dx) % width], e[dy % height][dx % width]
                total += sum((a - b) ** 2 for a, b in zip(here, there, strict=True))


def peak() -> float:
    net = network()
    content, style = (data.photograph(name, LARGE) for name in ("chelsea", "flower"))
    options: dict[str, Any] = {"coarsest": None, "steps": 1, "progress": False}
    return cost(lambda: recipes.transfer_style(net, content, style, CONTENT, LAYERS, **options)).peak


def evaluations() -> Iterator[Row]:
    net = network()
    exemplar, content = data.photograph("coffee", SIDE), data.photograph("chelsea", SIDE)
    options: dict[str, Any] = {"coarsest": None, "steps": 1, "optimizer": COUNTED, "progress": False}
    techniques: dict[str, Callable[[], object]] = {
        "texture": lambda: recipes.synthesize_texture(net, exemplar, LAYERS, **options),
        "style": lambda: recipes.transfer_style(net, content, exemplar, CONTENT, LAYERS, **options),
    }
    layouts = [bare(exemplar, layout) for layout in (torch.channels_last, torch.contiguous_format)]
    for run in layouts:
        run()
    for name, technique in techniques.items():
        what, passes = f"an evaluation of {name}, VGG-19, {SIDE} px", "a bare forward and backward pass"
        measures = [partial(each, technique), *(partial(mean_seconds, run) for run in layouts)]
        mine, theirs, contiguous = interleaved(ROUNDS, *measures)
        yield versus(what, passes, mine, theirs, bar="at most 1.05")
        yield versus(what, f"{passes} in contiguous format", mine, contiguous)
    mine, tutorial = interleaved(ROUNDS, partial(each, techniques["texture"]), partial(mean_seconds, by_hand(exemplar)))
    yield versus(f"an evaluation of texture, VGG-19, {SIDE} px", "the same loss written by hand", mine, tutorial)


def loops() -> Iterator[Row]:
    """Plain Python would take hours: one pixel's time stands for all."""
    small, size = resize(data.photograph("coffee", 224), (SMALL, SMALL)).clamp(0, 1), (GROWN, GROWN)
    ours = seconds(lambda: texture.efros_leung(small, size, 15, progress=False))
    plain = seconds(lambda: plain_efros_leung(small, 15)) * GROWN**2
    yield versus(
        f"Efros and Leung, {SMALL} to {GROWN} px, window 15", "plain Python, from one pixel's time", [ours], [plain]
    )
    ours = seconds(lambda: texture.wei_levoy(small, size, 5, 3, progress=False))
    plain = seconds(lambda: plain_wei_levoy(small, 5)) * GROWN**2
    yield versus(
        f"Wei and Levoy, {SMALL} to {GROWN} px, 3 levels, window 5",
        "plain Python, its finest level alone, from one pixel's time",
        [ours],
        [plain],
    )


def rows() -> Iterator[Row]:
    yield from evaluations()
    yield from loops()
    what = f"a step of style, VGG-19, {LARGE} px: peak of the process"
    yield Row(what, "", mib(in_a_fresh_process(peak)), "memory")


if __name__ == "__main__":
    show(rows())
