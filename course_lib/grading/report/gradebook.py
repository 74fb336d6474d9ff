"""The instructor's tables: the gradebook, who was found how, and what is alike."""

from collections.abc import Sequence

from course_lib.grading.collect import Found
from course_lib.grading.report.cards import Card
from course_lib.grading.report.tables import table
from course_lib.grading.roster import Person
from course_lib.grading.run import Run
from course_lib.grading.similar import Cluster


def gradebook(run: Run, made: Sequence[Card], absent: Sequence[Person] = ()) -> str:
    """The text of gradebook.csv: what can be reached, a row for each student, and those who handed in nothing.

    Args:
        run: The run that was graded.
        made: What `cards.deal` gives.
        absent: Those of the roster who handed in nothing.

    Returns:
        CSV with the columns student, id, name, email, section, total, one for each question, late, taken off, to be
        read, remarks, report.
    """
    most = run.assignment.points
    rows: list[Sequence[object]] = [
        (
            "student",
            "id",
            "name",
            "email",
            "section",
            "total",
            *most,
            "late",
            "taken off",
            "to be read",
            "remarks",
            "report",
        ),
        ("(maximum)", "", "", "", "", float(sum(most.values())), *map(float, most.values()), "", "", "", "", ""),
    ]
    for card in made:
        late = (card.late.said, card.taken or "")
        about = _about(card.submission.person)
        waiting = " ".join(question.name for question in card.unread)
        student, report = card.submission.student, f"reports/{card.submission.slug}.html"
        rows.append((student, *about, card.total, *card.points.values(), *late, waiting, card.remarks, report))
    for person in absent:
        rows.append(("", *_about(person), 0.0, *("" for _ in most), "", "", "", "nothing handed in", ""))
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
