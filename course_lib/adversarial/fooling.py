"""Images that mean nothing and fool a network."""

from functools import partial

import torch
from torch import Tensor

from course_lib.adversarial.evolution import CPPN_WEIGHTS, cppn, evolve, mutate_pixels, mutate_weights
from course_lib.energy import cross_entropy
from course_lib.errors import require, unknown
from course_lib.images import Pixels
from course_lib.inputs import check_range
from course_lib.models import Network
from course_lib.preimage import minimize

METHODS = {"ascent": 200, "evolution": 3000, "cppn": 1000}  # with the most steps that each takes by default


def fooling_image(
    net: Network,
    target: int | Tensor,
    *,
    method: str = "ascent",
    confidence: float = 0.996,
    steps: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Pictures (n, 3, side, side) that mean nothing and that the network takes for its targets.

    target: an int, or (n,) of them. method:
        "ascent": gradient descent on the cross-entropy, from uniform noise;
        "evolution": mutation and selection of the colour values themselves, from uniform noise;
        "cppn": mutation and selection of small networks (x, y, distance from the centre) -> colour, which draw
        regular patterns.
    confidence: evolution ends when every target has this probability. steps: at most that many; by default 200 steps
        of ascent, 3000 generations of pixels, or 1000 of CPPNs.

    The probability may stay lower: look at the network's answers. One seed gives one picture.
    Raises ValueError for a target out of range, an unknown method, steps < 1 or a confidence outside [0, 1).
    Source: Nguyen 2015. Every target keeps its best picture, and a child of any of them can win any target, as there.
    Selection is by the log-probability, which does not saturate; the CPPNs have a fixed set of connections.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    steps = METHODS[method] if steps is None else steps
    require(steps >= 1, f"steps must be at least 1, got {steps}")
    require(0 <= confidence < 1, f"confidence is in [0, 1), got {confidence}")
    targets = torch.as_tensor(target).reshape(-1).to(next(net.parameters()).device)
    check_range(targets.cpu(), len(net.classes), f"class of {net.name}")
    generator = torch.Generator().manual_seed(seed)
    side = net.image_size
    if method == "cppn":
        genomes = torch.randn(len(targets), CPPN_WEIGHTS, generator=generator)
        return evolve(net, targets, genomes, partial(cppn, side=side), mutate_weights, confidence, steps, generator)
    noise = torch.rand(len(targets), 3, side, side, generator=generator)
    if method == "evolution":
        return evolve(net, targets, noise, lambda pixels: pixels, mutate_pixels, confidence, steps, generator)
    image = Pixels(noise.to(targets.device))
    return minimize(net, cross_entropy("", targets), image, steps=steps, progress=False).image
