"""Maximally activating patches of every channel, in one pass over any number of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attribution import gradient
from course_lib.data import Images, count, map_batches, pick
from course_lib.embedding.codes import as_taken, check_precision, check_sendable
from course_lib.errors import require
from course_lib.inputs import Label, check_range, whole
from course_lib.taps import ReceptiveField, Taps, receptive_field

__all__ = ["TopPatches", "crops", "gradients", "top_patches"]


@dataclass(frozen=True)
class TopPatches:
    """The k images that excite each of c channels most, best first.

    Attributes:
        values: (c, k), the channel's largest activation in that image.
        index: (c, k) int64, the number of the image.
        boxes: (c, k, 4) int64, (top, left, bottom, right) of what the most excited unit sees, in pixels of the image,
            half open. A box may hang over the border, where the network sees padding.
    """

    values: Tensor
    index: Tensor
    boxes: Tensor


def top_patches(
    net: nn.Module,
    layer: str,
    images: Images,
    k: int = 9,
    *,
    size: int | None = None,
    batch: int = 16,
    skip_broken: bool = False,
    scheduler: str | None = None,
    progress: bool = True,
) -> TopPatches:
    """For every channel of a layer, the k images with the largest activation, and where in them.

    One patch an image, at the position of its maximum; equal activations go to the earlier image, and within it to the
    earlier position, row by row.

    Args:
        net: Any network; it is evaluated, whatever mode it is in.
        layer: Name as in `net.layers`. A fully connected unit sees the whole image.
        images: A tensor (n, 3, h, w), a folder, a list of files, or a Dataset, all of one size; walked once, in
            constant memory, and brought to the network's device.
        k: Number of patches for each channel, from 1 to the number of images.
        size: Side to which files are resized, by default the network's image_size, or 224.
        batch: Number of images that run at a time.
        skip_broken: Leave out files that cannot be read, with a warning.
        scheduler: Address of the scheduler of a Dask cluster that shares the work, as in `embedding.codes`; the patches
            are those of this machine.
        progress: Whether a run that lasts shows a bar.

    Returns:
        Values, numbers of images and boxes, on the CPU.

    Raises:
        TypeError: `net` is no module; `images` are of a type that cannot be walked, or a tensor in another dtype than
            the network's (files and datasets are brought to it); a network or a Dataset that cannot be sent.
        ValueError: An unknown layer, one whose output is neither a row nor a map for each channel, or not finite; k out
            of range; a broken file; images that the network cannot take, or of several sizes; no cluster at that
            address.

    Source: Zeiler and Fergus 2014. Deviation: none.

    Example:
        >>> from course_lib import models, world
        >>> found = top_patches(models.load("coursenet"), "conv3", world.draw(12).images, 4)
        >>> tuple(found.values.shape), tuple(found.boxes.shape)
        ((96, 4), (96, 4, 4))
    """
    n = count(images)
    require(isinstance(k, int) and 1 <= k <= n, f"k must be from 1 to the number of images, {n}, got {k}")
    taps = Taps(net, layer)
    check_precision(taps.net, images)
    if scheduler is not None:
        check_sendable(taps.net)
    side = size or getattr(taps.net, "image_size", 224)
    best: tuple[Tensor, ...] = ()  # values, positions, numbers of images, each (k, channels)
    sizes: set[tuple[int, ...]] = set()
    options: dict[str, Any] = {"skip_broken": skip_broken, "scheduler": scheduler, "progress": progress}
    with torch.inference_mode(False), torch.no_grad():
        for numbers, maxima in map_batches(partial(_maxima, taps), images, side, batch, **options):
            values, positions, shape = maxima
            found = values, positions, torch.tensor(numbers)[:, None].expand_as(positions)
            best = _best(k, [torch.cat(pair) for pair in zip(best, found, strict=True)] if best else found)
            sizes.add(shape)
        readable = len(best[0]) if best else 0
        require(readable == k, f"only {readable} images could be read, and k is {k}")
        require(len(sizes) == 1, "the images differ in size from batch to batch; give one size")
        values, positions, index = (table.mT for table in best)
        require(bool(values.isfinite().all()), f"layer {layer!r} outputs values that are not finite")
        height, width, _, across = sizes.pop()
        field = receptive_field(taps.net, layer, (height, width))
        return TopPatches(values, index, _boxes(field, positions, across, (height, width)))


@torch.no_grad()
def _maxima(taps: Taps, x: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """The largest activation of each channel in each image and its position, (b, c), and the sizes of x and maps."""
    maps = _maps(taps, as_taken(taps.net, x))
    values, positions = (found[..., 0, 0].cpu() for found in F.adaptive_max_pool2d(maps, 1, return_indices=True))
    return values, positions, (*x.shape[2:], *maps.shape[2:])


def _maps(taps: Taps, x: Tensor) -> Tensor:
    """The maps of a layer, (b, c, h, w), in float32 at least; a fully connected unit has a map of one position."""
    (layer,) = taps.layers
    a = taps(x)[layer]
    row_or_map = a.dim() in (2, 4) and len(a) == len(x)
    require(row_or_map, f"layer {layer!r} outputs {tuple(a.shape)}, which is neither a row nor a map a channel")
    maps: Tensor = a if a.dim() == 4 else a[:, :, None, None]
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def _best(k: int, candidates: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The k largest values of each channel, with what belongs to them; the first of equals first."""
    order = candidates[0].argsort(dim=0, descending=True, stable=True)[:k]
    return tuple(table.gather(0, order) for table in candidates)


def _boxes(field: ReceptiveField, positions: Tensor, across: int, size: tuple[int, int]) -> Tensor:
    """What the units at these positions of a map `across` wide see: (..., 4)."""
    if field.stride in (0, (0, 0)):
        return torch.tensor((0, 0, *size)).expand(*positions.shape, 4)
    first, second = (torch.tensor(field.box(*position)) for position in ((0, 0), (1, 1)))
    rows, columns = positions // across, positions % across
    steps = torch.stack([rows, columns, rows, columns], -1)
    return first + steps * (second - first)


def crops(
    found: TopPatches,
    images: Images,
    channel: int,
    *,
    ranks: Sequence[int] | None = None,
    size: int | None = 224,
    fill: float = 0.8,
) -> Tensor:
    """The patches of one channel, cut out of the images that `top_patches` saw.

    Args:
        found: From `top_patches`.
        images: The same images.
        channel: Number of the channel.
        ranks: Which of the k, 0 for the best; by default all.
        size: Side to which files are resized, the same as for `top_patches`.
        fill: Grey value of what lies beyond the border.

    Returns:
        (k, 3, h, w) in [0, 1], as large as what a unit sees.

    Raises:
        TypeError: A channel that is no whole number.
        ValueError: A channel or rank that is not there, or fewer images than `top_patches` saw.

    Example:
        >>> from course_lib import models, world
        >>> images = world.draw(12).images
        >>> crops(top_patches(models.load("coursenet"), "conv3", images, 4), images, 7).shape
        torch.Size([4, 3, 51, 51])
    """
    chosen, boxes = _chosen(found, images, channel, ranks, size)
    return torch.stack([_crop(x, box, fill) for x, box in zip(chosen, boxes, strict=True)])


def gradients(
    net: nn.Module,
    layer: str,
    found: TopPatches,
    images: Images,
    channel: int,
    rule: str = "guided",
    *,
    ranks: Sequence[int] | None = None,
    size: int | None = None,
    fill: float = 0.0,
) -> Tensor:
    """What in each patch of a channel excites it: the gradient of its most active unit, cropped as by `crops`.

    Args:
        net: As in `top_patches`.
        layer: As in `top_patches`.
        found: From `top_patches`.
        images: As in `crops`.
        channel: As in `crops`.
        rule: What every ReLU passes back: "gradient", "guided" or "deconvnet" (see `taps.relu_backward`); "guided"
            gives the rows of Springenberg 2015, figure 3.
        ranks: As in `crops`.
        size: Side to which files are resized, by default the network's image_size, or 224.
        fill: Value of what lies beyond the border.

    Returns:
        (k, 3, h, w), signed, on the CPU.

    Raises:
        TypeError: As `crops`.
        ValueError: As `crops`, and a rule that the network has no use for.

    Source: Springenberg 2015. Deviation: none.

    Example:
        >>> from course_lib import models, world
        >>> net, images = models.load("coursenet"), world.draw(12).images
        >>> gradients(net, "conv3", top_patches(net, "conv3", images, 4), images, 7).shape
        torch.Size([4, 3, 51, 51])
    """
    taps = Taps(net, layer)
    check_precision(taps.net, images)
    chosen, boxes = _chosen(found, images, channel, ranks, size or getattr(taps.net, "image_size", 224))
    cut = []
    with torch.inference_mode(False):
        for x, box in zip(as_taken(taps.net, chosen)[:, None], boxes, strict=True):
            with torch.no_grad():
                unit = _maps(taps, x)[0, channel]  # (h, w)
            at = None if unit.shape == (1, 1) else divmod(int(unit.argmax()), unit.shape[1])
            cut.append(_crop(gradient(taps.net, x, channel, rule, layer=layer, at=at)[0], box, fill))
    return torch.stack(cut).cpu()


def _chosen(
    found: TopPatches, images: Images, channel: Label, ranks: Sequence[int] | None, size: int | None
) -> tuple[Tensor, list[list[int]]]:
    """The images of these patches, and their boxes."""
    number = whole(channel, "channel")
    require(isinstance(number, int), f"the channel is one int, got {channel!r}")
    check_range(number, len(found.values), "channel")
    k = found.values.shape[1]
    rows = list(range(k) if ranks is None else ranks)
    for rank in rows:
        check_range(whole(rank, "rank"), k, "rank")
    index = found.index[number][rows].tolist()
    n = count(images)
    require(max(index) < n, f"the patches are of other images: number {max(index)} is missing among {n}")
    return pick(images, index, size), found.boxes[number][rows].tolist()


def _crop(x: Tensor, box: list[int], fill: float) -> Tensor:
    top, left, bottom, right = box
    height, width = x.shape[1:]
    patch = x[:, max(top, 0) : bottom, max(left, 0) : right]
    beyond = max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0)
    return F.pad(patch, beyond, value=fill)
