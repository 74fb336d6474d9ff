"""Gradients averaged along the way from a baseline to the image."""

from contextlib import nullcontext, suppress

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from course_lib.attribution import incremental
from course_lib.errors import require
from course_lib.inputs import Label, check_range, logits, ready
from course_lib.taps import Enough, hooked

BATCH = 5  # images at a time; larger batches are no faster on a CPU


def integrated_gradients(
    net: nn.Module, x: Tensor, label: Label, baseline: float | Tensor = 0.0, *, steps: int = 50
) -> Tensor:
    """``sum over R, G, B of (x - b) * integral of dS/dx`` along the straight line from b to x.

    The pixels of a map sum to ``S(x) - S(b)``, as far as the quadrature goes (completeness). Where the first layer of a
    chain is linear, gradients are averaged before they go back through it, once and for all.

    Args:
        net: As in `gradient`.
        x: As in `gradient`.
        label: As in `gradient`.
        baseline: b, what counts as nothing there: a number (0 is black), or an image that broadcasts to x.
        steps: Points of the Gauss-Legendre quadrature, at least 1.

    Returns:
        (n, 1, h, w), signed.

    Raises:
        TypeError: As `gradient`.
        ValueError: As `gradient`, and steps < 1.

    Source: Sundararajan 2017. Deviation: the quadrature, where they take a Riemann sum.
    """
    require(steps >= 1, f"integrated gradients need at least 1 step, got {steps}")
    with ready(net, x, label) as (net, x, chosen):
        start = torch.as_tensor(baseline).to(x).expand_as(x)
        maps = [
            ((one - b) * _along(net, one, b, each, steps)).sum(1, keepdim=True)
            for one, b, each in zip(x.split(1), start.split(1), chosen.tolist(), strict=True)
        ]
    return torch.cat(maps)


def _along(net: nn.Module, x: Tensor, b: Tensor, label: int, steps: int) -> Tensor:
    """The mean of dS/dx on the way from b to x, (1, c, h, w)."""
    on_two, twice = np.polynomial.legendre.leggauss(steps)  # points in [-1, 1], weights that sum to 2
    points, weights = (torch.from_numpy(a).to(x) for a in ((1 + on_two) / 2, twice / 2))
    # The layer still runs at every point. Interpolated, its outputs would be off by rounding, which switches ReLUs
    # behind it and moves a map by 1e-3 of its largest value.
    layer = _first_linear(net, x, b)
    mean = x.new_zeros(())
    for t, w in zip(points.split(BATCH), weights.split(BATCH), strict=True):
        mean = mean + _gradient_behind(net, layer, b + t[:, None, None, None] * (x - b), label, w)
    if not layer:
        return mean
    image = x.clone().requires_grad_()
    return torch.autograd.grad(_front(net, layer, image), image, mean)[0]


def _gradient_behind(net: nn.Module, layer: str, x: Tensor, label: int, weights: Tensor) -> Tensor:
    """sum_k w_k dS(x_k)/da_k, a the layer's output for x, or x itself if layer is ""; (1, c, h, w).

    An in-place ReLU may follow the layer: the gradient is taken at its edge of the graph, which needs no copy.
    """
    x = x.requires_grad_()
    edges = [get_gradient_edge(x)]

    def note(output: Tensor) -> None:
        edges.append(get_gradient_edge(output))

    with hooked(net, layer, note) if layer else nullcontext():
        output = logits(net, x)
    check_range(label, output.shape[1], "class of the output")
    score = (weights * output[:, label]).sum()
    gradients = torch.autograd.grad(score, edges[-1])[0]
    # Summed in the order of their memory, channels last: ten times as fast.
    return gradients.permute(0, 2, 3, 1).sum(0, keepdim=True).permute(0, 3, 1, 2)


def _first_linear(net: nn.Module, x: Tensor, b: Tensor) -> str:
    """A chain's first convolution, if its outputs between two images (1, c, h, w) lie on a line; or "".

    They do unless something before it is not linear; it is tried half way. The layer must run once in a forward pass,
    and be the image's only way into the network.
    """
    layer = next(incremental.chain(net), "")
    if not layer or not isinstance(net.get_submodule(layer), nn.Conv2d):
        return ""
    image = x.clone().requires_grad_()
    runs: list[Tensor] = []

    def cut(output: Tensor) -> Tensor:
        runs.append(output)
        return output.detach()

    with hooked(net, layer, cut):
        beside = logits(net, image).sum()  # has a gradient if the image reaches it on another way
    if len(runs) != 1:
        return ""
    if beside.requires_grad and torch.autograd.grad(beside, image, allow_unused=True)[0] is not None:
        return ""
    with torch.no_grad():
        at_b, at_x, half_way = _front(net, layer, torch.cat([b, x, (b + x) / 2]))
    return layer if torch.allclose(half_way, (at_b + at_x) / 2, rtol=1e-3, atol=1e-4) else ""


def _front(net: nn.Module, layer: str, x: Tensor) -> Tensor:
    """The layer's output the first time that it runs; nothing behind it is run."""
    outputs: list[Tensor] = []

    def leave(output: Tensor) -> None:
        outputs.append(output)
        raise Enough

    with suppress(Enough), hooked(net, layer, leave):
        net(x)
    return outputs[0]
