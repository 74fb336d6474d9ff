"""From seconds and MiB to a row of the table of benchmarks."""

from collections.abc import Iterable, Sequence
from statistics import median, quantiles

from project.benches import Row


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


def show(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Print each row as it comes; all of them."""
    kept = []
    for row in rows:
        print(f"  {row}", flush=True)
        kept.append(row)
    return tuple(kept)
