"""From a map to the object that it points at."""

import cv2
import numpy as np
import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import check_images


def segment(x: Tensor, heat: Tensor, *, foreground: float = 0.95, background: float = 0.30, rounds: int = 5) -> Tensor:
    """The object that a map points at, (n, 1, h, w) bool: GrabCut, seeded by the map and cut along the picture's edges.

    The hottest pixels, from the quantile `foreground` up, are the object's for good; those up to the quantile
    `background` are not. GrabCut starts with the others as background and decides about them, `rounds` times over.
    Occlusion maps make the best seeds, and fine lines should be blurred first (measured in chapter 5).
    Source: Simonyan 2014, section 3.2, whose seeds give the colours only and may change sides; Rother 2004.

    Raises ValueError for shapes that differ, quantiles out of order, and a flat map: it points at nothing.
    """
    check_images(x)
    require(heat.shape == (len(x), 1, *x.shape[2:]), f"maps {tuple(heat.shape)} do not fit {tuple(x.shape)}")
    require(0 <= background < foreground <= 1, f"quantiles rise from 0 to 1, got {background} and {foreground}")
    require(rounds >= 1, f"GrabCut needs at least 1 round, got {rounds}")
    masks = []
    for i, (one, hot) in enumerate(zip(x, heat[:, 0].detach().float(), strict=True)):
        low, high = hot.quantile(background), hot.quantile(foreground)
        seeds = (hot >= high) & (hot > low)
        require(bool(seeds.any()), f"map {i} is flat: no pixel is hotter than the quantile {background:g}")
        masks.append(_cut(one, seeds, hot <= low, rounds))
    return torch.stack(masks)[:, None].to(x.device)


def _cut(picture: Tensor, inside: Tensor, outside: Tensor, rounds: int) -> Tensor:
    """(h, w) bool, by GrabCut from seeds (h, w) bool."""
    kinds = np.full(inside.shape, cv2.GC_PR_BGD, np.uint8)
    kinds[outside.cpu().numpy()] = cv2.GC_BGD
    kinds[inside.cpu().numpy()] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # its k-means draws from OpenCV's own generator
    models = np.zeros((1, 65)), np.zeros((1, 65))  # of the colours behind and on the object; OpenCV fills them in
    cv2.grabCut(as_bytes(picture), kinds, (0, 0, 1, 1), *models, rounds, cv2.GC_INIT_WITH_MASK)  # the box is not used
    return torch.from_numpy((kinds == cv2.GC_FGD) | (kinds == cv2.GC_PR_FGD))


# (3, h, w) in [0, 1] as (h, w, 3) bytes.
def as_bytes(picture: Tensor) -> np.ndarray:
    return np.ascontiguousarray((picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
