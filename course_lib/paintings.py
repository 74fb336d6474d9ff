"""Images to take a style from, drawn: a night of brush strokes, stained glass, an engraving.

The same seed gives the same image on every machine, up to rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import whole
from course_lib.noise import power_law

__all__ = ["engraving", "glass", "night"]

SIDE = 256
_AXIS = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
Y, X = torch.meshgrid(_AXIS, _AXIS, indexing="ij")  # (256, 256) in [-1, 1], down and to the right
WHORLS = (  # of the night: y, x, radius, sense
    (-0.25, -0.1, 0.42, 1),
    (0.35, 0.55, 0.34, -1),
    (-0.6, 0.7, 0.2, 1),
    (-0.65, -0.65, 0.22, 1),
    (0.45, -0.55, 0.25, -1),
)
STROKE = 14  # steps along the wind to both sides, two pixels each


def night(seed: int = 3) -> Tensor:
    """A wind with five whorls and a star in each, in strokes along the wind: golds on blues, light on thick paint.

    A stroke is the mean of the paint along the wind: line integral convolution.

    Args:
        seed: Of the clouds and of the grain of the paint.

    Returns:
        (1, 3, 256, 256) in [0, 1].

    Raises:
        TypeError: `seed` is no whole number.

    Source: Cabral and Leedom 1993 (the strokes).

    Example:
        >>> night().shape
        torch.Size([1, 3, 256, 256])
    """
    u, v, glow = torch.ones_like(X), 0.35 * (2.5 * X + 1).sin(), torch.zeros_like(X)
    for y, x, radius, sense in WHORLS:
        dy, dx = (Y - y) / radius, (X - x) / radius
        d = (dy**2 + dx**2).sqrt()
        turn = 4 * sense * torch.exp(-(d**2))
        u, v = u - turn * dy, v + turn * dx
        halo = 0.45 * torch.exp(-(((d - 0.8) / 0.16) ** 2))
        glow = glow.maximum(torch.exp(-((d / 0.42) ** 2))).maximum(halo)
    grain = F.avg_pool2d(_clouds(0, seed)[None], 5, 1, 2)[0]
    tone = 0.34 + 0.13 * _clouds(1.6, seed + 1)
    tone, glow, height = _along(torch.stack([u, v])[None], torch.stack([tone, glow, grain])[None])[0]
    height = height / height.std()
    blues = _colours("0b1437 16307a 2450a8 3f7cc4 8db9d9 dfe6c8")
    golds = _colours("c98a1b f0b429 f7d95a fdf3b0")
    gold = ((glow + 0.07 * height - 0.3) / 0.12).clamp(0, 1)
    image = torch.lerp(_ramp(tone + 0.11 * height, blues), _ramp(glow + 0.1 * height, golds), gold)
    ridge = height - height.roll((1, 1), (0, 1))  # lit from the upper left
    lit: Tensor = image + 0.04 * ridge / ridge.std()
    return lit.clamp(0, 1)


def glass(seed: int = 1, panes: int = 90) -> Tensor:
    """Stained glass: the Voronoi cells of random centres, each in one of ten colours, with black leads between them.

    Args:
        seed: Of the centres, the colours and the clouds in the glass.
        panes: Number of centres, at least 2.

    Returns:
        (1, 3, 256, 256) in [0, 1].

    Raises:
        TypeError: `seed` or `panes` is no whole number.
        ValueError: panes < 2.

    Source: Lloyd 1982 (centres moved to the middle of their cells).
    """
    panes = int(whole(panes, "number of panes"))
    require(panes >= 2, f"a window has at least 2 panes, got {panes}")
    generator = torch.Generator().manual_seed(int(whole(seed, "seed")))
    centres = torch.rand(panes, 2, generator=generator) * 2.2 - 1.1
    bend = torch.stack([_clouds(2, seed), _clouds(2, seed + 1)], -1)
    positions = (torch.stack([Y, X], -1) + 0.02 * bend).view(-1, 2)
    for _ in range(3):  # each centre to the middle of its pane (Lloyd)
        own = F.one_hot(torch.cdist(positions, centres).argmin(1), panes).float()
        centres = own.T @ positions / own.sum(0).clamp(min=1)[:, None]
    near, which = torch.cdist(positions, centres).topk(2, largest=False)
    gap = near.diff(dim=1).view(SIDE, SIDE)
    jewels = _colours("a3121f d8442b f2a71b f6d35b 0d5c63 128a6b 153e90 2f7fd0 6a2c8c e8e2c4")
    tints = jewels[torch.randint(len(jewels), (panes,), generator=generator)]
    light = 1 + 0.14 * _clouds(1.3, seed + 5) + (gap / 2 - 0.05).clamp(max=0.07)
    pane = tints[which[:, 0]].T.reshape(1, 3, SIDE, SIDE) * light
    lead = ((gap - 0.028) / 0.02).clamp(0, 1)
    return torch.lerp(torch.full_like(pane, 0.09), pane.clamp(0, 1), lead)


def engraving(seed: int = 4, lines: int = 17) -> Tensor:
    """Hills in dark ink on pale paper: hatched lines that are thick where it is dark, crossed by others in shadow.

    Args:
        seed: Of the hills.
        lines: Number of lines on half a side.

    Returns:
        (1, 3, 256, 256) in [0, 1].

    Raises:
        TypeError: `seed` is no whole number.
        ValueError: lines <= 0.
    """
    require(lines > 0, f"the number of lines must be above 0, got {lines}")
    hills = _clouds(2.4, seed)
    dy, dx = torch.gradient(hills, spacing=2 / SIDE)
    tone = (0.5 + 0.09 * (0.6 * dx - 0.8 * dy)).clamp(0.06, 0.92)

    def hatch(along: float, across: float, darkness: Tensor) -> Tensor:
        way = X * across + Y * along + 0.06 * hills
        wave = (1 + (2 * torch.pi * lines * way).cos()) / 2
        return (3 * (darkness - wave) + 0.5).clamp(0, 1)

    shade = hatch(0.78, 0.62, 0.95 - tone)
    ink = shade.maximum(hatch(-0.56, 0.83, 1.6 * (0.5 - tone)))
    return _ramp(ink, _colours("f1e6cf 2a1d17"))


def _colours(codes: str) -> Tensor:
    """Hexadecimal colours: (n, 3) in [0, 1]."""
    return torch.tensor([list(bytes.fromhex(code)) for code in codes.split()]) / 255


def _ramp(t: Tensor, palette: Tensor) -> Tensor:
    """The colours between those of the palette, first at 0, last at 1: (h, w) -> (1, 3, h, w)."""
    t = t.clamp(0, 1) * (len(palette) - 1)
    i = t.long().clamp(max=len(palette) - 2)
    mixed = torch.lerp(palette[i], palette[i + 1], (t - i)[..., None])
    return mixed.permute(2, 0, 1)[None]


def _clouds(power: float, seed: int) -> Tensor:
    """Noise with a spectrum of 1 / f^power, mean 0 and deviation 1: (256, 256)."""
    generator = torch.Generator().manual_seed(int(whole(seed, "seed")))
    field = power_law(torch.randn(SIDE, SIDE, generator=generator), power)
    return (field - field.mean()) / field.std()


def _along(wind: Tensor, paint: Tensor) -> Tensor:
    """The mean of the paint along the wind (1, 2, h, w), to both sides of each position."""
    wind = wind / wind.norm(dim=1, keepdim=True).clamp(min=1e-3)
    strokes = torch.zeros_like(paint)
    for way in (1, -1):
        at = torch.stack([X, Y], -1)[None]
        for _ in range(STROKE):
            strokes = strokes + _sample(paint, at) / (2 * STROKE)
            at = at + way * 2 / SIDE * _sample(wind, at).permute(0, 2, 3, 1)
    return strokes


def _sample(field: Tensor, at: Tensor) -> Tensor:
    """The field's values at positions (1, h, w, 2) in [-1, 1], between pixels too."""
    return F.grid_sample(field, at, padding_mode="reflection", align_corners=False)
