"""What looking inside costs: `top_patches` over the bare forward pass, `nearest` against scikit-learn, memory."""

from collections.abc import Iterator
from functools import partial

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.utils.data import Dataset

from bench.measuring import cost, in_a_fresh_process, timed
from bench.rows import show, versus
from course_lib import embedding, models, world
from course_lib.patches import top_patches
from course_lib.taps import Taps
from project.benches import Row

ROUNDS = 6
PASSES = (("coursenet", "relu3", 2000), ("coursenet", "pool5", 2000), ("squeezenet1_0", "features.9", 192))
FEW, MANY = 1_000, 20_000  # images, for memory
CODES, QUERIES = 100_000, 100
NAMES = {"coursenet": "CourseNet", "squeezenet1_0": "SqueezeNet 1.0"}


@torch.no_grad()
def bare(taps: Taps, images: Tensor) -> None:
    for batch in torch.split(images, 16):
        taps(batch)


def passes() -> Iterator[Row]:
    """The same batches, as far as the layer."""
    for name, layer, n in PASSES:
        net = models.load(name, weights="random")
        images = world.draw(min(n, 500), seed=3, size=net.image_size).images.repeat(-(-n // 500), 1, 1, 1)[:n]
        runs = partial(top_patches, net, layer, images, 9, progress=False), partial(bare, Taps(net, layer), images)
        for run in runs:
            run()
        what = f"top_patches, {NAMES[name]}, {layer}, {n:,} images"
        yield versus(what, "the bare forward pass", *timed(ROUNDS, *runs), bar="at most 1.1")


class Drawn(Dataset[Tensor]):
    """Pictures made when they are asked for."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Tensor:
        return torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(i))


def peak(n: int) -> float:
    return cost(lambda: top_patches(models.load("coursenet"), "relu1", Drawn(n), 9, progress=False)).peak


def memory() -> Iterator[Row]:
    many, few = ([in_a_fresh_process(peak, n)] for n in (MANY, FEW))
    what = f"top_patches, CourseNet, relu1, {MANY:,} images: peak of the process"
    yield versus(what, f"{FEW:,} images", many, few, unit="memory", bar="at most 1.05")


def neighbours() -> Iterator[Row]:
    generator = torch.Generator().manual_seed(0)
    codes, queries = (torch.randn(n, 256, generator=generator) for n in (CODES, QUERIES))
    for ours, theirs in (("l2", "euclidean"), ("cosine", "cosine")):
        sklearn = NearestNeighbors(n_neighbors=10, algorithm="brute", metric=theirs).fit(codes.numpy())
        runs = partial(embedding.nearest, codes, queries, 10, ours), partial(sklearn.kneighbors, queries.numpy())
        what = f"nearest by {ours}, {QUERIES} queries among {CODES:,} codes of 256, k = 10"
        yield versus(what, "scikit-learn's brute force", *timed(ROUNDS, *runs), bar="at most 1")


def rows() -> Iterator[Row]:
    yield from passes()
    yield from memory()
    yield from neighbours()


if __name__ == "__main__":
    show(rows())
