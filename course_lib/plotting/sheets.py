"""Several images as one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.utils import make_grid

from course_lib.errors import require, unknown
from course_lib.inputs import check_maps, unwrapped, whole
from course_lib.plotting.drawable import rgb
from course_lib.plotting.values import colour, gradient_picture, precise

__all__ = ["filters", "mosaic", "sheet"]


def sheet(tiles: Tensor, columns: int, *, side: int = 0, gap: int = 2) -> Tensor:
    """Images side by side on one white image, row by row.

    Args:
        tiles: (n, 3, h, w), or grey (n, 1, h, w); values are clipped to [0, 1].
        columns: Images in a row, at least 1.
        side: Enlarge each by a whole factor until it is at least so many pixels wide; 0 leaves them as they are.
        gap: White pixels between them and around all, at least 0.

    Returns:
        (1, 3, H, W) in [0, 1].

    Raises:
        TypeError: Not images, or numbers that are not whole.
        ValueError: Another shape, values that are not finite, columns < 1, or gap < 0.

    Example:
        >>> sheet(torch.zeros(3, 3, 4, 6), 2).shape  # 2 + 4 + 2 + 4 + 2 high, 2 + 6 + 2 + 6 + 2 wide
        torch.Size([1, 3, 14, 18])
    """
    tiles = rgb(tiles)
    columns, side, gap = (int(whole(v, name)) for v, name in ((columns, "columns"), (side, "side"), (gap, "gap")))
    require(columns >= 1, f"columns must be at least 1, got {columns}")
    require(gap >= 0, f"gap must be at least 0, got {gap}")
    factor = max(1, -(-side // tiles.shape[-1]))
    enlarged = F.interpolate(tiles, scale_factor=factor, mode="nearest").clamp(0, 1)
    image: Tensor = make_grid(enlarged, nrow=columns, padding=gap, pad_value=1.0)
    return image[None]


def mosaic(images: Tensor, grid: Tensor) -> Tensor:
    """Images at the cells of a grid.

    Args:
        images: (n, 3, h, w), or grey (n, 1, h, w); values are clipped to [0, 1].
        grid: (rows, columns) whole numbers: the index of the image at each cell, -1 for none.

    Returns:
        (1, 3, H, W) in [0, 1], white where there is no image.

    Raises:
        TypeError: Not images, or a grid of other than whole numbers.
        ValueError: Another shape, values that are not finite, or an index without an image.
    """
    images = rgb(images)
    indices = cells(grid, len(images)).to(images.device)
    return sheet(torch.where((indices >= 0)[:, None, None, None], images[indices], 1.0), grid.shape[1], gap=1)


def cells(grid: Tensor, n: int) -> Tensor:
    """The cells of a grid of n images, row by row: an index of an image, or -1."""
    require(grid.dim() == 2 and grid.numel() > 0, f"a grid is (rows, columns), got {tuple(grid.shape)}")
    indices = torch.as_tensor(whole(grid.flatten(), "index of an image")).view(-1)
    missing = indices[(indices < -1) | (indices >= n)].tolist()
    if missing:
        raise ValueError(f"no image {missing[0]} for the grid: they go from 0 to {n - 1}, and -1 is none")
    return indices


def filters(net: nn.Module, layer: str | None = None, *, count: int = 96, columns: int = 16) -> Tensor:
    """The weights of a convolution as one image.

    Filters over RGB are shown in colour around mid grey, each on its own scale. Filters over other channels are shown
    a row each, the first `columns` input channels side by side, red above zero and blue below, one scale a filter.

    Args:
        net: Any network.
        layer: Name of a 2-D convolution, as `named_modules` gives it; None is the first one.
        count: At most so many filters, at least 1.
        columns: Filters in a row, or input channels of each filter that are shown, at least 1.

    Returns:
        (1, 3, H, W) in [0, 1].

    Raises:
        TypeError: `net` is no module, or numbers that are not whole.
        ValueError: The layer is no 2-D convolution (the nearest names are listed), the network has none, count < 1,
            or columns < 1.

    Example:
        >>> filters(nn.Conv2d(3, 8, 5), columns=4).shape  # 5 pixels enlarged to at least 24, and gaps of 2
        torch.Size([1, 3, 56, 110])
    """
    count, columns = (int(whole(value, name)) for value, name in ((count, "count"), (columns, "columns")))
    require(min(count, columns) >= 1, f"count and columns must be at least 1, got {count} and {columns}")
    weight = _convolution(net, layer).weight.detach().cpu()[:count]
    if weight.shape[1] == 3:
        return sheet(gradient_picture(weight), columns, side=24)
    weight = precise(weight[:, :columns])
    scaled = weight / weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    maps = scaled.reshape(-1, 1, *weight.shape[2:])  # filter by filter, its input channels side by side
    check_maps(maps)
    return sheet(colour(maps / 2 + 0.5, "RdBu_r"), weight.shape[1], side=20, gap=1)


def _convolution(net: nn.Module, layer: str | None) -> nn.Conv2d:
    found = {name: module for name, module in unwrapped(net).named_modules() if isinstance(module, nn.Conv2d)}
    require(bool(found), "the network has no convolution")
    if layer is not None and layer not in found:
        raise unknown("convolution", layer, found)
    return next(iter(found.values())) if layer is None else found[layer]
