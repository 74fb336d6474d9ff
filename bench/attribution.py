"""What explaining costs: occlusion and integrated gradients against Captum at its best batch size.

Ratios of medians in one run; each round measures ours and every setting of Captum's in turn.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from captum.attr import IntegratedGradients, Occlusion

from course_lib import attribution, data, models

PATCH, STRIDE = 32, 8


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(name: str, rounds: int, ours: Callable[[], Any], theirs: dict[str, Callable[[], Any]]) -> None:
    functions = {"ours": ours} | theirs
    times: dict[str, list[float]] = {key: [] for key in functions}
    for _ in range(rounds):
        for key, function in functions.items():
            times[key].append(seconds(function))
    mine, *others = (median(values) for values in times.values())
    best = min(others)
    setting = list(theirs)[others.index(best)]
    print(f"{name}: ours {mine:.2f} s, Captum's best {best:.2f} s ({setting}): {best / mine:.2f}x ({rounds} rounds)")


def main() -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; medians")
    trained = models.cached_file("squeezenet1_0").exists()
    net = models.load("squeezenet1_0", weights="pretrained" if trained else "random")
    x, label = data.photograph("chelsea"), 285
    occluder, integrator = Occlusion(net), IntegratedGradients(net)
    window, step = (3, PATCH, PATCH), (3, STRIDE, STRIDE)
    compare(
        f"occlusion, 224 px, patch {PATCH}, stride {STRIDE}",
        3,
        lambda: attribution.occlusion(net, x, label, PATCH, STRIDE),
        {
            f"perturbations_per_eval={n}": lambda n=n: occluder.attribute(  # type: ignore[misc]
                x, window, step, baselines=0.5, target=label, perturbations_per_eval=n
            )
            for n in (1, 8, 32)
        },
    )
    compare(
        "integrated gradients, 50 steps",
        9,
        lambda: attribution.integrated_gradients(net, x, label),
        {
            f"internal_batch_size={n}": lambda n=n: integrator.attribute(  # type: ignore[misc]
                x, 0.0, target=label, internal_batch_size=n
            )
            for n in (1, 2, 4, 8, None)
        },
    )


if __name__ == "__main__":
    main()
