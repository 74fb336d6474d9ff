"""Maximally activating patches of every channel, in one pass over any number of images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attribution import gradient
from course_lib.data import Pictures, batches, count, pick
from course_lib.errors import require
from course_lib.inputs import check_range, whole
from course_lib.taps import ReceptiveField, Taps, receptive_field


@dataclass(frozen=True)
class TopPatches:
    """The k pictures that excite each of c channels most, best first.

    values: (c, k), the channel's largest activation in that picture. index: (c, k), the number of the picture.
    boxes: (c, k, 4) int64, (top, left, bottom, right) of what the most excited unit sees, in pixels of the picture,
    half open. A box may hang over the border, where the network sees padding.
    """

    values: Tensor
    index: Tensor
    boxes: Tensor


@torch.no_grad()
def top_patches(
    net: nn.Module,
    layer: str,
    images: Pictures,
    k: int = 9,
    *,
    size: int | None = None,
    batch: int = 16,
    skip_broken: bool = False,
    progress: bool = True,
) -> TopPatches:
    """For every channel of a layer, the k pictures with the largest activation, and where in them (Zeiler 2014).

    One patch a picture, at the place of its maximum; equal activations go to the earlier picture, and within it to the
    earlier place. images: a tensor (n, 3, h, w), a folder, a list of files, or a Dataset, all of one size, walked once
    in constant memory. size: to which files are resized, by default the network's image_size. A fully connected unit
    sees the whole picture.

    Raises ValueError for an unknown layer, k < 1 or more than the pictures, or a broken file (left out, with a
    warning, if skip_broken).
    """
    require(1 <= k <= count(images), f"k must be from 1 to the number of pictures, {count(images)}, got {k}")
    taps, device = Taps(net, layer), next(net.parameters()).device
    side = size or getattr(net, "image_size", 224)
    best: tuple[Tensor, ...] = ()  # values, places, numbers of pictures, each (k, channels)
    sides: set[tuple[int, ...]] = set()
    for numbers, pictures in batches(images, side, batch, skip_broken=skip_broken, progress=progress):
        a = taps(pictures.to(device))[layer]
        require(
            a.dim() in (2, 4), f"layer {layer!r} answers {tuple(a.shape)}, which is neither a row nor a map a channel"
        )
        maps = a if a.dim() == 4 else a[:, :, None, None]
        values, places = (found[..., 0, 0] for found in F.adaptive_max_pool2d(maps, 1, return_indices=True))  # (b, c)
        found = values, places, torch.tensor(numbers, device=device)[:, None].expand_as(places)
        best = _best(k, [torch.cat(pair) for pair in zip(best, found, strict=True)] if best else found)
        sides.add((*pictures.shape[2:], *maps.shape[2:]))
    readable = len(best[0]) if best else 0
    require(readable == k, f"only {readable} pictures could be read, and k is {k}")
    require(len(sides) == 1, "the pictures differ in size from batch to batch; give one size")
    values, places, index = (table.mT.cpu() for table in best)
    require(bool(values.isfinite().all()), f"layer {layer!r} answers with values that are not finite")
    height, width, _, across = sides.pop()
    return TopPatches(
        values, index, _boxes(receptive_field(net, layer, (height, width)), places, across, (height, width))
    )


def _best(k: int, candidates: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The k largest values of each channel, with what belongs to them; the first of equals first."""
    order = candidates[0].argsort(dim=0, descending=True, stable=True)[:k]
    return tuple(table.gather(0, order) for table in candidates)


def _boxes(field: ReceptiveField, places: Tensor, across: int, size: tuple[int, int]) -> Tensor:
    """What the units at these places of a map `across` wide see: (..., 4)."""
    if field.stride in (0, (0, 0)):
        return torch.tensor((0, 0, *size)).expand(*places.shape, 4)
    first, second = (torch.tensor(field.box(*place)) for place in ((0, 0), (1, 1)))
    rows, columns = places // across, places % across
    steps = torch.stack([rows, columns, rows, columns], -1)
    return first + steps * (second - first)


def crops(
    found: TopPatches,
    images: Pictures,
    channel: int,
    *,
    ranks: Sequence[int] | None = None,
    size: int | None = 224,
    fill: float = 0.8,
) -> Tensor:
    """The patches of one channel as pictures (k, 3, h, w), cut out of the images that `top_patches` saw.

    ranks: which of the k, by default all. size: to which files are resized, the same as for `top_patches`. fill: grey
    value of what lies beyond the border.
    """
    pictures, boxes = _chosen(found, images, channel, ranks, size)
    return torch.stack([_crop(x, box, fill) for x, box in zip(pictures, boxes, strict=True)])


def slopes(
    net: nn.Module,
    layer: str,
    found: TopPatches,
    images: Pictures,
    channel: int,
    rule: str = "guided",
    *,
    ranks: Sequence[int] | None = None,
    size: int | None = None,
    fill: float = 0.0,
) -> Tensor:
    """What in each patch of a channel excites it: signed gradients (k, 3, h, w) of its best unit, cropped alike.

    rule: how ReLUs pass the gradient back; "guided" gives the rows of Springenberg 2015, figure 3. ranks, size and
    fill as in `crops`.
    """
    pictures, boxes = _chosen(found, images, channel, ranks, size or getattr(net, "image_size", 224))
    device, taps = next(net.parameters()).device, Taps(net, layer)
    cut = []
    for x, box in zip(pictures.to(device)[:, None], boxes, strict=True):
        with torch.no_grad():
            unit = taps(x)[layer][0, channel]  # () or (h, w)
        at = None if unit.dim() == 0 else divmod(int(unit.argmax()), unit.shape[1])
        cut.append(_crop(gradient(net, x, channel, rule, layer=layer, at=at)[0], box, fill))
    return torch.stack(cut).cpu()


def _chosen(
    found: TopPatches, images: Pictures, channel: int, ranks: Sequence[int] | None, size: int | None
) -> tuple[Tensor, list[list[int]]]:
    """The pictures of these patches, and their boxes."""
    check_range(whole(channel, "channel"), len(found.values), "channel")
    rows = slice(None) if ranks is None else list(ranks)
    return pick(images, found.index[channel][rows].tolist(), size), found.boxes[channel][rows].tolist()


def _crop(x: Tensor, box: list[int], fill: float) -> Tensor:
    top, left, bottom, right = box
    height, width = x.shape[1:]
    patch = x[:, max(top, 0) : bottom, max(left, 0) : right]
    beyond = max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0)
    return F.pad(patch, beyond, value=fill)
