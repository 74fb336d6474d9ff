"""Who was late, by how many days, and what that costs where a course has such a rule.

Platforms say that something was late, if anything, and not by how much. So late.csv lists whoever is marked, with what
the roster says about an extension; an instructor types days there. Points are taken off only if `grade --late PERCENT`
asks for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from course_lib.errors import require
from course_lib.grading.collect import Submission
from course_lib.grading.report.tables import filled, table, typed
from course_lib.grading.run import Run

COLUMNS = ("student", "marked", "extension", "days")
MOST = 366  # days


@dataclass(frozen=True)
class Late:
    """How late a submission was.

    Attributes:
        marked: Does the platform say so?
        extension: What the roster says about a later due date.
        typed: Days that the instructor typed; None where nothing was.
        percent: What a day costs, in percent of the points that were reached.
    """

    marked: bool = False
    extension: str = ""
    typed: float | None = None
    percent: float = 0.0

    @property
    def days(self) -> float:
        """The days that count: those that were typed, else one for who is marked and has no extension."""
        return self.typed if self.typed is not None else float(self.marked and not self.extension)

    def taken(self, points: float) -> float:
        """What is taken off.

        Args:
            points: What was reached.

        Returns:
            Points, at most all of them, rounded to hundredths.

        Example:
            >>> Late(marked=True, typed=2, percent=10).taken(85)
            17.0
        """
        return round(points * min(1.0, self.percent / 100 * self.days), 2)

    @property
    def said(self) -> str:
        """What stands in the gradebook; "" for who was not late."""
        if self.typed:
            return f"{self.typed:g} days late"
        if not self.marked or self.typed == 0:
            return ""
        return f"late, extension: {self.extension}" if self.extension else "late"


def read_late(run: Run) -> dict[str, float | None]:
    """The days that the instructor typed into late.csv.

    Args:
        run: The run, whose folder holds the file.

    Returns:
        {student: days}; None where nothing was typed.

    Raises:
        ValueError: A column is missing, or days are no number from 0 to 366; names the line.
    """
    found: dict[str, float | None] = {}
    for where, row in filled(run.out / "late.csv", COLUMNS):
        days = row["days"].strip().replace(",", ".")
        try:
            value = float(days) if days else None
        except ValueError:
            raise ValueError(f"{where}: days are a number, got {days!r}") from None
        require(value is None or 0 <= value <= MOST, f"{where}: days go from 0 to {MOST}, got {days}")
        found[typed(row["student"])] = value
    return found


def late_table(submissions: Sequence[Submission], days: Mapping[str, float | None]) -> str:
    """The text of late.csv: who is marked as late, and whoever has days.

    Args:
        submissions: Those that were found.
        days: What `read_late` gives.

    Returns:
        CSV with the columns student, marked, extension, days.
    """
    by_name = {one.student: one for one in submissions}
    listed = {name for name, one in by_name.items() if one.late} | {
        name for name, value in days.items() if value is not None
    }
    rows = []
    for name in sorted(listed):
        one = by_name.get(name)
        extension = one.person.extension if one and one.person else ""
        rows.append((name, "late" if one and one.late else "", extension, days.get(name)))
    return table([COLUMNS, *rows])
