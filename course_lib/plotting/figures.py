"""Grids of images, charts, bars with intervals."""

import base64
import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.errors import require
from course_lib.plotting.drawable import rgb
from course_lib.plotting.style import ACCENT, INK, STYLE

__all__ = ["Shown", "chart", "intervals", "pictures"]


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
    grid = [rgb(row) for row in ([rows] if isinstance(rows, Tensor) else rows)]
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
