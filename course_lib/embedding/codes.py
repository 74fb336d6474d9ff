"""Codes of any number of images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.data import Pictures, batches, count
from course_lib.embedding.table import BLOCK
from course_lib.errors import require
from course_lib.taps import Taps


@torch.no_grad()
def codes(
    net: nn.Module,
    layer: str,
    images: Pictures,
    *,
    size: int | None = None,
    batch: int = 16,
    out: str | Path | None = None,
    skip_broken: bool = False,
    progress: bool = True,
) -> Tensor:
    """What a layer answers to each picture, flattened: (n, d) float32 on the CPU.

    images: a tensor (n, 3, h, w), a folder, a list of files, or a Dataset; walked in batches, in constant memory.
    size: to which files are resized, by default the network's image_size.
    out: a .npy file to fill instead of memory; the tensor that comes back is mapped from it. Rows that are not done
        yet hold NaN, so the same call after an interruption goes on where it stopped. The first batch is always
        computed, and must agree with what the file holds.
    skip_broken: leave files that cannot be read out, with a warning; their rows are NaN, so that row i stays file i.

    Raises ValueError for an unknown layer, a broken file, or an `out` that holds other codes.
    """
    taps, device = Taps(net, layer), next(net.parameters()).device
    options: dict[str, Any] = {
        "size": size or getattr(net, "image_size", 224),
        "batch": batch,
        "skip_broken": skip_broken,
    }

    def answers(pictures: Tensor) -> Tensor:
        return taps(pictures.to(device))[layer].flatten(1).float().cpu()

    n = count(images)
    rows, first = next(((rows, answers(x)) for rows, x in batches(images, **options, progress=False)), ([], None))
    if first is None:
        raise ValueError("no picture could be read")
    table = torch.full((n, first.shape[1]), torch.nan) if out is None else _file(Path(out), n, first.shape[1])
    stored = table[rows]
    agree = stored.isnan() | torch.isclose(stored, first, rtol=1e-3, atol=1e-4 * float(first.abs().max()))
    require(bool(agree.all()), f"{out} holds other codes than those of layer {layer!r}; remove it or name another file")
    table[rows] = first

    for rows, x in batches(images, **options, start=_unfinished(table), progress=progress):
        table[rows] = answers(x)
    return table


def _unfinished(table: Tensor) -> int:
    """The first row that holds a NaN, or the number of rows; by blocks, as the table may be larger than memory."""
    for start in range(0, len(table), BLOCK):
        unfinished = table[start : start + BLOCK].isnan().any(1).nonzero()
        if len(unfinished):
            return start + int(unfinished[0])
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
