"""Pages, tables and files of the results. All of a student's text is escaped, and no page runs any script."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from jinja2 import Environment, PackageLoader, StrictUndefined

from course_lib.errors import require, unknown
from course_lib.grading import roster
from course_lib.grading.collect import Found, Submission
from course_lib.grading.grade import PENDING, Result, Run, write
from course_lib.grading.notebook import Notebook
from course_lib.grading.question import Question, Written
from course_lib.grading.release import WRITE
from course_lib.grading.roster import Person
from course_lib.grading.similar import Cluster, similar

PAGES = Environment(
    loader=PackageLoader("course_lib.grading"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
COLUMNS = ("student", "question", "points", "comment")
CHANGES = ("student", "question", "points", "reason")
BARS = 10  # of the histogram

Points = dict[tuple[str, str], tuple[str, str]]  # (student, question) -> points and words that the instructor typed


@dataclass(frozen=True)
class Card:
    """All that is known about one student's work.

    Attributes:
        submission: What was handed in.
        results: One result for each question that is graded by code, in the order of the assignment.
        written: Each written question, its points (None until it is read), the instructor's comment, and the answer.
        changed: {question: (points, reason)} where an instructor has overridden the grader.
    """

    submission: Submission
    results: tuple[Result, ...]
    written: tuple[tuple[Written, float | None, str, str], ...]
    changed: Mapping[str, tuple[float, str]]

    @property
    def points(self) -> dict[str, float | None]:
        """The points of every question, written ones last; None where nobody has read the answer."""
        by_code = {one.question: self.changed.get(one.question, (one.points, ""))[0] for one in self.results}
        return {**by_code, **{question.name: points for question, points, _, _ in self.written}}

    @property
    def total(self) -> float:
        """The sum; a written answer that nobody has read counts 0."""
        return sum(points or 0 for points in self.points.values())

    @property
    def unread(self) -> list[Written]:
        """The written questions whose answer waits to be read."""
        return [question for question, points, _, answer in self.written if points is None and answer]

    @property
    def remarks(self) -> str:
        """What an instructor should look at."""
        return "; ".join(filter(None, (remarks(self.results), self.submission.note)))


def report(
    run: Run,
    found: Found,
    results: Mapping[str, Sequence[Result]],
    people: Sequence[Person] = (),
    stub: Notebook | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> None:
    """Write gradebook.csv, written.csv, overrides.csv, similar.csv, the pages, reports/, gradescope/ and platforms/.

    What an instructor typed into written.csv and overrides.csv is kept. A page that cannot be made is said, and does
    not keep the others from being made.

    Args:
        run: The run that was graded; the files go to its folder.
        found: Who handed in.
        results: For each slug, one result for each question that is graded by code, in the order of the assignment.
        people: The roster.
        stub: What was handed out; what it holds is no sign of copying.
        say: Is told what could not be made.

    Raises:
        ValueError: written.csv or overrides.csv cannot be read; names the line and what is wrong.
        OSError: The disk is full, for example.
    """
    typed, changes = read_written(run), read_overrides(run)
    made = cards(run, found, results, typed, changes, stub)
    for card in made:
        slug = card.submission.slug
        try:
            page = student_page(run, card)
        except Exception as error:
            say(f"  no page for {card.submission.student}: {type(error).__name__}")
            page = PAGES.get_template("student.html").render(**_context(run, card), answers={}, figures=())
        write(run.out / "reports" / f"{slug}.html", page)
        write(run.out / "gradescope" / slug / "results.json", json.dumps(gradescope(card), indent=1))
    try:
        clusters = similar(run.assignment, {one.student: one.notebook for one in found.submissions}, stub)
    except Exception as error:
        say(f"  submissions were not compared: {type(error).__name__}: {error}")
        clusters = []
    write(run.out / "written.csv", written_table(run, found, typed))
    write(run.out / "overrides.csv", table([CHANGES, *[(*key, *value) for key, value in sorted(changes.items())]]))
    write(run.out / "gradebook.csv", gradebook(run, made, found.absent))
    write(run.out / "found.csv", found_table(found))
    write(run.out / "similar.csv", similar_table(clusters))
    write(run.out / "platforms" / "canvas.csv", canvas(run, made, people))
    write(run.out / "platforms" / "moodle.csv", moodle(run, made, people))
    write(run.out / "written.html", written_page(run, made))
    write(run.out / "index.html", index(run, made, found, clusters))


def cards(
    run: Run,
    found: Found,
    results: Mapping[str, Sequence[Result]],
    typed: Points,
    changes: Points,
    stub: Notebook | None = None,
) -> list[Card]:
    """All that is known about each student's work.

    Args:
        run: The run that was graded.
        found: Who handed in.
        results: For each slug, one result for each question that is graded by code.
        typed: What `read_written` gives.
        changes: What `read_overrides` gives.
        stub: What was handed out; the questions in it are taken off the answers.

    Returns:
        A card for each student, sorted by name.
    """
    made = []
    for one in sorted(found.submissions, key=lambda one: one.student):
        written = []
        for asked in run.assignment.written:
            points, comment = typed.get((one.student, asked.name), ("", ""))
            answer = _own(one.notebook.written.get(asked.name, ""), stub.written.get(asked.name, "") if stub else "")
            written.append((asked, float(points) if points else None, comment, answer))
        changed = {name: (float(points), why) for (who, name), (points, why) in changes.items() if who == one.student}
        made.append(Card(one, tuple(results[one.slug]), tuple(written), changed))
    return made


def _own(answer: str, handed_out: str) -> str:
    """A written answer without the question above it; "" where nothing was written."""
    prompt = handed_out.replace(WRITE, "").strip()
    return (answer.replace(prompt, "", 1) if prompt else answer).replace(WRITE, "").strip()


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
    text = f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
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
    most = {question.name: question.points for question in run.assignment.written}
    return {(who, name): (points, said) for _, who, name, points, said in _rows(run.out / "written.csv", COLUMNS, most)}


def read_overrides(run: Run) -> Points:
    """What the instructor typed into overrides.csv: points that count instead of the grader's, with a reason.

    Args:
        run: The run, whose folder holds the file.

    Returns:
        {(student, question): (points, reason)}; empty without a file.

    Raises:
        ValueError: A column, the points or the reason are missing, or there is no such question; names the line.
    """
    file = run.out / "overrides.csv"
    most = {question.name: question.points for question in run.assignment.questions}
    found = {}
    for where, who, name, points, reason in _rows(file, CHANGES, most):
        if name not in most:
            raise ValueError(f"{where}: {unknown('question', name, most)}")
        require(bool(points) and bool(reason), f"{where}: an override needs its points and a reason")
        found[who, name] = (points, reason)
    return found


def _rows(file: Path, columns: Sequence[str], most: Mapping[str, float]) -> list[tuple[str, str, str, str, str]]:
    """The rows of a table that an instructor fills: the line, student, question, points and words."""
    if not file.exists():
        return []
    try:
        rows = roster.table(file.read_bytes())
    except (OSError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read ({error}): save it as CSV in UTF-8") from None
    head = [name.strip() for name in rows[0]] if rows else list(columns)
    found = []
    for number, cells in enumerate(rows[1:], start=2):
        row, where = dict(zip(head, cells, strict=False)), f"{file}, line {number}"
        require(set(columns) <= set(row), f"{where}: the columns are {', '.join(columns)}")
        points = row["points"].strip().replace(",", ".")
        if points:
            try:
                value = float(points)
            except ValueError:
                raise ValueError(f"{where}: points are a number, got {points!r}") from None
            limit = most.get(row["question"], value)
            require(0 <= value <= limit, f"{where}: points of {row['question']} go from 0 to {limit:g}, got {points}")
        found.append((where, _typed(row["student"]), row["question"], points, _typed(row[columns[-1]])))
    return found


def written_table(run: Run, found: Found, typed: Points) -> str:
    """The text of written.csv: one row for each student and written question, with what was typed so far.

    Args:
        run: The run that was graded.
        found: Who handed in.
        typed: What `read_written` gives. Rows of students who handed in nothing this time are kept.

    Returns:
        CSV with the columns student, question, points, comment.
    """
    students = sorted(one.student for one in found.submissions)
    wanted = [(student, question.name) for student in students for question in run.assignment.written]
    kept = [key for key in typed if key not in set(wanted)]
    return table([COLUMNS, *[(*key, *typed.get(key, ("", ""))) for key in [*wanted, *kept]]])


def gradebook(run: Run, made: Sequence[Card], absent: Sequence[Person] = ()) -> str:
    """The text of gradebook.csv: what can be reached, a row for each student, and those who handed in nothing.

    Args:
        run: The run that was graded.
        made: What `cards` gives.
        absent: Those of the roster who handed in nothing.

    Returns:
        CSV with the columns student, id, name, email, section, total, one for each question, late, to be read, remarks.
    """
    most = run.assignment.points
    rows: list[Sequence[object]] = [
        ("student", "id", "name", "email", "section", "total", *most, "late", "to be read", "remarks"),
        ("(maximum)", "", "", "", "", float(sum(most.values())), *map(float, most.values()), "", "", ""),
    ]
    for card in made:
        late = "late" if card.submission.late else ""
        about = _about(card.submission.person)
        waiting = " ".join(question.name for question in card.unread)
        student = card.submission.student
        rows.append((student, *about, card.total, *card.points.values(), late, waiting, card.remarks))
    for person in absent:
        rows.append(("", *_about(person), 0.0, *("" for _ in most), "", "", "nothing handed in"))
    return table(rows)


def _about(person: Person | None) -> tuple[str, str, str, str]:
    """What the roster says of somebody."""
    return (person.id, person.name, person.email, person.section) if person else ("", "", "", "")


def found_table(found: Found) -> str:
    """The text of found.csv: who was found how.

    Args:
        found: What `collect` gave.

    Returns:
        CSV with the columns student, named by, file, in the roster as, problem, note; then what was not understood.
    """
    rows: list[Sequence[object]] = [("student", "named by", "file", "in the roster as", "problem", "note")]
    for one in found.submissions:
        name = one.person.name if one.person else ""
        rows.append((one.student, one.how, one.file, name, one.problem, one.note))
    rows += [("", "", name, "", f"not understood: {why}", "") for name, why in found.ignored]
    rows += [("", "", "", person.name, "nothing handed in", person.extension) for person in found.absent]
    return table(rows)


def similar_table(clusters: Sequence[Cluster]) -> str:
    """The text of similar.csv: groups of submissions that resemble each other.

    Args:
        clusters: What `similar.similar` gives.

    Returns:
        CSV with the columns group, first, second, shared, as written, written answers.
    """
    rows: list[Sequence[object]] = [("group", "first", "second", "shared", "as written", "written answers")]
    for number, cluster in enumerate(clusters, start=1):
        for pair in cluster.pairs:
            values = (f"{pair.shared:.2f}", f"{pair.as_written:.2f}", f"{pair.words:.2f}")
            rows.append((number, pair.first, pair.second, *values))
    return table(rows)


def canvas(run: Run, made: Sequence[Card], people: Sequence[Person] = ()) -> str:
    """The text of a file that Canvas's gradebook imports.

    Args:
        run: The run that was graded.
        made: What `cards` gives.
        people: The roster; without it the numbers come from Canvas's names of the files.

    Returns:
        CSV with the columns Student, ID, SIS User ID, SIS Login ID, Section, and the assignment with its maximum.

    Source: Canvas's guide, "How do I import grades in the Gradebook?". Deviation: none.
    """
    rows: list[Sequence[object]] = [
        ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", run.assignment.title),
        ("Points Possible", "", "", "", "", float(sum(run.assignment.points.values()))),
    ]
    for card, person in _everybody(made, people):
        if person:
            about: tuple[str, ...] = (person.name, person.id, person.number, person.login, person.section)
        else:
            assert card
            name, _, number = card.submission.student.rpartition("_")
            about = (
                (name, number, "", "", "") if card.submission.how == "Canvas" else (card.submission.student, *4 * [""])
            )
        rows.append((*about, card.total if card else 0.0))
    return table(rows)


def moodle(run: Run, made: Sequence[Card], people: Sequence[Person] = ()) -> str:
    """The text of a file that Moodle's gradebook imports, by the id number or the email address.

    Args:
        run: The run that was graded.
        made: What `cards` gives.
        people: The roster; without it there are names only.

    Returns:
        CSV with the columns Full name, ID number, Email address, the assignment, Feedback.

    Source: Moodle's documentation, "Grade import". Deviation: none.
    """
    rows: list[Sequence[object]] = [("Full name", "ID number", "Email address", run.assignment.title, "Feedback")]
    for card, person in _everybody(made, people):
        name = card.submission.student.rpartition("_")[0] if card and card.submission.how == "Moodle" else ""
        shown = person.name if person else name or (card.submission.student if card else "")
        about = (shown, person.number or person.id, person.email) if person else (shown, "", "")
        rows.append((*about, card.total if card else 0.0, "" if card else "nothing handed in"))
    return table(rows)


def _everybody(made: Sequence[Card], people: Sequence[Person]) -> list[tuple[Card | None, Person | None]]:
    """The roster's people with their work, in its order, then those whom it does not know."""
    by_person = {card.submission.person: card for card in made if card.submission.person}
    known: list[tuple[Card | None, Person | None]] = [(by_person.get(person), person) for person in people]
    return known + [(card, None) for card in made if card.submission.person is None]


def remarks(found: Sequence[Result]) -> str:
    """Every question that was not graded as usual.

    Args:
        found: The results of one student.

    Returns:
        One line; "" where every question was graded or left unanswered.
    """
    unusual = [result for result in found if result.status not in ("graded", "unanswered")]
    said = {result.parts[0].said for result in unusual}
    if unusual and len(said) == 1 and all(result.status == "malformed" for result in unusual):
        return f"malformed: {unusual[0].parts[0].said}"
    if unusual and all(result.status == PENDING for result in unusual) and len(said) == 1:
        return f"pending: {said.pop()}"
    return "; ".join(f"{result.question}: {result.status}" for result in unusual)


def gradescope(card: Card) -> dict[str, object]:
    """A student's results in the form that Gradescope shows.

    Args:
        card: The student's work.

    Returns:
        The content of results.json: the score, and a test for each part and each written answer that was read.

    Source: https://gradescope-autograders.readthedocs.io, "results.json". Deviation: none.
    """
    tests: list[dict[str, object]] = []
    for result in card.results:
        if result.question in card.changed:
            points, reason = card.changed[result.question]
            most = sum(part.of for part in result.parts)
            about = {"name": f"{result.question}: changed by the instructor", "score": points, "max_score": most}
            tests.append({**about, "output": reason, "output_format": "text"})
            continue
        for part in result.parts:
            about = {"name": f"{result.question}: {part.name}", "score": part.points, "max_score": part.of}
            status = "passed" if part.points == part.of else "failed"
            tests.append({**about, "output": part.said, "output_format": "text", "status": status})
    for question, read, comment, _ in card.written:
        if read is not None:
            about = {"name": question.name, "score": read, "max_score": question.points}
            tests.append({**about, "output": comment, "output_format": "text"})
    return {"score": card.total, "tests": tests, "visibility": "visible"}


# ---------------------------------------------------------------- pages


def _context(run: Run, card: Card) -> dict[str, object]:
    """What the page of a student knows, beside what was handed in."""
    read = [(question, points) for question, points, _, _ in card.written if points is not None]
    code = [card.points[one.question] or 0 for one in card.results]
    return {
        "assignment": run.assignment,
        "card": card,
        "total": card.total,
        "most": sum(run.assignment.points.values()),
        "code": (sum(code), sum(one.points for one in run.assignment.questions)),
        "read": (sum(points for _, points in read), sum(question.points for question, _ in read)),
        "waiting": sum(question.points for question in card.unread),
    }


def student_page(run: Run, card: Card) -> str:
    """A student's report: points, why they were lost, the code, the written answers, and the figures.

    Args:
        run: The run that was graded.
        card: The student's work.

    Returns:
        A page of HTML, all text escaped.
    """
    answers: dict[str, list[str]] = {}
    for text, mark in card.submission.notebook.code:
        if mark:
            answers.setdefault(mark, []).append(text)
    figures = card.submission.figures()
    return PAGES.get_template("student.html").render(**_context(run, card), answers=answers, figures=figures)


def written_page(run: Run, made: Sequence[Card]) -> str:
    """All written answers, question by question, side by side; nameless ones are left to the end of each.

    Args:
        run: The run that was graded.
        made: What `cards` gives.

    Returns:
        A page of HTML, all text escaped.
    """
    asked = []
    for number, question in enumerate(run.assignment.written):
        rows = [(card.submission, *card.written[number][1:]) for card in made]
        given = [row for row in rows if row[3]]
        asked.append((question, given, len(rows) - len(given), sum(row[1] is None for row in given)))
    return PAGES.get_template("written.html").render(assignment=run.assignment, questions=asked)


def index(run: Run, made: Sequence[Card], found: Found, clusters: Sequence[Cluster]) -> str:
    """The class at a glance: totals, the hardest questions, what to look at, and submissions that are alike.

    Args:
        run: The run that was graded.
        made: What `cards` gives.
        found: Who handed in.
        clusters: What `similar.similar` gives.

    Returns:
        A page of HTML, all text escaped.
    """
    most = sum(run.assignment.points.values())
    totals = [card.total for card in made]
    bins = Counter(min(BARS - 1, int(BARS * one / most)) for one in totals)
    highest = max(bins.values())
    bars = [
        (f"{most * i / BARS:g} to {most * (i + 1) / BARS:g}", bins[i], 100 * bins[i] / highest) for i in range(BARS)
    ]
    return PAGES.get_template("index.html").render(
        assignment=run.assignment,
        most=most,
        made=made,
        mean=mean(totals),
        median=median(totals),
        bars=bars,
        hardest=sorted(
            (hardness(question, made) for question in run.assignment.questions), key=lambda row: (row[1], row[0])
        ),
        unread=sum(len(card.unread) for card in made),
        absent=found.absent,
        ignored=found.ignored,
        clusters=clusters,
        slugs={one.student: one.slug for one in found.submissions},
    )


def hardness(question: Question, made: Sequence[Card]) -> tuple[str, float, int, str]:
    """How a class did on a question.

    Args:
        question: One that is graded by code.
        made: What `cards` gives.

    Returns:
        Its name, the mean share of its points among those who answered, their number, and the reason that was given
        most often, with its count ("" where nothing was lost).
    """
    results = [result for card in made for result in card.results if result.question == question.name]
    given = [one for one in results if one.status not in ("unanswered", "malformed", PENDING)]
    said = Counter(reason for one in given for reason in {part.said for part in one.parts if part.said})
    top = said.most_common(1)
    reason = f"{top[0][0]} ({top[0][1]} times)" if top else ""
    share = mean(one.points for one in given) / question.points if given else 0.0
    return question.name, share, len(given), reason
