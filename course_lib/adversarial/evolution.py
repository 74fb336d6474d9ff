"""Images by mutation and selection: of their pixels, or of small networks that draw them."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import inputs
from course_lib.errors import require
from course_lib.inputs import Label, check_range, count, device_of, number, plain, ready, unwrapped
from course_lib.progress import bar

CHILDREN = 16  # of each generation

Develop = Callable[[Tensor], Tensor]  # genomes (n, ...) -> images (n, 3, side, side)
Mutate = Callable[[Tensor, torch.Generator], Tensor]


def evolve(
    net: nn.Module,
    targets: Label,
    elites: Tensor,
    develop: Develop,
    mutate: Mutate,
    confidence: float,
    generations: int,
    generator: torch.Generator,
) -> Tensor:
    """The best image of each target, after generations of children of all of them.

    In each generation `CHILDREN` children of targets that are not yet sure are drawn, and any of them can win any
    target. Selection is by the log-probability, which does not saturate.

    Args:
        net: A classifier; it is evaluated, whatever mode it is in.
        targets: One class for all genomes or one for each: whole numbers, or names where the network has them.
        elites: The first genome of each target, (n, ...), left as they are.
        develop: Makes images (k, 3, side, side) from genomes (k, ...), on the network's device.
        mutate: Makes children from genomes and a generator, on the CPU.
        confidence: Probability of its target at which an image is finished, in [0, 1]; evolution ends when all are.
        generations: The largest number of generations, at least 0.
        generator: Of all random numbers, on the CPU.

    Returns:
        (n, 3, side, side) in [0, 1].

    Raises:
        TypeError: Targets, genomes or numbers of a type that cannot be meant.
        ValueError: A target out of range, another number of targets than one or n, numbers out of range, or images
            that the network cannot take.

    Source: Nguyen 2015. Deviation: an image that is finished has no more children.
    """
    confidence, generations = number(confidence, "confidence", 0, 1), count(generations, "generations", 0)
    if not isinstance(elites, Tensor):
        raise TypeError(f"elites are a torch tensor (n, ...), got {type(elites).__name__}")
    require(elites.dim() > 0 and len(elites) > 0, f"elites are at least one genome, got {tuple(elites.shape)}")
    device = device_of(unwrapped(net))
    enough = math.log(confidence) if confidence else -math.inf
    with ready(net, develop(elites.to(device)), targets) as (net, _, wanted), torch.no_grad():
        elites = plain(elites).cpu().clone()

        def fitness(genomes: Tensor) -> Tensor:  # (genomes, targets)
            logits = inputs.logits(net, develop(genomes.to(device)))
            check_range(wanted, logits.shape[1], "class of the output")
            return F.log_softmax(logits, dim=1).cpu()[:, wanted]

        everyone = torch.arange(len(elites))
        best = fitness(elites)[everyone, everyone]
        for _ in bar(range(generations), desc="evolution", unit="generation"):
            unfinished = (best < enough).nonzero().flatten()
            if len(unfinished) == 0:
                break
            parents = unfinished[torch.randint(len(unfinished), (CHILDREN,), generator=generator)]
            children = mutate(elites[parents], generator)
            value, winner = fitness(children).max(0)  # for each target
            better = value > best
            elites[better], best[better] = children[winner[better]], value[better]
        return develop(elites.to(device)).clamp(0, 1)


def mutate_pixels(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Move a tenth of the colour values by a normal step of 0.2.

    Args:
        pixels: (n, ...) in [0, 1].
        generator: Of the random numbers, on the CPU.

    Returns:
        Shaped as the pixels, in [0, 1].

    Source: Nguyen 2015. Deviation: a normal step, where the paper's is polynomial, of like size.
    """
    chosen = torch.rand(pixels.shape, generator=generator) < 0.1
    return (pixels + chosen * 0.2 * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)


def mutate_weights(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Move a fifth of the weights by a normal step of a half.

    Args:
        weights: (n, 372), of `cppn`.
        generator: Of the random numbers, on the CPU.

    Returns:
        (n, 372).
    """
    chosen = torch.rand(weights.shape, generator=generator) < 0.2
    return weights + chosen * 0.5 * torch.randn(weights.shape, generator=generator)


CPPN_WIDTHS = (4, 12, 12, 12, 3)  # x, y, distance, one -> three hidden layers -> R, G, B
CPPN_WEIGHTS = sum(a * b for a, b in zip(CPPN_WIDTHS, CPPN_WIDTHS[1:], strict=False))


def cppn(weights: Tensor, side: int) -> Tensor:
    """Images drawn by compositional pattern-producing networks.

    Each is a function (x, y, distance from the centre, 1) -> R, G, B with three hidden layers of twelve units, whose
    activation functions alternate: sine, Gaussian, tanh, absolute value. A layer is ``2 W a / sqrt(inputs)``, without
    a bias, and the last one passes a sigmoid. x and y go from -1 to 1.

    Args:
        weights: Of one network for each image, (n, 372): the rows of W, layer by layer.
        side: Of the images, in pixels, at least 1.

    Returns:
        (n, 3, side, side) in [0, 1].

    Raises:
        TypeError: A side that is no whole number.
        ValueError: Another number of weights, or a side below 1.

    Source: Stanley 2007. Deviation: a fixed set of connections.

    Example:
        >>> cppn(torch.zeros(1, 372), 2)[0, 0]
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    side = count(side, "side")
    fits = weights.dim() == 2 and weights.shape[1] == CPPN_WEIGHTS
    require(fits, f"weights have shape (n, {CPPN_WEIGHTS}), got {tuple(weights.shape)}")
    axis = torch.linspace(-1, 1, side, device=weights.device, dtype=weights.dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    signal = torch.stack([x, y, (x * x + y * y).sqrt(), torch.ones_like(x)]).flatten(1)  # (4, side^2)
    signal = signal.expand(len(weights), -1, -1)
    functions = (torch.sin, lambda z: torch.exp(-z * z), torch.tanh, torch.abs)
    layers = [(a, b) for a, b in zip(CPPN_WIDTHS, CPPN_WIDTHS[1:], strict=False)]
    parts = torch.split(weights, [a * b for a, b in layers], dim=1)
    for depth, ((incoming, outgoing), part) in enumerate(zip(layers, parts, strict=True)):
        signal = part.view(-1, outgoing, incoming) @ signal / incoming**0.5 * 2  # (n, outgoing, side^2)
        if depth < len(layers) - 1:
            signal = torch.stack([functions[i % 4](row) for i, row in enumerate(signal.unbind(1))], 1)
    return signal.sigmoid().view(-1, 3, side, side)
