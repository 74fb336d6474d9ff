"""What is in a composed scene, and how it is composed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import cos, radians, sin, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter, ImageOps
from torch import Tensor

from course_lib.cutouts.collection import Collection, collection, read, trimmed
from course_lib.cutouts.grounds import GROUNDS, HORIZON, SIDE, ground
from course_lib.errors import require
from course_lib.inputs import check_range, count, number, whole
from course_lib.world import Truth

__all__ = ["Scenes", "compose"]

LARGEST = 2.2  # times a cut-out's own pixels at 224 px: larger ones would be blurred
DARKNESS = 0.55  # of a shadow where it is deepest
SQUAT = 0.28  # height of a shadow on the floor over that of what throws it
TOWARDS = 0.3  # how far the colour of an object goes towards that of its ground
BESIDE = ((0.0, 0.36), (0.64, 1.0))  # where the middles of two objects are, fractions of the image


@dataclass(frozen=True)
class Scenes(Truth):
    """Composed photographs with their truth.

    An index or a mask selects scenes, ``scenes[3]`` (a batch of one), ``scenes[:8]``,
    ``scenes[scenes.factors["visible"] < 1]``.

    Attributes:
        images: (n, 3, size, size) float32 in [0, 1], 8-bit values.
        labels: (n,) int64, the ImageNet class of the object, -1 where it has none.
        masks: (n, 1, size, size) bool, where the object is visible: where its opacity is above 1/2 and no other
            object stands in front of it.
        factors: Name -> (n,) tensor. object indexes `collection`; group indexes its `all_groups`; ground indexes
            GROUNDS. x, y (centre of the object's bounding box, soft edge and all) are in half image widths, in [-1, 1]
            with y downwards; size is the fraction of the image that the object covers, before anything hides a part of
            it; scale is the pixels of the image for one of the cut-out as it was published; angle is in
            radians, counter-clockwise; mirrored (bool); light is the brightness of the scene, warmth how much redder it
            is than in neutral light; visible is the fraction of the object that nothing hides. Scenes with
            a second object have second_object, second_label, and second_mask, (n, 1, size, size) bool.
    """


def compose(
    n: int,
    seed: int = 0,
    size: int = 224,
    *,
    among: str | Sequence[int] | None = None,
    distractors: int = 0,
    occluded: float = 0.0,
    second: bool = False,
) -> Scenes:
    """Compose photographs: a cut-out object standing on a photographic ground, with a soft shadow, in one light.

    The same seed gives the same scenes, and the first scenes of a longer call are those of a shorter one; distractors
    and what stands in front are added to the scenes that there are without them. Figures that show them are under the
    GPL 2, as the cut-outs are.

    Args:
        n: How many, at least 1.
        seed: Of all random choices.
        size: Height and width in pixels, at least 32.
        among: The objects: a group of the collection ("animals"), or indices into it, such as `recognised` finds. By
            default those that have an ImageNet class.
        distractors: Number of smaller objects without an ImageNet class that stand further back.
        occluded: Probability that an object without an ImageNet class stands in front of a part of the object.
        second: Whether another object of `among`, of another class, stands beside the object.

    Returns:
        The scenes.

    Raises:
        FileNotFoundError: The cut-outs are not on this machine, or not all of them.
        TypeError: Numbers that are not whole.
        ValueError: n < 1, size < 32, a group or an index that does not exist, one class only for two objects, a
            probability outside [0, 1], or a file that cannot be read.

    Example:
        >>> scenes = compose(3, seed=0)
        >>> [collection().names[i] for i in scenes.factors["object"]], scenes.labels
        (['violin', 'otter', 'school crossing sign'], tensor([889, 360, 919]))
    """
    n, size, distractors = count(n, "n"), count(size, "size", 32), count(distractors, "distractors", 0)
    occluded = number(occluded, "occluded", 0, 1)
    cutouts = collection()
    chosen = _chosen(cutouts, among)
    classes = {cutouts.classes[i] for i in chosen}
    require(len(classes) > 1 or not second, "a second object is of another class, but all that are chosen are of one")
    rows = _rows(n, int(whole(seed, "seed")), distractors)
    scenes = [_scene(cutouts, chosen, own, strange, size, occluded, second) for own, strange in rows]
    images, masks, factors = zip(*scenes, strict=True)
    columns = {name: torch.tensor([each[name] for each in factors]) for name in factors[0] if name != "second_mask"}
    if second:
        columns["second_mask"] = _masks([each["second_mask"] for each in factors])
    labels = torch.tensor([_label(cutouts, i) for i in columns["object"].tolist()])
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 255
    return Scenes(stacked, labels, _masks(masks), columns)


def _chosen(cutouts: Collection, among: str | Sequence[int] | None) -> list[int]:
    """The indices that the objects are drawn from."""
    if among is None:
        return list(cutouts.labelled)
    if isinstance(among, str):
        return list(cutouts.within(among))
    chosen = torch.as_tensor(whole(among, "index of a cut-out")).view(-1)
    check_range(chosen, len(cutouts), "cut-out")
    return chosen.tolist()


def _label(cutouts: Collection, index: int) -> int:
    label = cutouts.classes[index]
    return -1 if label is None else label


def _masks(masks: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(masks))[:, None]


# ---------------------------------------------------------------- one scene


class _Draws:
    """The random numbers of one scene, a row of its own, so that scene i does not depend on n."""

    def __init__(self, row: Sequence[float]):
        self.numbers = iter(row)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * next(self.numbers)

    def choice(self, k: int) -> int:
        return int(next(self.numbers) * k)


def _rows(n: int, seed: int, distractors: int) -> Iterator[tuple[_Draws, list[_Draws]]]:
    """The numbers of each scene, and of each distractor in it: two streams, so that these change nothing else."""
    streams = (torch.Generator().manual_seed(2 * seed + stream) for stream in range(2))
    own, strange = (torch.rand(n, k, 32, generator=stream) for k, stream in zip((1, distractors), streams, strict=True))
    for one, others in zip(own.tolist(), strange.tolist(), strict=True):
        yield _Draws(one[0]), [_Draws(row) for row in others]


@dataclass(frozen=True)
class _Layer:
    """An object on the canvas: colour (size, size, 3) and opacity (size, size), in [0, 1]."""

    colour: np.ndarray
    opacity: np.ndarray
    box: tuple[int, int, int, int]  # left, top, right, bottom
    angle: float
    mirrored: bool
    scale: float

    @property
    def mask(self) -> np.ndarray:
        return self.opacity > 0.5


class _Stage(NamedTuple):
    """What it takes to stand a cut-out on a ground."""

    cutouts: Collection
    draws: _Draws
    size: int
    horizon: float  # its height, a fraction of the image


@dataclass(frozen=True)
class _Cast:
    """The objects of a scene."""

    index: int  # of the object that the scene is about
    main: _Layer
    behind: list[_Layer]
    before: list[_Layer]
    second: tuple[int, _Layer] | None  # is in `behind` too

    def painted(self) -> list[_Layer]:
        """Back to front."""
        return [*sorted(self.behind, key=lambda layer: layer.box[3]), self.main, *self.before]

    def hidden(self) -> np.ndarray:
        """Where something stands in front of the main object."""
        hidden = np.zeros_like(self.main.mask)
        for layer in self.before:
            hidden |= layer.mask
        return hidden


def _scene(
    cutouts: Collection,
    chosen: Sequence[int],
    draws: _Draws,
    strange: Sequence[_Draws],
    size: int,
    occluded: float,
    second: bool,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """A scene as bytes (size, size, 3), the mask of its object, and its factors."""
    place = draws.choice(len(GROUNDS))
    canvas, horizon = _view(GROUNDS[place], draws, size)
    lean = draws.uniform(0.25, 0.9) * (2 * draws.choice(2) - 1)  # of the shadows: where the light comes from
    light, warmth = draws.uniform(0.9, 1.15), draws.uniform(-0.05, 0.05)
    cast = _cast(_Stage(cutouts, draws, size, horizon), chosen, strange, occluded, second)

    for layer in cast.painted():
        canvas = _painted(canvas, layer, lean)
    canvas = canvas * (light * np.array([1 + warmth, 1, 1 - warmth], dtype=np.float32))
    mask = cast.main.mask & ~cast.hidden()
    factors = {"ground": place, "light": light, "warmth": warmth} | _factors(cutouts, cast, mask)
    return (canvas.clip(0, 1) * 255).round().astype(np.uint8), mask, factors


def _cast(stage: _Stage, chosen: Sequence[int], strange: Sequence[_Draws], occluded: float, second: bool) -> _Cast:
    """Who stands where."""
    classes, draws = stage.cutouts.classes, stage.draws
    index = chosen[draws.choice(len(chosen))]
    sides = (BESIDE, BESIDE[::-1])[draws.choice(2)]
    floor = (stage.horizon + 0.12, 0.97)
    half = partial(_standing, stage, area=(0.07, 0.16), room=0.46, floor=floor)
    whole_floor = partial(_standing, stage, area=(0.12, 0.36), room=0.88, floor=floor)
    main = half(index, across=sides[0]) if second else whole_floor(index, across=(0.0, 1.0))

    strangers = [i for i, label in enumerate(classes) if label is None and i != index]
    further = [
        _further_back(stage._replace(draws=own), strangers[own.choice(len(strangers))], main, bool(i % 2))
        for i, own in enumerate(strange)
    ]
    beside = None
    if second:
        others = [i for i in chosen if classes[i] != classes[index]]
        other = others[draws.choice(len(others))]
        beside = (other, half(other, across=sides[1]))
    hides = draws.uniform(0, 1) < occluded
    before = [_in_front(stage, strangers[draws.choice(len(strangers))], main)] if hides else []
    return _Cast(index, main, further + ([beside[1]] if beside else []), before, beside)


def _factors(cutouts: Collection, cast: _Cast, mask: np.ndarray) -> dict[str, Any]:
    """What there is to know of the objects."""
    main, size = cast.main, len(mask)
    x, y = ((low + high) / size - 1 for low, high in (main.box[::2], main.box[1::2]))
    factors: dict[str, Any] = {
        "object": cast.index,
        "group": cutouts.all_groups.index(cutouts.groups[cast.index]),
        "x": x,
        "y": y,
        "size": float(main.mask.mean()),
        "scale": main.scale,
        "angle": main.angle,
        "mirrored": main.mirrored,
        "visible": float(mask.sum() / main.mask.sum()),
    }
    if cast.second:
        other, layer = cast.second
        factors |= {"second_object": other, "second_label": _label(cutouts, other)}
        factors["second_mask"] = layer.mask & ~main.mask & ~cast.hidden()
    return factors


def _view(name: str, draws: _Draws, size: int) -> tuple[np.ndarray, float]:
    """A part of a ground as (size, size, 3) in [0, 1], and the height of its horizon, a fraction of the image."""
    side = draws.uniform(0.6, 1) * SIDE
    horizon = min(max(draws.uniform(0.16, 0.42), 1 - (SIDE - HORIZON) / side), HORIZON / side)
    left, top = draws.uniform(0, SIDE - side), HORIZON - horizon * side
    whole_view = ImageOps.mirror(ground(name)) if draws.choice(2) else ground(name)
    box = (left, max(top, 0), left + side, min(max(top, 0) + side, SIDE))
    view = whole_view.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(view, dtype=np.float32) / 255, horizon


def _standing(
    stage: _Stage,
    index: int,
    *,
    area: tuple[float, float],
    room: float,
    across: tuple[float, float],
    floor: tuple[float, float],
) -> _Layer:
    """A cut-out at a random size, angle and position; ranges are fractions of the image."""
    cutouts, draws, size, _ = stage
    angle, mirrored = draws.uniform(-7, 7), bool(draws.choice(2)) and cutouts.mirrors[index]
    cutout = _pixels(str(cutouts.root / cutouts.files[index]))
    opaque = np.asarray(cutout.getchannel("A"), dtype=np.float32).sum() / 255
    scale = min(sqrt(draws.uniform(*area) * size * size / opaque), LARGEST * size / 224)
    scale = min(scale, room * size / max(_turned_box(cutout, angle)))
    turned = _turned(cutout, scale, angle, mirrored)
    margin = 0.02 * size
    left = _between(draws, across, turned.width / 2 + margin, size - turned.width / 2 - margin, size) - turned.width / 2
    bottom = _between(draws, floor, turned.height + margin, size - margin, size)
    colour, opacity = _on_canvas(turned, round(left), round(bottom) - turned.height, size)
    box = (round(left), round(bottom) - turned.height, round(left) + turned.width, round(bottom))
    return _Layer(colour, opacity, box, radians(angle), mirrored, scale)


def _between(draws: _Draws, wanted: tuple[float, float], low: float, high: float, size: int) -> float:
    """A random position in pixels: in the wanted range, a fraction of the image, as far as that is in [low, high]."""
    least, most = (min(max(edge * size, low), max(low, high)) for edge in wanted)
    return draws.uniform(least, most)


@lru_cache(maxsize=512)
def _pixels(path: str) -> Image.Image:
    """A cut-out without its margins; about 50 MB for all of them."""
    return trimmed(read(Path(path)))


def _turned_box(cutout: Image.Image, angle: float) -> tuple[float, float]:
    """Width and height of the bounding box of a rectangle that is turned by degrees."""
    c, s = abs(cos(radians(angle))), abs(sin(radians(angle)))
    return cutout.width * c + cutout.height * s, cutout.width * s + cutout.height * c


def _turned(cutout: Image.Image, scale: float, angle: float, mirrored: bool) -> Image.Image:
    """Mirrored, scaled, and turned by degrees."""
    size = (max(2, round(cutout.width * scale)), max(2, round(cutout.height * scale)))
    cutout = cutout.resize(size, Image.Resampling.LANCZOS)
    cutout = ImageOps.mirror(cutout) if mirrored else cutout
    cutout = ImageOps.expand(cutout.rotate(angle, Image.Resampling.BICUBIC, expand=True), 2)
    return trimmed(cutout)


def _on_canvas(cutout: Image.Image, left: int, top: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour and opacity of the whole canvas.

    The edge is blurred by half a pixel, and drawn in a little: the outermost pixels often show the old ground.
    """
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(cutout, (left, top))
    soft = canvas.convert("RGBa").filter(ImageFilter.GaussianBlur(0.5)).convert("RGBA")
    pixels = np.asarray(soft, dtype=np.float32) / 255
    return pixels[..., :3], ((pixels[..., 3] - 0.2) / 0.6).clip(0, 1)


def _further_back(stage: _Stage, index: int, main: _Layer, narrow: bool) -> _Layer:
    """A small object on the emptier side of the main one, or on the narrow one, nearer to the horizon."""
    left, _, right, bottom = (edge / stage.size for edge in main.box)
    across = (0.0, left) if (left > 1 - right) != narrow else (right, 1.0)
    floor = (stage.horizon + 0.05, max(bottom, stage.horizon + 0.1))
    return _standing(stage, index, area=(0.012, 0.04), room=0.3, across=across, floor=floor)


def _in_front(stage: _Stage, index: int, main: _Layer) -> _Layer:
    """A smaller object before the lower part of the main one."""
    left, top, right, bottom = (edge / stage.size for edge in main.box)
    quarter = (right - left) / 4
    area, room = 0.4 * float(main.mask.mean()), 0.6 * max(right - left, bottom - top)
    across, floor = (left + quarter, right - quarter), (bottom - 0.02, bottom + 0.03)
    return _standing(stage, index, area=(area, area), room=room, across=across, floor=floor)


# ---------------------------------------------------------------- light


def _painted(canvas: np.ndarray, layer: _Layer, lean: float) -> np.ndarray:
    """The object and its shadow on the canvas, in the colour of the light there."""
    canvas = canvas * (1 - _shadow(layer, lean))[..., None]
    colour = layer.colour * _matched(canvas, layer)
    painted: np.ndarray = canvas + layer.opacity[..., None] * (colour - canvas)
    return painted


def _matched(canvas: np.ndarray, layer: _Layer) -> np.ndarray:
    """(3,): what takes the mean colour of the object a little towards that of the ground."""
    weight = layer.opacity.sum()
    own = (layer.colour * layer.opacity[..., None]).sum((0, 1)) / weight
    wanted = canvas.mean((0, 1))
    factor: np.ndarray = np.clip(1 + TOWARDS * (wanted / np.maximum(own, 0.02) - 1), 0.8, 1.2)
    return factor


def _shadow(layer: _Layer, lean: float) -> np.ndarray:
    """(size, size) in [0, 1]: the silhouette laid on the floor, away from the light, and a dark line of contact."""
    size, bottom = len(layer.opacity), layer.box[3]
    silhouette = Image.fromarray((255 * layer.opacity).astype(np.uint8))
    slope = lean / SQUAT
    laid = silhouette.transform(
        (size, size),
        Image.Transform.AFFINE,
        (1, slope, -slope * bottom, 0, 1 / SQUAT, bottom - bottom / SQUAT),
        Image.Resampling.BILINEAR,
    )
    laid = laid.filter(ImageFilter.GaussianBlur(0.018 * size))
    contact = ImageChops.offset(silhouette, 0, round(0.012 * size)).filter(ImageFilter.GaussianBlur(0.015 * size))
    height = max(1, bottom - layer.box[1])
    near = (1 - (bottom - np.arange(size)) / (0.25 * height)).clip(0, 1)[:, None]  # the lowest quarter alone touches
    shades = [np.asarray(part, dtype=np.float32) / 255 for part in (laid, contact)]
    deepest: np.ndarray = np.maximum(shades[0], near * shades[1])
    return DARKNESS * deepest
