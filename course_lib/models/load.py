"""Networks by name."""

import os
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from course_lib import world
from course_lib.errors import require, unknown
from course_lib.models import coursenet
from course_lib.models.network import Network
from course_lib.models.random_weights import INITIALIZATIONS, initialize, untrained
from course_lib.models.weights import MissingWeights, load_state, read


def load(
    name: str,
    *,
    weights: str | os.PathLike[str] = "pretrained",
    seed: int = 0,
    initialization: str = "unit_variance",
) -> Network:
    """A frozen network, ready for pictures in [0, 1].

    name: "coursenet", or any torchvision classifier by torchvision's name.
    weights: "pretrained" (the shipped file, or torchvision's first published ImageNet weights, from the cache or
        downloaded into it), "random", or the path of a .safetensors or .pth file with a state dict. "robust" is the
        shipped "coursenet" that was trained on attacked scenes (Madry 2018; see `train.robust`).
    seed: of the draw when random; for "coursenet", the seed of the shipped training run (0 or 1).
    initialization: of random weights. Weights are Gaussian with zero biases in the first two.
        "unit_variance": layer by layer, scaled so that each convolution and linear layer answers drawn scenes with
            deviation one (Mishkin and Matas 2016, without their orthogonal start); the scale survives any depth.
        "kaiming": deviation sqrt(2 / fan_in) (He 2015), which keeps the scale through plain ReLU layers.
        "torchvision": what torchvision does by default.

    Nothing is ever substituted: raises MissingWeights where weights cannot be had, ValueError for an unknown name or
    initialization, for "robust" weights of another network, and for a wrong or truncated file.
    """
    names = ["coursenet", *torchvision.models.list_models(module=torchvision.models)]
    if name not in names:
        raise unknown("network", name, names)
    if initialization not in INITIALIZATIONS:
        raise unknown("initialization", initialization, INITIALIZATIONS)
    if name == "coursenet":
        details: dict[str, Any] = {
            "classes": world.SHAPES,
            "image_size": 96,
            "mean": [0.5] * 3,
            "std": [0.25] * 3,
        }
    else:
        details = _torchvision_details(name)

    require(weights != "robust" or name == "coursenet", f"robust weights are shipped for coursenet only, not {name}")
    if weights == "robust":
        network = coursenet.shipped("robust")
    elif weights == "pretrained":
        network = coursenet.shipped(seed) if name == "coursenet" else _pretrained(name)
    else:
        network = untrained(name, seed)
        if weights == "random":
            initialize(network, initialization, details["image_size"], seed)
        else:
            load_state(network, read(Path(weights)), Path(weights))
    kind = {"random": " (random weights)", "robust": " (robust)"}.get(str(weights), "")
    return Network(network, name=name + kind, **details)


def _torchvision_details(name: str) -> dict[str, Any]:
    weights = _first_weights(name)
    preset = weights.transforms()
    return {
        "classes": tuple(weights.meta["categories"]),
        "image_size": preset.crop_size[0],
        "mean": preset.mean,
        "std": preset.std,
    }


def _first_weights(name: str) -> Any:
    """The first published ImageNet weights of that network, those that the literature used."""
    return next(iter(torchvision.models.get_model_weights(name)))


def cached_file(name: str) -> Path:
    """Where the pretrained weights of a torchvision network lie, or would lie, on this machine (see TORCH_HOME)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(_first_weights(name).url).name


def _pretrained(name: str) -> nn.Module:
    path = cached_file(name)
    was_there = path.exists()
    try:
        return torchvision.models.get_model(name, weights=_first_weights(name))
    except Exception as error:  # a download fails in many ways, a damaged file in more
        if was_there:
            raise ValueError(f"{path} is damaged or not {name}'s: {error}") from error
        raise MissingWeights(
            f"no weights for {name!r}: {path.name} is not in {path.parent} and could not be downloaded ({error}). "
            f"Put the file into that folder, or into hub/checkpoints of the folder that TORCH_HOME names; "
            f"or take models.load({name!r}, weights='random'), or the shipped models.load('coursenet')."
        ) from error
