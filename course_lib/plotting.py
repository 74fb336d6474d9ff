"""Figures."""

import base64
import io
import textwrap
from collections.abc import Sequence
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
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import make_grid

from course_lib.errors import require

INK, ACCENT, QUIET = "#22313f", "#c8553d", "#9aa5b1"
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


class Shown:
    """A figure that displays itself once, as JPEG (pictures) or PNG (curves), and can be saved."""

    def __init__(self, figure: Figure, format: str):
        self.figure, self.format = figure, format

    def save(self, path: str) -> None:
        self.figure.savefig(path, bbox_inches="tight")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        buffer = io.BytesIO()
        options: Any = {"pil_kwargs": {"quality": 80}} if self.format == "jpeg" else {}
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(buffer, format=self.format, bbox_inches="tight", facecolor="white", **options)
        data = base64.b64encode(buffer.getvalue()).decode()
        return {f"image/{self.format}": data, "text/plain": "<figure>"}


def heat(maps: Tensor, *, shared: bool = False) -> Tensor:
    """Maps (n, 1, h, w), at least 0, as pictures (n, 3, h, w): black is 0, light the 99.5th percentile.

    Each map has its own percentile, or all have one if `shared`, so that strong maps look stronger.
    """
    top = maps.flatten(1).quantile(0.995, dim=1)
    if shared:
        top = maps.flatten().sort().values[int(0.995 * (maps.numel() - 1))].expand(len(maps))
    return _colour(maps / top.clamp(min=1e-12)[:, None, None, None], "inferno")


def signed(maps: Tensor) -> Tensor:
    """Maps (n, 1, h, w) as pictures: white is 0, red above and blue below, both to the 99.5th percentile of |map|."""
    top = maps.abs().flatten(1).quantile(0.995, dim=1).clamp(min=1e-12)[:, None, None, None]
    return _colour(maps / top / 2 + 0.5, "RdBu_r")


def gradient_picture(gradients: Tensor) -> Tensor:
    """Signed RGB gradients (n, 3, h, w) as pictures around mid grey, each on its own scale."""
    top = gradients.abs().flatten(1).quantile(0.995, dim=1).clamp(min=1e-12)[:, None, None, None]
    return (gradients / top / 2 + 0.5).clamp(0, 1)


def _colour(values: Tensor, name: str) -> Tensor:
    require(values.dim() == 4 and values.shape[1] == 1, f"maps have shape (n, 1, h, w), got {tuple(values.shape)}")
    coloured = matplotlib.colormaps[name](values[:, 0].clamp(0, 1).cpu().numpy())[..., :3]  # (n, h, w, 3)
    return torch.from_numpy(coloured).permute(0, 3, 1, 2).to(values)


def sheet(tiles: Tensor, columns: int, *, side: int = 0, gap: int = 2) -> Tensor:
    """Tiles (n, 3, h, w) on one white picture (1, 3, H, W), enlarged to at least `side` pixels by whole factors."""
    factor = max(1, -(-side // tiles.shape[-1]))
    enlarged = F.interpolate(tiles, scale_factor=factor, mode="nearest")
    return make_grid(enlarged.clamp(0, 1), nrow=columns, padding=gap, pad_value=1.0)[None]


def filters(net: nn.Module, layer: str | None = None, *, count: int = 96, columns: int = 16) -> Tensor:
    """The weights of a convolution as one picture (1, 3, H, W): by default the first convolution of any network.

    Filters over RGB are shown in colour around mid grey, each on its own scale. Filters over other channels are shown
    a row each, the first `columns` input channels side by side, red above zero and blue below, one scale a filter.
    Raises ValueError where the layer is no 2-D convolution, or the network has none.
    """
    found = [module for name, module in net.named_modules() if name == layer or layer is None]
    weight = next((module.weight.detach().cpu() for module in found if isinstance(module, nn.Conv2d)), None)
    if weight is None:
        raise ValueError("the network has no convolution" if layer is None else f"{layer!r} is no convolution")
    weight = weight[:count]
    if weight.shape[1] == 3:
        return sheet(gradient_picture(weight), columns, side=24)
    weight = weight[:, :columns]
    scaled = weight / weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    maps = scaled.reshape(-1, 1, *weight.shape[2:])  # filter by filter, its input channels side by side
    return sheet(_colour(maps / 2 + 0.5, "RdBu_r"), weight.shape[1], side=20, gap=1)


def mosaic(pictures: Tensor, grid: Tensor) -> Tensor:
    """Pictures (n, 3, h, w) at the cells of a grid (rows, columns) of their numbers: (1, 3, H, W), white where -1."""
    tiles = torch.where((grid.flatten() >= 0)[:, None, None, None], pictures[grid.flatten()], 1.0)
    return sheet(tiles, grid.shape[1], gap=1)


def encode(picture: Tensor, format: str = "jpeg", quality: int = 80) -> bytes:
    """A picture (1, 3, h, w) as a file."""
    array = (picture[0].detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=format, **({"quality": quality} if format == "jpeg" else {}))
    return buffer.getvalue()


def data_uri(picture: Tensor, format: str = "jpeg", quality: int = 80) -> str:
    return f"data:image/{format};base64,{base64.b64encode(encode(picture, format, quality)).decode()}"


class Zoomable:
    """A large picture (1, 3, h, w) that fits the page, and opens at full size in place when it is clicked.

    Works in a notebook and on a page without a kernel, a script or the network. alt: what it shows, for those who
    listen. save(path) writes it at full size.
    """

    STYLE = (
        ".zoomable .window{overflow:auto;max-height:85vh}.zoomable img{display:block;width:100%;cursor:zoom-in}"
        ".zoomable input:checked~.window img{width:auto;max-width:none;cursor:zoom-out}"
    )

    def __init__(self, picture: Tensor, alt: str, quality: int = 70):
        self.picture, self.alt, self.quality = picture, alt, quality

    def __repr__(self) -> str:
        return f"Zoomable({self.alt!r})"  # no address, so that a notebook is the same in every run

    def save(self, path: str) -> None:
        form = "png" if str(path).lower().endswith("png") else "jpeg"
        Path(path).write_bytes(encode(self.picture, form, 92))

    def _repr_html_(self) -> str:
        source = data_uri(self.picture, quality=self.quality)
        return (
            f'<div class="zoomable"><style>{self.STYLE}</style><label><input type="checkbox"> full size'
            f'<div class="window" role="region" aria-label="zoomable picture" tabindex="0">'
            f'<img alt="{escape(self.alt)}" src="{source}"></div></label></div>'
        )


def pictures(
    rows: Sequence[Tensor] | Tensor,
    *,
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    width: float = 8.0,
) -> Shown:
    """A grid of pictures with air between them: a row for each (n, 3, h, w), heads above, labels to the left."""
    grid = [rows] if isinstance(rows, Tensor) else list(rows)
    across, down = max(len(row) for row in grid), len(grid)
    aspect = grid[0].shape[2] / grid[0].shape[3]
    cell = width / across
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, cell * aspect * down + (0.3 if columns else 0)))
        axes = figure.subplots(down, across, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
        for row, row_axes in zip(grid, axes, strict=True):
            for i, ax in enumerate(row_axes):
                ax.set_axis_off()
                if i < len(row):
                    picture = row[i].detach().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
                    ax.imshow(
                        np.asarray(picture),
                        interpolation="nearest" if picture.shape[0] < 100 else "antialiased",
                    )
        size = min(12.0, 8 * cell)
        for head, ax in zip(columns, axes[0], strict=False):
            ax.set_title(head, fontsize=size)
        for label, ax in zip(labels, axes[:, 0], strict=False):
            wrapped = textwrap.fill(label, 12)
            ax.text(-0.06, 0.5, wrapped, transform=ax.transAxes, ha="right", va="center", fontsize=size)
    return Shown(figure, "jpeg")


def chart(draw: Any, *, width: float = 7.0, height: float = 3.6, columns: int = 1) -> Shown:
    """A chart in the course's style: draw(axes) puts the ink on it (an array of axes if there are several columns)."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns)
        draw(axes)
    return Shown(figure, "png")


def intervals(ax: Axes, names: Sequence[str], values: Sequence[Any], *, chance: float | None = None) -> None:
    """Horizontal bars with 95 % intervals (measure.Interval), the first name on top; chance as a dashed line."""
    y = np.arange(len(names))[::-1]
    means = np.array([value.mean for value in values])
    spread = np.array([[value.mean - value.low, value.high - value.mean] for value in values]).T
    ax.barh(y, means, xerr=spread, height=0.62, error_kw={"ecolor": INK, "lw": 1.2, "capsize": 3})
    ax.set_yticks(y, names)
    if chance is not None:
        ax.axvline(chance, color=ACCENT, ls="--", lw=1.2)
        ax.text(chance, len(names) - 0.45, " chance", color=ACCENT, va="bottom", fontsize=10)
