"""The table of benchmarks: the format of a row, which benches there are, and the file that keeps them."""

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from project.repository import ROOT

RESULTS = ROOT / "bench" / "results.json"
BENCHES = (
    "attribution",
    "deepdream",
    "inversion",
    "live",
    "looking",
    "minimize",
    "networks",
    "scenes",
    "texture",
    "grading",
)  # the longest last


class Row(NamedTuple):
    """One measurement.

    Attributes:
        what: What was measured, for a reader of the book.
        against: What it is compared with; "" with nothing.
        ours: Seconds or MiB, as text.
        unit: What the ratio is of, "time" or "memory".
        ratio: Ours / theirs, the median over n interleaved rounds; None without a peer.
        low: Lower quartile of the ratio.
        high: Upper quartile of the ratio.
        n: Number of rounds.
        bar: What the course promises, as "at most 1.05", or "".
    """

    what: str
    against: str
    ours: str
    unit: str = "time"
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 1
    bar: str = ""

    @property
    def misses(self) -> bool:
        """Whether the ratio, rounded as it is shown, is beyond the bar."""
        bar = re.fullmatch(r"at most ([\d.]+)", self.bar)
        return bar is not None and self.ratio is not None and float(short(self.ratio)) > float(bar[1])

    def __str__(self) -> str:
        text = f"{self.what}: {self.ours}"
        if self.against:
            text += f"; {shown(self)} of the {self.unit} of {self.against} (n = {self.n})"
        return text + (f"; {self.bar}" + ", misses it" * self.misses if self.bar else "")


class Record(NamedTuple):
    """The rows of one bench, and when and on what machine they were measured."""

    bench: str
    date: str
    python: str
    torch: str
    threads: int
    processor: str
    rows: tuple[Row, ...]


def short(ratio: float) -> str:
    """1.05, or 0.0021."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def shown(row: Row) -> str:
    """The ratio, and its quartiles where there is more than one round: 1.05 [1.03, 1.06]."""
    if row.ratio is None or row.low is None or row.high is None:
        return ""
    return short(row.ratio) + (f" [{short(row.low)}, {short(row.high)}]" if row.n > 1 else "")


def load(path: Path = RESULTS) -> list[Record]:
    """What is stored, sorted by bench."""
    return [Record(**one | {"rows": tuple(Row(**row) for row in one["rows"])}) for one in json.loads(path.read_text())]


def keep(record: Record, path: Path = RESULTS) -> None:
    """Store the record of one bench in place of its older one; the others stay as they are."""
    records = {one.bench: one for one in (load(path) if path.exists() else [])} | {record.bench: record}
    stored = [one._asdict() | {"rows": [row._asdict() for row in one.rows]} for _, one in sorted(records.items())]
    written = path.with_suffix(".new")  # a crash leaves the old file or the new one, not half of either
    written.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    os.replace(written, path)
