"""What looking inside costs: `top_patches` over the bare forward pass, `nearest` against scikit-learn, memory.

Ratios are medians of rounds in one run, each round measuring both sides.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.utils.data import Dataset

from course_lib import embedding, models, world
from course_lib.patches import top_patches
from course_lib.taps import Taps

ROUNDS = 9
PASSES = (("coursenet", "relu3", 2000), ("coursenet", "pool5", 2000), ("squeezenet1_0", "features.9", 192))


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def passes() -> None:
    print("top_patches: pictures a second, relative to the bare forward pass up to the layer, same batches")
    for name, layer, n in PASSES:
        net = models.load(name, weights="random")
        images = world.draw(min(n, 500), seed=3, size=net.image_size).images.repeat(-(-n // 500), 1, 1, 1)[:n]
        taps = Taps(net, layer)

        @torch.no_grad()
        def bare(taps: Taps = taps, images: Tensor = images) -> None:
            for batch in images.split(16):
                taps(batch)

        def ours(net: Any = net, layer: str = layer, images: Tensor = images) -> None:
            top_patches(net, layer, images, 9, progress=False)

        bare(), ours()
        ratio = median(seconds(bare) / seconds(ours) for _ in range(ROUNDS))
        print(f"  {name:14} {layer:11} {n:5} pictures: {ratio:.2f}")


class Drawn(Dataset[Tensor]):
    """Pictures made when they are asked for."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Tensor:
        return torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(i))


def print_peak(n: int) -> None:
    top_patches(models.load("coursenet"), "relu1", Drawn(n), 9, progress=False)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 1024)  # ru_maxrss would begin at what the parent held


def memory() -> None:
    peak = {
        n: float(subprocess.run([sys.executable, __file__, str(n)], capture_output=True, text=True, check=True).stdout)
        for n in (1_000, 20_000)
    }
    print(f"peak memory: {peak[1_000]:.0f} MiB with 1 000 pictures, {peak[20_000]:.0f} MiB with 20 000")


def neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    codes, query = (torch.randn(n, 256, generator=generator) for n in (100_000, 100))
    print("nearest: 100 000 x 256 codes, 100 queries, k = 10, seconds relative to scikit-learn's brute force")
    for ours, theirs in (("l2", "euclidean"), ("cosine", "cosine")):
        sklearn = NearestNeighbors(n_neighbors=10, algorithm="brute", metric=theirs).fit(codes.numpy())
        rounds = []
        for _ in range(ROUNDS):
            mine = seconds(lambda ours=ours: embedding.nearest(codes, query, 10, ours))  # type: ignore[misc]
            rounds.append(mine / seconds(lambda sklearn=sklearn: sklearn.kneighbors(query.numpy())))  # type: ignore[misc]
        print(f"  {ours:7} {median(rounds):.2f}")


def main() -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; medians over {ROUNDS} rounds")
    passes()
    memory()
    neighbours()


if __name__ == "__main__":
    print_peak(int(sys.argv[1])) if len(sys.argv) > 1 else main()
