"""PGD that sets its own step size, on the cross-entropy and on the difference of logits ratio."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import inputs
from course_lib.adversarial.ball import NORMS, Ball
from course_lib.adversarial.given import check_goal, in_range, lead
from course_lib.errors import unknown
from course_lib.inputs import Label, count, number, ready
from course_lib.optimizers import per_picture, steepest

RISES = 0.75  # a stretch in which fewer of the steps rose halves the step size
MOMENTUM = 0.25
FEW = 1e-12

Raised = Callable[[Tensor, Tensor], Tensor]  # logits (n, classes), labels (n,) -> what an attack raises (n,)


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits, label, reduction="none")


def _logits_ratio(logits: Tensor, label: Tensor) -> Tensor:
    """``-(z_y - max of the others) / (z_1st - z_3rd)``, the difference of logits ratio."""
    first, _, third = logits.topk(3, dim=1).values.unbind(1)
    return -lead(logits, label) / (first - third + FEW)


def _towards(target: Tensor) -> Raised:
    """``-(z_y - z_t) / (z_1st - (z_3rd + z_4th) / 2)``, the targeted difference of logits ratio."""

    def value(logits: Tensor, label: Tensor) -> Tensor:
        first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
        own, other = (logits.gather(1, each[:, None])[:, 0] for each in (label, target))
        return (other - own) / (first - (third + fourth) / 2 + FEW)

    return value


LOSSES: dict[str, tuple[Raised, int]] = {"cross-entropy": (_cross_entropy, 2), "logits ratio": (_logits_ratio, 3)}


def apgd(
    net: nn.Module,
    x: Tensor,
    label: Label,
    epsilon: float,
    steps: int = 50,
    *,
    loss: str = "cross-entropy",
    norm: str = "linf",
    seed: int = 0,
    anyway: bool = False,
) -> Tensor:
    """APGD: PGD with momentum, whose step size is halved, image by image, where it brings no progress.

    ``z = P(x_t + a steepest(dL/dx));  x_t+1 = P(x_t + 0.75 (z - x_t) + 0.25 (x_t - x_t-1))``, P the projection into the
    ball and the box. The step size a begins at ``2 epsilon``. At checkpoints it is halved, and the search goes back to
    the best point so far, where fewer than three quarters of the steps since the last checkpoint raised L, or where
    neither a nor the best L has changed since then.

    Args:
        net: As in `pgd`.
        x: As in `pgd`.
        label: The true class, as `label` in `pgd`.
        epsilon: As in `pgd`.
        steps: Number of steps, at least 1.
        loss: What is raised: "cross-entropy", or "logits ratio", the difference of logits ratio DLR,
            ``-(z_y - max over i != y of z_i) / (z_1st - z_3rd)``, which does not go flat where the softmax is sure; it
            needs three classes.
        norm: As in `pgd`.
        seed: Of the initial points, random in the ball.
        anyway: As in `pgd`.

    Returns:
        As `pgd`: of each image the last one that the network got wrong, or else the one with the largest L.

    Raises:
        TypeError: As `pgd`.
        ValueError: As `pgd`, an unknown loss, and a network with too few classes for it.

    Source: Croce 2020, algorithm 1, equation 7 (DLR), and its constants. Deviations: the initial point is uniform in
    the cube, not scaled to its surface; where all images of the batch are wrong, the search ends.

    Example:
        >>> from course_lib import models, world
        >>> net, scenes = models.load("coursenet"), world.draw(2, seed=4)
        >>> net(apgd(net, scenes.images, scenes.labels, 8 / 255, 10)).argmax(1) == scenes.labels
        tensor([False, False])
    """
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    raised, classes = LOSSES[loss]
    steps = count(steps, "steps")
    with ready(net, x, label) as (net, x, chosen):
        x, epsilon = in_range(net, x), _radius(x, epsilon, norm)
        check_goal(net, x, chosen, False, anyway, classes)
        return _climb(net, x, chosen.to(x.device), raised, epsilon, steps, norm, seed)


def apgd_t(
    net: nn.Module,
    x: Tensor,
    label: Label,
    epsilon: float,
    steps: int = 50,
    *,
    targets: int = 9,
    norm: str = "linf",
    seed: int = 0,
    anyway: bool = False,
) -> Tensor:
    """APGD-T: `apgd` towards each of the most likely other classes in turn, until one of them fools the network.

    It raises ``-(z_y - z_t) / (z_1st - (z_3rd + z_4th) / 2)``, t the class to reach.

    Args:
        net: As in `pgd`; it has at least four classes.
        x: As in `pgd`.
        label: The true class, as `label` in `pgd`.
        epsilon: As in `pgd`.
        steps: Of `apgd` for each target, at least 1.
        targets: How many classes are tried, at least 1: the likeliest ones for the image before the attack. As many as
            there are where the network has fewer.
        norm: As in `pgd`.
        seed: As in `apgd`; target k has seed + k.
        anyway: As in `pgd`.

    Returns:
        As `apgd`; an image that no target fools is returned as the last attempt.

    Raises:
        TypeError: As `pgd`.
        ValueError: As `pgd`, targets < 1, and a network with fewer than four classes.

    Source: Croce 2020, section 4 and equation 8. Deviations: as `apgd`.
    """
    steps, targets = count(steps, "steps"), count(targets, "targets")
    with ready(net, x, label) as (net, x, chosen):
        x, epsilon, chosen = in_range(net, x), _radius(x, epsilon, norm), chosen.to(x.device)
        check_goal(net, x, chosen.cpu(), False, anyway, 4)
        with torch.no_grad():
            logits = inputs.logits(net, x).scatter(1, chosen[:, None], -torch.inf)
        likeliest = logits.argsort(1, descending=True)[:, : min(targets, logits.shape[1] - 1)]
        result, held = x.clone(), torch.ones(len(x), dtype=torch.bool, device=x.device)
        for k, target in enumerate(likeliest.unbind(1)):
            y = chosen[held]
            moved = _climb(net, x[held], y, _towards(target[held]), epsilon, steps, norm, seed + k)
            result[held] = moved
            held[held.clone()] = _right(net, moved, y)
            if not held.any():
                break
        return result


def _radius(x: Tensor, epsilon: float, norm: str) -> float:
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    return number(epsilon, f"epsilon for {norm}", 0, 1.0 if norm == "linf" else math.sqrt(x[0].numel()))


@torch.no_grad()
def _right(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    right: Tensor = inputs.logits(net, x).argmax(1) == label
    return right


@dataclass
class _Best:
    """The points that will count: of the largest value, and the last ones that fooled the network."""

    point: Tensor
    gradient: Tensor
    value: Tensor
    fooled: Tensor
    fools: Tensor

    def see(self, at: Tensor, value: Tensor, gradient: Tensor, wrong: Tensor) -> None:
        """Keep what is better of a new step."""
        better = value > self.value
        self.point[better], self.gradient[better] = at[better], gradient[better]
        self.value = torch.where(better, value, self.value)
        self.fooled[wrong], self.fools = at[wrong], self.fools | wrong


def _climb(
    net: nn.Module, x: Tensor, label: Tensor, raised: Raised, epsilon: float, steps: int, norm: str, seed: int
) -> Tensor:
    """One run from a random point of the ball."""
    ball = Ball(x, epsilon, norm)
    ball.scatter(torch.Generator().manual_seed(seed))
    at = ball.pixels.detach().clone()
    value, gradient, wrong = _looked(net, at, label, raised)
    best = _Best(at.clone(), gradient.clone(), value.clone(), at.clone(), wrong)
    before, size = at, torch.full_like(value, 2 * epsilon)
    rises, since, best_then = torch.zeros_like(value), 0, value.clone()
    halved = torch.ones_like(wrong)
    ends = set(checkpoints(steps))
    for step in range(steps):
        share = MOMENTUM if step else 0.0
        ahead = _projected(ball, at + per_picture(size, at) * steepest(gradient, norm))
        at, before = _projected(ball, at + (1 - share) * (ahead - at) + share * (at - before)), at
        earlier = value
        value, gradient, wrong = _looked(net, at, label, raised)
        rises, since = rises + (value > earlier), since + 1
        best.see(at, value, gradient, wrong)
        if bool(best.fools.all()):
            break
        if step + 1 in ends:
            stuck = ~halved & (best.value <= best_then)
            halved = (rises < RISES * since) | stuck
            size = torch.where(halved, size / 2, size)
            back = per_picture(halved, at)
            at, gradient = torch.where(back, best.point, at), torch.where(back, best.gradient, gradient)
            value = torch.where(halved, best.value, value)
            rises, since, best_then = torch.zeros_like(rises), 0, best.value.clone()
    _projected(ball, torch.where(per_picture(best.fools, at), best.fooled, best.point))
    return ball.exact()


def checkpoints(steps: int) -> list[int]:
    """The steps after which APGD looks back: 22 % of all, then stretches that shrink by 3 % each, to no less than 6 %.

    Args:
        steps: Of the whole search.

    Returns:
        Their numbers, from 1.

    Source: Croce 2020, section 3.
    """
    stretch, least, shorter = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    ends, end = [], 0
    while (end := end + stretch) <= steps:
        ends.append(end)
        stretch = max(stretch - shorter, least)
    return ends


def _looked(net: nn.Module, at: Tensor, label: Tensor, raised: Raised) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient and whether the network is wrong, of each image."""
    moved = at.detach().requires_grad_()
    logits = inputs.logits(net, moved)
    value = raised(logits, label)
    (gradient,) = torch.autograd.grad(value.sum(), moved)
    return value.detach(), gradient, logits.detach().argmax(1) != label


@torch.no_grad()
def _projected(ball: Ball, moved: Tensor) -> Tensor:
    ball.pixels.copy_(moved)
    ball.project()
    return ball.pixels.detach().clone()
