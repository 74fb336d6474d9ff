"""Ways to invert a code, side by side: error against seconds, interleaved in one run.

`recipes.invert` with its default (Adam in falling rates), L-BFGS, and the schedules of 2015 and 2016. The error
is |f(x*) - f(x)| / N, N the mean distance between the codes of 40 scenes. One picture at a time, as L-BFGS needs it.
"""

import time
from functools import partial
from statistics import mean

import torch

from course_lib import models, recipes, world
from course_lib.descriptors import HOG, DenseSIFT
from course_lib.reproduce.inversion import Features, flat, spread
from course_lib.taps import Taps

SIDE, PICTURES = 96, 4
WAYS = {
    "Adam, 360 steps": {},
    "L-BFGS, 100 iterations": {
        "stages": [(partial(torch.optim.LBFGS, max_iter=100, history_size=20, line_search_fn="strong_wolfe"), 1)],
        "bridge": False,
    },
    "2015: momentum, 400 steps": {"stages": recipes.inversion_2015(SIDE, SIDE)},
    "2016: forgetful AdaGrad, 350 steps": {"stages": recipes.inversion_2016(SIDE, SIDE)},
}


def main() -> None:
    net = models.load("coursenet")
    codes: dict[str, Features] = {"HOG": HOG(), "HOGb": HOG(bilinear=True), "DSIFT": DenseSIFT()}
    codes |= {layer: Taps(net, layer) for layer in ("conv1", "conv3", "conv5", "fc8")}
    pictures, many = (world.draw(n, seed=seed).images for n, seed in ((PICTURES, 901), (40, 902)))
    print(f"error in %, and seconds a picture: means of {PICTURES} scenes of {SIDE} pixels")
    for code, features in codes.items():
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        distance = spread(flat(features(many)))
        for i, x in enumerate(pictures.split(1)):
            for way, options in WAYS.items():
                start = time.perf_counter()
                image = recipes.invert(features, x, seed=i, progress=False, **options).image
                seconds = time.perf_counter() - start
                error = float((flat(features(image)) - flat(features(x))).norm()) / distance
                found[way].append((100 * error, seconds))
        for way, runs in found.items():
            errors, seconds = zip(*runs, strict=True)
            print(f"{code:6} {way:36} {mean(errors):5.1f} %  {mean(seconds):5.2f} s", flush=True)


if __name__ == "__main__":
    main()
