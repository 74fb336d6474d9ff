"""The generic perceptual loss: maps compared in the features of a network that need not have learnt."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.taps import Taps

__all__ = ["PerceptualLoss", "untrained_vgg"]


class PerceptualLoss(nn.Module):
    """``L(p, t) = sum over layers of mean |f(p) - f(t)|``, f the activations of a network that is not trained.

    ``loss(prediction, target)`` is a scalar, at least 0, and 0 where they are equal. Both are (n, c, h, w), whatever
    the network takes: images, depth maps, softmaxed segmentations against one-hot ones. The mean is over all values of
    a layer, so that wide and narrow layers count alike. Gradients reach the prediction alone: the network is evaluated,
    and its weights, gradients and modes stay as they are.

    Args:
        net: Any network.
        layers: Names of the layers, as for `Taps`.

    Attributes:
        features: The `Taps` of these layers.

    Raises:
        ValueError: Layers that the network does not have; when called, a prediction and a target of different shapes or
            dtypes.

    Source: Liu 2021. Deviation: none.

    Example:
        >>> from course_lib import models, world
        >>> loss = PerceptualLoss(models.load("coursenet", weights="random"), ["relu1", "relu2"])
        >>> x = world.draw(2).images
        >>> float(loss(x, x)), float(loss(x[:1], x[1:])) > 0
        (0.0, True)
    """

    def __init__(self, net: nn.Module, layers: Sequence[str]):
        super().__init__()
        self.features = Taps(net, *layers)

    def parts(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What each layer contributes; a very small value means that the layer barely affects training.

        Args:
            prediction: (n, c, h, w).
            target: (n, c, h, w), of the same dtype.

        Returns:
            {layer: scalar}.

        Raises:
            TypeError: No tensors.
            ValueError: Different shapes or dtypes.
        """
        if not (isinstance(prediction, Tensor) and isinstance(target, Tensor)):
            kinds = f"{type(prediction).__name__} and {type(target).__name__}"
            raise TypeError(f"prediction and target are tensors (n, c, h, w), got {kinds}")
        alike = prediction.shape == target.shape and prediction.dtype == target.dtype
        require(
            alike,
            f"prediction {_form(prediction)} and target {_form(target)} differ; a map of labels is made one-hot first",
        )
        with torch.no_grad():
            wanted = self.features(target)
        found = _ToPrediction.apply(prediction, self.features)
        return {layer: (a - wanted[layer]).abs().mean() for layer, a in zip(self.features.layers, found, strict=True)}

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return torch.stack(list(self.parts(prediction, target).values())).sum()


class _ToPrediction(torch.autograd.Function):
    """The activations for a prediction; gradients go back to it, and to no weight on the way."""

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, features: Taps) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            ctx.prediction = prediction.detach().requires_grad_(prediction.requires_grad)
            ctx.found = list(features(ctx.prediction).values())
        return tuple(a.detach() for a in ctx.found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = torch.autograd.grad(ctx.found, ctx.prediction, gradients, retain_graph=True)
        return gradient, None


def _form(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"


@torch.no_grad()
def untrained_vgg(
    sample: Tensor, *, widths: Sequence[int] = (16, 32, 64), rectified: bool = True, seed: int = 0
) -> nn.Sequential:
    """A network of VGG's form, with random weights, for maps like a sample.

    Blocks of two 3 x 3 convolutions (conv1_1 relu1_1 conv1_2 relu1_2 pool1 conv2_1 ...), one block for each width.
    Weights are Gaussian, biases zero, and each convolution is scaled so that its output for the sample has standard
    deviation one (Mishkin and Matas 2016, without their orthogonal initialisation): all layers of a sum then count.

    Args:
        sample: Maps (n, c, h, w) such as the network will see, whose values are not all the same.
        widths: Number of channels of each block; sides of at least ``2 ** len(widths)`` pixels are needed.
        rectified: False leaves out each ReLU and averages where it would take maxima; the network is then linear.
        seed: Of the weights.

    Returns:
        A frozen network in evaluation mode, on the sample's device and in its dtype.

    Raises:
        ValueError: Maps too small for so many blocks, or all values of the sample are the same.

    Source: Liu 2021. Deviation: theirs is a full VGG16 with Kaiming's deviations; this one is small enough for a CPU.

    Example:
        >>> from course_lib import world
        >>> net = untrained_vgg(world.draw(4, size=16).images, widths=(8,))
        >>> [name for name, _ in net.named_children()]
        ['conv1_1', 'relu1_1', 'conv1_2', 'relu1_2', 'pool1']
    """
    generator = torch.Generator().manual_seed(seed)
    require(min(sample.shape[2:]) >= 2 ** len(widths), f"{len(widths)} blocks need more than {_form(sample)}")
    require(bool(sample.std() > 0), "all values of the sample are the same: they give no scale")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    x = sample
    for block, width in enumerate(widths, start=1):
        for i in (1, 2):
            # skip_init: a layer's own start would draw from the global generator
            convolution = nn.utils.skip_init(nn.Conv2d, x.shape[1], width, 3, padding=1, device=x.device, dtype=x.dtype)
            convolution.weight.copy_(torch.randn(convolution.weight.shape, generator=generator))
            convolution.bias.zero_()
            convolution.weight /= convolution(x).std()
            layers[f"conv{block}_{i}"] = convolution
            layers[f"relu{block}_{i}"] = nn.ReLU() if rectified else nn.Identity()
            x = layers[f"relu{block}_{i}"](convolution(x))
        layers[f"pool{block}"] = nn.MaxPool2d(2) if rectified else nn.AvgPool2d(2)
        x = layers[f"pool{block}"](x)
    return nn.Sequential(layers).to(memory_format=torch.channels_last).requires_grad_(False).eval()
