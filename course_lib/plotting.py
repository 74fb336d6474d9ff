"""Figures."""

import base64
import io
import json
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import make_grid

from course_lib.errors import require, unknown
from course_lib.inputs import check_images, check_maps, unwrapped, whole

__all__ = [
    "ACCENT",
    "INK",
    "QUIET",
    "STYLE",
    "Animation",
    "Shown",
    "Tiles",
    "Zoomable",
    "animation",
    "chart",
    "data_uri",
    "encode",
    "filters",
    "gradient_picture",
    "heat",
    "intervals",
    "mosaic",
    "pictures",
    "sheet",
    "signed",
]

#: The three colours of all figures: of text, of what matters, of what stands back.
INK, ACCENT, QUIET = "#22313f", "#c8553d", "#9aa5b1"
#: matplotlib's settings for all figures.
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.prop_cycle": cycler(color=["#2f6690", ACCENT, "#5b8e7d", "#8e6c8a", "#d9a441", QUIET]),
    "legend.frameon": False,
    "figure.dpi": 160,  # twice the pixels of a page column
}
FORMATS = ("jpeg", "png", "webp")  # of encoded images
PERCENTILE = 0.995  # of a map's values: the scale that a few outliers do not darken


class Shown:
    """A figure that displays itself once, as JPEG (images) or PNG (curves), and can be saved.

    Args:
        figure: A matplotlib figure.
        format: "jpeg" or "png".

    Attributes:
        figure: The same.
        format: The same.
    """

    def __init__(self, figure: Figure, format: str):
        self.figure, self.format = figure, format

    def save(self, path: str | Path) -> None:
        """Write the figure to a file.

        Args:
            path: Its ending says the format: .png, .pdf, .svg, .jpg.
        """
        self.figure.savefig(path, bbox_inches="tight")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        buffer = io.BytesIO()
        options: Any = {"pil_kwargs": {"quality": 80}} if self.format == "jpeg" else {}
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(buffer, format=self.format, bbox_inches="tight", facecolor="white", **options)
        data = base64.b64encode(buffer.getvalue()).decode()
        return {f"image/{self.format}": data, "text/plain": "<figure>"}


# ---------------------------------------------------------------- numbers as images


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
    values = _precise(maps)
    top = values.flatten(1).quantile(PERCENTILE, dim=1) if largest is None else largest.to(values)
    require(top.shape == (len(maps),), f"largest is one value for each of {len(maps)} maps, got {tuple(top.shape)}")
    if shared:
        top = values.flatten().sort().values[int(PERCENTILE * (maps.numel() - 1))].expand(len(maps))
    return _colour(values / top.clamp(min=1e-12)[:, None, None, None], "inferno").to(maps)


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
    values = _precise(maps)
    return _colour(values / _largest(values) / 2 + 0.5, "RdBu_r").to(maps)


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
    values = _precise(_rgb(gradients))
    return (values / _largest(values) / 2 + 0.5).clamp(0, 1).to(gradients)


def _precise(x: Tensor) -> Tensor:
    """Without a history, and in a precision that percentiles can be taken in."""
    return x.detach().to(torch.promote_types(x.dtype, torch.float32))


def _largest(values: Tensor) -> Tensor:
    """The 99.5th percentile of |values|, of each image, (n, 1, 1, 1)."""
    return values.abs().flatten(1).quantile(PERCENTILE, dim=1).clamp(min=1e-12)[:, None, None, None]


def _colour(values: Tensor, name: str) -> Tensor:
    """Values in [0, 1], (n, 1, h, w), in the colours of a map of matplotlib's, (n, 3, h, w)."""
    coloured = matplotlib.colormaps[name](values[:, 0].clamp(0, 1).cpu().numpy())[..., :3]  # (n, h, w, 3)
    return torch.from_numpy(coloured).permute(0, 3, 1, 2).to(values)


def _rgb(images: Tensor) -> Tensor:
    """Images of any range as (n, 3, h, w): grey ones and masks, (n, 1, h, w), get three equal channels.

    The one check of all that is drawn. Raises TypeError for what is no floating tensor or mask, and ValueError for
    another shape and values that are not finite.
    """
    if isinstance(images, Tensor):
        images = images.detach()
        images = images.float() if images.dtype == torch.bool else images
        images = images.expand(-1, 3, -1, -1) if images.dim() == 4 and images.shape[1] == 1 else images
    check_images(images, -math.inf, math.inf)
    require(bool(images.isfinite().all()), "images hold values that are not finite")
    return images


# ---------------------------------------------------------------- several images as one


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
    tiles = _rgb(tiles)
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
    images = _rgb(images)
    cells = _cells(grid, len(images))
    cells = cells.to(images.device)
    return sheet(torch.where((cells >= 0)[:, None, None, None], images[cells], 1.0), grid.shape[1], gap=1)


def _cells(grid: Tensor, n: int) -> Tensor:
    """The cells of a grid of n images, row by row: an index of an image, or -1."""
    require(grid.dim() == 2 and grid.numel() > 0, f"a grid is (rows, columns), got {tuple(grid.shape)}")
    cells = torch.as_tensor(whole(grid.flatten(), "index of an image")).view(-1)
    missing = cells[(cells < -1) | (cells >= n)].tolist()
    if missing:
        raise ValueError(f"no image {missing[0]} for the grid: they go from 0 to {n - 1}, and -1 is none")
    return cells


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
    weight = _precise(weight[:, :columns])
    scaled = weight / weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    maps = scaled.reshape(-1, 1, *weight.shape[2:])  # filter by filter, its input channels side by side
    check_maps(maps)
    return sheet(_colour(maps / 2 + 0.5, "RdBu_r"), weight.shape[1], side=20, gap=1)


def _convolution(net: nn.Module, layer: str | None) -> nn.Conv2d:
    found = {name: module for name, module in unwrapped(net).named_modules() if isinstance(module, nn.Conv2d)}
    require(bool(found), "the network has no convolution")
    if layer is not None and layer not in found:
        raise unknown("convolution", layer, found)
    return next(iter(found.values())) if layer is None else found[layer]


# ---------------------------------------------------------------- files and pages


def encode(image: Tensor, format: str = "jpeg", quality: int = 80) -> bytes:
    """An image as the bytes of a file.

    Args:
        image: (1, 3, h, w), or grey (1, 1, h, w); values are clipped to [0, 1] and rounded to 8 bits.
        format: "jpeg", "png" or "webp".
        quality: Of a JPEG or a WebP, from 1 to 95.

    Returns:
        The bytes.

    Raises:
        TypeError: Not an image.
        ValueError: Another shape, more than one image, values that are not finite, or an unknown format.

    Example:
        >>> encode(torch.zeros(1, 3, 8, 8), "png")[:4]
        b'\\x89PNG'
    """
    image = _rgb(image)
    require(len(image) == 1, f"one image at a time is encoded, (1, 3, h, w); got {tuple(image.shape)}")
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    buffer = io.BytesIO()
    _pillow(image[0]).save(buffer, format=format, **({} if format == "png" else {"quality": quality}))
    return buffer.getvalue()


def _pillow(image: Tensor) -> Image.Image:
    """(3, h, w) as Pillow has it."""
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def data_uri(image: Tensor, format: str = "jpeg", quality: int = 80) -> str:
    """An image as an address that holds all of it, for the `src` of an HTML page.

    Args:
        image: As in `encode`.
        format: As in `encode`.
        quality: As in `encode`.

    Returns:
        "data:image/jpeg;base64,...".

    Raises:
        TypeError: As `encode`.
        ValueError: As `encode`.
    """
    return _address(encode(image, format, quality), format)


def _address(data: bytes, format: str) -> str:
    return f"data:image/{format};base64,{base64.b64encode(data).decode()}"


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
        _cells(self.grid, n)
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
        require(len(_rgb(image)) == 1, f"a zoomable image is (1, 3, h, w), got {tuple(image.shape)}")
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


# ---------------------------------------------------------------- images that move


class Animation:
    """Frames that play in place, over and over, until they are paused.

    Works in a notebook and on a page without a kernel, a script or the network: "pause" puts the last frame in front.
    The book's own pages add a slider. Where the reader's system asks for less motion, the last frame is shown and
    nothing moves before "play".

    Args:
        frames: (n, 3, h, w), n at least 2; values are clipped to [0, 1].
        alt: What it shows and what changes, for those who listen.
        rate: Frames in a second. The last one stays a second longer.
        quality: Of the WebP on the page, from 1 to 95.

    Attributes:
        frames: The frames.
        alt: The same.
        rate: The same.
        quality: The same.

    Raises:
        TypeError: Not images.
        ValueError: Another shape, values that are not finite, fewer than two frames, no description, or a rate that is
            not positive.
    """

    STYLE = (
        ".animation{margin:0}.animation .screen{width:fit-content;max-width:100%;background:0 0/0 no-repeat}"
        ".animation img{display:block;max-width:100%;height:auto}.animation .play{display:none}"
        ".animation:has(:checked) .screen{background-size:100% 100%}.animation:has(:checked) img{opacity:0}"
        "@media(prefers-reduced-motion:reduce){.animation .screen{background-size:100% 100%}.animation img{opacity:0}"
        ".animation:has(:checked) .screen{background-size:0}.animation:has(:checked) img{opacity:1}"
        ".animation .play{display:inline}.animation .pause{display:none}}"
    )

    def __init__(self, frames: Tensor, alt: str, rate: float = 8.0, quality: int = 70):
        frames = _rgb(frames)
        _several(frames)
        require(bool(alt.strip()), "an animation needs an alt: what it shows, and what changes")
        require(rate > 0, f"rate must be positive, got {rate}")
        self.frames, self.alt, self.rate, self.quality = frames, alt, rate, quality

    def __repr__(self) -> str:
        return f"Animation({self.alt!r})"  # no address, so that a notebook is the same in every run

    def save(self, path: str | Path) -> None:
        """Write the animation to a file.

        Args:
            path: Its ending says the format: .gif or .webp.

        Raises:
            ValueError: Another ending.
        """
        format = Path(path).suffix.lower().lstrip(".")
        if format not in ("gif", "webp"):
            raise unknown("format of an animation", format, ("gif", "webp"))
        Path(path).write_bytes(self._encoded(format, 90))

    def _encoded(self, format: str, quality: int) -> bytes:
        frames = list(map(_pillow, self.frames))
        flat = _flat(frames)
        step, buffer = round(1000 / self.rate), io.BytesIO()
        first, *rest = flat or frames
        durations = [step] * len(rest) + [step + 1000]
        options: Any = {"quality": quality, "lossless": bool(flat), "method": 4, "minimize_size": True}
        first.save(
            buffer,
            format,
            save_all=True,
            append_images=rest,
            duration=durations,
            loop=0,
            **(options if format == "webp" else {}),
        )
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        height, width = self.frames.shape[2:]
        still = data_uri(self.frames[-1:], "webp", self.quality)
        return (
            f'<figure class="animation"><style>{self.STYLE}</style>'
            f'<div class="screen" style="background-image:url({still})"><img alt="{escape(self.alt)}" width="{width}" '
            f'height="{height}" src="{_address(self._encoded("webp", self.quality), "webp")}"></div>'
            '<label><input type="checkbox"> <span class="pause">pause</span><span class="play">play</span></label>'
            "</figure>"
        )


def _flat(frames: list[Image.Image]) -> list[Image.Image]:
    """The frames in 64 colours, if that hardly changes them: charts are then smaller and sharper without any loss."""
    below = np.concatenate([np.asarray(frame) for frame in frames])  # one below the other, (n h, w, 3)
    few = Image.fromarray(below[::5]).quantize(64, Image.Quantize.MAXCOVERAGE, kmeans=1)
    drawn = [frame.quantize(palette=few, dither=Image.Dither.NONE).convert("RGB") for frame in frames]
    change = np.concatenate([np.asarray(frame) for frame in drawn]).astype(np.int16) - below
    return drawn if np.abs(change).mean() < 1 else []  # of 255


def animation(
    frames: Tensor | Sequence[Shown | Figure], alt: str, *, rate: float = 8.0, width: int = 500, quality: int = 70
) -> Animation:
    """Images or figures, one after the other, as a small film.

    Forty charts of 500 pixels take 200 to 400 kB. Give all charts the same limits, so that only the data move.

    Args:
        frames: (n, 3, h, w), or grey (n, 1, h, w), in [0, 1]; or figures of one size, such as `chart` gives.
        alt: What it shows and what changes, for those who listen.
        rate: Frames in a second. The last one stays a second longer.
        width: In pixels. Figures are drawn so wide; small images are enlarged by the largest whole factor that fits.
        quality: Of the WebP on the page, from 1 to 95.

    Returns:
        The animation: it displays itself, and `save` writes it as .gif or .webp.

    Raises:
        TypeError: Frames that are neither images nor figures, or a width that is not whole.
        ValueError: As `Animation`, figures of several sizes, or width < 1.

    Example:
        >>> animation(torch.rand(5, 3, 8, 8), "noise that flickers", width=100).frames.shape
        torch.Size([5, 3, 96, 96])
    """
    width = int(whole(width, "width"))
    require(width >= 1, f"width must be at least 1, got {width}")
    if isinstance(frames, Tensor):
        images = _rgb(frames)
        images = F.interpolate(images, scale_factor=max(1, width // images.shape[-1]), mode="nearest")
    else:
        images = _drawn(frames, width)
    return Animation(images, alt, rate, quality)


def _several(frames: Tensor | Sequence[Shown | Figure]) -> None:
    require(len(frames) > 1, f"an animation has at least two frames, got {len(frames)}")


def _drawn(frames: Sequence[Shown | Figure], width: int) -> Tensor:
    """Figures as images, (n, 3, h, width), all cut at the same edges."""
    _several(frames)
    figures = [frame.figure if isinstance(frame, Shown) else frame for frame in frames]
    for figure in figures:
        if not isinstance(figure, Figure):
            raise TypeError(f"frames are a tensor of images or a list of figures, got {type(figure).__name__}")
    sizes = {tuple(figure.get_size_inches().round(3).tolist()) for figure in figures}
    require(len(sizes) == 1, f"the figures of an animation have one size, in inches; got {sorted(sizes)}")
    with matplotlib.rc_context(STYLE):
        for figure in figures:
            figure.draw_without_rendering()  # what decides where its edges are
        edges = Bbox.union([figure.get_tightbbox() for figure in figures]).padded(0.08)  # inches
        return torch.cat([_raster(figure, edges, width) for figure in figures])


def _raster(figure: Figure, edges: Bbox, width: int) -> Tensor:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=(width + 0.5) / edges.width, bbox_inches=edges, facecolor="white")
    with Image.open(buffer) as image:
        pixels = torch.from_numpy(np.asarray(image.convert("RGB")).copy())
    return pixels.permute(2, 0, 1)[None, :, :, :width] / 255  # (1, 3, h, width)


# ---------------------------------------------------------------- figures


def pictures(
    rows: Sequence[Tensor] | Tensor,
    *,
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    width: float = 8.0,
) -> Shown:
    """A grid of images with air between them.

    Args:
        rows: (n, 3, h, w) for each row, or one such tensor for a single row; grey images and masks, (n, 1, h, w), are
            drawn grey. Values are clipped to [0, 1]. Rows may differ in length and size.
        columns: Heads above the columns, from the left; at most one for each.
        labels: Names to the left of the rows, from the top; at most one for each.
        width: Of the figure, in inches.

    Returns:
        The figure.

    Raises:
        TypeError: A row that is no floating tensor or mask.
        ValueError: No rows, a row of another shape, values that are not finite, more heads than columns, or more
            labels than rows.
    """
    grid = [_rgb(row) for row in ([rows] if isinstance(rows, Tensor) else rows)]
    require(len(grid) > 0, "no rows of images")
    across, down = max(len(row) for row in grid), len(grid)
    require(len(columns) <= across, f"{len(columns)} heads for {across} columns of images: {list(columns)}")
    require(len(labels) <= down, f"{len(labels)} labels for {down} rows of images: {list(labels)}")
    aspect = grid[0].shape[2] / grid[0].shape[3]
    cell = width / across
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, cell * aspect * down + (0.3 if columns else 0)))
        axes = figure.subplots(down, across, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
        for row, row_axes in zip(grid, axes, strict=True):
            for ax in row_axes:
                ax.set_axis_off()
            for image, ax in zip(row, row_axes, strict=False):  # a short row leaves cells empty
                _draw(ax, image)
        size = min(12.0, 8 * cell)
        for head, ax in zip(columns, axes[0], strict=False):
            ax.set_title(head, fontsize=size)
        for label, ax in zip(labels, axes[:, 0], strict=False):
            wrapped = textwrap.fill(label, 12)
            ax.text(-0.06, 0.5, wrapped, transform=ax.transAxes, ha="right", va="center", fontsize=size)
    return Shown(figure, "jpeg")


def _draw(ax: Axes, image: Tensor) -> None:
    pixels = image.clamp(0, 1).permute(1, 2, 0).cpu().float().numpy()  # (h, w, 3)
    ax.imshow(pixels, interpolation="nearest" if len(pixels) < 100 else "antialiased")


def chart(draw: Callable[[Any], object], *, width: float = 7.0, height: float = 3.6, columns: int = 1) -> Shown:
    """A chart in the course's style.

    Args:
        draw: draw(axes) puts the ink on matplotlib's axes, or on an array of them if there are several columns.
        width: In inches.
        height: In inches.
        columns: Charts side by side.

    Returns:
        The figure.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns)
        draw(axes)
    return Shown(figure, "png")


def intervals(ax: Axes, names: Sequence[str], values: Sequence[Any], *, chance: float | None = None) -> None:
    """Horizontal bars with 95 % intervals, the first name on top.

    Args:
        ax: Where to draw.
        names: Of the bars.
        values: A `measure.Interval` for each, or anything else with mean, low and high.
        chance: Value of a guess, drawn as a dashed line; None for no line.

    Raises:
        ValueError: Another number of values than of names.
    """
    require(len(names) == len(values), f"{len(names)} names for {len(values)} intervals")
    y = np.arange(len(names))[::-1]
    means = np.array([value.mean for value in values])
    spread = np.array([[value.mean - value.low, value.high - value.mean] for value in values]).T
    ax.barh(y, means, xerr=spread, height=0.62, error_kw={"ecolor": INK, "lw": 1.2, "capsize": 3})
    ax.set_yticks(y, names)
    if chance is not None:
        ax.axvline(chance, color=ACCENT, ls="--", lw=1.2)
        ax.text(chance, len(names) - 0.45, " chance", color=ACCENT, va="bottom", fontsize=10)
