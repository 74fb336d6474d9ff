"""The loop: x* = argmin_x loss(features(transform(x))) + regularizer(x)."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from course_lib.energy import Activations, Energy, check_layers
from course_lib.errors import check_options, require
from course_lib.images import Image, Transform
from course_lib.inputs import check_differentiable, evaluation, tensor, unwrapped
from course_lib.progress import bar
from course_lib.taps import Named, Taps

__all__ = [
    "ADAM",
    "Interrupted",
    "MinimizeOptions",
    "Preimage",
    "StageOptions",
    "in_turn",
    "minimize",
    "minimize_in_stages",
    "tapped",
]

Features = Callable[[Tensor], Tensor | Activations]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
ADAM: MakeOptimizer = partial(torch.optim.Adam, lr=0.02)


@dataclass(frozen=True, repr=False)
class Preimage:
    """What minimize found.

    Attributes:
        image: (n, 3, h, w) in [0, 1].
        energy: Term -> its weighted value before each step.
    """

    image: Tensor
    energy: dict[str, list[float]]

    @property
    def total(self) -> list[float]:
        """The whole energy before each step."""
        return [sum(values) for values in zip(*self.energy.values(), strict=True)]

    def __repr__(self) -> str:
        ends = f", energy {self.total[0]:.4g} -> {self.total[-1]:.4g}" if self.total else ""
        return f"Preimage(image {tuple(self.image.shape)}, {len(self.total)} steps{ends})"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a descent.

    Args:
        found: What it had found so far.

    Attributes:
        found: The same.
    """

    def __init__(self, found: Preimage):
        super().__init__(f"interrupted after {len(found.total)} steps; `found` holds the result so far")
        self.found = found


class StageOptions(TypedDict, total=False):
    """Options of `minimize` that stay the same in all its stages.

    Attributes:
        regularizer: Another energy, over the image and over any layers.
        transform: From `images`, drawn anew in each step.
        seed: Of the transform.
        progress: Whether a run that lasts shows a bar.
    """

    regularizer: Energy | None
    transform: Transform | Callable[[Tensor], Tensor] | None
    seed: int
    progress: bool


class MinimizeOptions(StageOptions, total=False):
    """Options of `minimize`.

    Attributes:
        steps: Number of steps.
        optimizer: What makes one from parameters.
    """

    steps: int
    optimizer: MakeOptimizer | torch.optim.Optimizer


def minimize(
    features: nn.Module | Features,
    loss: Energy,
    image: Image,
    *,
    regularizer: Energy | None = None,
    transform: Transform | Callable[[Tensor], Tensor] | None = None,
    steps: int = 200,
    optimizer: MakeOptimizer | torch.optim.Optimizer = ADAM,
    seed: int = 0,
    progress: bool = True,
) -> Preimage:
    """Minimise ``loss(features(transform(x))) + regularizer(x)`` over the parameters of image, ``x = image()``.

    Args:
        features: A network, whose layers are tapped as the energy needs them, or anything that maps images to
            activations: `Taps`, `HOG`, a function. A bare tensor is the activation of layer "". A module is evaluated,
            and put back into training afterwards if it was.
        loss: What to minimise.
        image: An unknown from `images`, which is changed in place.
        regularizer: Is added to the loss. Terms of the image see x itself, before the transform; terms of layers see
            what the loss sees.
        transform: One from `images`, drawn anew in each step, or a plain function without randomness; it changes what
            the features see.
        steps: Number of steps, at least 0.
        optimizer: What makes one from parameters, such as ``partial(torch.optim.SGD, lr=1, momentum=0.9)``, or a ready
            one. With L-BFGS a step is a call of its `step`, up to max_iter evaluations with a memory that spans the
            calls.
        seed: Of the transform. One seed on one device gives the same image to the last bit.
        progress: Whether a run that lasts shows a bar.

    Returns:
        The image, and each term's history.

    Raises:
        ValueError: A layer that the network lacks (with the term that needs it and the nearest names), negative steps,
            and a random transform with L-BFGS, whose line search would compare different functions.
        FloatingPointError: A term whose value is not finite (it is named).
        Interrupted: Ctrl-C; it holds the result so far.

    Example:
        >>> from course_lib import models
        >>> from course_lib.energy import activation, squared_norm
        >>> from course_lib.images import Fourier
        >>> net = models.load("coursenet")
        >>> energy = -1 * activation("conv3", 3) + 1e-6 * squared_norm("conv1")
        >>> found = minimize(net, energy, Fourier(96, 96), steps=5)
        >>> found.total[-1] < found.total[0], tuple(found.image.shape)
        (True, (1, 3, 96, 96))
    """
    require(steps >= 0, f"steps must be at least 0, got {steps}")
    engine = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(image.parameters())
    if isinstance(engine, torch.optim.LBFGS) and isinstance(transform, Transform):
        raise ValueError(
            f"L-BFGS needs the same function in each evaluation, but {transform!r} is random; use Adam or SGD"
        )
    energy = loss if regularizer is None else loss + regularizer
    look = tapped(features, energy)
    sought = [part for group in engine.param_groups for part in group["params"] if part.requires_grad]
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device draws the same
    records: list[dict[str, float]] = []  # the parts of the energy before each step
    evaluations: list[dict[str, float]] = []  # L-BFGS makes several in a step

    def closure() -> Any:  # a tensor; torch annotates a float
        engine.zero_grad()
        x = image()
        seen = x if transform is None else transform(x, generator) if isinstance(transform, Transform) else transform(x)
        parts = energy.parts(_by_layer(look(seen), energy), x)
        total = reduce(torch.add, parts.values())
        total.backward(inputs=sought)  # the network's own gradients stay as they are
        evaluations.append(_finite({name: part.item() for name, part in parts.items()}, step=len(records)))
        return total.detach()

    def found() -> Preimage:
        history = {name: [record[name] for record in records] for name in (records[0] if records else {})}
        with torch.no_grad():
            return Preimage(image().detach().clone(), history)

    with _differentiable(look), bar(range(steps), shown=progress) as rounds:
        try:
            for _ in rounds:
                evaluations.clear()
                engine.step(closure)
                image.project()
                records.append(evaluations[0])
        except KeyboardInterrupt:
            image.project()
            raise Interrupted(found()) from None
        return found()


def tapped(features: nn.Module | Features, energy: Energy) -> Features:
    """The features as a function that gives every layer an energy needs.

    Args:
        features: A network, or what maps images to activations already.
        energy: Knows its layers.

    Returns:
        `Taps` of a network where the energy names layers; ready ones (`Taps`, `Tiled`) with the layers that they lack;
        else the features themselves.

    Raises:
        ValueError: A layer that the network lacks: it names the term, the layer and the nearest names; and a network
            that was made in inference mode.
    """
    if not isinstance(features, nn.Module):
        return features
    check_differentiable(features)
    features = unwrapped(features)
    ready = isinstance(features, Named)
    net = getattr(features, "net", None) if ready else features
    if net is None or not (energy.layers if ready else any(energy.layers)):
        return features
    known = dict(net.named_modules())
    for term in energy.terms:
        check_layers(term, known)
    return features.with_layers(*energy.layers) if isinstance(features, Named) else Taps(net, *energy.layers)


def _by_layer(output: Tensor | Activations, energy: Energy) -> Activations:
    """Activations by layer: those of a bare tensor, or of an output that only wraps one, are layer ""."""
    if isinstance(output, Tensor):
        return {"": output}
    wraps = not isinstance(output, Mapping) or ("" in energy.layers and "" not in output)
    return {"": tensor(output)} if wraps else output


@contextmanager
def _differentiable(features: Features) -> Iterator[None]:
    """Gradients are taken inside, the same ones each time, through a network in evaluation mode."""
    cudnn = torch.backends.cudnn
    same = cudnn.flags(
        enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32
    )  # enabled and allow_tf32 have other defaults than what the user chose
    ready = features.listening() if isinstance(features, Taps) else _evaluation(features)
    with same, ready, torch.inference_mode(False), torch.enable_grad():
        yield


def _evaluation(features: Features) -> AbstractContextManager[None]:
    return evaluation(features) if isinstance(features, nn.Module) else nullcontext()


def minimize_in_stages(
    features: nn.Module | Features,
    loss: Energy,
    image: Image,
    stages: Sequence[tuple[MakeOptimizer, int]],
    **options: Unpack[StageOptions],
) -> Preimage:
    """`minimize` with one optimiser after another, each for its number of steps and with a fresh memory.

    Args:
        features: As in `minimize`.
        loss: As in `minimize`.
        image: As in `minimize`.
        stages: (optimizer, steps) pairs, as in the published schedules, whose rate drops and whose momentum then begins
            anew.
        options: For `minimize`: regularizer, transform, seed, progress.

    Returns:
        The last image, and the history of all stages.

    Raises:
        ValueError: No stages, and as `minimize`.
        Interrupted: Ctrl-C ends all stages.
    """
    require(len(stages) > 0, "stages must name at least one pair (optimizer, steps)")
    given = check_options("minimize_in_stages", options, StageOptions)
    return in_turn(
        minimize(features, loss, image, optimizer=optimizer, steps=steps, **given) for optimizer, steps in stages
    )


def in_turn(descents: Iterable[Preimage], finish: Callable[[Tensor], Tensor] = lambda image: image) -> Preimage:
    """Descents that follow each other as one.

    Args:
        descents: Makes one after the other, at least one.
        finish: What becomes of the last image.

    Returns:
        The last image, finished, and each term's values one after the other.

    Raises:
        Interrupted: Ctrl-C in one of them; it holds what there is, finished too.
    """
    found: list[Preimage] = []

    def joined() -> Preimage:
        terms = dict.fromkeys(term for part in found for term in part.energy)
        energy = {term: [value for part in found for value in part.energy.get(term, [])] for term in terms}
        return Preimage(finish(found[-1].image), energy)

    try:
        for descent in descents:
            found.append(descent)
    except Interrupted as stop:
        found.append(stop.found)
        raise Interrupted(joined()) from None
    return joined()


def _finite(values: dict[str, float], step: int) -> dict[str, float]:
    for name, value in values.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} became {value} at step {step}; try a smaller step or weight")
    return values
