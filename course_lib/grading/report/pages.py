"""Pages of HTML: a student's report, the written answers, the class. All text is escaped, and no page runs a script."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import mean, median

import jinja2

from course_lib.grading.collect import Found
from course_lib.grading.report.cards import Card, hardness
from course_lib.grading.report.excerpts import excerpts
from course_lib.grading.report.words import html
from course_lib.grading.run import Run
from course_lib.grading.similar import Cluster

PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("course_lib.grading"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)
PAGES.filters["words"] = html
BARS = 10  # of the histogram


def context(run: Run, card: Card) -> dict[str, object]:
    """What the page of a student knows, beside what was handed in.

    Args:
        run: The run that was graded.
        card: The student's work.

    Returns:
        Names and values for the template.
    """
    read = [(one.question.points, one.mark.points) for one in card.written if one.mark.points is not None]
    code = [card.points[one.question] or 0 for one in card.results]
    return {
        "assignment": run.assignment,
        "card": card,
        "code": (sum(code), sum(one.points for one in run.assignment.questions)),
        "read": (sum(points for _, points in read), sum(most for most, _ in read)),
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
    book = card.submission.notebook
    answers = {one.question: excerpts(book, run.assignment, one) for one in card.results}
    figures = card.submission.shown().images
    return PAGES.get_template("student.html").render(**context(run, card), answers=answers, figures=figures)


def made_of(run: Run, card: Card) -> str:
    """Changes with all that a student's report shows, so that a page that is there need not be made again.

    Args:
        run: The run that was graded.
        card: The student's work.

    Returns:
        A digest.
    """
    shown = (looks(), run.assignment.name, card.submission, card.results, card.written, dict(card.changed), card.late)
    return hashlib.sha256(repr(shown).encode("utf-8", "replace")).hexdigest()[:16]


@cache
def looks() -> str:
    """A digest that changes with the templates, and with the modules that fill them.

    Returns:
        Hexadecimal digits.
    """
    here = Path(__file__).parent
    more = [here.parent / "notebook.py", here.parent / "similar.py"]
    files = sorted([*here.glob("*.py"), *(here.parent / "templates").iterdir(), *more])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def written_page(run: Run, made: Sequence[Card]) -> str:
    """All written answers, question by question, side by side, for reading and on paper.

    Args:
        run: The run that was graded.
        made: What `cards.deal` gives.

    Returns:
        A page of HTML, all text escaped.
    """
    asked = []
    for number, question in enumerate(run.assignment.written):
        given = [(card.submission, card.written[number]) for card in made if card.written[number].text]
        asked.append((question, given, len(made) - len(given), sum(answer.unread for _, answer in given)))
    return PAGES.get_template("written.html").render(assignment=run.assignment, questions=asked)


def index(run: Run, made: Sequence[Card], found: Found, clusters: Sequence[Cluster]) -> str:
    """The class at a glance: totals, the hardest questions, what to look at, and submissions that are alike.

    Args:
        run: The run that was graded.
        made: What `cards.deal` gives.
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
