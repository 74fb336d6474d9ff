"""Fooling a network: FGSM, PGD, L-BFGS, fooling images, the linear story."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize as scipy_minimize
from torch import Tensor, nn

from course_lib.energy import Energy, cross_entropy
from course_lib.errors import check_choice, check_pictures, require, unknown
from course_lib.evolution import CPPN_WEIGHTS, cppn, evolve, mutate_pixels, mutate_weights
from course_lib.images import Image, Pixels
from course_lib.models import Network
from course_lib.optimizers import Steepest, per_picture, steepest
from course_lib.preimage import minimize

NORMS = ("linf", "l2")
METHODS = {"ascent": 200, "evolution": 3000, "cppn": 1000}  # with the most steps that each takes by default
MARGIN = 1e-3  # of the logits: what lbfgs calls fooled must be so under another device's rounding, too

Loss = Callable[[str, int | Tensor], Energy]  # (layer, label) -> the energy J of that label


# ---------------------------------------------------------------- one step, several steps


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


class Ball(Image):
    """The pictures within `radius` of a start, in a norm; in [0, 1] as well, if the start is.

    project() is right up to rounding, as in any attack; exact() leaves no tolerance: |x - start| <= radius holds for
    the floating-point numbers themselves.
    """

    def __init__(self, start: Tensor, radius: float, norm: str):
        super().__init__()
        self.pixels = nn.Parameter(start.detach().clone(memory_format=torch.contiguous_format))
        self.register_buffer("start", self.pixels.detach().clone())
        self.norm, self.radius = norm, radius
        self.box = (0.0, 1.0) if bool(((start >= 0) & (start <= 1)).all()) else (-math.inf, math.inf)

    def forward(self) -> Tensor:
        return self.pixels

    @torch.no_grad()
    def scatter(self, generator: torch.Generator) -> None:
        """Move to a random point: uniform in the cube (linf); any direction, uniform in length (l2)."""
        shape = self.pixels.shape  # drawn on the CPU, so that every device draws the same
        if self.norm == "linf":
            away = 2 * torch.rand(shape, generator=generator) - 1
        else:
            away = steepest(torch.randn(shape, generator=generator), "l2")
            away = away * per_picture(torch.rand(len(away), generator=generator), away)
        self.pixels.add_(self.radius * away.to(self.pixels))
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        change = self.pixels - self.get_buffer("start")
        if self.norm == "linf":
            change = change.clamp(-self.radius, self.radius)
        else:
            share = (self.radius / _length(change).clamp(min=1e-30)).clamp(max=1)
            change = change * per_picture(share, change)
        self.pixels.copy_((self.get_buffer("start") + change).clamp(*self.box))

    @torch.no_grad()
    def exact(self) -> Tensor:
        """The picture, moved by the rounding errors that kept it outside."""
        moved, start = self.pixels.detach().clone(), self.get_buffer("start")
        if self.norm == "linf":
            bound = _rounded_down(self.radius, start.dtype)
            low, high = start - bound, start + bound  # rounded, by half a step of these numbers at most
            low = torch.where(start.double() - low.double() > bound, low.nextafter(start), low)
            high = torch.where(high.double() - start.double() > bound, high.nextafter(start), high)
            return moved.clamp(low, high)
        bound, slack = (1 - 2**-20) * self.radius, 2**-20  # the rounding of a sum depends on its order
        while bool((far := (length := _length(moved.double() - start.double())) > bound).any()):
            share = torch.where(far, (1 - slack) * bound / length.clamp(min=1e-30), 1.0).to(moved)
            moved = torch.where(per_picture(far, moved), start + (moved - start) * per_picture(share, moved), moved)
            slack = min(1.0, 2 * slack)  # 1 is the start itself, so this ends
        return moved.clamp(*self.box)


def _rounded_down(value: float, dtype: torch.dtype) -> float:
    """The largest number of that type that is not above the value: 8/255 as a float32 may be above 8/255."""
    nearest = torch.tensor(value, dtype=dtype)
    return float(nearest.nextafter(torch.zeros_like(nearest)) if float(nearest) > value else nearest)


def _length(change: Tensor) -> Tensor:
    """(n,): the Euclidean length of each of (n, ...)."""
    return change.flatten(1).norm(dim=1)


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
        check_pictures(x)
        x = x.clamp(0, 1)  # check_pictures lets a rounding error pass
    x = x.detach()
    with torch.no_grad():
        logits = net(x)
    check_choice(label, len(logits), logits.shape[1], "class of the output")
    if not anyway:
        guesses = logits.argmax(1)
        given = guesses == torch.as_tensor(label, device=guesses.device)
        reached = (given if targeted else ~given).nonzero().flatten().tolist()
        what = "the target is the class already given to" if targeted else "the network already gets wrong"
        shown = ", ".join(map(str, reached[:10])) + (f", ... {len(reached)} in all" if len(reached) > 10 else "")
        require(not reached, f"{what} picture {shown}; leave them out, or pass anyway=True")
    return x


# ---------------------------------------------------------------- the smallest change


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


# ---------------------------------------------------------------- confident nonsense


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
    check_choice(target, len(targets), len(net.classes), f"class of {net.name}")
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
