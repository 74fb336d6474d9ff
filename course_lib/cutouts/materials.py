"""Photographed materials, each as two pieces of one photograph that do not overlap: exemplars of textures."""

from collections.abc import Callable
from functools import partial

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from course_lib.cutouts.collection import stamp
from course_lib.cutouts.grounds import coloured
from course_lib.errors import unknown
from course_lib.inputs import count

__all__ = ["MATERIALS", "MATERIALS_CREDIT", "material"]

#: Whose the materials are, for the credit of a figure that shows one, beside that of the cut-outs.
MATERIALS_CREDIT = (
    "Materials: brick and gravel (CC0 Textures) and grass (linolafett, CC0), coloured here, the Hubble deep field "
    "(NASA, public domain) and a stained tissue (no known copyright) from scikit-image; the others are stamps of Tux "
    "Paint (GPL 2)"
)

_Box = tuple[int, int, int, int]  # left, upper, right, lower


def material(name: str, size: int = 128) -> Tensor:
    """Two pieces of one material: an exemplar, and more of the same that no synthesis has seen.

    Args:
        name: One of MATERIALS. The last four are cut out of stamps (`available`).
        size: Side of a piece in pixels. The photographs have 100 to 256 a piece, and are resized (Lanczos).

    Returns:
        (2, 3, size, size) float32 in [0, 1].

    Raises:
        ValueError: No such material (the choices are listed), or a size below 1.
        FileNotFoundError: The stamps are not on this machine; it says how to get them.

    Example:
        >>> material("gravel", 64).shape
        torch.Size([2, 3, 64, 64])
    """
    if name not in _PIECES:
        raise unknown("material", name, _PIECES)
    side = count(size, "size")
    photograph, boxes = _PIECES[name]
    whole = photograph()
    pieces = [whole.crop(box).resize((side, side), Image.Resampling.LANCZOS) for box in boxes]
    levels = np.stack([np.asarray(piece, dtype=np.float32) for piece in pieces])
    return torch.from_numpy(levels / 255).permute(0, 3, 1, 2).contiguous()


def _sky() -> Image.Image:
    return Image.fromarray(skimage.data.hubble_deep_field())


def _tissue() -> Image.Image:
    return Image.fromarray(skimage.data.immunohistochemistry())


def _on_white(file: str) -> Image.Image:
    cutout = stamp(file)
    page = Image.new("RGBA", cutout.size, "white")
    page.alpha_composite(cutout)
    return page.convert("RGB")


_QUARTERS: tuple[_Box, _Box] = (0, 0, 256, 256), (256, 256, 512, 512)
_PIECES: dict[str, tuple[Callable[[], Image.Image], tuple[_Box, _Box]]] = {
    "brick": (
        lambda: coloured(skimage.data.brick(), (96, 52, 40), (198, 172, 150)),
        ((0, 0, 256, 256), (0, 256, 256, 512)),
    ),
    "gravel": (lambda: coloured(skimage.data.gravel(), (70, 58, 50), (222, 204, 176)), _QUARTERS),
    "grass": (lambda: coloured(skimage.data.grass(), (24, 44, 12), (160, 184, 84)), _QUARTERS),
    "galaxies": (_sky, ((100, 100, 356, 356), (500, 500, 756, 756))),
    "tissue": (_tissue, ((0, 20, 120, 140), (0, 140, 120, 260))),
    "plumage": (
        partial(_on_white, "animals/birds/helmeted_guineafowl.png"),
        ((130, 170, 230, 270), (232, 190, 332, 290)),
    ),
    "leaves": (partial(_on_white, "plants/trees/holm_oak.png"), ((90, 20, 200, 130), (200, 84, 310, 194))),
    "custard apple": (partial(_on_white, "food/fruit/cherimoya.png"), ((50, 190, 170, 310), (175, 95, 295, 215))),
    "orange": (partial(_on_white, "food/fruit/orange_seville.png"), ((60, 60, 195, 195), (195, 60, 330, 195))),
}

#: Names of the materials.
MATERIALS = tuple(_PIECES)
