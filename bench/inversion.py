"""Ways to invert a code, side by side: error against seconds, interleaved in one run.

`recipes.invert` with its default (Adam in falling rates), L-BFGS, and the schedules of 2015 and 2016. The error
is |f(x*) - f(x)| / N, N the mean distance between the codes of 40 scenes. One image at a time, as L-BFGS needs it.
"""

from collections.abc import Iterator
from functools import partial
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from bench.measuring import rotated, seconds
from bench.rows import show, versus
from course_lib import models, recipes, world
from course_lib.descriptors import HOG, DenseSIFT
from course_lib.measure import Features, flat, spread
from course_lib.taps import Taps
from project.benches import Row

SIDE, IMAGES = 96, 3
OURS = "Adam, 360 steps"
WAYS: dict[str, dict[str, Any]] = {
    OURS: {},
    "L-BFGS, 100 iterations": {
        "stages": [(partial(torch.optim.LBFGS, max_iter=100, history_size=20, line_search_fn="strong_wolfe"), 1)],
        "bridge": False,
    },
    "2015: momentum, 400 steps": {"stages": recipes.inversion_2015(SIDE, SIDE)},
    "2016: forgetful AdaGrad, 350 steps": {"stages": recipes.inversion_2016(SIDE, SIDE)},
}


def inverted(features: Features, x: Tensor, seed: int, options: dict[str, Any]) -> tuple[float, float]:
    """Seconds, and the distance of the codes."""
    found: list[Tensor] = []
    taken = seconds(lambda: found.append(recipes.invert(features, x, seed=seed, progress=False, **options).image))
    return taken, float((flat(features(found[0])) - flat(features(x))).norm())


def rows() -> Iterator[Row]:
    net = models.load("coursenet")
    codes: dict[str, Features] = {"HOG": HOG(), "HOGb": HOG(bilinear=True), "DSIFT": DenseSIFT()}
    codes |= {layer: Taps(net, layer) for layer in ("conv1", "conv3", "conv5", "fc8")}
    images, many = (world.draw(n, seed=seed).images for n, seed in ((IMAGES, 901), (40, 902)))
    for code, features in codes.items():
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        distances: dict[str, list[float]] = {way: [] for way in WAYS}
        for i, x in enumerate(torch.split(images, 1)):
            for way in rotated(list(WAYS), i):
                for found, value in zip((taken, distances), inverted(features, x, i, WAYS[way]), strict=True):
                    found[way].append(value)
        unit = spread(flat(features(many)))
        errors = {way: f"error {100 * mean(values) / unit:.1f} %" for way, values in distances.items()}
        for way in list(WAYS)[1:]:
            what, against = f"inverting {code} at {SIDE} px by {OURS}", f"{way} ({errors[way]})"
            yield versus(what, against, taken[OURS], taken[way], note=errors[OURS])


if __name__ == "__main__":
    show(rows())
