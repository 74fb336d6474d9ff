"""Images that mean nothing and fool a network."""

from collections.abc import Sized

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.adversarial.evolution import CPPN_WEIGHTS, cppn, evolve, mutate_pixels, mutate_weights
from course_lib.adversarial.patterns import Pattern
from course_lib.energy import cross_entropy
from course_lib.errors import require, unknown
from course_lib.images import Pixels
from course_lib.inputs import Label, check_range, count, labels, number, ready, unwrapped
from course_lib.preimage import minimize

METHODS = {
    "ascent": 200,
    "evolution": 3000,
    "cppn": 1000,
    "pattern": 60,
}  # with the most steps that each takes by default


def fooling_image(
    net: nn.Module,
    target: Label,
    *,
    method: str = "ascent",
    confidence: float = 0.996,
    steps: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Images that mean nothing and that the network takes for its targets.

    Args:
        net: A `models.Network`, which knows its classes and the size of its images.
        target: One class, or n of them: whole numbers or names.
        method: "ascent": gradient descent on the cross-entropy, from uniform noise. "evolution": mutation and selection
            of the colour values themselves, from uniform noise. "cppn": mutation and selection of small networks
            (x, y, distance from the centre) -> colour, which draw regular patterns. "pattern": gradient descent on the
            cross-entropy, in the weights of small networks of sines (`Pattern`), for large images of many classes.
        confidence: Evolution ends when every target has this probability, in [0, 1). Without effect on the other two.
        steps: At least 1, and at most that many; by default 200 steps of ascent, 3000 generations of colour values,
            1000 of CPPNs, or 60 steps of patterns.
        seed: Of all random numbers. One seed gives one image.

    Returns:
        (n, 3, side, side) in [0, 1], n = 1 for one class. The probability may stay below `confidence`: look at the
        network's output.

    Raises:
        TypeError: A network that is no `models.Network`, or targets or numbers of a type that cannot be meant.
        ValueError: A target out of range or not a name of a class, an unknown method, fewer than one step, or a
            confidence outside [0, 1).
        Interrupted: Ctrl-C during "ascent" or "pattern"; it holds the images so far.

    Source: Nguyen 2015. Every target keeps its best image, and a child of any of them can win any target, as there.
    Deviations: selection is by the log-probability, which does not saturate; the CPPNs have a fixed set of connections.

    Example:
        >>> from course_lib import models
        >>> net = models.load("coursenet")
        >>> image = fooling_image(net, "ring", steps=60)
        >>> bool(net(image).softmax(1)[0, net.index("ring")] > 0.99)
        True
    """
    from course_lib.models import Network  # and with it torchvision, which no other attack needs

    if method not in METHODS:
        raise unknown("method", method, METHODS)
    steps = count(METHODS[method] if steps is None else steps, "steps")
    require(number(confidence, "confidence", 0, 1) < 1, f"confidence is in [0, 1), got {confidence}")
    net = unwrapped(net)
    if not isinstance(net, Network):
        raise TypeError(
            f"fooling_image needs a network that knows its classes and the size of its images, got "
            f"{type(net).__name__}; wrap it in models.Network"
        )
    targets = labels(target, _how_many(target), net, "target")
    check_range(targets, len(net.classes), f"class of {net.name}")
    side, like = net.image_size, net.mean  # `like` has the network's dtype and device
    generator = torch.Generator().manual_seed(seed)

    def draw(weights: Tensor) -> Tensor:
        return cppn(weights, side).to(like)

    if method == "cppn":
        genomes = torch.randn(len(targets), CPPN_WEIGHTS, generator=generator)
        return evolve(net, targets, genomes, draw, mutate_weights, confidence, steps, generator)
    noise = torch.rand(len(targets), 3, side, side, generator=generator)
    if method == "evolution":
        return evolve(net, targets, noise, lambda pixels: pixels.to(like), mutate_pixels, confidence, steps, generator)
    with ready(net, noise.to(like), target) as (_, _, targets):
        # half precision would lose the steps of Adam, so only what the network sees is in it
        sought = Pattern(side, len(targets), seed=seed) if method == "pattern" else Pixels(noise)
        sought = sought.to(like.device, torch.promote_types(like.dtype, torch.float32))
        found = minimize(net, cross_entropy("", targets), sought, transform=lambda x: x.to(like), steps=steps)
    return found.image.to(like)


def _how_many(target: Label) -> int:
    """The number of images: one for a number or a name, else one for each of the targets."""
    return len(target) if isinstance(target, Sized) and not isinstance(target, str) and np.ndim(target) > 0 else 1
