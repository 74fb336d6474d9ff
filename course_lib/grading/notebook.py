"""The answers out of a handed-in notebook, whatever was handed in."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

LIMIT = 25_000_000  # bytes of a notebook; figures count
VALUES = 1_000_000  # commas, colons and brackets in it, which bound what reading it costs
FIGURE = 1_500_000  # characters of a stored figure that the report shows
FIGURES = 24  # of one notebook
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


def figures(data: bytes) -> tuple[tuple[str, str], ...]:
    """The stored images of a notebook.

    Args:
        data: The content of a file, whatever it is.

    Returns:
        (media type, base64) of its first 24 PNG and JPEG images.

    Raises:
        Unreadable: As `read`.
    """
    found: list[tuple[str, str]] = []
    for cell in _cells(data):
        if isinstance(cell, dict) and cell.get("cell_type") == "code" and len(found) < FIGURES:
            found += _figures(cell)
    return tuple(found[:FIGURES])


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


def _figures(cell: dict[str, Any]) -> list[tuple[str, str]]:
    """The PNG and JPEG images among a cell's outputs; anything of another form is left out."""
    found = []
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else []:
        data = output.get("data") if isinstance(output, dict) else None
        for media_type in ("image/png", "image/jpeg"):
            image = data.get(media_type) if isinstance(data, dict) else None
            if isinstance(image, list) and all(isinstance(line, str) for line in image):
                image = "".join(image)
            if isinstance(image, str) and len(image) < FIGURE:
                base64 = re.sub(r"\s", "", image)
                if re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", base64):
                    found.append((media_type, base64))
    return found
