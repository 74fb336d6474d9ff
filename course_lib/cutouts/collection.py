"""The cut-outs: which there are, what they show, and their pixels.

The table beside this file was made by hand: every image was looked at. Left out are drawings, what is too small, cut
badly, see-through or twice there, and gravestones that name a person. A class of ImageNet stands only where the object
truly is one: a grey squirrel is no "fox squirrel", whatever a network says.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from course_lib.errors import require, unknown
from course_lib.inputs import check_range, count, device_of, dtype_of, evaluation, logits, number, whole

__all__ = ["CREDIT", "PACKAGE", "Collection", "available", "collection", "read_table", "recognised"]

#: Whose they are, for the credit of a figure that shows one.
CREDIT = "Cut-outs: stamps of Tux Paint, Bill Kendrick and contributors, GPL 2"

#: The system package that brings the photographs (Debian, Ubuntu and what derives from them), under the GPL 2.
PACKAGE = "tuxpaint-stamps-default"

VARIABLE = "TUXPAINT_STAMPS"  # names the folder where it is another one
_FOLDER = "/usr/share/tuxpaint/stamps"


def _root() -> Path:
    """Where the stamps are, present or not."""
    return Path(os.environ.get(VARIABLE) or _FOLDER)


def available() -> bool:
    """Whether the cut-outs are on this machine.

    They come with the system package `PACKAGE`, or from the folder that the environment variable TUXPAINT_STAMPS names.

    Returns:
        True where the folder is there; `collection` says whether it is whole.
    """
    return _root().is_dir()


@dataclass(frozen=True, repr=False)
class Collection:
    """Photographs of objects, cut out of their ground.

    Attributes:
        names: What each shows, in English.
        groups: Of each, as a path: "animals/birds".
        classes: The ImageNet class of each, an index from 0 to 999, or None where its object is of none.
        files: Of each, below `root`.
        mirrors: Whether a mirrored cut-out shows the same: False where there is lettering.
        root: The folder of the stamps.
        chinese: What each shows, in Chinese (see `names_in`).

    Example:
        >>> found = collection()
        >>> i = found.names.index("tiger")
        >>> found.names_in("zh")[i], found.groups[i], found.classes[i], found.picture(i).shape
        ('老虎', 'animals/mammals/cats', 292, torch.Size([4, 120, 198]))
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[int | None, ...]
    files: tuple[str, ...]
    mirrors: tuple[bool, ...]
    root: Path
    chinese: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return (
            f"{len(self)} cut-outs, {len(self.labelled)} of them of {len(set(self.classes) - {None})} ImageNet classes"
        )

    @property
    def labelled(self) -> tuple[int, ...]:
        """Indices of the cut-outs that have an ImageNet class."""
        return tuple(i for i, label in enumerate(self.classes) if label is not None)

    @property
    def all_groups(self) -> tuple[str, ...]:
        """The different groups, sorted; the factor "group" of scenes indexes them."""
        return tuple(sorted(set(self.groups)))

    def within(self, group: str) -> tuple[int, ...]:
        """Indices of the cut-outs of a group, and of the groups in it.

        Args:
            group: "animals/birds", or "animals" for all of them.

        Returns:
            At least one index.

        Raises:
            ValueError: No such group (the nearest are listed).
        """
        found = tuple(i for i, path in enumerate(self.groups) if f"{path}/".startswith(f"{group}/"))
        if not found:
            raise unknown("group of cut-outs", group, _with_parents(self.groups))
        return found

    def names_in(self, language: str) -> tuple[str | None, ...]:
        """The names in another language.

        Chinese names are our own, for the package has some strange ones: its Chinese bear is a pear (梨). The others
        are the package's, their first sentence without the full stop.

        Args:
            language: "zh", or a code of the package: "de", "pt_BR".

        Returns:
            A name for each cut-out, or None where the package has none.

        Raises:
            ValueError: No name in that language at all (the languages are listed).
        """
        if language == "zh":
            return self.chinese
        found = [_translations(self.root / file).get(language) for file in self.files]
        if not any(found):
            languages = {code for file in self.files for code in _translations(self.root / file)}
            raise unknown("language of names", language, sorted({*languages, "zh"}))
        return tuple(found)

    def picture(self, index: int) -> Tensor:
        """The pixels of a cut-out as they were published.

        Args:
            index: Which one, from 0.

        Returns:
            (4, h, w) float32 in [0, 1]: red, green, blue, and the opacity.

        Raises:
            TypeError: No whole number.
            ValueError: An index out of range, or a file that cannot be read (it is named).
        """
        index = count(index, "index of a cut-out", 0)
        check_range(index, len(self), "cut-out")
        pixels = np.asarray(read(self.root / self.files[index]), dtype=np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def images(self, index: Sequence[int] | None = None, size: int = 224, *, ground: float = 0.5) -> Tensor:
        """Cut-outs on a plain ground, each as large as it fits with a margin of a twentieth.

        Args:
            index: Which ones; all of them by default.
            size: Side in pixels, at least 32.
            ground: Grey of the ground, in [0, 1].

        Returns:
            (k, 3, size, size) float32 in [0, 1].

        Raises:
            TypeError: Numbers that are not whole.
            ValueError: An index out of range, size < 32, a grey out of [0, 1], or a file that cannot be read.
        """
        size = count(size, "size", 32)
        chosen = torch.as_tensor(whole(range(len(self)) if index is None else index, "index of a cut-out")).view(-1)
        check_range(chosen, len(self), "cut-out")
        grey = round(255 * number(ground, "ground", 0, 1))
        pages = [_on_plain(read(self.root / self.files[i]), size, grey) for i in chosen.tolist()]
        return torch.from_numpy(np.stack(pages)).permute(0, 3, 1, 2).float() / 255


def collection() -> Collection:
    """The cut-outs that were chosen by hand, in the order of the table.

    Returns:
        The collection: 270 photographs, 102 of them of 87 ImageNet classes.

    Raises:
        FileNotFoundError: The package is not installed, or its folder is not whole; the error says what to do and
            names what is missing.

    Example:
        >>> collection()
        270 cut-outs, 102 of them of 87 ImageNet classes
    """
    return _collection(_root())


@cache
def _collection(root: Path) -> Collection:
    rows = [row for row in read_table() if row["kept"] == "yes"]
    _check_folder(root, [row["file"] for row in rows])
    columns = {key: tuple(row[key] for row in rows) for key in ("name", "group", "file", "zh")}
    classes = tuple(int(row["class"]) if row["class"] else None for row in rows)
    mirrors = tuple(row["mirrors"] != "no" for row in rows)
    return Collection(columns["name"], columns["group"], classes, columns["file"], mirrors, root, columns["zh"])


def read_table() -> list[dict[str, str]]:
    """The table made by hand: a row for every image of the package outside its cartoons and symbols.

    Returns:
        Rows: file (below the folder of the stamps), kept (yes or no), why not, name, zh (the Chinese name), group,
        class (ImageNet index or ""), class name (torchvision's), mirrors ("no" where lettering would show it).
    """
    with (files("course_lib.cutouts") / "table.csv").open(encoding="utf8") as lines:
        return list(csv.DictReader(lines))


def _check_folder(root: Path, wanted: list[str]) -> None:
    """Raise unless the folder is there and holds all the files."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"the cut-outs are not on this machine: there is no folder {root}. On Debian and Ubuntu: "
            f"apt-get install {PACKAGE}. Elsewhere unpack that package and set {VARIABLE} to its folder "
            f"usr/share/tuxpaint/stamps"
        )
    missing = [file for file in wanted if not (root / file).is_file()]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise FileNotFoundError(
            f"{len(missing)} of {len(wanted)} cut-outs are missing in {root}: {shown}. Is it the folder "
            f"usr/share/tuxpaint/stamps of {PACKAGE}, and whole?"
        )


def stamp(file: str) -> Image.Image:
    """One stamp as RGBA.

    Args:
        file: Its path below the folder of the stamps.

    Raises:
        FileNotFoundError: The stamps, or this one, are not on this machine.
        ValueError: It cannot be read.
    """
    _check_folder(_root(), [file])
    return read(_root() / file)


def _with_parents(groups: Sequence[str]) -> list[str]:
    """The groups and what they stand in, sorted: animals, animals/birds, ..."""
    parts = [group.split("/") for group in groups]
    return sorted({"/".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)})


@cache
def _translations(picture: Path) -> dict[str, str]:
    """{language: name} from the text beside a picture, whose lines are "de.utf8=Ein Frosch."; none without a text."""
    text = picture.with_suffix(".txt")
    lines = text.read_text(encoding="utf8", errors="replace").splitlines()[1:] if text.is_file() else []
    pairs = (line.split(".utf8=", 1) for line in lines if ".utf8=" in line)
    return {code.strip(): _first_sentence(name) for code, name in pairs}


def _first_sentence(text: str) -> str:
    for end in (". ", "! ", "。"):
        text = text.split(end)[0]
    return text.strip().rstrip(".!")


def read(path: Path) -> Image.Image:
    """A cut-out as RGBA.

    Args:
        path: Of the file.

    Raises:
        ValueError: It cannot be read, or nothing is on it. It is named.
    """
    try:
        with Image.open(path) as image:
            cutout = image.convert("RGBA")
    except Exception as error:  # what a damaged file makes Pillow raise has no common class
        raise ValueError(f"the cut-out {path} cannot be read: {error}") from error
    require(_extent(cutout) is not None, f"the cut-out {path} is transparent everywhere")
    return cutout


def trimmed(image: Image.Image) -> Image.Image:
    """An RGBA image without its empty margins.

    Args:
        image: Any RGBA image that is not empty.
    """
    return image.crop(_extent(image))


def _extent(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The bounding box of what is not nearly transparent."""
    return image.getchannel("A").point(lambda alpha: 255 * (alpha > 31)).getbbox()


def _on_plain(cutout: Image.Image, size: int, grey: int) -> np.ndarray:
    """(size, size, 3) bytes: the cut-out in the middle of a grey square."""
    cutout = trimmed(cutout)
    scale = 0.9 * size / max(cutout.size)
    cutout = cutout.resize([max(1, round(side * scale)) for side in cutout.size], Image.Resampling.LANCZOS)
    page = Image.new("RGB", (size, size), (grey,) * 3)
    page.paste(cutout, ((size - cutout.width) // 2, (size - cutout.height) // 2), cutout)
    return np.asarray(page)


@torch.no_grad()
def recognised(net: nn.Module, size: int | None = None) -> tuple[int, ...]:
    """The cut-outs that a classifier of ImageNet names rightly on a plain grey ground.

    What is measured on composed scenes then starts from objects that the network knows: ``compose(100,
    among=recognised(net))``.

    Args:
        net: A classifier of the 1000 classes.
        size: Side of the images in pixels; the network's own by default.

    Returns:
        Indices into `collection`, of its labelled cut-outs.

    Raises:
        FileNotFoundError: As `collection`.
        ValueError: A network that has not 1000 classes.
    """
    found = collection()
    size = size or int(getattr(net, "image_size", 224))
    device, dtype = device_of(net), dtype_of(net)
    right = []
    with evaluation(net):
        for start in range(0, len(found.labelled), 16):
            chosen = found.labelled[start : start + 16]
            scores = logits(net, found.images(chosen, size).to(device, dtype))
            require(
                scores.shape[1] == 1000, f"a classifier of ImageNet has 1000 classes, this network {scores.shape[1]}"
            )
            right += [i for i, best in zip(chosen, scores.argmax(1).tolist(), strict=True) if best == found.classes[i]]
    return tuple(right)
