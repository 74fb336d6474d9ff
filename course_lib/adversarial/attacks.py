"""FGSM, PGD, and the smallest change by L-BFGS."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize as scipy_minimize
from torch import Tensor, nn

from course_lib.adversarial.ball import Ball
from course_lib.energy import Energy, cross_entropy
from course_lib.errors import require, unknown
from course_lib.inputs import check_images, check_range, whole
from course_lib.optimizers import Steepest
from course_lib.preimage import minimize

NORMS = ("linf", "l2")


MARGIN = 1e-3  # of the logits: what lbfgs calls fooled must be so under another device's rounding, too


Loss = Callable[[str, int | Tensor], Energy]  # (layer, label) -> the energy J of that label


def fgsm(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
    epsilon: float,
    *,
    targeted: bool = False,
    loss: Loss = cross_entropy,
    anyway: bool = False,
) -> Tensor:
    """x + epsilon sign(dJ/dx), clipped to [0, 1]: the fast gradient sign method. Arguments and errors as in `pgd`.

    It is the best step of that size for a linear network, whose score moves by epsilon |w|_1. With targeted=True the
    sign is minus. Source: Goodfellow 2015, section 4.
    """
    return pgd(net, x, label, epsilon, 1, step_size=epsilon, targeted=targeted, loss=loss, anyway=anyway)


def pgd(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
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
    """Steepest steps that raise J(x, label), each projected back: |result - x| <= epsilon and result in [0, 1].

    label: the true class, an int or (n,) of them; with targeted=True the class to reach, and J falls.
    epsilon: radius of the ball, in [0, 1] for "linf" (the largest change of a colour value), in [0, sqrt(3 h w)] for
        "l2" (the length of the whole change). Both bounds hold exactly, in floating point.
    step_size: by default 2.5 epsilon / steps, which can cross the ball. random_start: begin at a random point of the
        ball, drawn from `seed`. loss: J, made from a layer ("" is the output) and a label.
    anyway: attack those pictures, too, for which the goal is reached before the attack begins.

    A `models.Network` takes pictures in [0, 1], and the result stays there. A plain module takes what it takes, and is
    boxed to [0, 1] where x is; its weights gather no gradients.
    Raises ValueError for an epsilon or a label out of range, steps < 1, an unknown norm, and, unless anyway, where the
    network already gives another class (targeted: the target), with the numbers of those pictures.
    Source: Madry 2018, section 2.1; targeted: Kurakin 2017. The l2 step is along the gradient's direction.
    """
    require(steps >= 1, f"steps must be at least 1, got {steps}")
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    require(step_size is None or step_size >= 0, f"step_size must be at least 0, got {step_size}")
    x = _checked(net, x, label, targeted, anyway)
    most = 1.0 if norm == "linf" else math.sqrt(x[0].numel())
    require(0 <= epsilon <= most, f"epsilon is in [0, {most:g}] for {norm}, got {epsilon}")
    label = label.to(x.device) if isinstance(label, Tensor) else label
    ball = Ball(x, epsilon, norm)
    if random_start:
        ball.scatter(torch.Generator().manual_seed(seed))
    stride = 2.5 * epsilon / steps if step_size is None else step_size
    energy = loss("", label) if targeted else -1 * loss("", label)
    with _without_weight_gradients(net):
        walk = partial(Steepest, step=stride, norm=norm)
        minimize(net, energy, ball, optimizer=walk, steps=steps, progress=False)
    return ball.exact()


@contextmanager
def _without_weight_gradients(net: nn.Module) -> Iterator[None]:
    """A network in training keeps its weights' gradients as they were."""
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _checked(net: nn.Module, x: Tensor, label: int | Tensor, targeted: bool, anyway: bool) -> Tensor:
    """x without its history, clipped to [0, 1] where the network asks for pictures; errors as `pgd` says."""
    if hasattr(net, "image_size"):
        check_images(x)
        x = x.clamp(0, 1)  # check_images lets a rounding error pass
    x = x.detach()
    with torch.no_grad():
        logits = net(x)
    check_range(whole(label, "label"), logits.shape[1], "class of the output", len(logits))
    if not anyway:
        guesses = logits.argmax(1)
        given = guesses == torch.as_tensor(label, device=guesses.device)
        reached = (given if targeted else ~given).nonzero().flatten().tolist()
        what = "the target is the class already given to" if targeted else "the network already gets wrong"
        shown = ", ".join(map(str, reached[:10])) + (f", ... {len(reached)} in all" if len(reached) > 10 else "")
        require(not reached, f"{what} picture {shown}; leave them out, or pass anyway=True")
    return x


def lbfgs(
    net: nn.Module,
    x: Tensor,
    target: int | Tensor,
    *,
    weight: float = 1.0,
    searches: int = 8,
    steps: int = 50,
) -> Tensor:
    """min over r of c |r|^2 + J(x + r, target) with x + r in [0, 1], for the largest c that still reaches the target.

    target: an int, or (n,) of them. weight: the first c tried; it moves by factors of ten until one c fools and a
    larger one does not, then halves that gap on a logarithmic scale, `searches` runs in all. steps: of L-BFGS-B, a
    run. A picture that no c fooled is returned as its last attempt: look at the network's answers.

    Raises ValueError for a target out of range or already given, weight <= 0, searches or steps < 1.
    Source: Szegedy 2014, section 4.1, with |r|^2 for |r|, which has no slope at r = 0. They ask for the smallest c;
    the largest makes the change small.
    """
    require(weight > 0, f"weight must be above 0, got {weight}")
    require(min(searches, steps) >= 1, f"searches and steps must be at least 1, got {searches} and {steps}")
    x = _checked(net, x, target, targeted=True, anyway=False)
    targets = torch.as_tensor(target).expand(len(x)).tolist()
    with _without_weight_gradients(net), torch.enable_grad():
        found = [_smallest(net, x[i : i + 1], targets[i], weight, searches, steps) for i in range(len(x))]
    return torch.cat(found)


def _smallest(net: nn.Module, x: Tensor, target: int, weight: float, searches: int, steps: int) -> Tensor:
    """The line search over c, for one picture."""
    low, high = 0.0, math.inf  # low fools, high does not
    best = attempt = x
    for _ in range(searches):
        attempt = _box_constrained(net, x, target, weight, steps)
        with torch.no_grad():
            logits = net(attempt)[0]
        rivals = torch.cat([logits[:target], logits[target + 1 :]])
        if logits[target] > rivals.max() + MARGIN:
            low, best = weight, attempt
        else:
            high = weight
        weight = 10 * low if high == math.inf else high / 10 if low == 0 else math.sqrt(low * high)
    return best if low > 0 else attempt


def _box_constrained(net: nn.Module, x: Tensor, target: int, weight: float, steps: int) -> Tensor:
    """One run of L-BFGS-B from x, whose numbers are a flat double array there."""
    energy = cross_entropy("", target)

    def value_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
        moved = torch.from_numpy(flat).to(x).view_as(x).requires_grad_()
        value = weight * (moved - x).square().sum() + energy({"": net(moved)}, moved)
        (slope,) = torch.autograd.grad(value, moved)
        return value.item(), slope.flatten().double().cpu().numpy()

    start = x.flatten().double().cpu().numpy()
    found = scipy_minimize(
        value_and_slope,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * len(start),
        options={"maxiter": steps},
    )
    return torch.from_numpy(found.x).to(x).view_as(x).clamp(0, 1)
