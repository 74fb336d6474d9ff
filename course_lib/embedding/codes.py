"""Codes of any number of images."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from course_lib import scale
from course_lib.data import Images, count, map_batches
from course_lib.embedding.table import BLOCK
from course_lib.errors import require
from course_lib.inputs import check_alike, check_batch, device_of, dtype_of, plain
from course_lib.taps import Taps

__all__ = ["as_taken", "check_precision", "check_sendable", "codes"]


def codes(
    net: nn.Module,
    layer: str,
    images: Images,
    *,
    size: int | None = None,
    batch: int = 16,
    out: str | Path | None = None,
    skip_broken: bool = False,
    scheduler: str | None = None,
    progress: bool = True,
) -> Tensor:
    """What a layer outputs for each image, flattened: its code.

    Args:
        net: Any network; it is evaluated, whatever mode it is in.
        layer: Name as in `net.layers`; "" is the output.
        images: A tensor (n, 3, h, w), a folder, a list of files, or a Dataset; walked in batches, in constant memory,
            and brought to the network's device.
        size: Side to which files are resized, by default the network's image_size, or 224.
        batch: Number of images that run at a time.
        out: A .npy file to fill instead of memory; the tensor that comes back is mapped from it. Rows that are not done
            yet hold NaN, so the same call after an interruption goes on where it stopped. The first batch is always
            computed, and must agree with what the file holds.
        skip_broken: Leave out files that cannot be read, with a warning; their rows are NaN, so that row i stays
            file i.
        scheduler: Address of the scheduler of a Dask cluster that shares the work, "tcp://host:8786". Its workers see
            files under the same paths; a tensor or a Dataset is sent to them, as the network is. The codes are those of
            this machine, bit for bit, where the workers' processors are of its kind.
        progress: Whether a run that lasts shows a bar.

    Returns:
        (n, d) float32 on the CPU; maps are flattened channel by channel.

    Raises:
        TypeError: `net` is no module; `images` are of a type that cannot be walked, or a tensor in another dtype than
            the network's (files and datasets are brought to it); a network or a Dataset that cannot be sent.
        ValueError: An unknown layer, a broken file, images that the network cannot take, an output that is not one code
            an image or not finite, an `out` that holds other codes, or no cluster at that address.

    Example:
        >>> from course_lib import models, world
        >>> codes(models.load("coursenet"), "fc7", world.draw(3).images).shape
        torch.Size([3, 256])
    """
    taps = Taps(net, layer)
    check_precision(taps.net, images)
    if scheduler is not None:
        check_sendable(taps.net)
    walk = partial(
        map_batches,
        partial(_codes, taps),
        images,
        size or getattr(taps.net, "image_size", 224),
        batch,
        skip_broken=skip_broken,
    )
    with torch.inference_mode(False), torch.no_grad():
        n = count(images)
        rows, first = next(walk(progress=False), ([], None))
        if first is None:
            raise ValueError("no image could be read")
        table = torch.full((n, first.shape[1]), torch.nan) if out is None else _file(Path(out), n, first.shape[1])
        stored = table[rows]
        agree = stored.isnan() | torch.isclose(stored, first, rtol=1e-3, atol=1e-4 * float(first.abs().max()))
        require(
            bool(agree.all()), f"{out} holds other codes than those of layer {layer!r}; remove it or name another file"
        )
        table[rows] = first

        for rows, found in walk(start=_unfinished(table, batch), scheduler=scheduler, progress=progress):
            table[rows] = found
    return table


@torch.no_grad()
def _codes(taps: Taps, x: Tensor) -> Tensor:
    """The codes of one batch, (b, d)."""
    (layer,) = taps.layers
    a = taps(as_taken(taps.net, x))[layer]
    require(a.dim() > 0 and len(a) == len(x), f"layer {layer!r} outputs {tuple(a.shape)} for {len(x)} images")
    found: Tensor = a.reshape(len(a), -1).float().cpu()
    require(bool(found.isfinite().all()), f"layer {layer!r} outputs values that are not finite")
    return found


def check_precision(net: nn.Module, images: Images) -> None:
    """Raise TypeError for a tensor in another dtype than the network's; files and datasets are brought to it.

    Args:
        net: Any network.
        images: As in `codes`.
    """
    if isinstance(images, Tensor) and images.is_floating_point():
        check_alike(net, images[:0].to(device_of(net)))


def check_sendable(net: nn.Module) -> None:
    """Raise unless a network can be sent to workers and computes there what it computes here.

    Args:
        net: Any network.

    Raises:
        TypeError: It cannot be pickled.
        ValueError: It carries hooks, which would run elsewhere, or autocast is on, of which workers know nothing.
    """
    for name, module in net.named_modules():
        require(
            not (module._forward_hooks or module._forward_pre_hooks),
            f"layer {name!r} of the network carries a hook, which would run on the workers and not here; remove it, or "
            "leave scheduler out",
        )
    require(
        not torch.is_autocast_enabled(device_of(net).type),
        "autocast is on here and not on the workers; turn it off, or leave scheduler out",
    )
    scale.check_sendable("the network", net, "take out what cannot be pickled")


def as_taken(net: nn.Module, x: Tensor) -> Tensor:
    """Images as a network takes them: on its device and in its dtype, without a history.

    Args:
        net: Any network.
        x: (n, 3, h, w), floating; files and datasets come in float32 on the CPU.

    Raises:
        TypeError: Images that are not floating.
        ValueError: Images that the network cannot take.
    """
    if isinstance(x, Tensor) and x.is_floating_point():
        x = plain(x.to(device_of(net), dtype_of(net)))
    check_batch(net, x)
    return x


def _unfinished(table: Tensor, batch: int) -> int:
    """The first row of the first batch that holds a NaN, or the number of rows.

    It goes by blocks, as the table may be larger than memory; and a run that was interrupted goes on with the batches
    of one that was not, since the last bits of a code depend on its batch.
    """
    for start in range(0, len(table), BLOCK):
        unfinished = table[start : start + BLOCK].isnan().any(1).nonzero()
        if len(unfinished):
            return (start + int(unfinished[0])) // batch * batch
    return len(table)


def _file(path: Path, n: int, d: int) -> Tensor:
    """The (n, d) table in a .npy file, mapped; a new one is full of NaN before it gets its name."""
    if not path.exists():
        new = path.with_name(path.name + ".new")
        table = np.lib.format.open_memmap(new, mode="w+", dtype=np.float32, shape=(n, d))
        for start in range(0, n, BLOCK):
            table[start : start + BLOCK] = np.nan
        table.flush()
        new.rename(path)
    try:
        table = np.load(path, mmap_mode="r+")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy file of codes: {error}") from error
    if table.shape != (n, d) or table.dtype != np.float32:
        raise ValueError(f"{path} holds {table.dtype} {table.shape}, but these codes are float32 {(n, d)}")
    return torch.from_numpy(table)
