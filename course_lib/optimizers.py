"""Steps that torch.optim does not have, or has with other defaults."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """For each of (n, ...) gradients, the direction in which to step.

    "linf": sign(g), the argmax over |d|_inf <= 1 of <d, g>. "l2": g / |g|_2, the argmax over |d|_2 <= 1.
    "mean": g / mean |g|, as in DeepDream: the change is 1 in the mean over the colour values. Where g is zero, so is d.
    """
    if norm == "linf":
        return gradient.sign()
    flat = gradient.flatten(1)
    size = flat.norm(dim=1) if norm == "l2" else flat.abs().mean(1)
    return gradient / per_picture(size.clamp(min=1e-30), gradient)


def per_picture(values: Tensor, like: Tensor) -> Tensor:
    """(n,) numbers, one for each picture, so that they multiply (n, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))


class _GradientStep(torch.optim.Optimizer):
    """An optimiser whose step is a function of the gradient, for `minimize`, which gives it a closure."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            value = closure()
        for group in self.param_groups:
            for x in group["params"]:
                x.add_(self.change(x, group))
        return value

    def change(self, x: nn.Parameter, group: dict[str, Any]) -> Tensor:
        raise NotImplementedError


class Steepest(_GradientStep):
    """x - step * steepest(dE/dx, norm): every step has the same length, however small the gradient."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, step: float, norm: str):
        super().__init__(parameters, {"step": step, "norm": norm})

    def change(self, x: nn.Parameter, group: dict[str, Any]) -> Tensor:
        return -group["step"] * steepest(_gradient(x), group["norm"])


class ForgetfulAdaGrad(_GradientStep):
    """G <- m G + g^2;  v <- m v - g / (1 / lr + sqrt G);  x <- x + v, with momentum m = 0.9.

    The optimiser of Mahendran and Vedaldi 2016: AdaGrad that forgets as fast as its momentum does. G is a number for
    each parameter. lr bounds the first steps: v is never longer than lr g.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.9):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    def change(self, x: nn.Parameter, group: dict[str, Any]) -> Tensor:
        g, m = _gradient(x), group["momentum"]
        state = self.state[x]
        squares, velocity = state.get("squares", torch.zeros_like(g)), state.get("velocity", torch.zeros_like(g))
        state["squares"] = m * squares + g.square()
        state["velocity"] = m * velocity - g / (1 / group["lr"] + state["squares"].sqrt())
        return state["velocity"]


def _gradient(x: nn.Parameter) -> Tensor:
    assert x.grad is not None
    return x.grad


def lbfgs(iterations: int, evaluations: int | None = None) -> Callable[..., torch.optim.Optimizer]:
    """Makes an L-BFGS, line search and all, whose one step is up to so many iterations; it remembers 20.

    evaluations: of the function and its gradient in a step, at most; by default 5/4 of the iterations. Where
    torch.optim.LBFGS ends at a gradient below 1e-7 or a step below 1e-9, this goes on: energies have every scale.
    """
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
    """AdamW whose rate rises to `rate` in the first share `rise` of the steps and falls to nothing in the rest.

    step(loss) descends once. Source: Smith and Topin 2019.
    """

    def __init__(self, network: nn.Module, steps: int, *, rate: float, rise: float, decay: float):
        self.optimizer = torch.optim.AdamW(network.parameters(), weight_decay=decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=rate, total_steps=steps, pct_start=rise
        )

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
