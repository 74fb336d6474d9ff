"""Files of weights: read, checked, put into a network."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

SHIPPED = Path(__file__).parents[1] / "weights"


class MissingWeights(FileNotFoundError):
    """A network's weights are neither on this machine nor reachable."""


def read(path: Path) -> Mapping[str, Tensor]:
    if not path.exists():
        raise MissingWeights(f"no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is truncated or not a file of weights: {error}") from error


def load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path} holds weights of another network: {error}") from error
