"""Makes the shipped weights: `python -m course_lib.train NAME`."""

import argparse
from pathlib import Path

import torch

from course_lib import models, world
from course_lib.train import generator as generators
from course_lib.train.coursenet import (
    PASSES,
    ROBUST_PASSES,
    ROBUST_SCENES,
    ROBUST_SEED,
    SCENES,
    accuracies,
    coursenet,
    draw_ahead,
    robust,
    save,
)


def main() -> None:
    """Make the weights that the command line names."""
    usual = {
        "coursenet": (0, SCENES, PASSES),
        "robust": (ROBUST_SEED, ROBUST_SCENES, ROBUST_PASSES),
        "generator": (0, generators.SCENES, 0),
    }
    parser = argparse.ArgumentParser(prog="python -m course_lib.train", description=__doc__)
    parser.add_argument("name", choices=list(usual))
    parser.add_argument("--seed", type=int, help="of the scenes and of all random draws")
    parser.add_argument("--scenes", type=int, help="how many are drawn (default: as for the shipped file)")
    parser.add_argument("--passes", type=int, help="how often each is seen; not for the generator")
    parser.add_argument("--out", type=Path, default=models.SHIPPED, help="folder (default: the package's own)")
    arguments = parser.parse_args()
    # Once the network is sure, gradients sink below 1e-38, where processors are slow. Before any worker thread starts.
    torch.set_flush_denormal(True)
    given = (arguments.seed, arguments.scenes, arguments.passes)
    seed, scenes, passes = (
        usually if value is None else value for value, usually in zip(given, usual[arguments.name], strict=True)
    )
    if arguments.name == "generator":
        net = models.load("coursenet")
        made = generators.generator(net, *generators.draw_pairs(net, scenes), seed=seed)
        save(made, arguments.out / "generator-0.safetensors")
        return
    images, labels = draw_ahead(scenes, seed)
    train, run = (robust, "robust") if arguments.name == "robust" else (coursenet, seed)
    path = arguments.out / f"coursenet-{run}.safetensors"
    save(train(images, labels, passes, seed), path)
    shares = accuracies(models.load("coursenet", weights=path))
    for shape, share in zip(world.SHAPES, shares.tolist(), strict=True):
        print(f"{shape:10} {share:.3f}")
    print(f"{'all':10} {shares.mean():.4f}")


if __name__ == "__main__":
    main()
