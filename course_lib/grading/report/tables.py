"""Tables as CSV: written so that no cell is a formula, and read as a spreadsheet has saved them."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from course_lib.errors import require
from course_lib.grading import roster


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows as CSV, in which no cell is a formula.

    Args:
        rows: The header and the rows; floats are written without trailing zeros.

    Returns:
        The text of the file. A cell that a spreadsheet would compute begins with an apostrophe.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: object) -> str:
    """A cell's text; one that a spreadsheet would take for a formula, or `typed` for such a one, gets an apostrophe."""
    text = f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r", "'")) else text


def typed(cell: str) -> str:
    """A cell as it was before `table` made it harmless.

    Args:
        cell: What stands in the file.

    Returns:
        The text without the apostrophe before a formula.
    """
    return cell[1:] if cell.startswith("'") and _cell(cell[1:]) == cell else cell


def filled(file: Path, columns: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a table that an instructor fills.

    Args:
        file: A CSV, however a spreadsheet has saved it; it need not be there.
        columns: Those that it must have.

    Returns:
        (what an error calls the line, {column: text}) of each row.

    Raises:
        ValueError: The file cannot be read, or lacks a column; names the line.
    """
    if not file.exists():
        return []
    try:
        rows = roster.table(file.read_bytes())
    except (OSError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read ({error}): save it as CSV in UTF-8") from None
    head = [name.strip() for name in rows[0]] if rows else list(columns)
    found = []
    for number, cells in enumerate(rows[1:], start=2):
        row, where = dict(zip(head, cells, strict=False)), f"{file}, line {number}"
        require(set(columns) <= set(row), f"{where}: the columns are {', '.join(columns)}")
        found.append((where, row))
    return found
