"""Pages, tables and files of the results. All of a student's text is escaped, and no page runs any script."""

import csv
import io
import json
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from course_lib.errors import require
from course_lib.grading.collect import Submission
from course_lib.grading.grade import Result, Run, write
from course_lib.grading.question import Written
from course_lib.grading.similar import Pair, similar

PAGES = Environment(
    loader=PackageLoader("course_lib.grading"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
COLUMNS = ("student", "question", "points", "comment")

Points = dict[tuple[str, str], tuple[str, str]]  # (student, written question) -> what the instructor typed


def report(run: Run, submissions: Mapping[str, Submission], results: Mapping[str, Sequence[Result]]) -> None:
    """Write gradebook.csv, written.csv, similar.csv, index.html, written.html, reports/ and gradescope/.

    Points and comments that an instructor typed into written.csv are kept.

    Args:
        run: The run that was graded; the files go to its folder.
        submissions: The run's submissions, by slug.
        results: For each slug, one result for each question that is graded by code, in the order of the assignment.

    Raises:
        ValueError: written.csv lacks a column, or holds points that are no number or outside the question's range.
    """
    typed = read_written(run)
    for slug, found in results.items():
        write(run.out / "reports" / f"{slug}.html", student_page(run, submissions[slug], found, typed))
        shown = json.dumps(gradescope(run, submissions[slug], found, typed), indent=1)
        write(run.out / "gradescope" / slug / "results.json", shown)
    pairs = similar({one.student: "\n".join(text for text, mark in one.notebook.code if mark)
                     for one in submissions.values()})  # fmt: skip
    write(run.out / "written.csv", written_table(run, submissions, typed))
    write(run.out / "gradebook.csv", gradebook(run, submissions, results, typed))
    rows = [(p.first, p.second, f"{p.written:.2f}", f"{p.renamed:.2f}") for p in pairs]
    write(run.out / "similar.csv", table([("first", "second", "as written", "names made equal"), *rows]))
    write(run.out / "written.html", written_page(run, submissions, typed))
    write(run.out / "index.html", index(run, submissions, results, typed, pairs))


# ---------------------------------------------------------------- tables


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
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _typed(cell: str) -> str:
    """A cell as it was before `_cell`."""
    return cell[1:] if cell.startswith("'") and _cell(cell[1:]) == cell else cell


def read_written(run: Run) -> Points:
    """What the instructor typed into written.csv.

    Args:
        run: The run, whose folder holds the file.

    Returns:
        {(student, question): (points, comment)}, as text, "" where nothing was typed; empty without a file.

    Raises:
        ValueError: A column is missing, or points are no number or outside the question's range; names the line.
    """
    file = run.out / "written.csv"
    if not file.exists():
        return {}
    text = file.read_text(encoding="utf-8-sig")
    head = text.split("\n", 1)[0]
    rows = list(csv.DictReader(io.StringIO(text), delimiter=";" if ";" in head else ","))  # a spreadsheet may choose ;
    most = {question.name: question.points for question in run.assignment.written}
    typed: Points = {}
    for number, row in enumerate(rows, start=2):
        require(
            all(row.get(column) is not None for column in COLUMNS),
            f"{file}, line {number}: the columns are {', '.join(COLUMNS)}",
        )
        points, where = row["points"].strip().replace(",", "."), f"{file}, line {number}"
        if points:
            try:
                value = float(points)
            except ValueError:
                raise ValueError(f"{where}: points are a number, got {points!r}") from None
            limit = most.get(row["question"], value)
            require(0 <= value <= limit, f"{where}: points of {row['question']} go from 0 to {limit:g}, got {points}")
        typed[_typed(row["student"]), row["question"]] = (points, _typed(row["comment"]))
    return typed


def written_table(run: Run, submissions: Mapping[str, Submission], typed: Points) -> str:
    """The text of written.csv: one row for each student and written question, with what was typed so far.

    Args:
        run: The run that was graded.
        submissions: The run's submissions, by slug.
        typed: What `read_written` gives. Rows of students who handed in nothing this time are kept.

    Returns:
        CSV with the columns student, question, points, comment.
    """
    students = sorted(submission.student for submission in submissions.values())
    wanted = [(student, question.name) for student in students for question in run.assignment.written]
    kept = [key for key in typed if key not in set(wanted)]
    return table([COLUMNS, *[(*key, *typed.get(key, ("", ""))) for key in [*wanted, *kept]]])


def written_points(run: Run, student: str, typed: Points) -> list[float | None]:
    """The points of a student's written answers.

    Args:
        run: The run that was graded.
        student: The student's name.
        typed: What `read_written` gives.

    Returns:
        One entry for each written question, None where there are no points yet.
    """
    found = [_typed_points(typed, student, question)[0] for question in run.assignment.written]
    return [float(points) if points else None for points in found]


def _typed_points(typed: Points, student: str, question: Written) -> tuple[str, str]:
    """Points and comment of one written answer, both "" where nothing was typed."""
    return typed.get((student, question.name), ("", ""))


def total(run: Run, student: str, found: Sequence[Result], typed: Points) -> float:
    """A student's points in all.

    Args:
        run: The run that was graded.
        student: The student's name.
        found: The results of the student's questions that are graded by code.
        typed: What `read_written` gives.

    Returns:
        The sum of both; a written answer without points counts 0.
    """
    return sum(result.points for result in found) + sum(points or 0 for points in written_points(run, student, typed))


def gradebook(
    run: Run, submissions: Mapping[str, Submission], results: Mapping[str, Sequence[Result]], typed: Points
) -> str:
    """The text of gradebook.csv: one row for each student.

    Args:
        run: The run that was graded.
        submissions: The run's submissions, by slug.
        results: For each slug, one result for each question that is graded by code.
        typed: What `read_written` gives.

    Returns:
        CSV with the columns student, total, one for each question, and remarks, sorted by student.
    """
    rows: list[Sequence[object]] = [
        ("student", "total", *(question.name for question in run.assignment.asked), "remarks")
    ]
    for student, found in _by_student(submissions, results):
        written = ["" if points is None else float(points) for points in written_points(run, student, typed)]
        points = [result.points for result in found]
        rows.append((student, total(run, student, found, typed), *points, *written, remarks(found)))
    return table(rows)


def _by_student(
    submissions: Mapping[str, Submission], results: Mapping[str, Sequence[Result]]
) -> list[tuple[str, Sequence[Result]]]:
    """Each student's name and results, sorted by name."""
    return sorted(((submissions[slug].student, found) for slug, found in results.items()), key=lambda row: row[0])


def remarks(found: Sequence[Result]) -> str:
    """What an instructor should look at: every question that was not graded as usual.

    Args:
        found: The results of one student.

    Returns:
        One line; "" where every question was graded or left unanswered.
    """
    unusual = [result for result in found if result.status not in ("graded", "unanswered")]
    if unusual and all(result.status == "malformed" for result in unusual):
        return f"malformed: {unusual[0].parts[0].said}"
    return "; ".join(f"{result.question}: {result.status}" for result in unusual)


def gradescope(run: Run, submission: Submission, found: Sequence[Result], typed: Points) -> dict[str, object]:
    """A student's results in the form that Gradescope shows.

    Args:
        run: The run that was graded.
        submission: What the student handed in.
        found: The results of the student's questions that are graded by code.
        typed: What `read_written` gives; a written answer without points is left out.

    Returns:
        The content of results.json: the score, and a test for each part and each written answer.

    Source: https://gradescope-autograders.readthedocs.io, "results.json". Deviation: none.
    """
    tests: list[dict[str, object]] = [
        {
            "name": f"{result.question}: {part.name}",
            "score": part.points,
            "max_score": part.of,
            "output": part.said,
            "output_format": "text",
            "status": "passed" if part.points == part.of else "failed",
        }
        for result in found
        for part in result.parts
    ]
    for question in run.assignment.written:
        points, comment = _typed_points(typed, submission.student, question)
        if points:
            about = {"name": question.name, "score": float(points), "max_score": question.points}
            tests.append({**about, "output": comment, "output_format": "text"})
    return {"score": total(run, submission.student, found, typed), "tests": tests, "visibility": "visible"}


# ---------------------------------------------------------------- pages


def student_page(run: Run, submission: Submission, found: Sequence[Result], typed: Points) -> str:
    """A student's report: the points of each part, why they were lost, and the figures that were handed in.

    Args:
        run: The run that was graded.
        submission: What the student handed in.
        found: The results of the student's questions that are graded by code.
        typed: What `read_written` gives.

    Returns:
        A page of HTML, all text escaped.
    """
    return PAGES.get_template("student.html").render(
        assignment=run.assignment,
        submission=submission,
        total=total(run, submission.student, found, typed),
        most=sum(run.assignment.points.values()),
        results=found,
        written=[
            (question, *_typed_points(typed, submission.student, question)) for question in run.assignment.written
        ],
    )


def written_page(run: Run, submissions: Mapping[str, Submission], typed: Points) -> str:
    """All written answers, question by question, side by side.

    Args:
        run: The run that was graded.
        submissions: The run's submissions, by slug.
        typed: What `read_written` gives.

    Returns:
        A page of HTML, all text escaped.
    """
    handed_in = sorted(submissions.values(), key=lambda submission: submission.student)

    def answers(question: Written) -> list[tuple[str, str, str]]:
        return [
            (
                one.student,
                _typed_points(typed, one.student, question)[0],
                one.notebook.written.get(question.name, "(no answer)"),
            )
            for one in handed_in
        ]

    questions = [(question, answers(question)) for question in run.assignment.written]
    return PAGES.get_template("written.html").render(assignment=run.assignment, questions=questions)


def index(
    run: Run,
    submissions: Mapping[str, Submission],
    results: Mapping[str, Sequence[Result]],
    typed: Points,
    pairs: Sequence[Pair],
) -> str:
    """The class at a glance, with links to the reports, and the pairs that resemble each other.

    Args:
        run: The run that was graded.
        submissions: The run's submissions, by slug.
        results: For each slug, one result for each question that is graded by code.
        typed: What `read_written` gives.
        pairs: What `similar.similar` gives.

    Returns:
        A page of HTML, all text escaped.
    """
    return PAGES.get_template("index.html").render(
        assignment=run.assignment,
        rows=[
            (student, total(run, student, found, typed), found, remarks(found))
            for student, found in _by_student(submissions, results)
        ],
        pairs=pairs,
        slugs={submission.student: slug for slug, submission in submissions.items()},
    )
