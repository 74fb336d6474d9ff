"""Textures drawn by processes whose parameters are known, and estimates of these parameters from an image."""

import math

import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import check_images, count, number, whole

__all__ = ["INKS", "cells", "dots", "mosaic", "spots", "stripes", "wave"]

#: Cream, blue and red, (3, 3).
INKS = torch.tensor([[0.93, 0.86, 0.70], [0.13, 0.35, 0.45], [0.78, 0.30, 0.20]])
_RADIUS, _APART = 2.4, 7.0  # of a dot, and the least distance of two, in pixels
_SMALLEST = 6  # pixels of a spot that counts
_SPECTRUM = 512  # points of the padded spectrum


def stripes(spacing: float, angle: float, *, size: int = 56, seed: int = 0) -> Tensor:
    """Parallel stripes in two inks.

    Args:
        spacing: From one stripe to the next, in pixels, above 2.
        angle: Of the direction across them, in radians.
        size: Side of the image in pixels.
        seed: Of the phase.

    Returns:
        (1, 3, size, size) in [0, 1].

    Raises:
        ValueError: A number out of its range.
    """
    spacing, angle = number(spacing, "spacing", 2), number(angle, "angle")
    rows, columns = _positions(size)
    along = columns * math.cos(angle) + rows * math.sin(angle)
    phase = along / spacing + torch.rand((), generator=_generator(seed))
    return _two_inks(torch.sigmoid(4 * (2 * math.pi * phase).sin()))


def dots(total: int, *, size: int = 56, seed: int = 0) -> Tensor:
    """Dots of one size, none nearer to another than 7 pixels.

    Args:
        total: How many; at most as many as fit well, ``size^2 / 78``.
        size: Side of the image in pixels.
        seed: Of the positions.

    Returns:
        (1, 3, size, size) in [0, 1].

    Raises:
        ValueError: A number out of its range.
    """
    total, most = count(total, "total"), size**2 // 78
    require(total <= most, f"total must be at most {most} for {size} pixels, got {total}")
    generator, centres = _generator(seed), torch.empty(0, 2)
    while len(centres) < total:
        new = size * torch.rand(1, 2, generator=generator)
        if (torch.cdist(centres, new) > _APART).all():
            centres = torch.cat([centres, new])
    near = _to_centres(centres, size).amin(1).view(size, size)
    return _two_inks(torch.sigmoid(4 * (_RADIUS - near)))


def mosaic(total: int, *, size: int = 56, seed: int = 0) -> Tensor:
    """The Voronoi cells of random points, in three inks by turns.

    Args:
        total: How many cells.
        size: Side of the image in pixels.
        seed: Of the points.

    Returns:
        (1, 3, size, size) in [0, 1].

    Raises:
        ValueError: A number out of its range.
    """
    centres = size * torch.rand(count(total, "total"), 2, generator=_generator(seed))
    cell = _to_centres(centres, size).argmin(1)
    return INKS[cell % 3].T.reshape(1, 3, size, size)


def wave(x: Tensor) -> tuple[float, float]:
    """The strongest wave of an image: the maximum of its power spectrum, under a Hann window, padded to 512 points.

    Args:
        x: (1, 3, h, h) in [0, 1].

    Returns:
        Its spacing in pixels, and the direction across it in degrees from 0 to 180.

    Raises:
        TypeError: Not a floating tensor.
        ValueError: Another shape, or values outside [0, 1].
    """
    x = _one(x)
    window = torch.hann_window(x.shape[3], periodic=False)
    grey = (x - x.mean()).mean((0, 1)) * window * window[:, None]
    power = torch.fft.rfft2(grey, s=(_SPECTRUM, _SPECTRUM)).abs()
    i, j = divmod(int(power.argmax()), power.shape[1])
    up, across = (i + _SPECTRUM // 2) % _SPECTRUM - _SPECTRUM // 2, j
    return _SPECTRUM / math.hypot(up, across), math.degrees(math.atan2(up, across)) % 180


def spots(x: Tensor) -> int:
    """How many connected pieces of 6 pixels or more an image has whose nearest ink is the blue one.

    Args:
        x: (1, 3, h, w) in [0, 1].

    Returns:
        Their number; pieces that touch by a corner only count apart.

    Raises:
        TypeError: Not a floating tensor.
        ValueError: Another shape, or values outside [0, 1].
    """
    from scipy.ndimage import label

    pieces, _ = label(_nearest_ink(x).numpy() == 1)
    return int((torch.from_numpy(pieces).flatten().bincount()[1:] >= _SMALLEST).sum())


def cells(x: Tensor) -> float:
    """A number that grows like the cells of a mosaic: the share of neighbours of two inks, squared.

    The length of all borders grows like the root of the number of cells.

    Args:
        x: (1, 3, h, w) in [0, 1].

    Returns:
        From 0 to 4; only the ratio of two images' numbers means something.

    Raises:
        TypeError: Not a floating tensor.
        ValueError: Another shape, or values outside [0, 1].
    """
    ink = _nearest_ink(x)
    down, right = ink[1:] != ink[:-1], ink[:, 1:] != ink[:, :-1]
    return float(down.float().mean() + right.float().mean()) ** 2


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(whole(seed, "seed")))


def _positions(size: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pixels' centres."""
    at = torch.arange(count(size, "size")) + 0.5
    rows, columns = torch.meshgrid(at, at, indexing="ij")
    return rows, columns


def _to_centres(centres: Tensor, size: int) -> Tensor:
    """Distance of every pixel from every centre, (size^2, centres)."""
    return torch.cdist(torch.stack(_positions(size), -1).view(-1, 2), centres)


def _two_inks(tone: Tensor) -> Tensor:
    """Cream where the tone (h, w) is 0, blue where it is 1."""
    return torch.lerp(INKS[0], INKS[1], tone[..., None]).permute(2, 0, 1)[None]


def _one(x: Tensor) -> Tensor:
    check_images(x)
    require(len(x) == 1, f"one image at a time, got {len(x)}")
    return x.detach().cpu()


def _nearest_ink(x: Tensor) -> Tensor:
    return (_one(x)[0].permute(1, 2, 0)[..., None, :] - INKS).square().sum(-1).argmin(-1)
