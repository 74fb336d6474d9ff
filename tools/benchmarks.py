"""The benchmarks: what `make bench` measured, and how.

`page()` is the book's page, which `make book` writes from bench/results.json.
"""

from collections.abc import Sequence
from datetime import date

from project.benches import BENCHES, Record, Row, load, shown
from project.repository import BRANCH, URL

HOW = """\
What the course costs, beside what one would write by hand or take from another library. `make bench` measures it.

A ratio is ours divided by theirs: below 1, ours is faster or smaller. It is of time unless the table says memory. Both
sides run once in each round, in turns; the ratio is the median over the rounds, its quartiles in brackets. No ratio
mixes two runs or two machines. Machines are shared, so ratios are worth more than seconds, which are of our side.
The last column is what the course asks of itself.
"""


def page() -> str:
    """The book's page, in MyST Markdown."""
    return text(load())


def text(records: Sequence[Record]) -> str:
    """The page of these records: how ratios are measured, the table, and when and where."""
    rows = [row for record in records for row in record.rows]
    lines = ["# Benchmarks", "", HOW]
    if rows:
        lines += ["| What | Against | Ratio | Ours | Bar |", "|---|---|---|---|---|", *map(_line, rows), ""]
    lines += [*map(_origin, records), ""] if records else []
    missing = [_link(bench) for bench in BENCHES if bench not in {record.bench for record in records}]
    if missing:
        lines += [f"Not yet run: {', '.join(missing)}.", ""]
    return "\n".join(lines)


def _line(row: Row) -> str:
    ratio = shown(row) + " (memory)" * (row.unit == "memory" and row.ratio is not None)
    cells = (row.what, row.against, ratio, row.ours, row.bar + "; misses it" * row.misses)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _origin(record: Record) -> str:
    day = date.fromisoformat(record.date)
    counts = sorted({row.n for row in record.rows if row.ratio is not None})
    rounds = f" Rounds: {' or '.join(map(str, counts))}." if counts else ""
    return (
        f"* {_link(record.bench)}: {day.day} {day:%B %Y}, {record.processor}, torch on {record.threads} "
        f"thread{'s' * (record.threads > 1)}, Python {record.python}, torch {record.torch}.{rounds}"
    )


def _link(bench: str) -> str:
    return f"[{bench}]({URL}/blob/{BRANCH}/bench/{bench}.py)"
