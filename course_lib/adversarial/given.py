"""What an attack is given: images in their range, a label that exists, a goal that is not reached yet."""

import torch
from torch import Tensor, nn

from course_lib import inputs
from course_lib.errors import require
from course_lib.inputs import check_range


def in_range(net: nn.Module, x: Tensor) -> Tensor:
    """x without the rounding errors outside [0, 1] that the front door lets pass, where the network takes images.

    Args:
        net: The network that is attacked.
        x: (n, ...).
    """
    return x.clamp(0, 1) if hasattr(net, "image_size") else x


@torch.no_grad()
def check_goal(net: nn.Module, x: Tensor, label: Tensor, targeted: bool, anyway: bool, classes: int = 2) -> None:
    """Raise for a label out of range and, unless anyway, for images whose goal is reached before the attack.

    Args:
        net: The network that is attacked.
        x: (n, ...).
        label: (n,) int64, the true classes, or with `targeted` those to reach.
        targeted: Whether the goal is to reach `label`, instead of to leave it.
        anyway: Whether images whose goal is reached may pass.
        classes: How many classes the network must have at least.

    Raises:
        ValueError: A label out of range, a network with fewer classes, or a goal that is reached, by its images.
    """
    logits = inputs.logits(net, x)
    check_range(label, logits.shape[1], "class of the output")
    require(logits.shape[1] >= classes, f"this loss needs {classes} classes or more, the network has {logits.shape[1]}")
    if not anyway:
        given = logits.argmax(1).cpu() == label
        reached = (given if targeted else ~given).nonzero().flatten().tolist()
        what = "the target is the class already given to" if targeted else "the network already gets wrong"
        shown = ", ".join(map(str, reached[:10])) + (f", ... {len(reached)} in all" if len(reached) > 10 else "")
        require(not reached, f"{what} image {shown}; leave them out, or pass anyway=True")


def lead(logits: Tensor, label: Tensor) -> Tensor:
    """How far the score of each image's label lies above the best other one, ``z_y - max over i != y of z_i``.

    Args:
        logits: (n, classes).
        label: (n,) int64, on their device.

    Returns:
        (n,); below 0 where the network gives another class.
    """
    own = label[:, None]
    return logits.gather(1, own)[:, 0] - logits.scatter(1, own, -torch.inf).amax(1)
