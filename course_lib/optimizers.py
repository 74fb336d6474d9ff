"""Steps that torch.optim does not have, or has with other defaults."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.errors import require, unknown

__all__ = ["NORMS", "ForgetfulAdaGrad", "OneCycle", "Steepest", "lbfgs", "per_picture", "steepest"]

NORMS = ("linf", "l2", "mean")


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """For each of n gradients g, the direction d in which to step.

    Args:
        gradient: (n, ...).
        norm: What has length 1. "linf": ``sign(g)``, which maximises ``<d, g>`` over all d with no value beyond 1.
            "l2": ``g / |g|``, which maximises it over all d of Euclidean length 1. "mean": ``g / mean |g|``, as in
            DeepDream: the change is 1 in the mean over the colour values.

    Returns:
        (n, ...); where g is zero, so is d.

    Raises:
        ValueError: Another norm.

    Source: Goodfellow 2015 (linf), Madry 2018 (l2), Mordvintsev 2015 (mean).

    Example:
        >>> steepest(torch.tensor([[3.0, -4.0]]), "l2")
        tensor([[ 0.6000, -0.8000]])
    """
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    if norm == "linf":
        return gradient.sign()
    exact = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    flat = exact.flatten(1)
    size = _length(flat) if norm == "l2" else flat.abs().mean(1)
    return (exact / per_picture(size.clamp(min=1e-30), exact)).to(gradient.dtype)


def _length(flat: Tensor) -> Tensor:
    """Euclidean lengths of the rows, in double precision where squares would be too small for a float32."""
    size: Tensor = flat.norm(dim=1)
    exact = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64).to(size.dtype)
    return torch.where(size < 1e-15, exact, size)


def per_picture(values: Tensor, like: Tensor) -> Tensor:
    """One number for each image, in the shape that multiplies a batch of images.

    Args:
        values: (n,).
        like: (n, ...), the batch.

    Returns:
        (n, 1, ...), with as many dimensions as the batch.

    Example:
        >>> per_picture(torch.ones(2), torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 1, 1, 1])
    """
    return values.view(-1, *[1] * (like.dim() - 1))


class _GradientStep(torch.optim.Optimizer):
    """An optimiser whose step is a function of the gradient, for `minimize`, which gives it a closure."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Compute the gradient and move every parameter that has one.

        Args:
            closure: Computes the energy and its gradient, and returns the energy.

        Returns:
            The energy before the step.

        Raises:
            TypeError: No closure.
        """
        if closure is None:
            raise TypeError(f"{type(self).__name__}.step needs the closure that computes the energy and its gradient")
        with torch.enable_grad():
            value = closure()
        for group in self.param_groups:
            for x in group["params"]:
                if x.grad is not None:
                    x.add_(self.change(x, group))
        return value

    def change(self, x: nn.Parameter, group: dict[str, Any]) -> Tensor:
        """The step that one parameter makes.

        Args:
            x: The parameter, with its gradient.
            group: The options of the optimiser for it.
        """
        raise NotImplementedError


class Steepest(_GradientStep):
    """``x <- x - step * steepest(dE/dx, norm)``: every step has the same length, however small the gradient.

    Args:
        parameters: What moves, as for every optimiser of torch; (n, ...) each, and each of the n moves as it would
            alone.
        step: Length of a step in the norm, at least 0.
        norm: "linf", "l2" or "mean" (see `steepest`).

    Raises:
        ValueError: A step below 0 or NaN, or another norm.

    Example:
        >>> x = nn.Parameter(torch.tensor([[3.0, -4.0]]))
        >>> engine = Steepest([x], step=0.5, norm="linf")
        >>> def closure():
        ...     engine.zero_grad()
        ...     energy = x.square().sum()
        ...     energy.backward()
        ...     return energy
        >>> engine.step(closure).item(), x.tolist()
        (25.0, [[2.5, -3.5]])
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, step: float, norm: str):
        require(step >= 0, f"step must be at least 0, got {step}")
        if norm not in NORMS:
            raise unknown("norm", norm, NORMS)
        super().__init__(parameters, {"step": step, "norm": norm})

    def change(self, x: nn.Parameter, group: dict[str, Any]) -> Tensor:
        """A step of the set length against the gradient.

        Args:
            x: The parameter, with its gradient.
            group: Holds `step` and `norm`.
        """
        direction: Tensor = -group["step"] * steepest(_gradient(x), group["norm"])
        return direction


class ForgetfulAdaGrad(_GradientStep):
    """``G <- m G + g^2;  v <- m v - g / (1 / lr + sqrt G);  x <- x + v``, AdaGrad that forgets as fast as its momentum.

    G is a number for each parameter, and g the gradient.

    Args:
        parameters: What moves, as for every optimiser of torch.
        lr: Bounds the first steps, above 0: a step adds no more than ``lr g`` to v.
        momentum: m, in [0, 1).

    Raises:
        ValueError: `lr` or `momentum` out of range.

    Source: Mahendran and Vedaldi 2016.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.9):
        require(lr > 0, f"lr must be above 0, got {lr}")
        require(0 <= momentum < 1, f"momentum is in [0, 1), got {momentum}")
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    def change(self, x: nn.Parameter, group: dict[str, Any]) -> Tensor:
        """The velocity, after its memory and that of the squares are brought up to date.

        Args:
            x: The parameter, with its gradient.
            group: Holds `lr` and `momentum`.
        """
        g, m = _gradient(x), group["momentum"]
        state = self.state[x]
        state["squares"] = m * state.get("squares", torch.zeros_like(g)) + g.square()
        velocity: Tensor = m * state.get("velocity", torch.zeros_like(g)) - g / (
            1 / group["lr"] + state["squares"].sqrt()
        )
        state["velocity"] = velocity
        return velocity


def _gradient(x: nn.Parameter) -> Tensor:
    """The gradient of a parameter that has one."""
    assert x.grad is not None
    return x.grad


def lbfgs(iterations: int, evaluations: int | None = None) -> Callable[..., torch.optim.Optimizer]:
    """An L-BFGS, line search and all, whose one step is many iterations.

    It remembers 20 of them. Where torch.optim.LBFGS ends at a gradient below 1e-7 or a step below 1e-9, this goes on,
    for energies have every scale.

    Args:
        iterations: Of one step, at most.
        evaluations: Of the function and its gradient in one step, at most; by default 5/4 of the iterations.

    Returns:
        What makes the optimiser from parameters, for `minimize`.

    Raises:
        ValueError: Fewer than one iteration.

    Example:
        >>> engine = lbfgs(10)([nn.Parameter(torch.zeros(2))])
        >>> type(engine).__name__
        'LBFGS'
    """
    require(iterations >= 1, f"iterations must be at least 1, got {iterations}")
    return partial(
        torch.optim.LBFGS,
        max_iter=iterations,
        max_eval=evaluations,
        history_size=20,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-12,
        tolerance_change=1e-12,
    )


class OneCycle:
    """AdamW whose rate rises in the first part of the steps and falls to nothing in the rest.

    Args:
        network: What learns.
        steps: Number of steps in all.
        rate: The highest rate.
        rise: Share of the steps in which the rate rises, in (0, 1).
        decay: Of the weights, as in AdamW.

    Attributes:
        optimizer: The AdamW.
        schedule: Of its rate.

    Source: Smith and Topin 2019.
    """

    def __init__(self, network: nn.Module, steps: int, *, rate: float, rise: float, decay: float):
        self.optimizer = torch.optim.AdamW(network.parameters(), weight_decay=decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=rate, total_steps=steps, pct_start=rise
        )

    def step(self, loss: Tensor) -> None:
        """Descend once.

        Args:
            loss: A scalar that depends on the network's weights.
        """
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.schedule.step()
