"""A certificate: the radius within which the vote of a network under noise cannot change."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib import inputs
from course_lib.adversarial.given import in_range
from course_lib.errors import require
from course_lib.inputs import count, number
from course_lib.progress import bar

ABSTAIN = -1


class Certificate(NamedTuple):
    """What randomised smoothing says of n images.

    Attributes:
        label: (n,) int64: the class that wins the vote, or ABSTAIN = -1.
        radius: (n,) float64: no change of an image that is shorter (Euclidean length) changes the vote; 0 where it
            abstains.
    """

    label: Tensor
    radius: Tensor


def certify(
    net: nn.Module,
    x: Tensor,
    sigma: float,
    n0: int = 50,
    n: int = 500,
    alpha: float = 0.001,
    *,
    batch: int = 100,
    seed: int = 0,
) -> Certificate:
    """The vote of a network over noisy copies of an image, ``g(x) = argmax_c P(f(x + d) = c)``, and its radius.

    d is normal with deviation sigma. If the winner has at least the share pA > 1/2 of the votes, g is constant within
    ``R = sigma PhiInv(pA)``, Phi the normal distribution function. `n0` copies choose the class; pA is the lower end of
    Clopper and Pearson's interval for its share among `n` other copies, so that the statement is false with a
    probability of at most alpha.

    Args:
        net: Any classifier f; it is evaluated, whatever mode it is in. It gets values outside [0, 1].
        x: (n, 3, h, w), as in `pgd`.
        sigma: Deviation of the noise, above 0, in units of a colour value.
        n0: Number of copies that choose the class, at least 1.
        n: Number of copies that measure its share, at least 1. The radius is at most
            ``sigma PhiInv(alpha^(1/n))``.
        alpha: Largest probability of a false statement about one image, in (0, 1).
        batch: How many copies are evaluated at once, at least 1.
        seed: Of the noise; every image gets the same.

    Returns:
        A class, or ABSTAIN where pA is not above 1/2, and a radius for each image. They are about the vote g, not about
        the network f.

    Raises:
        TypeError: Images or numbers of a type that cannot be meant.
        ValueError: Images that the network cannot take, or numbers out of range.

    Source: Cohen 2019, theorem 1 and the procedure CERTIFY. Deviation: none.

    Example:
        >>> from course_lib import models, world
        >>> net, scenes = models.load("coursenet"), world.draw(1, seed=4)
        >>> found = certify(net, scenes.images, sigma=0.05, n=50)
        >>> bool(found.label == scenes.labels), bool(0 < found.radius <= 0.06)
        (True, True)
    """
    sigma, alpha = number(sigma, "sigma", 0, low_is_in=False), number(alpha, "alpha", 0, 1, low_is_in=False)
    require(alpha < 1, f"alpha is in (0, 1), got {alpha}")
    n0, n, batch = count(n0, "n0"), count(n, "n"), count(batch, "batch")
    net = inputs.unwrapped(net)
    inputs.check_batch(net, x)
    found = []
    with inputs.evaluation(net), torch.no_grad():
        for image in bar(in_range(net, inputs.plain(x)), desc="certify", unit="image"):
            generator = torch.Generator().manual_seed(seed)
            winner = int(_votes(net, image, sigma, n0, batch, generator).argmax())
            won = int(_votes(net, image, sigma, n, batch, generator)[winner])
            found.append((winner, _radius(won, n, sigma, alpha)))
    labels, radii = zip(*found, strict=True)
    radius = torch.tensor(radii, dtype=torch.float64)
    return Certificate(torch.tensor(labels).where(radius > 0, torch.tensor(ABSTAIN)), radius)


def _votes(net: nn.Module, image: Tensor, sigma: float, copies: int, batch: int, generator: torch.Generator) -> Tensor:
    """(classes,): how many noisy copies get each class."""
    votes: Tensor | int = 0
    for start in range(0, copies, batch):
        noise = torch.randn(min(batch, copies - start), *image.shape, generator=generator).to(image)
        logits = inputs.logits(net, image + sigma * noise)
        votes = votes + torch.bincount(logits.argmax(1), minlength=logits.shape[1])
    return torch.as_tensor(votes)


def _radius(won: int, n: int, sigma: float, alpha: float) -> float:
    """0 where the lower end of the interval is not above 1/2."""
    from scipy.stats import beta, norm  # slow to import

    low = float(beta.ppf(alpha, won, n - won + 1)) if won else 0.0
    return sigma * float(norm.ppf(low)) if low > 0.5 else 0.0
