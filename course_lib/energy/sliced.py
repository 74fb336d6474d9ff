"""The sliced Wasserstein distance of the feature vectors of two images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.energy.terms import Activations, Energy, called, constants
from course_lib.errors import require
from course_lib.inputs import count, number, whole


def sliced_distance(target: Activations, *, directions: int | None = None, power: float = 2.0, seed: int = 0) -> Energy:
    """How differently two images' feature vectors are distributed, seen along random directions, summed over layers.

    ``1/D sum over d of integral |Q(p) - Q0(p)|^power dp``, p from 0 to 1. Q is the quantile function of ``<d, a_k>``,
    a_k the vector of the N channels at position k and d one of D random unit vectors; Q0 is the target's. Where the
    `gram_distance` compares the second moments of the vectors, this compares all of their distribution. Both forget
    where a vector was. An integral costs a sort of the positions. It is exact, also for images of two sizes: both
    functions are constant between the multiples of 1 / M and 1 / M0, the numbers of positions.

    Args:
        target: The exemplar's activations by layer, (1, c, h, w), or (n, c, h, w) for a batch of n images.
        directions: Number D of directions in each layer, at least 1; by default its number of channels.
        power: At least 1. With 2 the gradient falls off towards the target; 1 is the Wasserstein-1 distance.
        seed: Of the directions, which stay the same in every evaluation.

    Returns:
        An energy, at least 0. When evaluated, it raises ValueError for maps with another number of channels than the
        target's, and for another number of images where the target has several.

    Raises:
        TypeError: Numbers of the wrong kind.
        ValueError: A layer without positions, directions < 1, or power < 1.

    Source: Heitz 2021, eq. 5, for networks; Pitie 2005 (sliced transport) and Rabin 2011 (for textures). Deviations:
    they draw new directions in every step, which a line search does not bear; they repeat values where the sizes
    differ.

    Example:
        >>> a0 = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 1, 2, 2)
        >>> a = torch.tensor([3.0, 1.0]).view(1, 1, 1, 2)  # against 0 and 1: 1 and 0; against 2 and 3: 1 and 0
        >>> sliced_distance({"conv1": a0})({"conv1": a}, torch.zeros(1, 3, 4, 4))
        tensor(0.5000)
    """
    wanted = None if directions is None else count(directions, "directions")
    power = number(power, "power", 1)
    generator = torch.Generator().manual_seed(int(whole(seed, "seed")))
    goals: dict[str, tuple[Tensor, Tensor]] = {}  # layer -> directions (D, c), sorted projections (n, D, M0)
    for layer, a0 in constants(target).items():
        _check(layer, a0)
        channels = a0.shape[1]
        d = _directions(channels if wanted is None else wanted, channels, generator).to(a0)
        goals[layer] = d, _projected(a0, d)

    def function(activations: Activations, image: Tensor) -> Tensor:
        errors = []
        for layer, (d, goal) in goals.items():
            a = activations[layer]
            _check(layer, a)
            same = a.shape[1] == d.shape[1]
            require(same, f"{called(layer)} has {a.shape[1]} channels, its target {d.shape[1]}")
            require(len(goal) in (1, len(a)), f"{called(layer)} is of {len(a)} images, its target of {len(goal)}")
            errors.append(_transport(_projected(a, d), goal, power))
        return torch.stack(errors).sum()

    return Energy.of(f"sliced_distance({', '.join(map(repr, goals))})", function, tuple(goals))


def _check(layer: str, a: Tensor) -> None:
    if a.dim() != 4:
        raise ValueError(f"{called(layer)} outputs {tuple(a.shape)}: feature vectors are of maps (n, c, h, w)")


def _directions(number: int, channels: int, generator: torch.Generator) -> Tensor:
    """Random unit vectors, (number, channels)."""
    return F.normalize(torch.randn(number, channels, generator=generator, dtype=torch.double), dim=1)


def _projected(a: Tensor, directions: Tensor) -> Tensor:
    """The vectors of all positions along each direction, in ascending order: (n, c, h, w) -> (n, D, h w)."""
    return (directions @ a.flatten(2)).sort(dim=2).values


def _transport(a: Tensor, b: Tensor, power: float) -> Tensor:
    """Mean over directions of ``integral |Q_a - Q_b|^power``, summed over images; a (n, D, M), b (n or 1, D, M0)."""
    m, m0 = a.shape[2], b.shape[2]
    if m == m0:
        costs = (a - b).abs().pow(power).mean(2)  # (n, D)
    else:
        ends = torch.cat([m0 * torch.arange(1, m + 1), m * torch.arange(1, m0 + 1)]).unique().to(a.device)
        widths = ends.diff(prepend=ends.new_zeros(1)).to(a) / (m * m0)  # in whole parts of 1 / (M M0): exact
        costs = (a[..., (ends - 1) // m0] - b[..., (ends - 1) // m]).abs().pow(power) @ widths
    return costs.mean(1).sum()
