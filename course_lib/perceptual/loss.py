"""The generic perceptual loss: maps compared in the features of a network that need not have learnt."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.taps import Taps


class PerceptualLoss(nn.Module):
    """L(p, t) = sum over layers of mean |f(p) - f(t)|, f the activations of a network that stays as it is.

    loss(prediction, target) -> scalar, at least 0, and 0 where they are equal. Both are (n, c, h, w), whatever the
    network takes: pictures, depth maps, softmaxed segmentations against one-hot ones. The mean is over all values of
    a layer, so that wide and narrow layers count alike. Gradients reach the prediction only.

    net: is frozen and set to evaluation mode. layers: names, as for Taps. Source: Liu 2021.
    Raises ValueError for layers that net does not have, and for a prediction and a target of different shapes or types.
    """

    def __init__(self, net: nn.Module, layers: Sequence[str]):
        super().__init__()
        self.features = Taps(net.requires_grad_(False), *layers)
        self.train(False)

    def parts(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What each layer contributes: a layer far below the others has no say."""
        alike = prediction.shape == target.shape and prediction.dtype == target.dtype
        require(
            alike,
            f"prediction {_kind(prediction)} and target {_kind(target)} differ; a map of labels is made one-hot first",
        )
        found = self.features(prediction)
        with torch.no_grad():
            wanted = self.features(target)
        return {layer: (found[layer] - wanted[layer]).abs().mean() for layer in found}

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return torch.stack(list(self.parts(prediction, target).values())).sum()

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """Stays in evaluation mode, also as a part of what is being trained."""
        return super().train(False)


def _kind(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"


@torch.no_grad()
def untrained_vgg(
    sample: Tensor, *, widths: Sequence[int] = (16, 32, 64), rectified: bool = True, seed: int = 0
) -> nn.Sequential:
    """A network of VGG's form, with random weights, for maps like the sample (n, c, h, w).

    Blocks of two 3 x 3 convolutions (conv1_1 relu1_1 conv1_2 relu1_2 pool1 conv2_1 ...), one for each of the widths.
    Weights are Gaussian, biases zero, and each convolution is scaled to answer the sample with deviation one (Mishkin
    and Matas 2016, without their orthogonal start), so that all layers of a sum over layers have a say.

    rectified: False leaves out each ReLU and averages where it would take maxima; the network is then linear.
    Deviates from Liu 2021, whose network is a full VGG16 with Kaiming's deviations: ours is small enough for a CPU.
    Raises ValueError where the maps are too small for so many blocks, or all values of the sample are the same.
    """
    generator = torch.Generator().manual_seed(seed)
    require(min(sample.shape[2:]) >= 2 ** len(widths), f"{len(widths)} blocks need more than {_kind(sample)}")
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
