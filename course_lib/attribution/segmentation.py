"""From a map to the object that it points at."""

import cv2
import numpy as np
import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import check_images, check_maps


def segment(x: Tensor, heat: Tensor, *, foreground: float = 0.95, background: float = 0.30, rounds: int = 5) -> Tensor:
    """The object that a map points at: GrabCut, seeded by the map and cut along the image's edges.

    Occlusion maps make the best seeds, and fine lines should be blurred first (measured in chapter 5).

    Args:
        x: Images, (n, 3, h, w) in [0, 1].
        heat: Maps, (n, 1, h, w), large on the object.
        foreground: Quantile from which up the hottest pixels are the object's for good.
        background: Quantile up to which pixels are background for good. The others begin as background, and GrabCut
            decides about them.
        rounds: Iterations of GrabCut, at least 1.

    Returns:
        (n, 1, h, w) bool.

    Raises:
        TypeError: Images or maps that are no tensors of the right type.
        ValueError: Shapes that differ, maps that are not finite, quantiles out of order, and a flat map: it points at
            nothing.

    Source: Simonyan 2014, section 3.2; Rother 2004. Deviation: their seeds give the colours only and may change sides.
    """
    check_images(x)
    check_maps(heat, x)
    require(0 <= background < foreground <= 1, f"quantiles rise from 0 to 1, got {background} and {foreground}")
    require(rounds >= 1, f"GrabCut needs at least 1 round, got {rounds}")
    masks = []
    for i, (one, hot) in enumerate(zip(x, heat[:, 0].detach().float(), strict=True)):
        low, high = hot.quantile(background), hot.quantile(foreground)
        seeds = (hot >= high) & (hot > low)
        require(bool(seeds.any()), f"map {i} is flat: no pixel is hotter than the quantile {background:g}")
        masks.append(_cut(one, seeds, hot <= low, rounds))
    return torch.stack(masks)[:, None].to(x.device)


def _cut(image: Tensor, inside: Tensor, outside: Tensor, rounds: int) -> Tensor:
    """(h, w) bool, by GrabCut from seeds (h, w) bool."""
    states = np.full(inside.shape, cv2.GC_PR_BGD, np.uint8)
    states[outside.cpu().numpy()] = cv2.GC_BGD
    states[inside.cpu().numpy()] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # its k-means draws from OpenCV's own generator
    models = np.zeros((1, 65)), np.zeros((1, 65))  # of the colours behind and on the object; OpenCV fills them in
    cv2.grabCut(as_bytes(image), states, (0, 0, 1, 1), *models, rounds, cv2.GC_INIT_WITH_MASK)  # the box is not used
    return torch.from_numpy((states == cv2.GC_FGD) | (states == cv2.GC_PR_FGD))


def as_bytes(image: Tensor) -> np.ndarray:
    """An image as OpenCV takes it: (h, w, 3) bytes.

    Args:
        image: (3, h, w) in [0, 1].
    """
    return np.ascontiguousarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
