"""Photographs that come with the dependencies, folders of pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import sklearn.datasets
import torch
from PIL import Image
from torch import Tensor

from course_lib.errors import require, unknown

# name -> (function of scikit-image, or None for scikit-learn's sample images; credit)
_PHOTOGRAPHS: dict[str, tuple[str | None, str]] = {
    "chelsea": ("chelsea", "Chelsea the cat, Stéfan van der Walt, CC0, from scikit-image"),
    "coffee": ("coffee", "A cup of coffee, Rachel Michetti, CC0, from scikit-image"),
    "astronaut": ("astronaut", "Eileen Collins, NASA, public domain, from scikit-image"),
    "rocket": ("rocket", "Launch of a Falcon 9, SpaceX, CC0, from scikit-image"),
    "flower": (None, "A dahlia, vultilion, CC BY 2.0, from scikit-learn"),
    "china": (None, "A temple in China, danielbuechele, CC BY 2.0, from scikit-learn"),
}
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def photographs() -> tuple[str, ...]:
    """The names that `photograph` knows."""
    return tuple(_PHOTOGRAPHS)


def credit(name: str) -> str:
    """Who made the photograph, and its licence."""
    return _entry(name)[1]


def photograph(name: str, size: int | None = 224) -> Tensor:
    """A photograph that comes with scikit-image or scikit-learn: (1, 3, size, size) in [0, 1].

    The largest square of the middle, resized; size=None keeps the whole picture. Raises ValueError for another name.
    """
    function, _ = _entry(name)
    array = sklearn.datasets.load_sample_image(f"{name}.jpg") if function is None else getattr(skimage.data, function)()
    return _tensor(Image.fromarray(array), size)


def read(path: str | Path, size: int | None = 224) -> Tensor:
    """The picture in a file, (1, 3, size, size) in [0, 1], as `photograph` does it."""
    with Image.open(path) as picture:
        return _tensor(picture.convert("RGB"), size)


def folder(path: str | Path) -> list[Path]:
    """The picture files of a folder, sorted by name. Raises ValueError where there are none."""
    files = sorted(file for file in Path(path).iterdir() if file.suffix.lower() in SUFFIXES)
    require(bool(files), f"no pictures in {path}; looked for {', '.join(sorted(SUFFIXES))}")
    return files


def _entry(name: str) -> tuple[str | None, str]:
    if name not in _PHOTOGRAPHS:
        raise unknown("photograph", name, _PHOTOGRAPHS)
    return _PHOTOGRAPHS[name]


def _tensor(picture: Any, size: int | None) -> Tensor:
    if size is not None:
        require(size >= 1, f"size must be at least 1, got {size}")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        picture = picture.resize((size, size), Image.Resampling.LANCZOS, box=box)
    array = np.asarray(picture, dtype=np.float32) / 255  # (h, w, 3)
    return torch.from_numpy(array).permute(2, 0, 1)[None].contiguous()
