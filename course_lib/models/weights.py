"""Files of weights: read, checked, put into a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from course_lib.errors import require

SHIPPED = Path(__file__).parents[1] / "weights"


class MissingWeights(FileNotFoundError):
    """A network's weights are neither on this machine nor reachable."""


def read(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a .safetensors or .pth file, by name, on the CPU.

    Args:
        path: The file.

    Raises:
        MissingWeights: No such file.
        ValueError: A file that is truncated, or holds anything else than tensors by name.
    """
    if not path.exists():
        raise MissingWeights(f"no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file makes the two libraries raise has no common class
        raise ValueError(f"{path} is truncated or not a file of weights: {error}") from error
    whole = isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values())
    require(whole, f"{path} holds no state dict, tensors by name: save net.state_dict()")
    return cast(Mapping[str, Tensor], state)


def load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a network.

    Args:
        network: The network, which is changed.
        state: Tensors by name.
        path: Where they are from, for the error.

    Raises:
        ValueError: Weights of another network, or with the names that DataParallel or torch.compile give them.
    """
    for prefix, whose in (("module.", "net.module"), ("_orig_mod.", "net._orig_mod")):
        wrapped = len(state) > 0 and all(name.startswith(prefix) for name in state)
        require(not wrapped, f"the names in {path} begin with {prefix!r}: save {whose}.state_dict() instead")
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path} holds weights of another network: {error}") from error
