"""Tables of results: HTML that fits a phone, and the same as text."""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from course_lib.errors import require

__all__ = ["Table"]


class Table:
    """A table of results: words at the left, numbers at the right, intervals small beside their mean.

    As the last value of a cell it is shown as HTML; `print` and `str` give it as text.

    Args:
        head: A name for each column; the first column names the rows.
        rows: As many cells in each as the head has, or a single one: a heading between two groups of rows. Floats are
            shown with two digits, True and False as yes and no, everything else as `str` gives it, intervals too:
            format what needs other digits.
        caption: A line above the table: what is counted, its n, its unit.

    Raises:
        ValueError: No head, no rows, or a row with another number of cells.

    Example:
        >>> Table(["network", "named rightly", "n"], [["trained", 0.994, 500], ["random", "0.10 [0.08, 0.13]", 500]])
        network      named rightly    n
        trained               0.99  500
        random   0.10 [0.08, 0.13]  500
    """

    # What every host needs, a phone most of all: there an interval stands below its mean. The book adds its own voice.
    STYLE = (
        ".results{max-width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums;line-height:1.35}"
        ".results caption{caption-side:top;text-align:left;color:inherit}"
        ".results :is(th,td){text-align:right;vertical-align:top;padding:.25em .6em}"
        ".results :is(.words,[colspan]){text-align:left}.results small{white-space:nowrap}"
        "@media(max-width:576px){.results{font-size:.85em}.results :is(th,td){padding:.25em .17em}"
        ".results small{display:block;white-space:normal}}"
    )

    def __init__(self, head: Sequence[Any], rows: Iterable[Sequence[Any]], *, caption: str = ""):
        self.head, self.rows = [_text(cell) for cell in head], [[_text(cell) for cell in row] for row in rows]
        self.caption = caption
        require(bool(self.head and self.rows), "a table needs a head and at least one row")
        for row in self.rows:
            fits = len(row) in (1, len(self.head))
            require(fits, f"the head has {len(self.head)} cells, but the row {row} has {len(row)}")

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in self._columns()]
        lines = [self._line(row, widths) for row in [self.head, *self.rows]]
        return "\n".join([self.caption, *lines] if self.caption else lines)

    def _line(self, row: list[str], widths: list[int]) -> str:
        triples = zip(row, widths, self._words(), strict=False)  # a heading is one cell
        return "  ".join(cell.ljust(width) if words else cell.rjust(width) for cell, width, words in triples).rstrip()

    def _columns(self) -> list[tuple[str, ...]]:
        """Head first; headings between groups belong to no column."""
        full = [row for row in self.rows if len(row) == len(self.head)]
        return list(zip(self.head, *full, strict=True))

    def _words(self) -> list[bool]:
        """Of each column: does it hold words, and no number? The first one names the rows."""
        return [i == 0 or not any(map(_is_number, cells)) for i, (_, *cells) in enumerate(self._columns())]

    def _repr_html_(self) -> str:
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        head = self._row(self.head, ["col"] * len(self.head))
        body = "".join(self._row(row, ["row"]) for row in self.rows)
        return (
            f'<style>{self.STYLE}</style><table class="results">{caption}<thead>{head}</thead>'
            f"<tbody>{body}</tbody></table>"
        )

    def _row(self, row: list[str], scopes: list[str]) -> str:
        """The first cells are headings, as many as there are scopes."""
        if len(row) < len(self.head):
            return f'<tr><th scope="rowgroup" colspan="{len(self.head)}">{_html(row[0])}</th></tr>'
        tags = [f'th scope="{scope}"' for scope in scopes] + ["td"] * (len(row) - len(scopes))
        marks = [' class="words"' if words else "" for words in self._words()]
        cells = zip(row, tags, marks, strict=True)
        return f"<tr>{''.join(f'<{tag}{mark}>{_html(cell)}</{tag[:2]}>' for cell, tag, mark in cells)}</tr>"


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.2f}" if math.isfinite(cell) else "–"
    return str(cell)


def _is_number(cell: str) -> bool:
    """Does it begin with one? 0.57 [0.54, 0.60] and 12 % do; 11-20 and 3x3 do not."""
    return bool(re.match(r"[-−+±<>≤≥]?\s*[\d.,]+(?![\w-])", cell))


def _html(cell: str) -> str:
    """The cell, with an interval behind its number set small."""
    return re.sub(r"^(\S+) ([\[(].*[\])])$", r"\1 <small>\2</small>", escape(cell))
