"""CourseNet, the shipped network."""

from collections import OrderedDict

from torch import nn

from course_lib import world
from course_lib.errors import check_shipped, sums_beside, unknown
from course_lib.models.weights import SHIPPED, load_state, read


def course_net() -> nn.Sequential:
    """CourseNet without weights: a small AlexNet with the lecture's layer names, for 96 x 96 images.

    avgpool does nothing at 96 x 96, and lets other sizes pass.
    """
    widths = {1: (3, 32), 2: (32, 64), 3: (64, 96), 4: (96, 96), 5: (96, 96)}
    kernels = {1: 7, 2: 5, 3: 3, 4: 3, 5: 3}
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (inputs, outputs) in widths.items():
        k = kernels[i]
        parts[f"conv{i}"] = nn.Conv2d(inputs, outputs, k, stride=2 if i == 1 else 1, padding=k // 2)
        parts[f"relu{i}"] = nn.ReLU()
        if i in (1, 2, 5):
            parts[f"pool{i}"] = nn.MaxPool2d(3, stride=2, padding=1)
    parts["avgpool"] = nn.AdaptiveAvgPool2d(6)
    parts["flatten"] = nn.Flatten()
    for i, inputs, outputs in ((6, 96 * 6 * 6, 256), (7, 256, 256)):
        parts[f"fc{i}"] = nn.Linear(inputs, outputs)
        parts[f"relu{i}"] = nn.ReLU()
    parts["fc8"] = nn.Linear(256, len(world.SHAPES))
    return nn.Sequential(parts)


def shipped(run: int | str) -> nn.Module:
    """CourseNet as a training run left it.

    Args:
        run: The seed of the run, or "robust".

    Raises:
        ValueError: No such run, or a file that is not the one that was shipped.
    """
    path = SHIPPED / f"coursenet-{run}.safetensors"
    listed = sums_beside(path)
    if path.name not in listed:
        runs = [name.removeprefix("coursenet-").removesuffix(".safetensors") for name in listed]
        raise unknown("shipped coursenet with seed", run, [name for name in runs if name.isdigit()])
    state = read(path)
    check_shipped(path)
    network = course_net()
    load_state(network, state, path)
    return network
