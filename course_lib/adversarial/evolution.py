"""Pictures by mutation and selection: of their pixels, or of small networks that draw them."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHILDREN = 16  # of each generation

Develop = Callable[[Tensor], Tensor]  # genomes (n, ...) -> pictures (n, 3, side, side)
Mutate = Callable[[Tensor, torch.Generator], Tensor]


@torch.no_grad()
def evolve(
    net: nn.Module,
    targets: Tensor,
    elites: Tensor,
    develop: Develop,
    mutate: Mutate,
    confidence: float,
    generations: int,
    generator: torch.Generator,
) -> Tensor:
    """The best picture of each target, (n, 3, side, side), after so many generations of children of all of them.

    elites: the first genome of each target. A child of any unfinished target can win any target. Ends when each has
    `confidence`. Selection is by the log-probability, which does not saturate.
    """
    device = targets.device

    def fitness(genomes: Tensor) -> Tensor:  # (genomes, targets)
        return F.log_softmax(net(develop(genomes.to(device))), dim=1)[:, targets].cpu()

    everyone = torch.arange(len(elites))
    best = fitness(elites)[everyone, everyone]
    for _ in range(generations):
        unfinished = (best < math.log(confidence)).nonzero().flatten()
        if len(unfinished) == 0:
            break
        parents = unfinished[torch.randint(len(unfinished), (CHILDREN,), generator=generator)]
        children = mutate(elites[parents], generator)
        value, winner = fitness(children).max(0)  # for each target
        better = value > best
        elites[better], best[better] = children[winner[better]], value[better]
    return develop(elites.to(device)).clamp(0, 1)


def mutate_pixels(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A tenth of the colour values moves, by a normal step of 0.2 (Nguyen 2015: a polynomial one of like size)."""
    chosen = torch.rand(pixels.shape, generator=generator) < 0.1
    return (pixels + chosen * 0.2 * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)


def mutate_weights(weights: Tensor, generator: torch.Generator) -> Tensor:
    """A fifth of the weights moves, by a normal step of a half."""
    chosen = torch.rand(weights.shape, generator=generator) < 0.2
    return weights + chosen * 0.5 * torch.randn(weights.shape, generator=generator)


CPPN_WIDTHS = (4, 12, 12, 12, 3)  # x, y, distance, one -> three hidden layers -> R, G, B
CPPN_WEIGHTS = sum(a * b for a, b in zip(CPPN_WIDTHS, CPPN_WIDTHS[1:], strict=False))


def cppn(weights: Tensor, side: int) -> Tensor:
    """Pictures (n, 3, side, side) in [0, 1] drawn by compositional pattern-producing networks, weights (n, 372).

    Each is a function (x, y, distance from the centre, 1) -> R, G, B with three hidden layers of twelve units, whose
    activations take turns: sine, Gaussian, tanh, absolute value.
    Source: Stanley 2007, with a fixed set of connections.
    """
    axis = torch.linspace(-1, 1, side, device=weights.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    signal = torch.stack([x, y, (x * x + y * y).sqrt(), torch.ones_like(x)]).flatten(1)  # (4, side^2)
    signal = signal.expand(len(weights), -1, -1)
    turns = (torch.sin, lambda z: torch.exp(-z * z), torch.tanh, torch.abs)
    layers = [(a, b) for a, b in zip(CPPN_WIDTHS, CPPN_WIDTHS[1:], strict=False)]
    parts = weights.split([a * b for a, b in layers], dim=1)
    for depth, ((inputs, outputs), part) in enumerate(zip(layers, parts, strict=True)):
        signal = part.view(-1, outputs, inputs) @ signal / inputs**0.5 * 2  # (n, outputs, side^2)
        if depth < len(layers) - 1:
            signal = torch.stack([turns[i % 4](row) for i, row in enumerate(signal.unbind(1))], 1)
    return signal.sigmoid().view(-1, 3, side, side)
