"""Large images that open in place."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import whole
from course_lib.plotting.drawable import rgb
from course_lib.plotting.files import data_uri, encode
from course_lib.plotting.sheets import cells

__all__ = ["Tiles", "Zoomable"]


@dataclass(frozen=True, eq=False)
class Tiles:
    """What a reader of a `mosaic` can ask about each of its images: its name, and its neighbours.

    Attributes:
        grid: (rows, columns), as in `mosaic`: the index of the image at each cell, -1 for none.
        names: One for each image.
        also: The same in another language, None where there is none; nothing at all for one language.
        neighbours: (n, k) indices of the nearest images of each, nearest first; None for none. Those that the grid does
            not show are left out.
        language: Of `also`, as HTML has it: "zh" is Chinese.

    Raises:
        TypeError: Indices that are not whole.
        ValueError: A name, a translation or neighbours are missing for some image, or a neighbour does not exist.
    """

    grid: Tensor
    names: Sequence[str]
    also: Sequence[str | None] = ()
    neighbours: Tensor | None = None
    language: str = "zh"

    def __post_init__(self) -> None:
        n, near = len(self.names), self.neighbours
        cells(self.grid, n)
        require(len(self.also) in (0, n), f"{len(self.also)} names in another language for {n} in the first")
        if near is not None:
            require(near.dim() == 2 and len(near) == n, f"neighbours are ({n}, k), got {tuple(near.shape)}")
            indices = torch.as_tensor(whole(near.flatten(), "index of a neighbour")).view(-1)
            missing = [*indices[(indices < 0) | (indices >= n)].tolist(), None][0]
            require(missing is None, f"no image {missing} for a neighbour: they go from 0 to {n - 1}")

    def _json(self) -> str:
        near = None if self.neighbours is None else self.neighbours.tolist()
        told: dict[str, Any] = {"grid": self.grid.tolist(), "names": list(self.names), "also": list(self.also)}
        told |= {"language": self.language, "neighbours": near}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    def _titles(self) -> list[str]:
        """Of the cells, row by row."""
        also = self.also or [None] * len(self.names)
        both = [f"{name} {other or ''}".strip() for name, other in zip(self.names, also, strict=True)]
        return [both[i] if i >= 0 else "" for i in self.grid.flatten().tolist()]


class Zoomable:
    """A large image that fits the page, and opens at full size in place when its box is ticked.

    Works in a notebook and on a page without a kernel, a script or the network; a tile says its name where the pointer
    rests. The book's own pages make a map of it: zoom at the pointer, drag, pinch, keys, full page; a tile that is
    clicked says its name and shows its neighbours.

    Args:
        image: As in `encode`.
        alt: What it shows, for those who listen.
        quality: Of the WebP on the page, from 1 to 95.
        tiles: What there is to know about the tiles of the image, if it is a `mosaic`.

    Attributes:
        image: The image.
        alt: The same.
        quality: The same.
        tiles: The same.

    Raises:
        TypeError: Not an image.
        ValueError: As `encode`.
    """

    STYLE = (
        ".zoomable{margin:0}.zoomable .window{overflow:auto;max-height:85vh}"
        ".zoomable .picture{position:relative;width:100%}.zoomable img{display:block;width:100%;height:auto}"
        ".zoomable input:checked~.window :is(.picture,img){width:max-content;max-width:none}"
        ".zoomable .names{position:absolute;inset:0;display:grid}"
    )

    def __init__(self, image: Tensor, alt: str, quality: int = 75, *, tiles: Tiles | None = None):
        require(len(rgb(image)) == 1, f"a zoomable image is (1, 3, h, w), got {tuple(image.shape)}")
        self.image, self.alt, self.quality, self.tiles = image, alt, quality, tiles

    def __repr__(self) -> str:
        return f"Zoomable({self.alt!r})"  # no address, so that a notebook is the same in every run

    def save(self, path: str | Path) -> None:
        """Write the image at full size.

        Args:
            path: PNG where it ends in .png, otherwise JPEG.
        """
        form = "png" if str(path).lower().endswith("png") else "jpeg"
        Path(path).write_bytes(encode(self.image, form, 92))

    def _repr_html_(self) -> str:
        height, width = self.image.shape[2:]
        data = f' data-tiles="{escape(self.tiles._json())}"' if self.tiles else ""
        return (
            f'<figure class="zoomable"{data}><style>{self.STYLE}</style><label><input type="checkbox"> full size'
            f'<div class="window" role="region" aria-label="zoomable picture" tabindex="0"><div class="picture">'
            f'<img alt="{escape(self.alt)}" width="{width}" height="{height}" '
            f'src="{data_uri(self.image, "webp", self.quality)}">{self._names()}</div></div></label></figure>'
        )

    def _names(self) -> str:
        """Over the picture, a cell for each tile that says its name where the pointer rests."""
        if self.tiles is None:
            return ""
        cells = "".join(f'<i title="{escape(title)}"></i>' if title else "<i></i>" for title in self.tiles._titles())
        return f'<div class="names" style="grid-template-columns:repeat({self.tiles.grid.shape[1]},1fr)">{cells}</div>'
