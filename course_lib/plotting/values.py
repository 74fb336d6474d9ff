"""Numbers as images: heat maps, signed maps, gradients."""

import matplotlib
import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import check_maps
from course_lib.plotting.drawable import rgb

__all__ = ["gradient_picture", "heat", "signed"]

PERCENTILE = 0.995  # of a map's values: the scale that a few outliers do not darken


def heat(maps: Tensor, *, shared: bool = False, largest: Tensor | None = None) -> Tensor:
    """Maps as images: black is 0 (and below), light the 99.5th percentile of the map (and above).

    Args:
        maps: (n, 1, h, w), at least 0.
        shared: One percentile for all maps, so that strong maps look stronger; otherwise each has its own.
        largest: (n,), what is light in each map instead: its channel's maximum over many images, say, so that a silent
            channel looks silent.

    Returns:
        (n, 3, h, w) in [0, 1], of the maps' dtype and on their device.

    Raises:
        TypeError: Not a tensor.
        ValueError: Another shape, values that are not finite, or another number of `largest` than of maps.

    Example:
        >>> heat(torch.tensor([[[[0.0, 1.0]]]])).mean(1)  # from dark to light
        tensor([[[0.0053, 0.8772]]])
    """
    check_maps(maps)
    values = precise(maps)
    top = values.flatten(1).quantile(PERCENTILE, dim=1) if largest is None else largest.to(values)
    require(top.shape == (len(maps),), f"largest is one value for each of {len(maps)} maps, got {tuple(top.shape)}")
    if shared:
        top = values.flatten().sort().values[int(PERCENTILE * (maps.numel() - 1))].expand(len(maps))
    return colour(values / top.clamp(min=1e-12)[:, None, None, None], "inferno").to(maps)


def signed(maps: Tensor) -> Tensor:
    """Maps as images: white is 0, red above and blue below, both to the 99.5th percentile of each map's absolute value.

    Args:
        maps: (n, 1, h, w).

    Returns:
        (n, 3, h, w) in [0, 1], of the maps' dtype and on their device.

    Raises:
        TypeError: Not a tensor.
        ValueError: Another shape, or values that are not finite.
    """
    check_maps(maps)
    values = precise(maps)
    return colour(values / largest(values) / 2 + 0.5, "RdBu_r").to(maps)


def gradient_picture(gradients: Tensor) -> Tensor:
    """Signed RGB gradients as images around mid grey, each scaled by the 99.5th percentile of its absolute values.

    Args:
        gradients: (n, 3, h, w), or (n, 1, h, w), which is drawn in grey.

    Returns:
        (n, 3, h, w) in [0, 1].

    Raises:
        TypeError: Not a floating tensor.
        ValueError: Another shape, or values that are not finite.

    Example:
        >>> gradient_picture(torch.tensor([-3.0, 0.0, 3.0]).view(1, 3, 1, 1)).flatten()
        tensor([0.0000, 0.5000, 1.0000])
    """
    values = precise(rgb(gradients))
    return (values / largest(values) / 2 + 0.5).clamp(0, 1).to(gradients)


def precise(x: Tensor) -> Tensor:
    """Without a history, and in a precision that percentiles can be taken in."""
    return x.detach().to(torch.promote_types(x.dtype, torch.float32))


def largest(values: Tensor) -> Tensor:
    """The 99.5th percentile of |values|, of each image, (n, 1, 1, 1)."""
    return values.abs().flatten(1).quantile(PERCENTILE, dim=1).clamp(min=1e-12)[:, None, None, None]


def colour(values: Tensor, name: str) -> Tensor:
    """Values in [0, 1], (n, 1, h, w), in the colours of a map of matplotlib's, (n, 3, h, w)."""
    coloured = matplotlib.colormaps[name](values[:, 0].clamp(0, 1).cpu().numpy())[..., :3]  # (n, h, w, 3)
    return torch.from_numpy(coloured).permute(0, 3, 1, 2).to(values)
