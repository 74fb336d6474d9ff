"""One picture at a time, chosen by the reader."""

import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from itertools import product

import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import whole
from course_lib.plotting.drawable import rgb
from course_lib.plotting.files import data_uri

__all__ = ["Panels", "panels"]


class Panels:
    """Pictures that were computed before, of which the reader chooses one by its settings.

    Works in a notebook and on a page without a kernel, a script or the network, by mouse, touch and arrow keys: each
    setting is a group of radio buttons, and style rules show the picture of those that are ticked.

    Args:
        images: (n, 3, h, w), the last setting fastest; values are clipped to [0, 1].
        choices: The values of each setting, by its name: their numbers multiply to n.
        alt: What the pictures show; the settings are added to it, for those who listen.
        start: The value that is ticked first, of each setting.
        quality: Of the WebP on the page, from 1 to 95.

    Attributes:
        images: The same.
        choices: The same.
        alt: The same.
        start: The same.
        quality: The same.

    Raises:
        TypeError: Not images.
        ValueError: Another number of images than of combinations, a setting with fewer than two values or with one
            twice, a start that is no value, or no description.
    """

    STYLE = (
        ".panels{margin:0}.panels fieldset{border:0;margin:0 0 .4rem;padding:0;min-width:0}"
        ".panels legend{float:left;padding:.3rem .6rem .3rem 0;font-size:.9rem}"
        ".panels label{position:relative;display:inline-block;margin:0 .25rem .25rem 0;font-size:.9rem}"
        ".panels input{position:absolute;inset:0;margin:0;opacity:0;cursor:pointer}"
        ".panels span{display:block;min-width:1.6rem;padding:.25rem .6rem;border:1px solid #9aa5b1;"
        "border-radius:.25rem;text-align:center}"
        ".panels :checked+span{border-color:#2f6690;background:#2f6690;color:#fff}"
        ".panels :focus-visible+span{outline:3px solid #c8553d;outline-offset:1px}"
        ".panels .stack{display:grid;clear:both}.panels img{grid-area:1/1;visibility:hidden;max-width:100%;height:auto}"
    )

    def __init__(
        self, images: Tensor, choices: Mapping[str, Sequence[str]], alt: str, start: Sequence[str], quality: int = 75
    ):
        self.images, self.alt, self.start, self.quality = rgb(images), alt, tuple(start), quality
        self.choices = {name: tuple(map(str, values)) for name, values in choices.items()}
        require(bool(alt.strip()), "panels need an alt: what they show")
        for name, values in self.choices.items():
            require(len(values) > 1, f"the setting {name!r} has {len(values)} value: at least two can be chosen from")
            require(len(set(values)) == len(values), f"the setting {name!r} has one value twice: {', '.join(values)}")
        combinations = len(self._combinations())
        sizes = " x ".join(str(len(values)) for values in self.choices.values())
        require(len(self.images) == combinations, f"{len(self.images)} images for {sizes} = {combinations} settings")
        require(
            len(self.start) == len(self.choices),
            f"{len(self.start)} values to start with for {len(self.choices)} settings",
        )
        for (name, values), value in zip(self.choices.items(), self.start, strict=True):
            require(value in values, f"no value {value!r} of {name!r} to start with: choose from {', '.join(values)}")

    def __repr__(self) -> str:
        return f"Panels({self.alt!r})"  # no address, so that a notebook is the same in every run

    def _combinations(self) -> list[tuple[str, ...]]:
        return list(product(*self.choices.values()))

    def _repr_html_(self) -> str:
        pictures = [data_uri(image[None], "webp", self.quality) for image in self.images]
        key = "p" + hashlib.sha256("".join([*pictures, self.alt]).encode()).hexdigest()[:8]
        combinations = list(product(*(range(len(values)) for values in self.choices.values())))
        groups = "".join(self._group(key, i, name, values) for i, (name, values) in enumerate(self.choices.items()))
        rules = ",".join(
            f"#{key}" + "".join(f":has(.c{i}-{k}:checked)" for i, k in enumerate(at)) + f" img:nth-child({n})"
            for n, at in enumerate(combinations, start=1)
        )
        stack = "".join(map(self._picture, self._combinations(), pictures))
        return (
            f'<figure class="panels" id="{key}"><style>{self.STYLE}{rules}{{visibility:visible}}</style>'
            f'{groups}<div class="stack">{stack}</div></figure>'
        )

    def _group(self, key: str, i: int, name: str, values: Sequence[str]) -> str:
        buttons = "".join(
            f'<label><input type="radio" name="{key}-{i}" class="c{i}-{k}"{" checked" * (value == self.start[i])}>'
            f"<span>{escape(value)}</span></label>"
            for k, value in enumerate(values)
        )
        return f"<fieldset><legend>{escape(name)}</legend>{buttons}</fieldset>"

    def _picture(self, values: Sequence[str], address: str) -> str:
        height, width = self.images.shape[2:]
        settings = ", ".join(f"{name} {value}" for name, value in zip(self.choices, values, strict=True))
        alt = escape(f"{self.alt}; {settings}")
        return f'<img alt="{alt}" width="{width}" height="{height}" src="{address}">'


def panels(
    images: Tensor,
    choices: Mapping[str, Sequence[str]],
    alt: str,
    *,
    start: Sequence[str] | str | None = None,
    width: int = 500,
    quality: int = 75,
) -> Panels:
    """Pictures of which the reader chooses one by its settings, on a page without a kernel.

    Args:
        images: (n, 3, h, w), or grey (n, 1, h, w), one for each value of the one setting; with two settings (n, m, 3,
            h, w), and so on. `sheet` makes one picture of several. Values are clipped to [0, 1].
        choices: The values of each setting by its name, as they are written on the buttons, in the order of the images'
            leading axes: {"epsilon": ["0", "1/255"], "image": ["cat", "cup"]}.
        alt: What the pictures show, for those who listen; the settings are added to it.
        start: The value that is chosen first, of each setting; the first ones by default.
        width: In pixels: small images are enlarged by the largest whole factor that fits.
        quality: Of the WebP on the page, from 1 to 95.

    Returns:
        The panels, which display themselves.

    Raises:
        TypeError: Not images, or a width that is not whole.
        ValueError: No setting, images of another shape than the settings, what `Panels` refuses, or width < 1.

    Example:
        >>> import torch
        >>> panels(torch.rand(3, 3, 8, 8), {"noise": ["little", "some", "much"]}, "noise").images.shape
        torch.Size([3, 3, 496, 496])
    """
    width = int(whole(width, "width"))
    require(width >= 1, f"width must be at least 1, got {width}")
    require(len(choices) > 0, "panels need a setting to choose")
    shape, sizes = tuple(getattr(images, "shape", ())), tuple(len(values) for values in choices.values())
    require(shape[:-3] == sizes or not shape, f"images of shape {shape} for settings of {sizes} values")
    flat = rgb(images.flatten(0, -4) if shape else images)
    flat = F.interpolate(flat, scale_factor=max(1, width // flat.shape[-1]), mode="nearest")
    first = [str(values[0]) for values in choices.values() if len(values)]
    chosen = first if start is None else [start] if isinstance(start, str) else start
    return Panels(flat, choices, alt, chosen, quality)
