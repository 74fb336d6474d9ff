"""Photographs that come with the dependencies, folders of images, walks through any number."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from course_lib import inputs, scale
from course_lib.errors import require, unknown
from course_lib.inputs import check_range, whole
from course_lib.progress import bar

__all__ = [
    "SUFFIXES",
    "Images",
    "batches",
    "count",
    "credit",
    "folder",
    "map_batches",
    "photograph",
    "photographs",
    "pick",
    "read",
]

# name -> (function of scikit-image, or None for scikit-learn's sample images; credit)
_PHOTOGRAPHS: dict[str, tuple[str | None, str]] = {
    "chelsea": ("chelsea", "Chelsea the cat, Stéfan van der Walt, CC0, from scikit-image"),
    "coffee": ("coffee", "A cup of coffee, Rachel Michetti, CC0, from scikit-image"),
    "astronaut": ("astronaut", "Eileen Collins, NASA, public domain, from scikit-image"),
    "rocket": ("rocket", "Launch of a Falcon 9, SpaceX, CC0, from scikit-image"),
    "flower": (None, "A dahlia, vultilion, CC BY 2.0, from scikit-learn"),
    "china": (None, "A temple in China, danielbuechele, CC BY 2.0, from scikit-learn"),
}

#: Endings of the files that `folder` takes for images.
SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}

#: A tensor (n, 3, h, w); a folder; a list of files; or a Dataset with a length. An item of a Dataset is an image, a
#: tuple or list that begins with one, or a dict that holds one as "image", "img" or "pixel_values"; the image is a
#: float tensor (3, h, w), a PIL image, or a numpy array (h, w, 3) of bytes, or of floats in [0, 1].
Images = Tensor | str | Path | Sequence[str | Path] | Dataset[Any]

Result = TypeVar("Result")

_KEYS = ("image", "img", "pixel_values")  # of the image in an item that is a dict


def photographs() -> tuple[str, ...]:
    """The names that `photograph` knows.

    Returns:
        The names.

    Example:
        >>> photographs()
        ('chelsea', 'coffee', 'astronaut', 'rocket', 'flower', 'china')
    """
    return tuple(_PHOTOGRAPHS)


def credit(name: str) -> str:
    """Who made a photograph, and its licence.

    Args:
        name: One of `photographs`.

    Returns:
        One line.

    Raises:
        ValueError: No photograph of that name (the nearest names are listed).

    Example:
        >>> credit("chelsea")
        'Chelsea the cat, Stéfan van der Walt, CC0, from scikit-image'
    """
    return _entry(name)[1]


def photograph(name: str, size: int | None = 224) -> Tensor:
    """A photograph that comes with scikit-image or scikit-learn.

    Args:
        name: One of `photographs`.
        size: Side in pixels to which the largest square in the middle is resized (Lanczos); None keeps the whole
            image as it is.

    Returns:
        (1, 3, size, size) float32 in [0, 1].

    Raises:
        TypeError: `size` is no whole number.
        ValueError: No photograph of that name (the nearest names are listed), or size < 1.

    Example:
        >>> photograph("chelsea", 96).shape
        torch.Size([1, 3, 96, 96])
    """
    function, _ = _entry(name)
    return _tensor(Image.fromarray(_sample(name, function)), _side(size))


def _sample(name: str, function: str | None) -> Any:
    """The photograph as bytes (h, w, 3)."""
    if function is None:
        import sklearn.datasets

        return sklearn.datasets.load_sample_image(f"{name}.jpg")
    import skimage.data

    return getattr(skimage.data, function)()


def read(path: str | Path | BinaryIO, size: int | None = 224) -> Tensor:
    """The image in a file: upright as the camera noted (EXIF), in RGB, transparent pixels white.

    Of an animation it is the first frame. Grey of 16 bits keeps its range. Grey of 32 bits, whose white no file states,
    is read by its values: all in 0 ... 255 are 8 bits, all in 0 ... 65535 are 16 bits, others are refused.

    Args:
        path: A file, or one that is open in binary mode.
        size: Side in pixels to which the largest square in the middle is resized (Lanczos); None keeps the whole
            image as it is.

    Returns:
        (1, 3, size, size) float32 in [0, 1].

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: `size` is no whole number.
        ValueError: size < 1, or a file that is broken, cut short, no image, or has no known range (floating point
            pixels; 32-bit grey that is negative or above 65535). The file is named.
    """
    side = _side(size)
    try:
        with Image.open(path) as image:
            return _tensor(_rgb(image), side)
    except FileNotFoundError:
        raise
    except Exception as error:  # what a damaged file makes Pillow raise has no common class
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def folder(path: str | Path) -> list[Path]:
    """The image files of a folder, sorted by name.

    Files count by their ending (`SUFFIXES`). Hidden files, whose names begin with a dot, are left out; the
    ``._name.png`` that macOS writes beside ``name.png`` is one.

    Args:
        path: The folder; folders inside it are not searched.

    Returns:
        The paths, at least one.

    Raises:
        FileNotFoundError: There is no such folder.
        NotADirectoryError: It is a file.
        ValueError: It holds no images.
    """
    root = Path(path)
    if root.is_file():
        raise NotADirectoryError(f"{path} is a file, not a folder; for a few files, give a list of them")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    files = sorted(file for file in root.iterdir() if _is_image(file))
    require(bool(files), f"no images in {path}; looked for {', '.join(sorted(SUFFIXES))}")
    return files


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and not file.is_dir()


# ---------------------------------------------------------------- any number of images


class _Files(Dataset[Tensor]):
    """Image files as a dataset of (3, size, size)."""

    def __init__(self, files: Sequence[str | Path], size: int | None):
        self.files, self.size = [Path(file).absolute() for file in files], size  # a worker has another folder

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        return read(self.files[i], self.size)[0]


def _collection(images: Images, size: int | None) -> Any:
    """Something with a length whose item i holds image i."""
    if isinstance(images, str | Path):
        return _Files(folder(images), size)
    if isinstance(images, Sequence) and all(isinstance(file, str | Path) for file in images):
        return _Files(images, size)
    if isinstance(images, Sequence) or not (hasattr(images, "__len__") and hasattr(images, "__getitem__")):
        raise TypeError(
            f"images are a tensor (n, 3, h, w), a folder, a list of files or a Dataset with a length, "
            f"got {type(images).__name__}"
        )
    return images


def count(images: Images) -> int:
    """How many images there are.

    Args:
        images: A tensor (n, 3, h, w), a folder, a list of files, or a Dataset with a length.

    Returns:
        Their number.

    Raises:
        TypeError: No collection of images.
        ValueError: A folder without images.

    Example:
        >>> count(torch.zeros(5, 3, 8, 8))
        5
    """
    return len(_collection(images, None))


def pick(images: Images, indices: Sequence[int], size: int | None = 224) -> Tensor:
    """The images with these indices.

    Args:
        images: A tensor (n, 3, h, w), a folder, a list of files, or a Dataset with a length.
        indices: Which ones, from 0; an image may be picked several times.
        size: Side to which files and PIL images are cut and resized, as in `read`; tensors and arrays stay as they are.

    Returns:
        (k, 3, h, w).

    Raises:
        TypeError: No collection of images, an item that is no image (see `Images`), or indices that are no whole
            numbers.
        ValueError: An index out of range, a file that cannot be read, or images of different sizes.

    Example:
        >>> x = torch.arange(4).view(4, 1, 1, 1).expand(4, 3, 2, 2) / 4
        >>> pick(x, [3, 1])[:, 0, 0, 0]
        tensor([0.7500, 0.2500])
    """
    size = _side(size)
    collection = _collection(images, size)
    chosen = torch.as_tensor(whole(indices, "index of an image")).view(-1)
    check_range(chosen, len(collection), "image")
    return _stacked([_image(collection[i], i, size) for i in chosen.tolist()])


def batches(
    images: Images,
    size: int | None = 224,
    batch: int = 16,
    *,
    start: int = 0,
    skip_broken: bool = False,
    progress: bool = True,
) -> Iterator[tuple[list[int], Tensor]]:
    """Walk through any number of images in constant memory.

    Files are read by several threads, the items of a Dataset by the caller's own.

    Args:
        images: A tensor (n, 3, h, w), a folder, a list of files, or a Dataset with a length.
        size: Side to which files and PIL images are cut and resized, as in `read`; tensors and arrays stay as they are.
        batch: Images in a batch, at least 1; the last batch may hold fewer.
        start: Index of the first image.
        skip_broken: Leave out files that cannot be read, with a warning that names each; otherwise the walk ends there
            with the error of `read`.
        progress: Whether a walk that lasts shows a bar.

    Yields:
        The indices of a batch and its images, (b, 3, h, w).

    Raises:
        TypeError: No collection of images, an item that is no image (see `Images`), or numbers that are not whole.
        ValueError: No images, batch < 1, start < 0, a file that cannot be read, or images of different sizes in one
            batch.

    Example:
        >>> for indices, x in batches(torch.zeros(5, 3, 8, 8), batch=2):
        ...     print(indices, tuple(x.shape))
        [0, 1] (2, 3, 8, 8)
        [2, 3] (2, 3, 8, 8)
        [4] (1, 3, 8, 8)
    """
    yield from map_batches(_itself, images, size, batch, start=start, skip_broken=skip_broken, progress=progress)


def _itself(x: Tensor) -> Tensor:
    return x


def map_batches(
    function: Callable[[Tensor], Result],
    images: Images,
    size: int | None = 224,
    batch: int = 16,
    *,
    start: int = 0,
    skip_broken: bool = False,
    scheduler: str | None = None,
    progress: bool = True,
) -> Iterator[tuple[list[int], Result]]:
    """Evaluate a function on any number of images, batch by batch, here or on the workers of a Dask cluster.

    The batches, and the order of the results, are those of `batches`, also on a cluster.

    Args:
        function: Takes a batch (b, 3, h, w).
        images: As in `batches`. Workers read files themselves, under the same paths; a tensor or a Dataset is sent.
        size: As in `batches`.
        batch: As in `batches`.
        start: As in `batches`.
        skip_broken: As in `batches`.
        scheduler: Address of the scheduler of a Dask cluster, "tcp://host:8786"; None evaluates here.
        progress: As in `batches`.

    Yields:
        The indices of a batch, and what the function made of its images.

    Raises:
        TypeError: As `batches`, or a Dataset that cannot be sent.
        ValueError: As `batches`, or no cluster at that address.

    Example:
        >>> list(map_batches(len, torch.zeros(5, 3, 8, 8), batch=3))
        [([0, 1, 2], 3), ([3, 4], 2)]
    """
    size, batch, start = _side(size), inputs.count(batch, "batch", 1), inputs.count(start, "start", 0)
    collection = _collection(images, size)
    n = len(collection)
    require(n > 0, "no images: the collection is empty")
    if scheduler is not None and not isinstance(collection, Tensor | _Files):
        scale.check_sendable("the dataset", collection, "give a folder or a list of files")
    threads = None if scheduler is None else torch.get_num_threads()  # a worker works on several batches as it is
    evaluate = partial(_evaluated, function, collection, size, skip_broken, threads)
    parts = [range(first, min(first + batch, n)) for first in range(start, n, batch)]
    with bar(total=n, initial=start, unit="image", shown=progress) as walked:
        for part, found in zip(parts, scale.each(evaluate, parts, scheduler=scheduler), strict=True):
            numbers, result, left_out = found
            for error in left_out:
                warnings.warn(f"left out: {error}", stacklevel=2)
            if numbers:
                yield numbers, result
            walked.update(len(part))


def _evaluated(
    function: Callable[[Tensor], Any],
    collection: Any,
    size: int | None,
    skip_broken: bool,
    threads: int | None,
    part: range,
) -> tuple[list[int], Any, list[str]]:
    """Which images of a part could be read, what the function made of them, and why the others could not."""
    if isinstance(collection, Tensor):
        return list(part), function(collection[part.start : part.stop]), []
    left_out = []

    def load(i: int) -> tuple[int, Tensor] | None:
        try:
            return i, _image(collection[i], i, size)
        except ValueError as error:
            if not (skip_broken and isinstance(collection, _Files)):
                raise
            left_out.append(str(error))
            return None

    with ThreadPoolExecutor(threads) as pool:
        read_all = pool.map if isinstance(collection, _Files) else map  # a dataset may not bear several threads
        found = [pair for pair in read_all(load, part) if pair is not None]
    numbers = [i for i, _ in found]
    return numbers, function(_stacked([image for _, image in found])) if found else None, sorted(left_out)


def _stacked(images: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(image.shape) for image in images}
    require(
        len(shapes) == 1,
        f"images of different sizes in one batch: {sorted(shapes)}; give a size, or resize them in the dataset",
    )
    return torch.stack(list(images))


def _image(item: object, i: int, size: int | None) -> Tensor:
    """The image (3, h, w) of item i of a collection, in whatever it comes."""
    if isinstance(item, Mapping) and (key := next((key for key in _KEYS if key in item), None)):
        return _image(item[key], i, size)
    if isinstance(item, tuple | list) and item:
        return _image(item[0], i, size)
    if isinstance(item, Image.Image):
        return _tensor(_rgb(item), size)[0]
    if isinstance(item, Tensor) and item.dim() == 3 and item.is_floating_point():
        return item
    if isinstance(item, np.ndarray) and item.ndim == 3 and item.shape[2] == 3 and _is_scaled(item.dtype):
        return _planes(item)
    raise TypeError(
        f"image {i} is {_described(item)}; an item is a float tensor (3, h, w), a PIL image or a numpy array "
        f"(h, w, 3) of bytes or floats, a tuple that begins with one, or a dict with one as {', '.join(_KEYS)}"
    )


def _is_scaled(dtype: np.dtype[Any]) -> bool:
    return dtype == np.uint8 or dtype.kind == "f"


def _described(item: object) -> str:
    if isinstance(item, Tensor | np.ndarray):
        form = "a tensor" if isinstance(item, Tensor) else "an array"
        return f"{form} of {item.dtype} and shape {tuple(item.shape)}"
    return (
        f"a dict with {', '.join(map(repr, item))}" if isinstance(item, Mapping) else f"of type {type(item).__name__}"
    )


# ---------------------------------------------------------------- images as tensors


def _rgb(image: Any) -> Any:
    """A Pillow image of any mode, upright, as 8-bit RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # grey of 16 or 32 bits, which Pillow's own conversion would clip at 255
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(grey: np.ndarray, mode: str) -> np.ndarray:
    """Grey of 16 bits, or of 32 (mode "I"), whose values tell how many they use, as bytes."""
    least, most = int(grey.min()), int(grey.max())
    in_range = 0 <= least and most <= 65535
    require(in_range, f"its 32-bit grey values go from {least} to {most}; known are 0 to 255 and 0 to 65535")
    return (grey if mode == "I" and most <= 255 else grey // 257).astype(np.uint8)


def _entry(name: str) -> tuple[str | None, str]:
    if name not in _PHOTOGRAPHS:
        raise unknown("photograph", name, _PHOTOGRAPHS)
    return _PHOTOGRAPHS[name]


def _side(size: int | None) -> int | None:
    return None if size is None else inputs.count(size, "size", 1)


def _tensor(image: Any, size: int | None) -> Tensor:
    """An 8-bit RGB Pillow image as (1, 3, size, size), the largest square in the middle, or (1, 3, h, w)."""
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return _planes(np.asarray(image))[None]


def _planes(array: np.ndarray) -> Tensor:
    """Bytes, or floats in [0, 1], (h, w, 3), as float32 (3, h, w)."""
    values = array.transpose(2, 0, 1).astype(np.float32, order="C")
    if array.dtype == np.uint8:
        values /= 255
    return torch.from_numpy(values)
