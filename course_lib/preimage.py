"""The loop: x* = argmin_x loss(features(transform(x))) + regularizer(x)."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import trange

from course_lib.energy import Energy
from course_lib.errors import require
from course_lib.images import Image, Transform

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
ADAM: MakeOptimizer = partial(torch.optim.Adam, lr=0.02)


@dataclass(frozen=True)
class Preimage:
    """What minimize found.

    image: (n, 3, h, w) in [0, 1]. energy: term -> its weighted value before each step. interrupted: whether Ctrl-C
    ended the loop early.
    """

    image: Tensor
    energy: dict[str, list[float]]
    interrupted: bool = False

    @property
    def total(self) -> list[float]:
        """The whole energy before each step."""
        return [sum(values) for values in zip(*self.energy.values(), strict=True)]


def minimize(
    features: Callable[[Tensor], Tensor | dict[str, Tensor]],
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
    """Minimise loss(features(transform(x))) + regularizer(x) over the parameters of image, x = image().

    features: Taps, or anything that maps pictures to activations; a bare tensor is the activation of layer "".
    image: an unknown from `images`, which is changed in place. transform: one from `images`, drawn anew in each step,
        or a plain function without chance in it; it changes what the features see, never what the regularizer sees.
    optimizer: what makes one from parameters, `partial(torch.optim.SGD, lr=1, momentum=0.9)`, or a ready one. With
        L-BFGS a step is a call of its `step`, up to max_iter evaluations with a memory that spans the calls.
    seed: of the transform. One seed on one device gives the same picture to the last bit.

    Ctrl-C returns the picture as it stands. Raises FloatingPointError that names the term whose value is not finite,
    and ValueError for a random transform with L-BFGS, whose line search would compare different functions.
    """
    require(steps >= 0, f"steps must be at least 0, got {steps}")
    engine = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(image.parameters())
    if isinstance(engine, torch.optim.LBFGS) and isinstance(transform, Transform):
        raise ValueError(
            f"L-BFGS needs the same function in each evaluation, but {transform!r} is random; use Adam or SGD"
        )
    energy = loss if regularizer is None else loss + regularizer  # image terms see x itself, before the transform
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device draws the same
    records: list[dict[str, float]] = []  # the parts of the energy before each step
    evaluations: list[dict[str, float]] = []  # L-BFGS makes several in a step

    def closure() -> Any:  # a tensor; torch annotates a float
        engine.zero_grad()
        x = image()
        seen = x if transform is None else transform(x, generator) if isinstance(transform, Transform) else transform(x)
        answers = features(seen)
        parts = energy.parts({"": answers} if isinstance(answers, Tensor) else answers, x)
        total = reduce(torch.add, parts.values())
        total.backward()
        evaluations.append(_finite({name: part.item() for name, part in parts.items()}, step=len(records)))
        return total.detach()

    interrupted = False
    with torch.backends.cudnn.flags(benchmark=False, deterministic=True), torch.enable_grad():
        bar = trange(steps, disable=not progress, leave=False)
        try:
            for _ in bar:
                evaluations.clear()
                engine.step(closure)
                image.project()
                records.append(evaluations[0])
        except KeyboardInterrupt:
            interrupted = True
            image.project()
        finally:
            bar.close()
    history = {name: [record[name] for record in records] for name in (records[0] if records else {})}
    with torch.no_grad():
        return Preimage(image().detach().clone(), history, interrupted)


def minimize_in_stages(
    features: Callable[[Tensor], Tensor | dict[str, Tensor]],
    loss: Energy,
    image: Image,
    stages: Sequence[tuple[MakeOptimizer, int]],
    **options: Any,
) -> Preimage:
    """`minimize` with one optimiser after another, each for its number of steps and with a fresh memory.

    stages: (optimizer, steps) pairs, as in the published schedules, whose rate drops and whose momentum then begins
    anew. options: for `minimize`. Ctrl-C ends all. Raises ValueError for no stages.
    """
    require(len(stages) > 0, "stages must name at least one pair (optimizer, steps)")
    found: list[Preimage] = []
    for optimizer, steps in stages:
        found.append(minimize(features, loss, image, optimizer=optimizer, steps=steps, **options))
        if found[-1].interrupted:
            break
    return joined(found)


def joined(found: Sequence[Preimage]) -> Preimage:
    """Descents that followed each other as one: the last picture, and each term's values one after the other."""
    terms = next((part.energy for part in found if part.energy), {})
    energy = {term: [value for part in found for value in part.energy.get(term, [])] for term in terms}
    return Preimage(found[-1].image, energy, found[-1].interrupted)


def _finite(values: dict[str, float], step: int) -> dict[str, float]:
    for name, value in values.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} became {value} at step {step}; try a smaller step or weight")
    return values
