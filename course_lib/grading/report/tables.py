"""Rows as CSV, in which no cell is a formula."""

import csv
import io
from collections.abc import Sequence


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
    """A cell's text; what a spreadsheet would take for a formula begins with an apostrophe."""
    text = f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def typed(cell: str) -> str:
    """A cell as it was before `table` made it harmless.

    Args:
        cell: What stands in the file.

    Returns:
        The text without the apostrophe before a formula.
    """
    return cell[1:] if cell.startswith("'") and _cell(cell[1:]) == cell else cell
