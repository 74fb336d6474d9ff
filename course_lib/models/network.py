"""Networks: shipped, torchvision's, random; normalisation inside."""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from course_lib import world
from course_lib.errors import check_pictures, check_shipped, require, sums_beside, unknown

SHIPPED = Path(__file__).parent / "weights"
INITIALIZATIONS = ("unit_variance", "kaiming", "torchvision")


class MissingWeights(FileNotFoundError):
    """A network's weights are neither on this machine nor reachable."""


class Network(nn.Module):
    """A frozen classifier in evaluation mode that takes pictures in [0, 1] and returns logits.

    net(x): (n, 3, h, w) in [0, 1] -> (n, classes), before the softmax. Mean and standard deviation are applied
    inside. The parts of the wrapped network keep their own names, so that `net.get_submodule("features.3")` and
    `named_modules` say what torchvision says.

    name: what to call it in a figure. classes: names, in the order of the logits. layers: every name that can be
    tapped. image_size: the side of the pictures it was made for; others work too if the network takes them.
    """

    mean: Tensor
    std: Tensor
    wrapped: nn.Module

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        classes: tuple[str, ...],
        image_size: int,
        mean: list[float],
        std: list[float],
    ):
        super().__init__()
        for part, module in network.named_children():
            self.add_module(part, module)
        for part, parameter in network.named_parameters(recurse=False):
            self.register_parameter(part, parameter)
        self.layers = tuple(part for part, _ in self.named_modules() if part)
        vars(self)["wrapped"] = network  # not as a part, or its parts would be listed twice
        self.name, self.classes, self.image_size = name, classes, image_size
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        network.eval()
        # channels_last: a third to a half off the time of a convolution on a CPU
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        # The range is the business of whoever takes a user's picture: methods that add noise leave [0, 1].
        # Here only another scale (0 to 255) is refused.
        check_pictures(x, -10, 10)
        x = x.to(memory_format=torch.channels_last)
        try:
            return self.wrapped.forward((x - self.mean) / self.std)
        except RuntimeError as error:
            least = self._least_size(max(x.shape[2:]))
            if min(x.shape[2:]) < least:
                height, width = x.shape[2:]
                message = f"{self.name} needs pictures of at least {least} x {least}, got {height} x {width}"
                raise ValueError(message) from error
            raise

    def index(self, name: str) -> int:
        """The number of the class of that name; ValueError with the nearest names if there is none."""
        if name not in self.classes:
            raise unknown(f"class of {self.name}", name, self.classes)
        return self.classes.index(name)

    def _least_size(self, size: int) -> int:
        """The side of the smallest square picture that passes, by bisection (only ever needed for an error)."""
        low, high = 0, max(2 * size, self.image_size)  # low fails, high passes
        while high - low > 1:
            middle = (low + high) // 2
            try:
                with torch.no_grad():
                    self.wrapped.forward(self.mean.new_zeros(1, 3, middle, middle))
                high = middle
            except (RuntimeError, ValueError):
                low = middle
        return high


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
        network = _shipped("robust")
    elif weights == "pretrained":
        network = _shipped(seed) if name == "coursenet" else _pretrained(name)
    else:
        network = untrained(name, seed)
        if weights == "random":
            _initialize(network, initialization, details["image_size"], seed)
        else:
            _load_state(network, _read(Path(weights)), Path(weights))
    kind = {"random": " (random weights)", "robust": " (robust)"}.get(str(weights), "")
    return Network(network, name=name + kind, **details)


# ---------------------------------------------------------------- the shipped network


def course_net() -> nn.Sequential:
    """CourseNet without weights: a small AlexNet with the lecture's layer names, for 96 x 96 pictures.

    avgpool does nothing at 96 x 96, and lets other sizes pass.
    """
    widths = {1: (3, 32), 2: (32, 64), 3: (64, 96), 4: (96, 96), 5: (96, 96)}
    kernels = {1: 7, 2: 5, 3: 3, 4: 3, 5: 3}
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (inputs, outputs) in widths.items():
        k = kernels[i]
        parts[f"conv{i}"] = nn.Conv2d(inputs, outputs, k, stride=2 if i == 1 else 1, padding=k // 2)
        parts[f"relu{i}"] = nn.ReLU()
        if i in (1, 2, 5):
            parts[f"pool{i}"] = nn.MaxPool2d(3, stride=2, padding=1)
    parts["avgpool"] = nn.AdaptiveAvgPool2d(6)
    parts["flatten"] = nn.Flatten()
    for i, inputs, outputs in ((6, 96 * 6 * 6, 256), (7, 256, 256)):
        parts[f"fc{i}"] = nn.Linear(inputs, outputs)
        parts[f"relu{i}"] = nn.ReLU()
    parts["fc8"] = nn.Linear(256, len(world.SHAPES))
    return nn.Sequential(parts)


def _shipped(run: int | str) -> nn.Module:
    """CourseNet as a training run left it: the seed of the run, or "robust"."""
    path = SHIPPED / f"coursenet-{run}.safetensors"
    shipped = sums_beside(path)
    if path.name not in shipped:
        runs = [name.removeprefix("coursenet-").removesuffix(".safetensors") for name in shipped]
        raise unknown("shipped coursenet with seed", run, [name for name in runs if name.isdigit()])
    state = _read(path)
    check_shipped(path)
    network = course_net()
    _load_state(network, state, path)
    return network


# ---------------------------------------------------------------- torchvision's


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


# ---------------------------------------------------------------- for textures


class RandomFilters(nn.Module):
    """One convolution and nothing behind it: random filters of several sizes, side by side, each with a ReLU.

    filters(x): (n, 3, h, w) in [0, 1] -> {"11": (n, maps, h, w), ...}, named by size; `layers` lists the names. Taps
    takes them one by one. Weights are uniform with deviation 1 / sqrt(3 size^2), biases zero; the border is a
    reflection. Raises ValueError for an even size.
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
        check_pictures(x, -10, 10)
        return {layer: self.get_submodule(layer)(4 * (x - 0.5)) for layer in self.layers}


def average_pooling(net: Network) -> Network:
    """A copy of the network whose max-poolings take averages: smoother pictures, says Gatys 2015."""
    copy = deepcopy(net)
    for name, module in net.named_modules():
        if isinstance(module, nn.MaxPool2d):
            owner, _, part = name.rpartition(".")
            average = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
            for whole in (copy, copy.wrapped):
                setattr(whole.get_submodule(owner), part, average)
    copy.name = f"{net.name}, average pooling"
    return copy


# ---------------------------------------------------------------- files


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.exists():
        raise MissingWeights(f"no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is truncated or not a file of weights: {error}") from error


def _load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path} holds weights of another network: {error}") from error


# ---------------------------------------------------------------- random weights


def untrained(name: str, seed: int) -> nn.Module:
    # torchvision's constructors draw from the global generator: seed a fork of it, which leaves it as it was
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "coursenet":
            return course_net()
        slow = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return torchvision.models.get_model(name, weights=None, **slow)


def _initialize(network: nn.Module, initialization: str, size: int, seed: int) -> None:
    if initialization == "torchvision":
        return
    generator = torch.Generator().manual_seed(seed)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
        if initialization == "unit_variance":
            _scale_to_unit_variance(network, layers, (world.draw(4, seed=0, size=size).images - 0.5) / 0.25)


def _scale_to_unit_variance(network: nn.Module, layers: list[Any], pictures: Tensor) -> None:
    """One pass over the pictures; each layer is scaled as the pass reaches it, so that the next sees the result."""

    def rescale(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        deviation = output.std()
        layer.weight /= deviation
        return output / deviation

    hooks = [layer.register_forward_hook(rescale) for layer in layers]
    try:
        network.eval()(pictures)
    finally:
        for hook in hooks:
            hook.remove()
