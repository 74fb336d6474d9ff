"""A row of the table of benchmarks, and the file that keeps the rows: bench/results.json."""

import json
import os
import re
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from types import FrameType
from typing import NamedTuple, NoReturn

RESULTS = Path(__file__).with_name("results.json")
BENCHES = ("attribution", "deepdream", "inversion", "looking", "minimize", "texture", "grading")  # the longest last


class Row(NamedTuple):
    """One measurement.

    what: was measured, for a reader of the book. against: what it is compared with ("": with nothing).
    ours: seconds or MiB, as text. unit: what the ratio is of, "time" or "memory".
    ratio: ours / theirs, the median over n interleaved rounds; None without a peer. low, high: its quartiles.
    bar: what the course promises, as "at most 1.05", or "".
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


def versus(
    what: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    unit: str = "time",
    bar: str = "",
    note: str = "",
) -> Row:
    """The row of ours beside theirs, round by round: seconds, or MiB where the unit is memory.

    ratio = median(ours_i / theirs_i). Raises ValueError for sides of different lengths and for an unknown unit.
    """
    if unit not in ("time", "memory"):
        raise ValueError(f"no unit {unit!r}; choose from time, memory")
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, ratio, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else 3 * ratios
    text = duration(median(ours)) if unit == "time" else mib(median(ours))
    low, ratio, high = (float(f"{x:.4g}") for x in (low, ratio, high))
    return Row(what, against, text + f"; {note}" * bool(note), unit, ratio, low, high, len(ratios), bar)


def duration(seconds: float) -> str:
    """12.1 s, or 18 ms."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def mib(amount: float) -> str:
    """2603 MiB."""
    return f"{amount:.0f} MiB"


def short(ratio: float) -> str:
    """1.05, or 0.0021."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def shown(row: Row) -> str:
    """The ratio, and its quartiles where there is more than one round: 1.05 [1.03, 1.06]."""
    if row.ratio is None or row.low is None or row.high is None:
        return ""
    return short(row.ratio) + (f" [{short(row.low)}, {short(row.high)}]" if row.n > 1 else "")


class Stopped(BaseException):
    """Ctrl-C. The course's loops take a KeyboardInterrupt and return early, which would pass for a fast run."""


def show(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Print each row as it comes; all of them. Raises Stopped at a Ctrl-C."""
    before = signal.signal(signal.SIGINT, _stop)
    kept = []
    try:
        for row in rows:
            print(f"  {row}", flush=True)
            kept.append(row)
    finally:
        signal.signal(signal.SIGINT, before)
    return tuple(kept)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped


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
