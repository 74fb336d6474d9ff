"""All files of a run's report, each written whole or not at all."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from course_lib.grading.collect import Found
from course_lib.grading.notebook import Notebook
from course_lib.grading.report import cards, gradebook, late, marks, pages, platforms
from course_lib.grading.report.cards import Card
from course_lib.grading.results import Result
from course_lib.grading.roster import Person
from course_lib.grading.run import Run, write
from course_lib.grading.similar import Cluster, Pair, similar


def report(
    run: Run,
    found: Found,
    results: Mapping[str, Sequence[Result]],
    people: Sequence[Person] = (),
    stub: Notebook | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> None:
    """Write the tables, the pages, reports/, gradescope/ and platforms/.

    What an instructor typed into written.csv, overrides.csv and late.csv is kept. A page that cannot be made is said,
    and does not keep the others from being made.

    Args:
        run: The run that was graded; the files go to its folder.
        found: Who handed in.
        results: For each slug, one result for each question that is graded by code, in the order of the assignment.
        people: The roster.
        stub: What was handed out; what it holds is no sign of copying.
        say: Is told what could not be made.

    Raises:
        ValueError: written.csv, overrides.csv or late.csv cannot be read; names the line and what is wrong.
        OSError: The disk is full, for example.
    """
    written, changes, days = marks.read_written(run), marks.read_overrides(run), late.read_late(run)
    made = cards.deal(run, found, results, written, changes, stub, days)
    for card in made:
        slug = card.submission.slug
        _student(run, card, run.out / "reports" / f"{slug}.html", say)
        write(run.out / "gradescope" / slug / "results.json", json.dumps(platforms.gradescope(card), indent=1))
    try:
        clusters = _alike(run, found, stub)
    except OSError:
        raise
    except Exception as error:
        say(f"  submissions were not compared: {type(error).__name__}: {error}")
        clusters = []
    write(run.out / "written.csv", marks.written_table(run, found, written))
    write(run.out / "overrides.csv", marks.overrides_table(changes))
    write(run.out / "late.csv", late.late_table(found.submissions, days))
    write(run.out / "gradebook.csv", gradebook.gradebook(run, made, found.absent))
    write(run.out / "found.csv", gradebook.found_table(found))
    write(run.out / "similar.csv", gradebook.similar_table(clusters))
    write(run.out / "platforms" / "canvas.csv", platforms.canvas(run, made, people))
    write(run.out / "platforms" / "moodle.csv", platforms.moodle(run, made, people))
    written_of = "".join(pages.made_of(run, card) for card in made)
    _page(run.out / "written.html", written_of, lambda: pages.written_page(run, made))
    write(run.out / "index.html", pages.index(run, made, found, clusters))


def _alike(run: Run, found: Found, stub: Notebook | None) -> list[Cluster]:
    """The submissions that are alike: compared anew only where one of them, or the way to compare, has changed."""
    books = {one.student: one.notebook for one in found.submissions}
    compared = (pages.looks(), run.assignment.name, sorted((name, repr(book)) for name, book in books.items()), stub)
    made_of = hashlib.sha256(repr(compared).encode("utf-8", "replace")).hexdigest()
    file = run.out / "results" / "alike.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # none yet, or not ours
        saved = json.loads(file.read_text(encoding="utf-8"))
        if saved["made of"] == made_of:
            groups = saved["groups"]
            return [Cluster(tuple(one["students"]), tuple(Pair(**pair) for pair in one["pairs"])) for one in groups]
    clusters = similar(run.assignment, books, stub)
    write(file, json.dumps({"made of": made_of, "groups": [asdict(one) for one in clusters]}))
    return clusters


def _student(run: Run, card: Card, file: Path, say: Callable[[str], object]) -> None:
    """Write a student's report, unless the one that is there was made of the same."""
    try:
        _page(file, pages.made_of(run, card), lambda: pages.student_page(run, card))
    except OSError:
        raise
    except Exception as error:  # the next run tries again
        say(f"  no page for {card.submission.student}: {type(error).__name__}")
        template = pages.PAGES.get_template("student.html")
        write(file, template.render(**pages.context(run, card), answers={}, figures=()))


def _page(file: Path, made_of: str, make: Callable[[], str]) -> None:
    """Write a page, unless the one that is there was made of the same."""
    first = f"<!-- made of {hashlib.sha256(made_of.encode()).hexdigest()[:16]} -->\n"
    try:
        with file.open("rb") as stream:
            if stream.readline().decode("ascii", "replace") == first:
                return
    except OSError:
        pass  # none yet
    write(file, first + make())
