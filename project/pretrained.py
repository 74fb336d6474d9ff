"""Cells tagged `pretrained` need the ImageNet SqueezeNet, which is a download. Is it on this machine?"""

from pathlib import Path
from typing import Any

TAG = "pretrained"


def weights_file() -> Path:
    """Where torchvision keeps the weights, present or not."""
    from course_lib import models  # here, so that a test run without tagged cells does not pay for torch

    return models.cached_file("squeezenet1_0")


def needs_weights(cell: Any) -> bool:
    """Does this notebook cell carry the tag?"""
    return TAG in cell.metadata.get("tags", [])
