"""What a dream costs: seconds over the bare passes of the network, and peak memory, also of 12 million pixels.

The bare computation is the same number of forward and backward passes at the same sizes, without tiles: features up to
the layer, sum of squares, `torch.autograd.grad`. Each measurement runs in a process of its own.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from course_lib import data, models, recipes
from course_lib.images import resize
from course_lib.recipes.dream import octave_sizes
from course_lib.taps import Taps
from course_lib.tiles import Tiled

LAYER, ROUNDS = "features.9", 3
SMALL, LARGE = (400, 600), (3000, 4000)


def network() -> models.Network:
    trained = models.cached_file("squeezenet1_0").exists()
    return models.load("squeezenet1_0", weights="pretrained" if trained else "random")


def bare(net: models.Network, x: Tensor) -> None:
    taps = Taps(net, LAYER)
    for size in octave_sizes(Tiled(net, LAYER), x, 4, 1.4):
        y = resize(x, size).requires_grad_()
        for _ in range(10):
            torch.autograd.grad(taps(y)[LAYER].square().sum(), y)


def run(what: str) -> None:
    """Prints seconds, and MiB at the peak: of the process, and added to what it held before."""
    net, size = network(), LARGE if what == "large" else SMALL
    x = resize(data.photograph("china", None), size).clamp(0, 1)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading (Linux)
    before, start = memory("VmRSS"), time.perf_counter()
    if what == "bare":
        bare(net, x)
    elif what == "large":
        recipes.deepdream(net, x, LAYER, octaves=2, steps=1, progress=False)
    else:
        recipes.deepdream(net, x, LAYER, progress=False)
    print(json.dumps([time.perf_counter() - start, memory("VmHWM"), memory("VmHWM") - before]))


def memory(field: str) -> float:
    """MiB of this process, as the kernel counts it; ru_maxrss would begin at what the parent held."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


def measured(what: str) -> list[float]:
    done = subprocess.run([sys.executable, __file__, what], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def main() -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {network().name}, {LAYER}")
    rounds = [(measured("bare"), measured("dream")) for _ in range(ROUNDS)]
    ratio = median(ours[0] / theirs[0] for theirs, ours in rounds)
    (seconds, peak, added), (least, _, bare_added) = (
        [median(values) for values in zip(*side, strict=True)] for side in (list(zip(*rounds, strict=True))[::-1])
    )
    print(f"600 x 400, 4 octaves of 10 steps: {seconds:.1f} s, {ratio:.2f} times the bare passes ({least:.1f} s)")
    print(f"  peak memory {peak:.0f} MiB, {added:.0f} of them for the dream (bare {bare_added:.0f}); {ROUNDS} rounds")
    seconds, peak, added = measured("large")
    print(f"4000 x 3000, 2 octaves of 1 step, in tiles: {seconds:.1f} s")
    print(f"  peak memory {peak:.0f} MiB, {added:.0f} of them for the dream")


if __name__ == "__main__":
    run(sys.argv[1]) if len(sys.argv) > 1 else main()
