"""What explaining costs: occlusion and integrated gradients against Captum at its best batch size.

Each round measures ours and every setting of Captum's in turn; the best is the one of the least median. Both run on one
thread and are timed by the processor, so that other work on the machine stretches neither.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch
from captum.attr import IntegratedGradients, Occlusion
from torch import nn

from bench.measuring import squeezenet, timed
from bench.rows import show, versus
from course_lib import attribution, data, models
from project.benches import Row

PATCH = 32
OCCLUSIONS, INTEGRALS = 3, 12  # rounds
LABEL = 285


def compared(
    what: str, rounds: int, ours: Callable[[], object], theirs: dict[str, Callable[[], object]], bar: str
) -> Row:
    mine, *others = timed(rounds, ours, *theirs.values(), clock=time.process_time)
    setting, best = min(zip(theirs, others, strict=True), key=lambda one: median(one[1]))
    return versus(what, f"Captum at its best ({setting})", mine, best, bar=bar)


def vgg19() -> nn.Module:
    """Its maps averaged, so that it has an output for each of 512 channels."""
    return nn.Sequential(models.load("vgg19_features", weights="random"), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


# title, network, pixels between the patches (farther apart where a pass is dear), bar
OCCLUDED: tuple[tuple[str, Callable[[], nn.Module], int, str], ...] = (
    ("SqueezeNet 1.0", squeezenet, 8, "at most 0.3"),
    ("EfficientNet-Lite0", partial(models.load, "efficientnet_lite0", weights="random"), 16, "at most 0.5"),
    ("VGG-19 to pool5", vgg19, 32, "at most 0.5"),
)


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    net, x = squeezenet(), data.photograph("chelsea")
    for title, load, stride, bar in OCCLUDED:
        other = load()
        occlude = partial(
            Occlusion(other).attribute, x, (3, PATCH, PATCH), (3, stride, stride), baselines=0.5, target=LABEL
        )
        yield compared(
            f"occlusion, {title}, 224 px, patch {PATCH}, stride {stride}",
            OCCLUSIONS,
            partial(attribution.occlusion, other, x, LABEL, PATCH, stride),
            {f"{n} at a time": partial(occlude, perturbations_per_eval=n) for n in (1, 8, 32)},
            bar=bar,
        )
    integrate = partial(IntegratedGradients(net).attribute, x, 0.0, target=LABEL)
    yield compared(
        "integrated gradients, SqueezeNet 1.0, 224 px, 50 steps",
        INTEGRALS,
        lambda: attribution.integrated_gradients(net, x, LABEL),
        {f"{n or 'all'} at a time": partial(integrate, internal_batch_size=n) for n in (1, 2, 4, 8, None)},
        bar="at most 0.83",
    )


if __name__ == "__main__":
    show(rows())
