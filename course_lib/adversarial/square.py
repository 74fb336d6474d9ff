"""An attack that needs no gradient: random squares of colour."""

import math

import torch
from torch import Tensor, nn

from course_lib import inputs
from course_lib.adversarial.ball import Ball
from course_lib.adversarial.given import check_goal, in_range, lead
from course_lib.errors import require
from course_lib.inputs import Label, count, number, ready
from course_lib.optimizers import per_picture

#: After which share of all queries the squares' area is halved once more.
HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def square(
    net: nn.Module,
    x: Tensor,
    label: Label,
    epsilon: float,
    queries: int = 500,
    *,
    area: float = 0.8,
    seed: int = 0,
    anyway: bool = False,
) -> Tensor:
    """The Square Attack: repaint random squares, and keep what lessens the lead of the true class.

    ``x' = x +- epsilon`` in vertical stripes at first. Each query sets the change inside one square to one sign
    a colour, and is kept where ``z_y - max over i != y of z_i`` falls. The squares shrink. No gradient is computed, so
    that a masked one hides nothing.

    Args:
        net: As in `pgd`; only its output is used.
        x: Images, (n, c, h, w), as in `pgd`.
        label: The true class, as `label` in `pgd`.
        epsilon: The largest change of a colour value, in [0, 1]. The bound holds exactly.
        queries: How often the network is evaluated for an image, at least 1. An image that is wrong has no more.
        area: Fraction of the image that the first squares cover, in (0, 1].
        seed: Of the stripes and squares. All images of a batch get the same ones, so each is attacked as it would be
            alone.
        anyway: As in `pgd`.

    Returns:
        As `pgd`.

    Raises:
        TypeError: As `pgd`.
        ValueError: As `pgd`, images that are not (n, c, h, w), queries < 1, and an area out of range.

    Source: Andriushchenko 2020, algorithms 1 and 2, with its schedule stretched to `queries`. Deviation: the images of
    a batch share their draws.

    Example:
        >>> from course_lib import models, world
        >>> net, scenes = models.load("coursenet"), world.draw(1, seed=4)
        >>> bool(net(square(net, scenes.images, scenes.labels, 32 / 255, 50)).argmax(1) == scenes.labels)
        False
    """
    queries, epsilon = count(queries, "queries"), number(epsilon, "epsilon for linf", 0, 1)
    area = number(area, "area", 0, 1, low_is_in=False)
    generator = torch.Generator().manual_seed(seed)
    with ready(net, x, label) as (net, x, chosen), torch.no_grad():
        require(x.dim() == 4, f"squares are painted on images (n, c, h, w), got {tuple(x.shape)}")
        x = in_range(net, x)
        check_goal(net, x, chosen, False, anyway)
        chosen = chosen.to(x.device)
        colours, height, width = x.shape[1:]
        ball = Ball(x, epsilon, "linf")
        best = _boxed(ball, x + epsilon * _signs((colours, 1, width), generator).to(x))
        least = lead(inputs.logits(net, best), chosen)
        for query in range(1, queries):
            side = _side(query / queries, area, height, width)
            row, column = (int(torch.randint(edge - side + 1, (), generator=generator)) for edge in (height, width))
            signs = _signs((colours, 1, 1), generator).to(x)
            held = least > 0
            if not held.any():
                break
            tried = best.clone()
            inside = (..., slice(row, row + side), slice(column, column + side))
            tried[inside] = x[inside] + epsilon * signs
            tried = _boxed(ball, tried)
            now = torch.full_like(least, math.inf)
            now[held] = lead(inputs.logits(net, tried[held]), chosen[held])
            best = torch.where(per_picture(now < least, best), tried, best)
            least = torch.minimum(now, least)
        _boxed(ball, best)
        return ball.exact()


def _signs(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=generator) - 1


def _side(done: float, area: float, height: int, width: int) -> int:
    """Of the squares, when a share of all queries is done."""
    halvings = sum(done > share for share in HALVINGS)
    return max(1, min(round(math.sqrt(area / 2**halvings * height * width)), height, width))


def _boxed(ball: Ball, moved: Tensor) -> Tensor:
    ball.pixels.copy_(moved)
    ball.project()
    return ball.pixels.detach().clone()
