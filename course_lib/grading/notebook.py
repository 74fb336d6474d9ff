"""The answers out of a handed-in notebook, whatever was handed in."""

import base64
import io
import json
import re
import warnings
from dataclasses import dataclass, field
from typing import Any

LIMIT = 25_000_000  # bytes of a notebook; figures count
VALUES = 1_000_000  # commas, colons and brackets in it, which bound what reading it costs
FIGURE = 1_500_000  # characters of a stored figure that the report shows
FIGURES = 24  # of one notebook; and as many printed texts
PIXELS = 40_000_000  # of an image
PRINTED = 3_000  # characters of what a cell has printed
NEAR = 4  # outputs that are shown beside an answer
ANSWER = 100_000  # characters of the code of one answer
CODE = 1_000_000  # characters of all code that may be needed
WORDS = 20_000  # characters of a written answer
MARKS = {
    # Notebook commands, as %%time, may stand above the mark.
    "code": re.compile(r"\A(?:\s*[%!][^\n]*\n)*\s*#\s*answer:\s*([\w.]{1,80})[ \t]*(?:\r?\n|\Z)"),
    "markdown": re.compile(r"\A\s*<!--\s*answer:\s*([\w.]{1,80})\s*-->"),
}


class Unreadable(ValueError):
    """What was handed in is no notebook; the message is for the student."""


@dataclass(frozen=True)
class Notebook:
    """What the grader takes from a notebook.

    Attributes:
        code: (text, mark) of every code cell that is marked or imports something, in order; the mark is the question's
            name, or "".
        written: The text of each written answer, by question; at most 20 000 characters.
    """

    code: tuple[tuple[str, str], ...] = ()
    written: dict[str, str] = field(default_factory=dict)

    @property
    def marks(self) -> list[str]:
        """The question's name of every answer cell, code first; a question with several cells occurs several times."""
        return [mark for _, mark in self.code if mark] + list(self.written)

    def cells(self, names: tuple[str, ...]) -> list[tuple[str, bool]]:
        """The code cells that an answer may need.

        Args:
            names: The questions whose cells make up the answer.

        Returns:
            (text, whether the cell is one of the answer's) of these cells and of all that are not marked, in order.
        """
        return [(text, mark in names) for text, mark in self.code if mark in names or not mark]

    def too_long(self, names: tuple[str, ...]) -> str:
        """Why an answer is not run, if it is longer than anybody writes.

        Args:
            names: The questions whose cells make up the answer.

        Returns:
            Words for the student, or "".
        """
        size = sum(len(text) for text, mark in self.code if mark in names)
        return f"the answer has {size} characters, and {ANSWER} is the most" if size > ANSWER else ""


def read(data: bytes) -> Notebook:
    """The notebook in these bytes.

    Args:
        data: The content of a file, whatever it is.

    Returns:
        Its code as far as an answer may need it, and its written answers.

    Raises:
        Unreadable: The bytes are no notebook of version 4, or too many; the message is for the student.
    """
    code: list[tuple[str, str]] = []
    written: dict[str, str] = {}
    for cell in _cells(data):
        cell_type, text = _text(cell)
        found = MARKS[cell_type].match(text) if cell_type in MARKS else None
        mark = found.group(1) if found else ""
        if cell_type == "code":
            if mark or ("import" in text and len(text) <= ANSWER):
                code.append((text, mark))
        elif mark and found:
            written[mark] = "\n\n".join(filter(None, [written.get(mark), text[found.end() :].strip()]))
    size = sum(len(text) for text, _ in code)
    if size > CODE:
        raise Unreadable(
            f"its code has {size / 1e6:.1f} million characters, and {CODE // 1_000_000} million is the limit"
        )
    return Notebook(tuple(code), {mark: _cut(text) for mark, text in written.items()})


def _cut(text: str) -> str:
    """A written answer that a person can read."""
    return text if len(text) <= WORDS else f"{text[:WORDS]} ... [cut off here, of {len(text)} characters]"


@dataclass(frozen=True)
class Output:
    """Something that a notebook shows: a stored image, or what a cell has printed.

    Attributes:
        cell: The number of its cell, from 0.
        media_type: "image/png", "image/jpeg" or "text/plain".
        content: base64 of an image; the text of anything else, at most 3000 characters.
    """

    cell: int
    media_type: str
    content: str


@dataclass(frozen=True)
class Shown:
    """What a notebook shows, and where its written answers stand.

    Attributes:
        outputs: At most 24 images and 24 printed texts, in order.
        answers: The number of the last cell of each written answer, by question.
    """

    outputs: tuple[Output, ...] = ()
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def images(self) -> list[Output]:
        """The images among the outputs."""
        return [one for one in self.outputs if one.media_type != "text/plain"]

    def around(self, name: str) -> tuple[list[Output], list[Output]]:
        """What an answer may speak of.

        Args:
            name: A written question.

        Returns:
            The last four outputs up to the answer, pasted images among them, and all others.
        """
        last = self.answers.get(name, -1)
        near = [one for one in self.outputs if one.cell <= last][-NEAR:]
        return near, [one for one in self.outputs if one not in near]


def shown(data: bytes) -> Shown:
    """What a notebook shows: images and printed text, and nothing that a browser would run.

    Args:
        data: The content of a file, whatever it is.

    Returns:
        Outputs that are bounded in number and size, and where the written answers stand.

    Raises:
        Unreadable: As `read`.
    """
    found: list[Output] = []
    answers: dict[str, int] = {}
    for number, cell in enumerate(_cells(data)):
        cell_type, text = _text(cell)
        if cell_type == "code":
            found += _outputs(number, cell, "grading.check(" not in text)
        elif cell_type == "markdown" and (mark := MARKS["markdown"].match(text)):
            answers[mark.group(1)] = number
            pasted = cell.get("attachments")
            bundles = list(pasted.values()) if isinstance(pasted, dict) else []
            found += [one for bundle in bundles[:FIGURES] for one in _images(number, bundle)]
    images = [one for one in found if one.media_type != "text/plain"][:FIGURES]
    texts = [one for one in found if one.media_type == "text/plain"][:FIGURES]
    return Shown(tuple(sorted(images + texts, key=lambda one: one.cell)), answers)


def too_large(size: int) -> str:
    """What a file above the limit is told.

    Args:
        size: Its bytes.

    Returns:
        Words for the student.
    """
    return (
        f"the file has {size / 1e6:.0f} MB, and {LIMIT / 1e6:.0f} MB is the limit: "
        "clear the largest outputs and hand in again"
    )


def _cells(data: bytes) -> list[Any]:
    """The cells in these bytes, or Unreadable."""
    if len(data) > LIMIT:
        raise Unreadable(too_large(len(data)))
    if not data.strip():
        raise Unreadable("the file is empty")
    if sum(map(data.count, (b",", b"[", b"{", b":"))) > VALUES:
        raise Unreadable("the file holds more than a million values: clear the largest outputs and hand in again")
    try:
        tree = json.loads(data.decode("utf-8-sig" if data[:3] == b"\xef\xbb\xbf" else json.detect_encoding(data)))
    except UnicodeDecodeError:
        raise Unreadable("the file is not in UTF-8: save it in Jupyter or Colab, and hand that in") from None
    except (ValueError, RecursionError, MemoryError):
        raise Unreadable("the file is no notebook: its JSON is broken or cut short") from None
    cells = tree.get("cells") if isinstance(tree, dict) else None
    if not isinstance(cells, list):
        raise Unreadable("the file is no notebook (version 4): it has no list of cells")
    return cells


def _text(cell: Any) -> tuple[str, str]:
    """A cell's type and its text."""
    if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
        raise Unreadable("the file is no notebook: one of its cells has no type")
    source = cell.get("source", "")
    lines = source if isinstance(source, list) else [source]
    if not all(isinstance(line, str) for line in lines):
        raise Unreadable("the file is no notebook: one of its cells holds no text")
    text = "".join(lines).encode("utf-8", "replace").decode()  # half a surrogate pair is no text, and cannot be written
    return cell["cell_type"], text


def _outputs(number: int, cell: dict[str, Any], printed: bool) -> list[Output]:
    """A cell's images, and what it printed; anything of another form is left out."""
    found: list[Output] = []
    outputs = cell.get("outputs")
    for output in outputs[: 4 * FIGURES] if isinstance(outputs, list) else []:
        data = output.get("data") if isinstance(output, dict) else None
        images = _images(number, data)
        words = output.get("text") if isinstance(output, dict) else None
        if isinstance(data, dict) and not images:
            words = data.get("text/plain")
        found += images
        if printed and not images and (text := _plain(words)):
            found.append(Output(number, "text/plain", text))
    return found


def _images(number: int, bundle: Any) -> list[Output]:
    """The PNG and JPEG images among the forms of one output that a browser can show without harm."""
    found = []
    for media_type in ("image/png", "image/jpeg"):
        image = bundle.get(media_type) if isinstance(bundle, dict) else None
        if isinstance(image, list) and all(isinstance(line, str) for line in image):
            image = "".join(image)
        if isinstance(image, str) and len(image) < FIGURE:
            text = re.sub(r"\s", "", image)
            if re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text) and _may_be_shown(text, media_type):
                found.append(Output(number, media_type, text))
    return found


def _may_be_shown(text: str, media_type: str) -> bool:
    """Is this an image, and of a size that a browser has room for? A small file may unfold to gigabytes."""
    from PIL import Image  # a check in a student's notebook needs no images

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own about large images
        try:
            form = media_type.removeprefix("image/").upper()
            with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=[form]) as image:
                return image.width * image.height <= PIXELS
        except Exception:  # decoders of broken images raise what they like
            return False


def _plain(words: Any) -> str:
    """Printed text without colours and signs that cannot be seen; "" for anything else."""
    text = "".join(words) if isinstance(words, list) and all(isinstance(line, str) for line in words) else words
    if not isinstance(text, str):
        return ""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text[: 2 * PRINTED]).encode("utf-8", "replace").decode()
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()
    return text if len(text) <= PRINTED else f"{text[:PRINTED]} ..."
