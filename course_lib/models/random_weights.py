"""Random weights, random filters, other pooling."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import cast

import torch
import torchvision
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.inputs import check_images, unwrapped
from course_lib.models.coursenet import course_net
from course_lib.models.network import Network
from course_lib.models.packaged import PACKAGED
from course_lib.taps import Named, hooked

INITIALIZATIONS = ("unit_variance", "kaiming", "torchvision")


class RandomFilters(Named):
    """One convolution and nothing behind it: random filters of several sizes, side by side, each with a ReLU.

    ``filters(x)``: (n, 3, h, w) in [0, 1] -> ``{"11": (n, maps, h, w), ...}``, named by size. `Taps` takes them one by
    one. Weights are uniform with standard deviation ``1 / sqrt(3 size^2)``, without biases; the border is a reflection.

    Args:
        sizes: Of the filters, in pixels, odd.
        maps: Number of filters of each size.
        seed: Of the weights.

    Attributes:
        layers: The names, one for each size.

    Raises:
        ValueError: No size, or an even one.

    Source: Ustyuzhaninov 2016, who take 128 maps at each of 3, 5, 7, 11, 15, 23, 37 and 55 pixels.
    """

    def __init__(self, sizes: Sequence[int] = (3, 5, 7, 11, 15, 23), maps: int = 64, seed: int = 0):
        super().__init__()
        require(len(sizes) >= 1 and all(size % 2 == 1 for size in sizes), f"sizes of filters are odd, got {sizes}")
        generator = torch.Generator().manual_seed(seed)
        self.layers = tuple(map(str, sizes))
        for size in sizes:
            convolution = nn.Conv2d(3, maps, size, padding=size // 2, padding_mode="reflect", bias=False)
            bound = 1 / size  # a uniform draw from -b to b has deviation b / sqrt(3)
            with torch.no_grad():
                convolution.weight.uniform_(-bound, bound, generator=generator)
            self.add_module(str(size), nn.Sequential(convolution, nn.ReLU()))
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_images(x, -10, 10)
        return {layer: self.get_submodule(layer)(4 * (x - 0.5)) for layer in self.layers}


def average_pooling(net: Network) -> Network:
    """A copy of the network whose max-poolings take averages: smoother images, says Gatys 2015.

    Args:
        net: The network, which stays as it is.

    Raises:
        TypeError: A network that is no `models.Network`.
    """
    net = cast(Network, unwrapped(net))
    if not isinstance(net, Network):
        raise TypeError(f"average_pooling takes a models.Network, got {type(net).__name__}: wrap it in models.Network")
    copy = deepcopy(net)
    for name, module in net.named_modules():
        if isinstance(module, nn.MaxPool2d):
            owner, _, part = name.rpartition(".")
            average = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
            for whole in (copy, copy.wrapped):
                setattr(whole.get_submodule(owner), part, average)
    copy.name = f"{net.name}, average pooling"
    return copy


def untrained(name: str, seed: int) -> nn.Module:
    """A network with the weights that its constructor draws, and without normalisation inside.

    Args:
        name: As in `load`.
        seed: Of the weights.
    """
    # torchvision's constructors draw from the global generator: seed a fork of it, which leaves it as it was
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "coursenet":
            return course_net()
        if name in PACKAGED:
            return PACKAGED[name].architecture()
        slow = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return cast(nn.Module, torchvision.models.get_model(name, weights=None, **slow))


def initialize(network: nn.Module, initialization: str, images: Tensor, seed: int) -> None:
    """Draw the weights of a network anew, in place.

    Args:
        network: The network.
        initialization: As in `load`; "torchvision" leaves the weights as they are.
        images: Normalised images, (n, 3, h, w), whose passage scales the layers of "unit_variance".
        seed: Of the weights.
    """
    if initialization == "torchvision":
        return
    generator = torch.Generator().manual_seed(seed)
    layers = {name: part for name, part in network.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}
    with torch.no_grad():
        for layer in layers.values():
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
        if initialization == "unit_variance":
            _scale_to_unit_variance(network, layers, images)


def _scale_to_unit_variance(network: nn.Module, layers: Mapping[str, nn.Conv2d | nn.Linear], images: Tensor) -> None:
    """One pass over the images; each layer is scaled as the pass reaches it, so that the next sees the result."""

    def rescale(layer: nn.Conv2d | nn.Linear, output: Tensor) -> Tensor:
        deviation = output.std()
        layer.weight /= deviation
        return output / deviation

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.enter_context(hooked(network, name, partial(rescale, layer)))
        network.eval()(images)
