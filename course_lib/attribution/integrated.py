"""Slopes averaged on the way from nothing to the picture."""

from contextlib import nullcontext, suppress

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from course_lib import incremental
from course_lib.attribution.slopes import check_input, labels_of
from course_lib.errors import check_choice, require
from course_lib.taps import Enough, hooked

BATCH = 5  # pictures at a time; larger batches are no faster on a CPU


def integrated_gradients(
    net: nn.Module, x: Tensor, label: int | Tensor, baseline: float | Tensor = 0.0, *, steps: int = 50
) -> Tensor:
    """sum over R, G, B of (x - b) * integral of dS/dx along the straight line from b to x: (n, 1, h, w), signed.

    The pixels of a map sum to S(x) - S(b), as far as `steps` points of Gauss-Legendre quadrature go (completeness).
    baseline: b, what counts as nothing there: a number (0 is black), or a picture that broadcasts to x.

    Where the first layer of a chain is linear, gradients are averaged before they go back through it, once and for all.
    Raises as `gradient`, and ValueError for steps < 1. Source: Sundararajan 2017.
    """
    require(steps >= 1, f"integrated gradients need at least 1 step, got {steps}")
    check_input(net, x)
    start = torch.as_tensor(baseline).to(x).expand_as(x)
    return torch.cat(
        [
            ((one - b) * _along(net, one, b, each, steps)).sum(1, keepdim=True)
            for one, b, each in zip(x.split(1), start.split(1), labels_of(label, len(x)), strict=True)
        ]
    )


def _along(net: nn.Module, x: Tensor, b: Tensor, label: int, steps: int) -> Tensor:
    """The mean of dS/dx on the way from b to x, (1, c, h, w)."""
    on_two, twice = np.polynomial.legendre.leggauss(steps)  # places in [-1, 1], weights that sum to 2
    places, weights = (torch.from_numpy(a).to(x) for a in ((1 + on_two) / 2, twice / 2))
    # The layer still runs at every point. Interpolated, its answers would be off by rounding, which switches ReLUs
    # behind it and moves a map by 1e-3 of its largest value.
    layer = _first_linear(net, x, b)
    mean = x.new_zeros(())
    for t, w in zip(places.split(BATCH), weights.split(BATCH), strict=True):
        mean = mean + _slope_behind(net, layer, b + t[:, None, None, None] * (x - b), label, w)
    if not layer:
        return mean
    picture = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        answer = _front(net, layer, picture)
    return torch.autograd.grad(answer, picture, mean)[0]


def _slope_behind(net: nn.Module, layer: str, x: Tensor, label: int, weights: Tensor) -> Tensor:
    """sum_k w_k dS(x_k)/da_k, a what the layer answers to x, or x itself if layer is ""; (1, c, h, w).

    An in-place ReLU may follow the layer: the slope is asked for at its edge of the graph, which needs no copy.
    """
    x = x.detach().requires_grad_()
    edges = [get_gradient_edge(x)]

    def note(output: Tensor) -> None:
        edges.append(get_gradient_edge(output))

    with torch.enable_grad(), hooked(net, layer, note) if layer else nullcontext():
        logits = net(x)
        check_choice(label, len(logits), logits.shape[1], "class of the output")
        score = (weights * logits[:, label]).sum()
    slopes = torch.autograd.grad(score, edges[-1])[0]
    # Summed in the order of their memory, channels last: ten times as fast.
    return slopes.permute(0, 2, 3, 1).sum(0, keepdim=True).permute(0, 3, 1, 2)


def _first_linear(net: nn.Module, x: Tensor, b: Tensor) -> str:
    """A chain's first convolution, if its answers to what is between two pictures (1, c, h, w) lie on a line; or "".

    They do unless something before it is not linear; it is tried half way. The layer must run once in a forward pass,
    and be the picture's only way into the network.
    """
    layer = next(incremental.chain(net), "")
    if not layer or not isinstance(net.get_submodule(layer), nn.Conv2d):
        return ""
    picture = x.detach().clone().requires_grad_()
    runs: list[Tensor] = []

    def cut(output: Tensor) -> Tensor:
        runs.append(output)
        return output.detach()

    with torch.enable_grad(), hooked(net, layer, cut):
        beside = net(picture).sum()  # has a slope if the picture reaches it on another way
    if len(runs) != 1:
        return ""
    if beside.requires_grad and torch.autograd.grad(beside, picture, allow_unused=True)[0] is not None:
        return ""
    with torch.no_grad():
        at_b, at_x, half_way = _front(net, layer, torch.cat([b, x, (b + x) / 2]))
    return layer if torch.allclose(half_way, (at_b + at_x) / 2, rtol=1e-3, atol=1e-4) else ""


def _front(net: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What the layer answers the first time that it runs; nothing behind it is run."""
    answers: list[Tensor] = []

    def leave(output: Tensor) -> None:
        answers.append(output)
        raise Enough

    with suppress(Enough), hooked(net, layer, leave):
        net(x)
    return answers[0]
