"""Files that learning platforms import: Canvas, Moodle, Gradescope."""

from collections.abc import Sequence

from course_lib.grading.report.cards import Card
from course_lib.grading.report.tables import table
from course_lib.grading.roster import Person
from course_lib.grading.run import Run


def canvas(run: Run, made: Sequence[Card], people: Sequence[Person] = ()) -> str:
    """The text of a file that Canvas's gradebook imports.

    Args:
        run: The run that was graded.
        made: What `cards.deal` gives.
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
        made: What `cards.deal` gives.
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
            mark, most = card.changed[result.question], sum(part.of for part in result.parts)
            about = {"name": f"{result.question}: changed by the instructor", "score": mark.points, "max_score": most}
            tests.append({**about, "output": mark.comment, "output_format": "text"})
            continue
        for part in result.parts:
            about = {"name": f"{result.question}: {part.name}", "score": part.points, "max_score": part.of}
            status = "passed" if part.points == part.of else "failed"
            tests.append({**about, "output": part.said, "output_format": "text", "status": status})
        if result.remark:
            about = {"name": f"{result.question}: beside the points", "output": result.remark}
            tests.append({**about, "output_format": "text"})
    for one in card.written:
        if one.mark.points is not None:
            about = {"name": one.question.name, "score": one.mark.points, "max_score": one.question.points}
            said = "\n".join([*(f"{item.points:g}: {item.says}" for item in one.given), one.mark.comment]).strip()
            tests.append({**about, "output": said, "output_format": "text"})
    said = f"{card.late.said}: {card.taken:g} points are taken off" if card.taken else ""
    return {"score": card.total, "output": said, "tests": tests, "visibility": "visible"}
