"""Pages, tables and files of the results. All of a student's text is shown as text, and no page runs any script."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from html import escape

from course_lib.errors import require
from course_lib.grading.collect import Submission
from course_lib.grading.grade import Result, Run, write
from course_lib.grading.similar import Pair, similar

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;"
    "vertical-align:top}td.number,th.number{text-align:right;white-space:nowrap}.lost{color:#8a1c1c}"
    "img{max-width:100%;display:block;margin:1rem 0}pre{white-space:pre-wrap;font:inherit;margin:0}"
    ".answers{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}"
    ".answers section{border:1px solid #ddd;padding:.6rem}h3{margin:0 0 .4rem;font-size:1rem}"
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
COLUMNS = ("student", "question", "points", "comment")

Points = dict[tuple[str, str], tuple[str, str]]  # (student, written question) -> what the instructor typed


def report(run: Run, submissions: Mapping[str, Submission], results: Mapping[str, Sequence[Result]]) -> None:
    """Write gradebook.csv, written.csv, similar.csv, index.html, written.html, reports/ and gradescope/.

    Points and comments in written.csv stay as they were typed. Raises ValueError for points there that are no number
    or outside what the question has.
    """
    typed = read_written(run)
    by_student = {submission.student: slug for slug, submission in submissions.items()}
    for slug, found in results.items():
        page = student_page(run, submissions[slug], found, typed)
        write(run.out / "reports" / f"{slug}.html", page)
        shown = json.dumps(gradescope(run, submissions[slug], found, typed), indent=1)
        write(run.out / "gradescope" / slug / "results.json", shown)
    pairs = similar({one.student: "\n".join(text for text, mark in one.notebook.code if mark)
                     for one in submissions.values()})  # fmt: skip
    write(run.out / "written.csv", written_table(run, submissions, typed))
    write(run.out / "gradebook.csv", gradebook(run, submissions, results, typed))
    rows = [(p.first, p.second, f"{p.written:.2f}", f"{p.renamed:.2f}") for p in pairs]
    write(run.out / "similar.csv", table([("first", "second", "as written", "names made equal"), *rows]))
    write(run.out / "written.html", written_page(run, submissions, typed))
    write(run.out / "index.html", index(run, submissions, results, typed, pairs, by_student))


# ---------------------------------------------------------------- tables


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows as CSV, in which no cell is a formula."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _typed(cell: str) -> str:
    """A cell as it was before `_cell`."""
    return cell[1:] if cell.startswith("'") and _cell(cell[1:]) == cell else cell


def read_written(run: Run) -> Points:
    """What the instructor typed into written.csv, by student and question."""
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
    students = sorted(submission.student for submission in submissions.values())
    wanted = [(student, question.name) for student in students for question in run.assignment.written]
    kept = [key for key in typed if key not in set(wanted)]  # of students who are not among these submissions
    return table([COLUMNS, *[(*key, *typed.get(key, ("", ""))) for key in [*wanted, *kept]]])


def written_points(run: Run, student: str, typed: Points) -> list[float | None]:
    """The points of each written question, None where there are none yet."""
    found = [typed.get((student, question.name), ("", ""))[0] for question in run.assignment.written]
    return [float(points) if points else None for points in found]


def total(run: Run, student: str, found: Sequence[Result], typed: Points) -> float:
    return sum(result.points for result in found) + sum(points or 0 for points in written_points(run, student, typed))


def gradebook(
    run: Run, submissions: Mapping[str, Submission], results: Mapping[str, Sequence[Result]], typed: Points
) -> str:
    rows: list[Sequence[object]] = [
        ("student", "total", *(question.name for question in run.assignment.asked), "remarks")
    ]
    for slug in sorted(results, key=lambda slug: submissions[slug].student):
        student, found = submissions[slug].student, results[slug]
        written = ["" if points is None else float(points) for points in written_points(run, student, typed)]
        points = [result.points for result in found]
        rows.append((student, total(run, student, found, typed), *points, *written, remarks(found)))
    return table(rows)


def remarks(found: Sequence[Result]) -> str:
    """What an instructor should look at: every question that was not graded as usual."""
    unusual = [result for result in found if result.status not in ("graded", "unanswered")]
    if unusual and all(result.status == "malformed" for result in unusual):
        return f"malformed: {unusual[0].parts[0].said}"
    return "; ".join(f"{result.question}: {result.status}" for result in unusual)


def gradescope(run: Run, submission: Submission, found: Sequence[Result], typed: Points) -> dict[str, object]:
    """What Gradescope shows: https://gradescope-autograders.readthedocs.io, "results.json"."""
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
        points, comment = typed.get((submission.student, question.name), ("", ""))
        if points:
            about = {"name": question.name, "score": float(points), "max_score": question.points}
            tests.append({**about, "output": comment, "output_format": "text"})
    return {"score": total(run, submission.student, found, typed), "tests": tests, "visibility": "visible"}


# ---------------------------------------------------------------- pages


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def student_page(run: Run, submission: Submission, found: Sequence[Result], typed: Points) -> str:
    """A student's report: the points of each part, why they were lost, and the figures that were handed in."""
    rows = []
    for result in found:
        for i, part in enumerate(result.parts):
            name = f'<th scope="row" rowspan="{len(result.parts)}">{escape(result.question)}</th>' if i == 0 else ""
            rows.append(
                f'<tr>{name}<td>{escape(part.name)}</td><td class="number">{part.points:g} / {part.of:g}</td>'
                f'<td class="lost">{escape(part.said)}</td></tr>'
            )
    for question in run.assignment.written:
        points, comment = typed.get((submission.student, question.name), ("", ""))
        rows.append(
            f'<tr><th scope="row">{escape(question.name)}</th><td>written</td><td class="number">'
            f"{escape(points or 'to be read')} / {question.points:g}</td><td>{escape(comment)}</td></tr>"
        )
    figures = "".join(
        f'<img alt="Figure {i} of the notebook, as it was handed in" src="data:{kind};base64,{data}">'
        for i, (kind, data) in enumerate(submission.notebook.figures, start=1)
    )
    return _page(
        f"{run.assignment.title}: {submission.student}",
        f"<p>{escape(submission.file)}</p><p><strong>{total(run, submission.student, found, typed):g}</strong> of "
        f"{sum(run.assignment.points.values()):g} points.</p><table><thead><tr><th>question</th><th>part</th>"
        f'<th class="number">points</th><th>why points were lost</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>" + (f"<h2>Figures</h2>{figures}" if figures else ""),
    )


def written_page(run: Run, submissions: Mapping[str, Submission], typed: Points) -> str:
    """All written answers, question by question, side by side."""
    body = ["<p>Type points and comments into <code>written.csv</code>, and run the same command again.</p>"]
    for question in run.assignment.written:
        body.append(f"<h2>{escape(question.name)}, {question.points:g} points</h2><p>{escape(question.rubric)}</p>")
        body.append('<div class="answers">')
        for submission in sorted(submissions.values(), key=lambda one: one.student):
            points = typed.get((submission.student, question.name), ("", ""))[0]
            text = submission.notebook.written.get(question.name, "(no answer)")
            head = escape(submission.student) + (f": {escape(points)}" if points else "")
            body.append(f"<section><h3>{head}</h3><pre>{escape(text)}</pre></section>")
        body.append("</div>")
    return _page(f"{run.assignment.title}: written answers", "".join(body))


def index(
    run: Run,
    submissions: Mapping[str, Submission],
    results: Mapping[str, Sequence[Result]],
    typed: Points,
    pairs: Sequence[Pair],
    by_student: Mapping[str, str],
) -> str:
    """The class at a glance, with links to the reports, and the pairs that resemble each other."""
    names = "".join(f'<th class="number">{escape(q.name)}</th>' for q in run.assignment.questions)
    rows = []
    for slug in sorted(results, key=lambda slug: submissions[slug].student):
        student, found = submissions[slug].student, results[slug]
        points = "".join(f'<td class="number">{result.points:g}</td>' for result in found)
        rows.append(
            f'<tr><th scope="row"><a href="reports/{slug}.html">{escape(student)}</a></th>'
            f'<td class="number">{total(run, student, found, typed):g}</td>{points}'
            f'<td class="lost">{escape(remarks(found))}</td></tr>'
        )
    alike = "".join(
        f'<tr><td><a href="reports/{by_student[pair.first]}.html">{escape(pair.first)}</a></td>'
        f'<td><a href="reports/{by_student[pair.second]}.html">{escape(pair.second)}</a></td>'
        f'<td class="number">{pair.written:.2f}</td><td class="number">{pair.renamed:.2f}</td></tr>'
        for pair in pairs
    )
    return _page(
        f"{run.assignment.title}: {len(results)} submissions",
        '<p><a href="written.html">Written answers</a></p><table><thead><tr><th>student</th>'
        f'<th class="number">total</th>{names}<th>remarks</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
        "<h2>Alike</h2><p>Cosine of TF-IDF over runs of four tokens. Short right answers are alike anyway: read them "
        "before you think anything.</p><table><thead><tr><th>student</th><th>student</th>"
        '<th class="number">as written</th><th class="number">names made equal</th></tr></thead>'
        f"<tbody>{alike}</tbody></table>",
    )
