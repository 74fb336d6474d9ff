"""What can be drawn."""

import math

import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import check_images


def rgb(images: Tensor) -> Tensor:
    """Images of any range as (n, 3, h, w): grey ones and masks, (n, 1, h, w), get three equal channels.

    The one check of all that is drawn. Raises TypeError for what is no floating tensor or mask, and ValueError for
    another shape and values that are not finite.
    """
    if isinstance(images, Tensor):
        images = images.detach()
        images = images.float() if images.dtype == torch.bool else images
        images = images.expand(-1, 3, -1, -1) if images.dim() == 4 and images.shape[1] == 1 else images
    check_images(images, -math.inf, math.inf)
    require(bool(images.isfinite().all()), "images hold values that are not finite")
    return images
