"""What the networks of packages cost, forward and with a gradient, over two peers.

One is the same convolutions called by hand, without modules and checks. The other is the architecture that the makers
of EfficientNet-Lite0's package publish.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor

from bench.measuring import timed
from bench.rows import versus
from course_lib import models
from course_lib.models.packaged import STAGES
from project.benches import Row

ROUNDS = 40
Weights = Mapping[str, Tensor]  # of a network, by name, channels_last, batch normalisation folded
Network = Callable[[Tensor], Tensor]


def convolve(weights: Weights, part: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    weight = weights[f"{part}.weight"]
    kernel = weight.shape[-1]
    if stride == 2:  # as TensorFlow pads
        x = F.pad(x, ((kernel - 2) // 2, (kernel - 1) // 2) * 2)
    padding = kernel // 2 if stride == 1 else 0
    return F.conv2d(x, weight, weights[f"{part}.bias"], stride=stride, padding=padding, groups=groups)


def lite0_by_hand(weights: Weights, x: Tensor) -> Tensor:
    x = F.relu6(convolve(weights, "stem", (x - 127 / 255) / (128 / 255), 2))
    number = 0
    for factor, _, first, _, blocks in STAGES:
        for stride in (first, *[1] * (blocks - 1)):
            number += 1
            block = f"block{number}"
            y = x if factor == 1 else F.relu6(convolve(weights, f"{block}.expand", x))
            y = F.relu6(convolve(weights, f"{block}.depthwise", y, stride, groups=y.shape[1]))
            y = convolve(weights, f"{block}.project", y)
            x = x + y if x.shape == y.shape else y
    x = F.relu6(convolve(weights, "head", x)).mean((2, 3))
    return F.linear(x, weights["fc.weight"], weights["fc.bias"])


def vgg19_by_hand(weights: Weights, x: Tensor) -> Tensor:
    x = 255 * x - torch.tensor([123.68, 116.779, 103.939])[:, None, None]
    for block, convolutions in enumerate((2, 2, 4, 4, 4), start=1):
        for number in range(1, convolutions + 1):
            x = F.relu(convolve(weights, f"conv{block}_{number}", x))
        x = F.max_pool2d(x, 2)
    return x


def published_lite0(_: Weights) -> Network:
    network = EfficientNet.from_name("efficientnet-lite0").eval().requires_grad_(False)
    network = network.to(memory_format=torch.channels_last)
    return lambda x: network((x - 127 / 255) / (128 / 255))


BY_HAND = "the same convolutions called by hand"
PEERS: tuple[tuple[str, str, int, str, Callable[[Weights], Network]], ...] = (
    ("efficientnet_lite0", "EfficientNet-Lite0", 224, BY_HAND, lambda weights: partial(lite0_by_hand, weights)),
    ("efficientnet_lite0", "EfficientNet-Lite0", 224, "efficientnet-lite-pytorch's architecture", published_lite0),
    ("vgg19_features", "VGG-19 to pool5", 128, BY_HAND, lambda weights: partial(vgg19_by_hand, weights)),
)


def forward(network: Network, x: Tensor) -> None:
    with torch.no_grad():
        network(x)


def forward_and_backward(network: Network, x: Tensor) -> None:
    x = x.clone().requires_grad_()
    torch.autograd.grad(network(x).square().sum(), x)


def rows() -> Iterator[Row]:
    for name, title, size, against, make in PEERS:
        net = models.load(name, weights="random")
        x = torch.rand(1, 3, size, size).to(memory_format=torch.channels_last)
        peer = make(dict(net.named_parameters()))
        if against == BY_HAND:
            torch.testing.assert_close(net(x), peer(x), atol=1e-3, rtol=1e-3)
        for what, run in (("forward", forward), ("forward and backward", forward_and_backward)):
            runs = partial(run, net, x), partial(run, peer, x)
            for each in runs:
                each()
            ours, theirs = timed(ROUNDS, *runs)
            yield versus(f"{title}, {size} px, {what}", against, ours, theirs, bar="at most 1.05")
