"""FGSM, PGD, and the smallest change by L-BFGS."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from course_lib import inputs
from course_lib.adversarial.ball import NORMS, Ball, box
from course_lib.adversarial.given import check_goal, in_range
from course_lib.energy import Energy, cross_entropy
from course_lib.errors import unknown
from course_lib.inputs import Label, count, number, ready
from course_lib.optimizers import Steepest
from course_lib.preimage import minimize

MARGIN = 1e-3  # of the logits: what lbfgs calls fooled must be so under another device's rounding, too

Loss = Callable[[str, Tensor], Energy]  # (layer, labels (n,)) -> the energy J of those labels


def fgsm(
    net: nn.Module,
    x: Tensor,
    label: Label,
    epsilon: float,
    *,
    targeted: bool = False,
    loss: Loss = cross_entropy,
    anyway: bool = False,
) -> Tensor:
    """``x + epsilon sign(dJ/dx)``, clipped to [0, 1]: the fast gradient sign method.

    It is the best step of that size for a linear network, whose score moves by ``epsilon |w|_1``.

    Args:
        net: As in `pgd`.
        x: As in `pgd`.
        label: As in `pgd`.
        epsilon: The largest change of a colour value, in [0, 1].
        targeted: Whether `label` is the class to reach; the sign is minus then.
        loss: As in `pgd`.
        anyway: As in `pgd`.

    Returns:
        As `pgd`.

    Raises:
        TypeError: As `pgd`.
        ValueError: As `pgd`.

    Source: Goodfellow 2015, section 4. Deviation: none.

    Example:
        >>> from course_lib import models, world
        >>> net, scenes = models.load("coursenet"), world.draw(1, seed=4)
        >>> fooled = fgsm(net, scenes.images, scenes.labels, 8 / 255)
        >>> bool(((fooled - scenes.images).abs() <= 8 / 255).all())
        True
        >>> bool(net(fooled).argmax(1) == scenes.labels)
        False
    """
    return pgd(net, x, label, epsilon, 1, step_size=epsilon, targeted=targeted, loss=loss, anyway=anyway)


def pgd(
    net: nn.Module,
    x: Tensor,
    label: Label,
    epsilon: float,
    steps: int = 20,
    *,
    targeted: bool = False,
    norm: str = "linf",
    step_size: float | None = None,
    random_start: bool = False,
    seed: int = 0,
    loss: Loss = cross_entropy,
    anyway: bool = False,
) -> Tensor:
    """Steepest steps that raise J(x, label), each projected back: ``|result - x| <= epsilon`` and result in [0, 1].

    Args:
        net: A classifier; it is evaluated, whatever mode it is in.
        x: (n, 3, h, w), in [0, 1] for a `models.Network`; a plain module takes what it takes.
        label: The true class, one for all images or one for each: whole numbers, or names where the network has them;
            with `targeted` the class to reach.
        epsilon: Radius of the ball: in [0, 1] for "linf" (the largest change of a colour value), in [0, sqrt(3 h w)]
            for "l2" (the length of the whole change). The bound holds exactly, in floating point.
        steps: Number of steps, at least 1.
        targeted: Whether J falls, towards `label`, instead of rising.
        norm: "linf", whose steps are along the sign of the gradient, or "l2", whose steps are along the gradient.
        step_size: Length of a step in that norm, at least 0; by default ``2.5 epsilon / steps``, which can cross the
            ball.
        random_start: Whether the initial images are random points of the ball, instead of x.
        seed: Of that random draw.
        loss: Makes J from a layer ("" is the output) and the labels (n,).
        anyway: Whether to attack those images, too, for which the goal is reached before the attack begins.

    Returns:
        The attacked images, shaped as x. Each image whose values lie in [0, 1] stays there; images of a plain module
        that leave this range have no bounds but the ball.

    Raises:
        TypeError: Labels or numbers of a type that cannot be meant, or images of another dtype than the network's.
        ValueError: A label, an epsilon or a step size out of range, another number of labels than one or n, fewer than
            one step, an unknown norm, images that the network cannot take, and, unless `anyway`, images that the
            network already gets wrong (targeted: already gives the target), by their numbers.
        Interrupted: Ctrl-C; it holds the images so far.

    Source: Madry 2018, section 2.1; targeted: Kurakin 2017. Deviation: none.

    Example:
        >>> from course_lib import models, world
        >>> net, scenes = models.load("coursenet"), world.draw(1, seed=4)
        >>> fooled = pgd(net, scenes.images, "star", 8 / 255, targeted=True)
        >>> net.classes[net(fooled).argmax()]
        'star'
    """
    steps = count(steps, "steps")
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    with ready(net, x, label) as (net, x, chosen):
        epsilon = number(epsilon, f"epsilon for {norm}", 0, 1.0 if norm == "linf" else math.sqrt(x[0].numel()))
        step_size = 2.5 * epsilon / steps if step_size is None else number(step_size, "step_size", 0)
        x = in_range(net, x)
        check_goal(net, x, chosen, targeted, anyway)
        ball = Ball(x, epsilon, norm)
        if random_start:
            ball.scatter(torch.Generator().manual_seed(seed))
        energy = loss("", chosen) if targeted else -1 * loss("", chosen)
        minimize(net, energy, ball, optimizer=partial(Steepest, step=step_size, norm=norm), steps=steps)
        return ball.exact()


def lbfgs(
    net: nn.Module,
    x: Tensor,
    target: Label,
    *,
    weight: float = 1.0,
    searches: int = 8,
    steps: int = 50,
) -> Tensor:
    """``min over r of c |r|^2 + J(x + r, target)``, x + r in [0, 1], for the largest c that still fools the network.

    Args:
        net: As in `pgd`.
        x: As in `pgd`.
        target: The class to reach, one for all images or one for each, as `label` in `pgd`.
        weight: The first c, above 0. It moves by factors of ten until one c fools the network and a larger one does
            not; then each run halves that gap on a logarithmic scale.
        searches: Number of values of c, at least 1.
        steps: Of L-BFGS-B, for each c, at least 1.

    Returns:
        The changed images, shaped as x and bounded as in `pgd`. An image that no c fooled is returned as its last
        attempt: look at the network's output.

    Raises:
        TypeError: As `pgd`.
        ValueError: As `pgd`, and a target that is already given to an image.

    Source: Szegedy 2014, section 4.1. Deviations: ``|r|^2`` for ``|r|``, which has no gradient at r = 0; they ask for
    the smallest c, while the largest makes the change small.
    """
    weight = number(weight, "weight", 0, low_is_in=False)
    searches, steps = count(searches, "searches"), count(steps, "steps")
    with ready(net, x, target) as (net, x, targets):
        x = in_range(net, x)
        check_goal(net, x, targets, targeted=True, anyway=False)
        found = [_smallest(net, x[i : i + 1], int(targets[i]), weight, searches, steps) for i in range(len(x))]
        return torch.cat(found)


def _smallest(net: nn.Module, x: Tensor, target: int, weight: float, searches: int, steps: int) -> Tensor:
    """The line search over c, for one image."""
    low, high = 0.0, math.inf  # low fools, high does not
    best = attempt = x
    for _ in range(searches):
        attempt = _box_constrained(net, x, target, weight, steps)
        with torch.no_grad():
            logits = inputs.logits(net, attempt)[0]
        rivals = torch.cat([logits[:target], logits[target + 1 :]])
        if logits[target] > rivals.max() + MARGIN:
            low, best = weight, attempt
        else:
            high = weight
        weight = 10 * low if high == math.inf else high / 10 if low == 0 else math.sqrt(low * high)
    return best if low > 0 else attempt


def _box_constrained(net: nn.Module, x: Tensor, target: int, weight: float, steps: int) -> Tensor:
    """One run of L-BFGS-B from x, whose numbers are a flat double array there."""
    from scipy.optimize import minimize as scipy_minimize

    energy = cross_entropy("", target)

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        moved = torch.from_numpy(flat).to(x).view_as(x).requires_grad_()
        value = weight * (moved - x).square().sum() + energy({"": inputs.logits(net, moved)}, moved)
        (gradient,) = torch.autograd.grad(value, moved)  # of the image alone: the weights gather none
        return value.item(), gradient.flatten().double().cpu().numpy()

    initial = x.flatten().double().cpu().numpy()
    low, high = (end.item() for end in box(x))
    found = scipy_minimize(
        value_and_gradient,
        initial,
        jac=True,
        method="L-BFGS-B",
        bounds=[(low, high)] * len(initial),
        options={"maxiter": steps},
    )
    return torch.from_numpy(found.x).to(x).view_as(x).clamp(low, high)
