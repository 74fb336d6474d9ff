"""Images that move."""

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image
from torch import Tensor

from course_lib.errors import require, unknown
from course_lib.inputs import whole
from course_lib.plotting.drawable import rgb
from course_lib.plotting.figures import Shown
from course_lib.plotting.files import address, data_uri, pillow
from course_lib.plotting.style import STYLE

__all__ = ["Animation", "animation"]


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
        frames = rgb(frames)
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
        frames = list(map(pillow, self.frames))
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
            f'height="{height}" src="{address(self._encoded("webp", self.quality), "webp")}"></div>'
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
        images = rgb(frames)
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
