"""Cells tagged `pretrained` need the ImageNet SqueezeNet, which is a download. Is it on this machine?"""

from pathlib import Path
from typing import Any

TAG = "pretrained"


def weights_file() -> Path:
    """Where torchvision keeps the weights, present or not."""
    import torch  # here, so that a test run without tagged cells does not pay for the import
    from torchvision.models import SqueezeNet1_0_Weights

    return Path(torch.hub.get_dir(), "checkpoints", Path(SqueezeNet1_0_Weights.IMAGENET1K_V1.url).name)


def needs_weights(cell: Any) -> bool:
    """Does this notebook cell carry the tag?"""
    return TAG in cell.metadata.get("tags", [])
