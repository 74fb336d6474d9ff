"""What `minimize` costs over the bare loop: seconds a step, and peak memory, as ratios measured in one run.

The bare loop is what one would write by hand: normalise, run the network as far as the layer, backward, optimiser step,
clamp. It runs once with channels_last weights, as `models.load` gives them, and once in plain contiguous format.
"""

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

from course_lib import models
from course_lib.energy import activation
from course_lib.images import Pixels, grey
from course_lib.preimage import minimize
from course_lib.taps import Taps

# network -> (layer, size of the picture, steps that take about half a second)
CASES = {"squeezenet1_0": ("features.9", 224, 30), "coursenet": ("conv5", 96, 200), "vgg16": ("features.21", 224, 4)}
CHANNEL, ROUNDS = 7, 15
VARIANTS = ("bare", "minimize", "bare, contiguous")
Loop = Callable[[int], None]


def until(net: models.Network, layer: str) -> nn.Module:
    """The wrapped network cut after the layer, by hand."""
    if "." not in layer:
        return nn.Sequential(*[part for _, part in net.named_children()][: net.layers.index(layer) + 1])
    features, last = net.get_submodule("features"), int(layer.split(".")[1])
    assert isinstance(features, nn.Sequential)
    return features[: last + 1]


def bare(name: str, memory_format: torch.memory_format) -> Loop:
    layer, size, _ = CASES[name]
    net = models.load(name, weights="random", initialization="kaiming")
    cut = until(net, layer).to(memory_format=memory_format)
    x = nn.Parameter(grey(size, size))
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
    layer, size, _ = CASES[name]
    net = models.load(name, weights="random", initialization="kaiming")
    features, loss, image = Taps(net, layer), -1 * activation(layer, CHANNEL), Pixels(grey(size, size))
    optimizer = torch.optim.Adam(image.parameters(), lr=0.01)

    def run(steps: int) -> None:
        minimize(features, loss, image, steps=steps, optimizer=optimizer, progress=False)

    return run


def make(variant: str, name: str) -> Loop:
    formats = {"bare": torch.channels_last, "bare, contiguous": torch.contiguous_format}
    return ours(name) if variant == "minimize" else bare(name, formats[variant])


def seconds(run: Loop, steps: int) -> float:
    gc.collect()  # as timeit does: what one loop leaves behind is not charged to the next
    gc.disable()
    start = time.perf_counter()
    run(steps)
    gc.enable()
    return (time.perf_counter() - start) / steps


def peak_memory(variant: str, name: str) -> float:
    """MiB that twenty steps add to the memory of a fresh process."""
    command = [sys.executable, __file__, "--peak", variant, name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak(variant: str, name: str) -> None:
    run = make(variant, name)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading (Linux)
    before = memory("VmRSS")
    run(20)
    print(memory("VmHWM") - before)


def memory(field: str) -> float:
    """MiB of this process, as the kernel counts it."""
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


def main() -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; ratios are medians over {ROUNDS} rounds")
    print(
        f"{'network':15} {'bare ms':>8} {'minimize/bare':>14} {'minimize/contiguous':>20} {'peak MiB':>9} {'ratio':>6}"
    )
    for name in CASES:
        loops = {variant: make(variant, name) for variant in VARIANTS}
        for run in loops.values():
            run(3)
        steps = CASES[name][2]
        rounds = []
        for i in range(ROUNDS):  # each loop is first, second and third equally often
            order = (list(loops.items()) * 2)[i % 3 : i % 3 + 3]
            rounds.append({variant: seconds(run, steps) for variant, run in order})
        ratio = median(r["minimize"] / r["bare"] for r in rounds)
        contiguous = median(r["minimize"] / r["bare, contiguous"] for r in rounds)
        least = median(r["bare"] for r in rounds) * 1000
        peak = {variant: median(peak_memory(variant, name) for _ in range(5)) for variant in ("bare", "minimize")}
        print(
            f"{name:15} {least:8.1f} {ratio:14.3f} {contiguous:20.3f} "
            f"{peak['minimize']:9.0f} {peak['minimize'] / peak['bare']:6.2f}"
        )


if __name__ == "__main__":
    print_peak(*sys.argv[2:]) if "--peak" in sys.argv else main()
