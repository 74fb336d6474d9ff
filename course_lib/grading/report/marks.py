"""The points that an instructor gives: written.csv for what was read, overrides.csv where the grader was wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.errors import require, unknown
from course_lib.grading.collect import Found
from course_lib.grading.report.tables import filled, table, typed
from course_lib.grading.run import Run

COLUMNS = ("student", "question", "points", "comment")
ITEMS = "items"  # a column more, where items of the rubric were chosen
CHANGES = ("student", "question", "points", "reason")


@dataclass(frozen=True)
class Mark:
    """What an instructor gave.

    Attributes:
        points: None where nothing was given yet.
        comment: For the student.
        items: The numbers, from 1, of the rubric's items that the points are for.
    """

    points: float | None = None
    comment: str = ""
    items: tuple[int, ...] = ()


Marks = dict[tuple[str, str], Mark]  # by student and question


def read_written(run: Run) -> Marks:
    """What the instructor typed or clicked into written.csv.

    Args:
        run: The run, whose folder holds the file.

    Returns:
        The marks; empty without a file.

    Raises:
        ValueError: A column is missing, or points are no number or outside the question's range; names the line.
    """
    most = {question.name: question.points for question in run.assignment.written}
    return {(who, name): mark for _, who, name, mark in _rows(run.out / "written.csv", COLUMNS, most)}


def read_overrides(run: Run) -> Marks:
    """What the instructor typed into overrides.csv: points that count instead of the grader's, with a reason.

    Args:
        run: The run, whose folder holds the file.

    Returns:
        The marks, whose comment is the reason; empty without a file.

    Raises:
        ValueError: A column, the points or the reason are missing, or there is no such question; names the line.
    """
    most = {question.name: question.points for question in run.assignment.questions}
    found = {}
    for where, who, name, mark in _rows(run.out / "overrides.csv", CHANGES, most):
        if name not in most:
            raise ValueError(f"{where}: {unknown('question', name, most)}")
        require(mark.points is not None and bool(mark.comment), f"{where}: an override needs its points and a reason")
        found[who, name] = mark
    return found


def _rows(file: Path, columns: Sequence[str], most: Mapping[str, float]) -> list[tuple[str, str, str, Mark]]:
    """The rows of a table of points: the line, student, question and mark."""
    found = []
    for where, row in filled(file, columns):
        name, items = row["question"], row.get(ITEMS, "").split()
        require(all(map(str.isdecimal, items)), f"{where}: items are numbers of the rubric's, got {row.get(ITEMS)!r}")
        mark = Mark(_points(row["points"], name, most, where), typed(row[columns[-1]]), tuple(map(int, items)))
        found.append((where, typed(row["student"]), name, mark))
    return found


def _points(text: str, name: str, most: Mapping[str, float], where: str) -> float | None:
    """The points in a cell, or None."""
    text = text.strip().replace(",", ".")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{where}: points are a number, got {text!r}") from None
    limit = most.get(name, value)
    require(0 <= value <= limit, f"{where}: points of {name} go from 0 to {limit:g}, got {text}")
    return value


def written_table(run: Run, found: Found, marks: Marks) -> str:
    """The text of written.csv: one row for each student and written question, with what was typed so far.

    Args:
        run: The run that was graded.
        found: Who handed in.
        marks: What `read_written` gives. Rows of students who handed in nothing this time are kept.

    Returns:
        CSV with the columns student, question, points, comment, items.
    """
    students = sorted(one.student for one in found.submissions)
    wanted = [(student, question.name) for student in students for question in run.assignment.written]
    kept = [key for key in marks if key not in set(wanted)]
    rows = [(key, marks.get(key, Mark())) for key in [*wanted, *kept]]
    lines = [(*key, mark.points, mark.comment, " ".join(map(str, mark.items))) for key, mark in rows]
    return table([(*COLUMNS, ITEMS), *lines])


def overrides_table(marks: Marks) -> str:
    """The text of overrides.csv.

    Args:
        marks: What `read_overrides` gives.

    Returns:
        CSV with the columns student, question, points, reason.
    """
    return table([CHANGES, *[(*key, mark.points, mark.comment) for key, mark in sorted(marks.items())]])
