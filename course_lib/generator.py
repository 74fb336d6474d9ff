"""From a code back to an image: the generator that belongs to CourseNet."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from course_lib.errors import check_shipped, require
from course_lib.inputs import device_of

__all__ = ["FILE", "LAYER", "UNITS", "Generator", "fingerprint", "load"]

#: The layer whose codes it takes.
LAYER = "relu6"
#: Number of units of the layer.
UNITS = 256
#: The shipped file.
FILE = Path(__file__).parent / "weights" / "generator-0.safetensors"


class Generator(nn.Module):
    """``G(c)``: codes (n, 256) of relu6 -> images (n, 3, 96, 96) in [0, 1].

    Two linear layers, four up-convolutions, and a backdrop, which is the same for all codes. The code is divided by
    `high`, so that each unit's range is [0, 1].

    Attributes:
        low: (256,), the lower end of each unit's range on drawn scenes, 0.
        high: (256,), the upper end: the mean plus three standard deviations (Nguyen 2016).
        typical: (256,), the mean.
        network: (32,) bytes, the `fingerprint` of the network whose codes it takes.

    Raises:
        ValueError: When called, codes of another shape.

    Source: Dosovitskiy and Brox 2016. Deviation: see `train.generator`.
    """

    def __init__(self) -> None:
        super().__init__()
        for name, value in {"low": 0.0, "typical": 0.0, "high": 1.0}.items():
            self.register_buffer(name, torch.full((UNITS,), value))
        self.register_buffer("network", torch.zeros(32, dtype=torch.uint8))  # fingerprint of the network inverted
        self.coarse = nn.Sequential(
            *(nn.Linear(UNITS, 256), nn.BatchNorm1d(256), nn.ReLU()),
            *(nn.Linear(256, 96 * 6 * 6), nn.BatchNorm1d(96 * 6 * 6), nn.ReLU()),
            nn.Unflatten(1, (96, 6, 6)),
        )
        self.fine = nn.Sequential(*_doubled(96, 96), *_doubled(96, 64), *_doubled(64, 32), *_doubled(32, 3)[:1])
        self.backdrop = nn.Parameter(torch.zeros(3, 96, 96))  # before the sigmoid

    def forward(self, code: Tensor) -> Tensor:
        fits = code.dim() == 2 and code.shape[1] == UNITS
        require(fits, f"codes have shape (n, {UNITS}), got {tuple(code.shape)}")
        logits: Tensor = self.fine(self.coarse(code / self.get_buffer("high"))) + self.backdrop
        return logits.sigmoid()


def _doubled(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Twice the height and width."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()


def fingerprint(net: nn.Module) -> Tensor:
    """SHA-256 of a network's parameters, the same on every device.

    Args:
        net: Any module.

    Returns:
        (32,) uint8.
    """
    digest = hashlib.sha256()
    for parameter in net.parameters():
        digest.update(parameter.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def load(net: nn.Module, path: Path = FILE) -> Generator:
    """The shipped generator, frozen, on the network's device.

    Args:
        net: The network whose codes it inverts, ``models.load("coursenet")``.
        path: Its file.

    Raises:
        ValueError: A network with other weights, and a missing or damaged file.

    Example:
        >>> from course_lib import models
        >>> made = load(models.load("coursenet"))
        >>> made(made.typical[None]).shape
        torch.Size([1, 3, 96, 96])
    """
    require(path.exists(), f"no generator file {path}")
    generator = Generator()
    try:
        generator.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} is truncated or no generator: {error}") from error
    check_shipped(path)
    same = torch.equal(generator.get_buffer("network"), fingerprint(net))
    require(same, f"{path.name} is a generator for another network: models.load('coursenet'), of seed 0")
    return generator.requires_grad_(False).eval().to(device_of(net))
