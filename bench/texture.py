"""Textures and styles: what a step costs over the bare passes, plain Python beside the vectorised loops, peak memory.

The bare computation is a forward pass as far as the deepest layer, cut by hand, and a backward pass from it to the
picture. An evaluation of ours adds the Gram matrices, their slopes, L-BFGS with its line search, and the bookkeeping.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from course_lib import data, models, recipes, texture
from course_lib.images import resize

LAYERS = ("features.1", "features.4", "features.9", "features.18", "features.27")  # relu1_1 and four poolings
CONTENT = "features.22"
ROUNDS, SIDE = 5, 224


def network() -> models.Network:
    return models.load("vgg19", weights="random", seed=0)


def bare(net: models.Network, x: Tensor) -> Callable[[], None]:
    features = net.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    cut = features[: int(LAYERS[-1].split(".")[1]) + 1]
    x = x.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        y = x.clone().requires_grad_()
        cut((y - net.mean) / net.std).sum().backward()

    return run


class Counted(torch.optim.LBFGS):
    """L-BFGS as the recipes use it, that counts its evaluations and takes the time of its steps alone."""

    evaluations = 0
    seconds = 0.0

    def step(self, closure):  # type: ignore[no-untyped-def,override]
        def counted() -> Tensor:
            Counted.evaluations += 1
            return closure()

        start = time.perf_counter()
        answer = super().step(counted)
        Counted.seconds += time.perf_counter() - start
        return answer


COUNTED = partial(Counted, **recipes.style.LBFGS.keywords)


def each(run: Callable[[], object]) -> float:
    """Seconds an evaluation."""
    Counted.evaluations, Counted.seconds = 0, 0.0
    run()
    return Counted.seconds / Counted.evaluations


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


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def memory(field: str) -> float:
    """MiB of this process, as the kernel counts it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


def print_peak() -> None:
    net = network()
    content, style = (data.photograph(name, 512) for name in ("chelsea", "flower"))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading (Linux)
    recipes.transfer_style(net, content, style, CONTENT, LAYERS, coarsest=None, steps=1, progress=False)
    print(memory("VmHWM"))


def main() -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, untrained VGG-19, {SIDE} px, {ROUNDS} rounds")
    net = network()
    exemplar, content = data.photograph("coffee", SIDE), data.photograph("chelsea", SIDE)
    options = {"coarsest": None, "steps": 1, "optimizer": COUNTED, "progress": False}
    techniques = {
        "texture": lambda: recipes.synthesize_texture(net, exemplar, LAYERS, **options),
        "style": lambda: recipes.transfer_style(net, content, exemplar, CONTENT, LAYERS, **options),
    }
    passes = bare(net, exemplar)
    passes()
    for name, technique in techniques.items():
        rounds = [(seconds(lambda: [passes() for _ in range(5)]) / 5, each(technique)) for _ in range(ROUNDS)]
        ratio = median(ours / theirs for theirs, ours in rounds)
        print(f"{name:8} bare {median(r[0] for r in rounds):.3f} s, ours {ratio:.3f} times that an evaluation")

    small = resize(data.photograph("coffee", 224), (64, 64)).clamp(0, 1)
    ours = seconds(lambda: texture.efros_leung(small, (128, 128), 15, progress=False))
    pixel = seconds(lambda: plain_efros_leung(small, 15))
    print(
        f"Efros-Leung, 64 to 128 px, window 15: {ours:.1f} s; plain Python {pixel * 128**2:.0f} s by one pixel's time"
    )
    ours = seconds(lambda: texture.wei_levoy(small, (128, 128), 5, 3, progress=False))
    pixel = seconds(lambda: plain_wei_levoy(small, 5))
    print(f"Wei-Levoy, 3 levels, window 5: {ours:.1f} s; plain Python, the finest level alone {pixel * 128**2:.0f} s")

    done = subprocess.run([sys.executable, __file__, "--peak"], capture_output=True, text=True, check=True)
    print(f"style at 512 px: {float(done.stdout):.0f} MiB at the peak of the process")


if __name__ == "__main__":
    print_peak() if "--peak" in sys.argv else main()
