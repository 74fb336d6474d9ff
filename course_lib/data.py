"""Photographs that come with the dependencies, folders of pictures, walks through any number."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import skimage.data
import sklearn.datasets
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

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


def read(path: str | Path | BinaryIO, size: int | None = 224) -> Tensor:
    """The picture in a file, or an open one, (1, 3, size, size) in [0, 1], as `photograph` does it.

    Upright as the camera noted (EXIF). Grey becomes RGB, 16 bits keep their range, transparent pixels show white.
    Raises FileNotFoundError for no file, ValueError that names it for one that is broken, cut short, or no picture.
    """
    require(size is None or size >= 1, f"size must be at least 1, got {size}")
    try:
        with Image.open(path) as picture:
            return _tensor(_rgb(ImageOps.exif_transpose(picture)), size)
    except FileNotFoundError:
        raise
    except Exception as error:  # what a damaged file makes Pillow raise has no common class
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error


def folder(path: str | Path) -> list[Path]:
    """The picture files of a folder, sorted by name. Raises ValueError where there are none."""
    files = sorted(file for file in Path(path).iterdir() if file.suffix.lower() in SUFFIXES)
    require(bool(files), f"no pictures in {path}; looked for {', '.join(sorted(SUFFIXES))}")
    return files


# ---------------------------------------------------------------- any number of pictures

# (n, 3, h, w); a folder; its files; a torch Dataset whose items are (3, h, w) pictures, or tuples that begin with one
Pictures = Tensor | str | Path | Sequence[str | Path] | Dataset[Any]


class _Files(Dataset[Tensor]):
    """Picture files as a dataset of (3, size, size)."""

    def __init__(self, files: Sequence[str | Path], size: int | None):
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        return read(self.files[i], self.size)[0]


def _collection(pictures: Pictures, size: int | None) -> Any:
    """Something with a length whose item i is picture i, (3, h, w), or a tuple that begins with it."""
    if isinstance(pictures, str | Path):
        return _Files(folder(pictures), size)
    if isinstance(pictures, Sequence) and all(isinstance(file, str | Path) for file in pictures):
        return _Files(pictures, size)
    if isinstance(pictures, Sequence) or not (hasattr(pictures, "__len__") and hasattr(pictures, "__getitem__")):
        raise TypeError(
            f"pictures are a tensor (n, 3, h, w), a folder, a list of files or a Dataset with a length, "
            f"got {type(pictures).__name__}"
        )
    return pictures


def count(pictures: Pictures) -> int:
    """How many pictures there are."""
    return len(_collection(pictures, None))


def pick(pictures: Pictures, indices: Sequence[int], size: int | None = 224) -> Tensor:
    """The pictures with these numbers, (k, 3, h, w). size: to which files are resized, as in `read`."""
    collection = _collection(pictures, size)
    return torch.stack([_picture(collection[int(i)]) for i in indices])


def batches(
    pictures: Pictures,
    size: int | None = 224,
    batch: int = 16,
    *,
    start: int = 0,
    skip_broken: bool = False,
    progress: bool = True,
) -> Iterator[tuple[list[int], Tensor]]:
    """Walk through pictures in constant memory: yields their numbers and the pictures, (b, 3, h, w).

    start: number of the first picture to look at. A file that cannot be read ends the walk with the ValueError of
    `read`; with skip_broken it is left out, with a warning that names it. Files are read by several threads.
    Raises ValueError for no pictures, batch < 1, or pictures of different sizes in one batch.
    """
    collection = _collection(pictures, size)
    n = len(collection)
    require(n > 0, "no pictures: the collection is empty")
    require(batch >= 1, f"batch must be at least 1, got {batch}")

    def load(i: int) -> tuple[int, Tensor] | None:
        try:
            return i, _picture(collection[i])
        except ValueError as error:
            if not (skip_broken and isinstance(collection, _Files)):
                raise
            warnings.warn(f"left out: {error}", stacklevel=2)
            return None

    bar = tqdm(total=n, initial=start, unit="picture", disable=not progress, leave=False)
    with bar, ThreadPoolExecutor() as pool:
        each = pool.map if isinstance(collection, _Files) else map  # a dataset may not bear several threads
        for first in range(start, n, batch):
            numbers = range(first, min(first + batch, n))
            if isinstance(collection, Tensor):
                yield list(numbers), collection[numbers.start : numbers.stop]
            elif found := [pair for pair in each(load, numbers) if pair is not None]:
                shapes = {tuple(picture.shape) for _, picture in found}
                require(len(shapes) == 1, f"pictures of different sizes in one batch: {sorted(shapes)}; give a size")
                yield [i for i, _ in found], torch.stack([picture for _, picture in found])
            bar.update(len(numbers))


def _picture(item: Any) -> Tensor:
    return item[0] if isinstance(item, tuple | list) else item


# ---------------------------------------------------------------- pictures as tensors


def _rgb(picture: Any) -> Any:
    """Any kind of Pillow picture as 8-bit RGB."""
    if picture.mode == "F":
        raise ValueError("floating point pixels have no fixed range; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip at 255
        picture = Image.fromarray((np.asarray(picture).astype(np.uint32).clip(0, 65535) // 257).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


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
