"""The answers out of a handed-in notebook, whatever was handed in."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

LIMIT = 25_000_000  # bytes of a notebook; figures count
FIGURE = 1_500_000  # characters of a stored figure that the report shows
FIGURES = 24  # of one notebook
MARKS = {
    "code": re.compile(r"\A\s*#\s*answer:\s*([\w.]+)[ \t]*(?:\r?\n|\Z)"),
    "markdown": re.compile(r"\A\s*<!--\s*answer:\s*([\w.]+)\s*-->"),
}


class Unreadable(ValueError):
    """What was handed in is no notebook; the message is for the student."""


@dataclass(frozen=True)
class Notebook:
    """What the grader takes from a notebook.

    Attributes:
        code: (text, mark) of every code cell, in order; the mark is the question's name, or "".
        written: The text of each written answer, by question.
        figures: The stored PNG and JPEG images, as (media type, base64).
    """

    code: tuple[tuple[str, str], ...] = ()
    written: dict[str, str] = field(default_factory=dict)
    figures: tuple[tuple[str, str], ...] = ()

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


def read(data: bytes) -> Notebook:
    """The notebook in these bytes.

    Args:
        data: The content of a file, whatever it is.

    Returns:
        Its marked and unmarked code, its written answers, and its first 24 figures.

    Raises:
        Unreadable: The bytes are no notebook of version 4, or too many; the message is for the student.
    """
    if len(data) > LIMIT:
        raise Unreadable(
            f"the file has {len(data) / 1e6:.0f} MB, and {LIMIT / 1e6:.0f} MB is the limit: "
            "clear the largest outputs and hand in again"
        )
    if not data.strip():
        raise Unreadable("the file is empty")
    try:
        tree = json.loads(data.decode("utf-8-sig" if data[:3] == b"\xef\xbb\xbf" else json.detect_encoding(data)))
    except UnicodeDecodeError:
        raise Unreadable("the file is not in UTF-8: save it in Jupyter or Colab, and hand that in") from None
    except (ValueError, RecursionError):
        raise Unreadable("the file is no notebook: its JSON is broken or cut short") from None
    cells = tree.get("cells") if isinstance(tree, dict) else None
    if not isinstance(cells, list):
        raise Unreadable("the file is no notebook (version 4): it has no list of cells")
    code: list[tuple[str, str]] = []
    written: dict[str, str] = {}
    figures: list[tuple[str, str]] = []
    for cell in cells:
        cell_type, text = _text(cell)
        found = MARKS[cell_type].match(text) if cell_type in MARKS else None
        mark = found.group(1) if found else ""
        if cell_type == "code":
            code.append((text, mark))
            figures += _figures(cell)
        elif mark and found:
            written[mark] = "\n\n".join(filter(None, [written.get(mark), text[found.end() :].strip()]))
    return Notebook(tuple(code), written, tuple(figures[:FIGURES]))


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
