"""Random weights chosen layer by layer: of several draws, the one from which an image comes back best."""

from contextlib import ExitStack
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.energy import Energy, distance
from course_lib.errors import require
from course_lib.images import Unbounded
from course_lib.inputs import check_images
from course_lib.models import Network
from course_lib.optimizers import lbfgs
from course_lib.preimage import minimize
from course_lib.recipes.given import check_one, descending
from course_lib.taps import Taps, hooked

__all__ = ["from_white_noise", "greedy_weights"]


def from_white_noise(
    net: nn.Module,
    layer: str,
    x: Tensor,
    *,
    evaluations: int = 160,
    seed: int = 0,
    regularizer: Energy | None = None,
) -> Tensor:
    """``argmin_y |f(y) - f(x)|^2 / |f(x)|^2`` by L-BFGS from white noise.

    Images descend one at a time, since a line search for several takes steps that fit none of them.

    Args:
        net: Any network that takes images in [0, 1].
        layer: Name of the layer.
        x: (n, 3, h, w) in [0, 1].
        evaluations: Of the energy and its gradient, for each image, at least 1.
        seed: Image i begins at noise of seed + i.
        regularizer: Is added, over the image and any layers; by default none, as in the source.

    Returns:
        (n, 3, h, w) in [0, 1].

    Raises:
        TypeError: Images of another dtype than the network's.
        ValueError: A layer that the network does not have, and evaluations < 1.
        Interrupted: Ctrl-C; it holds the image that was descending.

    Source: He 2016. Deviation: pixels are sigmoids of real numbers, initially uniform in [0, 1].
    """
    require(evaluations >= 1, f"evaluations must be at least 1, got {evaluations}")
    check_images(x)
    dtype = x.dtype
    with descending(net, x) as (net, (x,), _):
        found = []
        for i, image in enumerate(torch.split(x, 1)):
            noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(seed + i))
            with torch.no_grad():
                code = Taps(net, layer)(image)
            descent = minimize(
                net,
                distance(code),
                Unbounded(noise.to(x)),
                regularizer=regularizer,
                steps=1,
                optimizer=lbfgs(evaluations, evaluations),
                progress=False,
            )
            found.append(descent.image)
        return torch.cat(found).to(dtype)


def greedy_weights(
    net: Network, image: Tensor, draws: int = 4, *, until: str = "", evaluations: int = 60, seed: int = 0
) -> Network:
    """A copy of the network with other random weights, each convolution's the best of several draws.

    From the first convolution to the last: draw Gaussian weights of deviation ``sqrt(2 / fan_in)``; keep those whose
    rectified activations give the image back with the smallest ``|y - x|`` (`from_white_noise`). Biases become zero. A
    convolution without a ReLU behind it is drawn once; linear layers stay as they are.

    Args:
        net: A `models.Network`; it stays as it is.
        image: The reference, (1, 3, h, w) in [0, 1].
        draws: Number of draws for each convolution, at least 1.
        until: The last layer that matters; convolutions behind it stay as they are. "" is the output.
        evaluations: Of the energy and its gradient, for each draw.
        seed: Of the draws and of the noise, which is the same for all draws of a layer.

    Returns:
        The copy; its name ends in ", greedy".

    Raises:
        TypeError: Another module than a `models.Network`, and an image of another dtype than the network's.
        ValueError: draws < 1, and a layer that the network does not have.
        Interrupted: Ctrl-C in one of the descents.

    Source: He 2016. Deviation: none.
    """
    require(draws >= 1, f"draws must be at least 1, got {draws}")
    check_images(image)
    dtype = image.dtype
    with descending(net, image) as (net, (image,), _), torch.no_grad():
        check_one(image, "reference")
        if not isinstance(net, Network):
            raise TypeError(
                f"greedy_weights takes a models.Network, got {type(net).__name__}: wrap it in models.Network"
            )
        chosen = deepcopy(net)
        chosen.name = f"{net.name}, greedy"
        generator = torch.Generator().manual_seed(seed)
        for convolution, relu in _rectified(chosen, until, image).items():
            layer = chosen.get_submodule(convolution)
            assert isinstance(layer, nn.Conv2d)
            if layer.bias is not None:
                layer.bias.zero_()
            best, least = layer.weight.clone(), float("inf")
            for _ in range(draws if relu else 1):
                drawn = torch.randn(layer.weight.shape, generator=generator) * (2 / layer.weight[0].numel()) ** 0.5
                layer.weight.copy_(drawn)
                error = 0.0
                if relu and draws > 1:
                    found = from_white_noise(chosen, relu, image, evaluations=evaluations, seed=seed)
                    error = float((found - image).norm())
                if error < least:
                    best, least = drawn.to(image), error
            layer.weight.copy_(best)
        return chosen.to(dtype)


def _note(order: list[str], name: str, output: object) -> None:
    order.append(name)


def _rectified(net: nn.Module, until: str, image: Tensor) -> dict[str, str]:
    """The convolutions in the order in which they run, each with the ReLU that runs next, or "" if none does."""
    order: list[str] = []
    features = Taps(net, until)
    features(image)  # its first call runs the whole network
    with ExitStack() as stack:
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d | nn.ReLU):
                stack.enter_context(hooked(net, name, partial(_note, order, name)))
        features(image)
    following = dict(zip(order, [*order[1:], ""], strict=True))
    return {
        name: relu if relu and isinstance(net.get_submodule(relu), nn.ReLU) else ""
        for name, relu in following.items()
        if isinstance(net.get_submodule(name), nn.Conv2d)
    }
