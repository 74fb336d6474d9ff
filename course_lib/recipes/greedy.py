"""Random weights chosen layer by layer: of several draws, the one from which a picture comes back best."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from course_lib.energy import distance
from course_lib.errors import require
from course_lib.images import Unbounded
from course_lib.inputs import check_images
from course_lib.models import Network
from course_lib.optimizers import lbfgs
from course_lib.preimage import minimize
from course_lib.taps import Taps


def from_white_noise(net: nn.Module, layer: str, x: Tensor, *, evaluations: int = 160, seed: int = 0) -> Tensor:
    """argmin_y |f(y) - f(x)|^2 / |f(x)|^2 by L-BFGS from white noise, without a regulariser: (n, 3, h, w).

    x: (n, 3, h, w) in [0, 1]; one at a time, since a line search for several takes steps that fit none of them.
    evaluations: of the energy and its slope, for each picture. seed: picture i begins at noise of seed + i.
    Source: He 2016. Deviations: pixels are sigmoids of real numbers, and begin uniform in [0, 1].
    """
    check_images(x)
    found = []
    for i, picture in enumerate(x.split(1)):
        noise = torch.rand(picture.shape, generator=torch.Generator().manual_seed(seed + i))
        found.append(_descend(Taps(net, layer), picture, Unbounded(noise.to(x)), evaluations))
    return torch.cat(found)


def _descend(features: Taps, picture: Tensor, image: Unbounded, evaluations: int) -> Tensor:
    with torch.no_grad():
        code = features(picture)
    step = lbfgs(evaluations, evaluations)
    return minimize(features, distance(code), image, steps=1, optimizer=step, progress=False).image


def greedy_weights(
    net: Network, picture: Tensor, draws: int = 4, *, until: str = "", evaluations: int = 60, seed: int = 0
) -> Network:
    """A copy of the network with other random weights, each convolution's the best of several draws.

    From the first convolution to the last: draw Gaussian weights, deviation sqrt(2 / fan_in), `draws` times; keep those
    whose rectified answers give the picture back with the smallest |y - x| (`from_white_noise`). Biases become zero.
    A convolution without a ReLU behind it is drawn once; linear layers stay as they are.

    picture: the reference, (1, 3, h, w) in [0, 1]. until: the last layer that matters; convolutions behind it stay as
    they are. evaluations: for each draw. seed: of the draws and of the noise, the same for all draws of a layer.
    Raises ValueError for draws < 1 and for an unknown layer. Source: He 2016.
    """
    check_images(picture)
    require(draws >= 1, f"draws must be at least 1, got {draws}")
    chosen = deepcopy(net)
    chosen.name = f"{net.name}, greedy"
    generator = torch.Generator().manual_seed(seed)
    for convolution, relu in _rectified(chosen, until, picture).items():
        layer = chosen.get_submodule(convolution)
        assert isinstance(layer, nn.Conv2d)
        if layer.bias is not None:
            layer.bias.zero_()
        best, least = layer.weight, float("inf")
        for _ in range(draws if relu else 1):
            drawn = torch.randn(layer.weight.shape, generator=generator) * (2 / layer.weight[0].numel()) ** 0.5
            layer.weight.copy_(drawn)
            error = 0.0
            if relu and draws > 1:
                found = from_white_noise(chosen, relu, picture, evaluations=evaluations, seed=seed)
                error = float((found - picture).norm())
            if error < least:
                best, least = drawn.to(picture), error
        layer.weight.copy_(best)
    return chosen


@torch.no_grad()
def _rectified(net: Network, until: str, picture: Tensor) -> dict[str, str]:
    """The convolutions in the order in which they run, each with the ReLU that runs next, or "" if none does."""
    order: list[str] = []
    features = Taps(net, until)
    features(picture)  # its first call runs the whole network
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: order.append(name))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.ReLU)
    ]
    try:
        features(picture)
    finally:
        for hook in hooks:
            hook.remove()
    following = dict(zip(order, [*order[1:], ""], strict=True))
    return {
        name: relu if relu and isinstance(net.get_submodule(relu), nn.ReLU) else ""
        for name, relu in following.items()
        if isinstance(net.get_submodule(name), nn.Conv2d)
    }
