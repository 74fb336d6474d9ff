"""Photographic grounds: a floor that runs back to a horizon, out of focus, and what stands behind it.

Floors are textures of scikit-image (grass, gravel, brick: CC0, grey there and coloured here; the table is the wood
beside the cup of `data.photograph`), laid down in perspective. Behind them are the trees, the lake and the sky of the
temple and the leaves round the dahlia of scikit-learn. No part shows an object that ImageNet has a class for.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import skimage.data
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from course_lib import data

__all__ = ["GROUNDS", "GROUNDS_CREDIT", "HORIZON", "SIDE", "ground"]

#: Names of the grounds.
GROUNDS = ("meadow", "garden", "shore", "path", "pavement", "table")

#: Whose the grounds are, for the credit of a figure that shows a scene, beside that of the cut-outs.
GROUNDS_CREDIT = (
    "Grounds: grass, gravel and brick (CC0) and a table (Rachel Michetti, CC0) from scikit-image; trees, lake and sky "
    "(danielbuechele) and leaves (vultilion), CC BY 2.0, from scikit-learn"
)

SIDE = 448  # of a ground in pixels
HORIZON = 180  # its row
_Colour = tuple[int, int, int]
_SHARP, _FAR = 0.8, 3  # radii of the blur where the floor is nearest, and how many steps of it there are


@cache
def ground(name: str) -> Image.Image:
    """A ground, made once.

    Args:
        name: One of GROUNDS.

    Returns:
        RGB, SIDE x SIDE pixels.
    """
    floor, behind, blur = _PARTS[name]
    return _out_of_focus(_stage(floor(), behind()), blur)


def _photograph(name: str, box: tuple[int, int, int, int]) -> Image.Image:
    pixels = data.photograph(name, None)[0].permute(1, 2, 0).numpy()
    return Image.fromarray((255 * pixels).round().astype(np.uint8)).crop(box)


def coloured(grey: np.ndarray, dark: _Colour, light: _Colour) -> Image.Image:
    """A grey photograph between two colours; its darkest and lightest hundredth take these.

    Args:
        grey: (h, w), any scale.
        dark: Red, green and blue from 0 to 255.
        light: The same.

    Returns:
        RGB.
    """
    low, high = np.quantile(grey, [0.01, 0.99])
    scaled = ((grey - low) / (high - low)).clip(0, 1) * 255
    return ImageOps.colorize(Image.fromarray(scaled.astype(np.uint8)), dark, light)


def _tiled(texture: Image.Image, width: int, height: int) -> Image.Image:
    """A large surface of a texture, every other copy mirrored, so that no seam shows."""
    w, h = texture.size
    four = Image.new("RGB", (2 * w, 2 * h))
    four.paste(texture, (0, 0))
    four.paste(ImageOps.mirror(texture), (w, 0))
    four.paste(ImageOps.flip(four.crop((0, 0, 2 * w, h))), (0, h))
    surface = Image.new("RGB", (width, height))
    for x in range(-w // 3, width, 2 * w):  # shifted: an axis of symmetry in the middle would be seen
        for y in range(0, height, 2 * h):
            surface.paste(four, (x, y))
    return surface


def _laid_down(texture: Image.Image, near: float = 1.1, far: float = 7.0) -> Image.Image:
    """A texture as a floor, up to the horizon: `near` and `far` are its pixels for one of the image there."""
    fine = 2  # drawn twice as large, then shrunk
    width, height = SIDE * fine, (SIDE - HORIZON) * fine
    focal = height / (far / near - 1)  # depth is 1 / (row + focal)
    reach = near / fine * (height + focal)
    length = 0.55 * reach * height
    nearest, farthest = length / (height + focal), length / focal
    surface = _tiled(texture, int(width * far / fine) + 2, int(farthest - nearest) + 2)
    middle = surface.width / 2
    across = (reach / focal, middle / focal, middle - width / 2 * reach / focal)
    along = (0, -nearest / focal, farthest - nearest)
    floor = surface.transform(
        (width, height), Image.Transform.PERSPECTIVE, (*across, *along, 0, 1 / focal), Image.Resampling.BICUBIC
    )
    return floor.resize((SIDE, SIDE - HORIZON), Image.Resampling.LANCZOS)


def _stage(floor: Image.Image, behind: Image.Image) -> Image.Image:
    stage = Image.new("RGB", (SIDE, SIDE))
    stage.paste(behind.resize((SIDE, HORIZON), Image.Resampling.LANCZOS), (0, 0))
    stage.paste(floor, (0, HORIZON))
    return stage


def _out_of_focus(stage: Image.Image, blur: float) -> Image.Image:
    """Sharp in front, blurred more and more up to the horizon, and blurred all over behind it."""
    radii = np.geomspace(_SHARP, blur, _FAR + 1)
    layers = np.stack([np.asarray(stage.filter(ImageFilter.GaussianBlur(r)), dtype=np.float32) for r in radii.tolist()])
    rows = np.arange(SIDE)
    step = _FAR * ((SIDE - rows) / (SIDE - HORIZON)).clip(0, 1)
    lower = step.astype(int).clip(max=_FAR - 1)
    part = (step - lower)[:, None, None]
    blended = layers[lower, rows] * (1 - part) + layers[lower + 1, rows] * part
    return Image.fromarray(blended.round().astype(np.uint8))


def _wood() -> Image.Image:
    """The table of the cup of coffee, turned so that its grain lies across."""
    turned = _photograph("coffee", (430, 180, 600, 400)).rotate(-43, Image.Resampling.BICUBIC)
    return _muted(turned.crop((76, 82, 162, 146)).resize((215, 160), Image.Resampling.LANCZOS), 0.75)


def _brick() -> Image.Image:
    """The bricks run to a point as they are; they only have to lie down."""
    bricks = coloured(skimage.data.brick(), (96, 60, 50), (190, 172, 154))
    return bricks.crop((0, 60, 512, 512)).resize((SIDE, SIDE - HORIZON), Image.Resampling.LANCZOS)


def _trees() -> Image.Image:
    return _photograph("china", (360, 262, 520, 425))


def _leaves() -> Image.Image:
    return _muted(_photograph("flower", (0, 0, 165, 427)), 0.55)


def _muted(image: Image.Image, colour: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(colour)


_PARTS: dict[
    str, tuple[Callable[[], Image.Image], Callable[[], Image.Image], float]
] = {  # name -> (the floor, what is behind it, the radius of its blur)
    "meadow": (lambda: _laid_down(coloured(skimage.data.grass(), (33, 48, 15), (148, 168, 84)), 1.3), _trees, 13.0),
    "garden": (lambda: _laid_down(coloured(skimage.data.grass(), (26, 46, 22), (122, 152, 88)), 0.9, 5), _leaves, 9.0),
    "shore": (
        lambda: _laid_down(coloured(skimage.data.gravel(), (92, 77, 61), (219, 201, 171))),
        lambda: _photograph("china", (345, 120, 545, 262)),
        5.0,
    ),
    "path": (lambda: _laid_down(coloured(skimage.data.gravel(), (61, 62, 66), (189, 188, 184)), 1.0, 6), _trees, 13.0),
    "pavement": (_brick, lambda: _photograph("china", (345, 0, 545, 262)), 7.0),
    "table": (lambda: _laid_down(_wood(), 1.0, 4), _leaves, 10.0),
}
