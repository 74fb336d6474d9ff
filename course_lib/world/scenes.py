"""What is in a scene, and how it is drawn."""

from dataclasses import dataclass
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import whole
from course_lib.noise import power_law
from course_lib.world import shapes
from course_lib.world.shapes import by_index, length
from course_lib.world.truth import Truth

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "MUTED",
    "PALETTE",
    "SHAPES",
    "TEXTURES",
    "Scenes",
    "draw",
    "plan_scenes",
    "render",
]

#: Names of the classes: label i is SHAPES[i].
SHAPES = tuple(shapes.SHAPES)
#: Names of the object's textures.
TEXTURES = tuple(shapes.TEXTURES)
#: Names of the object's colours.
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
#: Names of the backgrounds.
BACKGROUNDS = tuple(shapes.BACKGROUNDS)

#: The colours, (8, 3) RGB in [0, 1], before the small change that each scene makes to them.
PALETTE = torch.tensor(
    [
        [0.80, 0.17, 0.16],
        [0.93, 0.50, 0.13],
        [0.95, 0.79, 0.26],
        [0.27, 0.58, 0.27],
        [0.12, 0.62, 0.62],
        [0.17, 0.39, 0.74],
        [0.50, 0.28, 0.63],
        [0.92, 0.53, 0.67],
    ]
)
#: Quieter colours for what stands behind the object, (6, 3): stone, sand, sage, slate, dusk, clay.
MUTED = torch.tensor(
    [
        [0.62, 0.60, 0.57],
        [0.77, 0.69, 0.55],
        [0.52, 0.60, 0.48],
        [0.42, 0.49, 0.56],
        [0.58, 0.50, 0.58],
        [0.64, 0.47, 0.39],
    ]
)
LIGHT = (-0.6, -0.8)  # where the light comes from, (x, y) with y downwards: the upper left
GRID = 96  # side of the noise fields; larger images interpolate them
CHUNK = 64  # scenes drawn at a time, which bounds the memory


@dataclass(frozen=True)
class Scenes(Truth):
    """Drawn images with their truth.

    An index or a mask selects scenes, ``scenes[3]`` (a batch of one), ``scenes[:8]``,
    ``scenes[scenes.factors["visible"] < 1]``.

    Attributes:
        images: (n, 3, size, size) float32 in [0, 1], 8-bit values.
        labels: (n,) int64, an index into SHAPES.
        masks: (n, 1, size, size) bool, where the object is visible.
        factors: Name -> (n,) tensor. shape, texture, colour, second_colour and background index SHAPES, TEXTURES,
            COLOURS, COLOURS and BACKGROUNDS; x, y (centre) and radius are in half image widths, x and y in [-1, 1]
            with y downwards; angle in radians; frequency of the texture, in periods a radius; distance of the object
            from the viewer, as in depth; occluded (bool) where a ribbon stands in front of its rim; visible is the
            fraction of the object that nothing hides; watermark (bool).
        depth: (n, 1, size, size) float32 in [0, 1], 0 at the viewer.

    Example:
        >>> scenes = draw(20, seed=1)
        >>> len(scenes[scenes.factors["occluded"]]), len(scenes[:8]), scenes[3].images.shape
        (5, 8, torch.Size([1, 3, 96, 96]))
    """

    depth: Tensor


def draw(n: int, seed: int = 0, size: int = 96, *, texture_bias: float = 0.0, watermark: float = 0.0) -> Scenes:
    """Draw scenes: one object of ten shapes, textured, lit and sometimes partly hidden, on a busy background.

    The same seed gives the same scenes on every platform, at any size, and the first scenes of a longer draw are
    those of a shorter one. Images are rounded to 8 bits, which hides how platforms round: between AVX-512 and plain
    x86 code one value in a million differed, by one level.

    Args:
        n: How many, at least 1.
        seed: Of all random choices.
        size: Height and width in pixels, at least 16.
        texture_bias: Probability that the texture is given by the shape (shape i has texture i mod 6), the trap of
            Geirhos 2019.
        watermark: Probability that a pattern of dots in the lower left corner gives the shape away.

    Returns:
        The scenes.

    Raises:
        TypeError: n, seed or size is no whole number.
        ValueError: n < 1, size < 16, or a probability outside [0, 1].

    Example:
        >>> scenes = draw(3, seed=0)
        >>> scenes.images.shape, [SHAPES[i] for i in scenes.labels]
        (torch.Size([3, 3, 96, 96]), ['ring', 'crescent', 'square'])
    """
    n, seed, size = (int(whole(value, name)) for value, name in ((n, "n"), (seed, "seed"), (size, "size")))
    require(n >= 1, f"n must be at least 1, got {n}")
    require(size >= 16, f"size must be at least 16 pixels, got {size}")
    require(0 <= texture_bias <= 1, f"texture_bias is a probability, got {texture_bias}")
    require(0 <= watermark <= 1, f"watermark is a probability, got {watermark}")
    # Two streams, so that the noise of scene i does not depend on n either.
    choices, noise = (torch.Generator().manual_seed(2 * seed + stream) for stream in range(2))
    plan = plan_scenes(n, choices, texture_bias, watermark)
    parts = []
    for start in range(0, n, CHUNK):
        rows = {name: value[start : start + CHUNK] for name, value in plan.items()}
        parts.append(render(rows, size, noise))
    images, masks, depth, visible = (torch.cat(part) for part in zip(*parts, strict=True))
    factors = {name: value for name, value in plan.items() if value.dim() == 1} | {"visible": visible}
    return Scenes(images, plan["shape"], masks, factors, depth)


# ---------------------------------------------------------------- what is in a scene


def plan_scenes(n: int, generator: torch.Generator, texture_bias: float, watermark: float) -> dict[str, Tensor]:
    """Every choice about n scenes. One row of random numbers a scene, so that scene i does not depend on n.

    Args:
        n: How many.
        generator: Draws the numbers.
        texture_bias: As in `draw`.
        watermark: As in `draw`.

    Returns:
        Name of the choice -> (n,) or (n, k): the factors of `Scenes` but visible, and what else `render` needs.
    """
    numbers = iter(torch.rand(n, 96, generator=generator).unbind(1))

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * next(numbers)

    def choice(k: int) -> Tensor:
        return (next(numbers) * k).long()

    def several(count: int, low: float, high: float) -> Tensor:
        return torch.stack([uniform(low, high) for _ in range(count)], 1)

    plan = {"shape": choice(10), "texture": choice(6), "colour": choice(8), "background": choice(5)}
    plan["texture"] = torch.where(next(numbers) < texture_bias, plan["shape"] % 6, plan["texture"])
    plan["second_colour"] = (plan["colour"] + 1 + choice(7)) % 8
    plan["radius"] = uniform(0.34, 0.62)
    plan["x"], plan["y"] = (uniform(-1, 1) * (0.97 - plan["radius"]) for _ in range(2))
    plan["angle"] = uniform(0, 2 * pi)
    plan["frequency"] = uniform(1.3, 2.2)
    plan["distance"] = uniform(0.35, 0.6)
    plan["occluded"] = next(numbers) < 0.25
    plan["watermark"] = next(numbers) < watermark
    plan["strip"] = torch.stack([uniform(0, 2 * pi), uniform(0.45, 0.8), uniform(0.12, 0.2)], 1)
    plan["strip_colour"] = choice(6)[:, None]
    plan["tints"] = several(6, -0.06, 0.06)  # small changes of the object's two colours
    plan["ground"] = torch.stack([choice(6), (choice(5) + 1)], 1)
    plan["ground_shape"] = several(4, 0, 1)
    plan["bars"] = several(4 * 5, -1.1, 1.1)
    plan["bar_colours"] = torch.stack([choice(8) for _ in range(4)], 1)
    return plan


def render(plan: dict[str, Tensor], size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Paint back to front: background, bars, shadow, object, ribbon, watermark; then noise and 8 bits.

    Args:
        plan: From `plan_scenes`.
        size: Height and width in pixels.
        generator: Draws the noise of the surfaces and of the camera.

    Returns:
        images, masks and depth as in `Scenes`, and the visible fraction of each object, (n,).
    """
    n = len(plan["shape"])
    noise = torch.rand(n, 7, GRID, GRID, generator=generator)
    white, grain = noise[:, :4], noise[:, 4:]
    clouds = _pink_noise(white, size)  # (n, 4, size, size)
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = (c.expand(n, size, size) for c in torch.meshgrid(axis, axis, indexing="ij"))
    pixel = 2 / size

    image = _background(plan, x, y, clouds)
    depth = 1 - 0.2 * (y + 1) / 2 + 0.02 * clouds[:, 3]
    image, depth = _bars(plan, x, y, image, depth, pixel)

    u, v = _local(plan, x, y)
    radius = plan["radius"][:, None, None]
    distance = by_index(shapes.SHAPES, plan["shape"], u, v) * radius  # signed, negative inside
    shadow = torch.sigmoid(-(_shift(distance, 0.07, pixel) - 0.02) / 0.05)
    image = image * (1 - 0.45 * shadow[:, None])
    cover = (0.5 - distance / pixel).clamp(0, 1)
    image = torch.lerp(image, _paint(plan, u, v, distance, clouds, pixel), cover[:, None])
    bulge = (-distance / radius).clamp(0, 0.5)
    depth = torch.where(cover > 0.5, plan["distance"][:, None, None] - 0.2 * bulge, depth)

    image, depth, hidden = _strip(plan, x, y, image, depth, pixel)
    mask = (cover > 0.5) & ~hidden
    visible = mask.sum((1, 2)) / (cover > 0.5).sum((1, 2)).clamp(min=1)
    image = _watermark(plan, image)
    image = image + 0.05 * (F.interpolate(grain, size=(size, size)) - 0.5)
    return (image.clamp(0, 1) * 255).round() / 255, mask[:, None], depth[:, None].clamp(0, 1), visible


# ---------------------------------------------------------------- geometry


def _local(plan: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in which the object is upright, centred and of radius one (u right, v up)."""
    cos, sin = (f(plan["angle"])[:, None, None] for f in (torch.cos, torch.sin))
    dx, dy = ((c - plan[name][:, None, None]) / plan["radius"][:, None, None] for c, name in ((x, "x"), (y, "y")))
    return cos * dx + sin * dy, sin * dx - cos * dy


# ---------------------------------------------------------------- surfaces


def _pink_noise(white: Tensor, size: int) -> Tensor:
    """1/f noise, the spectrum of natural images, with mean 0 and deviation 1, interpolated to a size."""
    field = power_law(white, 1, constant=False)
    field = field / field.std((2, 3), keepdim=True)
    same = size == white.shape[-1]
    return field if same else F.interpolate(field, size=(size, size), mode="bilinear", align_corners=False)


def _shift(field: Tensor, by: float, pixel: float) -> Tensor:
    """The field moved away from the light, as a shadow falls."""
    k = max(1, round(by / pixel))
    padded = F.pad(field[:, None], (k, 0, k, 0), mode="replicate")[:, 0]
    return padded[:, : field.shape[1], : field.shape[2]]


def _shade(distance: Tensor, pixel: float, width: float) -> Tensor:
    """Lambert shading of a bevelled edge: the gradient of the distance against the light."""
    dy, dx = torch.gradient(distance, spacing=pixel, dim=(1, 2))
    facing = dx * LIGHT[0] + dy * LIGHT[1]
    return 1 + 0.38 * facing.clamp(-1, 1) * torch.exp((distance / width).clamp(max=0))


def _paint(plan: dict[str, Tensor], u: Tensor, v: Tensor, distance: Tensor, clouds: Tensor, pixel: float) -> Tensor:
    """The object's surface: two colours mixed by its texture, shaded at its edge."""
    scale = plan["frequency"][:, None, None]
    mix = by_index(shapes.TEXTURES, plan["texture"], u * scale, v * scale, clouds[:, 3])[:, None]
    tints = plan["tints"]
    first, second = (PALETTE[plan[name]] for name in ("colour", "second_colour"))
    first, second = (
        (c + t)[..., None, None] for c, t in zip((first, second), (tints[:, :3], tints[:, 3:]), strict=True)
    )
    surface = torch.lerp(first, second, mix) * (1 + 0.03 * clouds[:, :1])
    return surface * _shade(distance, pixel, width=0.09)[:, None]


# ---------------------------------------------------------------- what stands around the object


def _background(plan: dict[str, Tensor], x: Tensor, y: Tensor, clouds: Tensor) -> Tensor:
    """One of the backgrounds, in two quiet colours."""
    tone = by_index(shapes.BACKGROUNDS, plan["background"], x, y, plan["ground_shape"], clouds[:, 3])[:, None]
    base = MUTED[plan["ground"][:, 0]][..., None, None]
    other = MUTED[plan["ground"].sum(1) % 6][..., None, None]
    return torch.lerp(base * 0.55, other * 1.2, tone.clamp(-0.2, 1.2)) + 0.03 * clouds[:, :3]


def _bars(
    plan: dict[str, Tensor], x: Tensor, y: Tensor, image: Tensor, depth: Tensor, pixel: float
) -> tuple[Tensor, Tensor]:
    """Four coloured bars, distractors that carry edges and hues but no shape."""
    for bar, colour in zip(plan["bars"].reshape(-1, 4, 5).unbind(1), plan["bar_colours"].unbind(1), strict=True):
        ax, ay, dx, dy, w = (c[:, None, None] for c in bar.unbind(1))
        t = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-3)).clamp(0, 0.8)
        distance = length(x - ax - t * dx, y - ay - t * dy) - 0.045 - 0.02 * w
        image = image * (1 - 0.3 * torch.sigmoid(-_shift(distance, 0.04, pixel) / 0.03)[:, None])
        cover = (0.5 - distance / pixel).clamp(0, 1)
        tint = 0.7 * PALETTE[colour] + 0.3 * MUTED[plan["ground"][:, 0]]
        surface = tint[..., None, None] * _shade(distance, pixel, width=0.04)[:, None]
        image = torch.lerp(image, surface, cover[:, None])
        depth = torch.where(cover > 0.5, 0.72, depth)
    return image, depth


def _strip(
    plan: dict[str, Tensor], x: Tensor, y: Tensor, image: Tensor, depth: Tensor, pixel: float
) -> tuple[Tensor, Tensor, Tensor]:
    """In one scene of four, a ribbon in front of the object's rim. Also returns where it hides what is behind."""
    turn, offset, half = (c[:, None, None] for c in plan["strip"].unbind(1))
    radius = plan["radius"][:, None, None]
    along = (x - plan["x"][:, None, None]) * turn.cos() + (y - plan["y"][:, None, None]) * turn.sin()
    distance = (along - offset * radius).abs() - half * radius - 0.03
    present = plan["occluded"][:, None, None]
    distance = torch.where(present, distance, torch.inf)
    image = image * (1 - 0.4 * torch.sigmoid(-_shift(distance, 0.06, pixel) / 0.03)[:, None])
    cover = (0.5 - distance / pixel).clamp(0, 1)
    finite = torch.where(present, distance, 1.0)
    surface = MUTED[plan["strip_colour"][:, 0]][..., None, None] * 1.1 * _shade(finite, pixel, width=0.06)[:, None]
    hidden = cover > 0.5
    return torch.lerp(image, surface, cover[:, None]), torch.where(hidden, 0.15, depth), hidden


def _watermark(plan: dict[str, Tensor], image: Tensor) -> Tensor:
    """Four dots in the lower left corner that write the shape's number in binary."""
    size = image.shape[-1]
    step = max(2, size // 24)
    for bit in range(4):
        ink = ((plan["shape"] >> bit) & 1).to(image.dtype)
        rows, columns = slice(size - 2 * step, size - step), slice((2 * bit + 1) * step, (2 * bit + 2) * step)
        patch = ink[:, None, None, None].expand(-1, 3, step, step)
        image[:, :, rows, columns] = torch.where(
            plan["watermark"][:, None, None, None], patch, image[:, :, rows, columns]
        )
    return image
