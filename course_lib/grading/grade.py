"""The run: every question of every submission once, on all cores, resumable.

A question that is done leaves a small file, written whole or not at all; the gradebook is made of these files. So
`kill -9` at any moment costs only what was being answered, and the same command goes on. A file counts as long as the
submission, the questions and the run's seed are the same; a student who hands in again is graded again.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import joblib
from tqdm.auto import tqdm

from course_lib import scale
from course_lib.errors import unknown
from course_lib.grading import sandbox
from course_lib.grading.collect import Found, collect, summary
from course_lib.grading.judge import work
from course_lib.grading.results import PENDING, Result, lost
from course_lib.grading.roster import Person
from course_lib.grading.run import Run, open_run, saved_run


def chosen(found: Found, names: Sequence[str]) -> set[str]:
    """The slugs of the students that are meant.

    Args:
        found: Who handed in.
        names: Students, as they were found, by their slugs, or as the roster knows them; empty means all.

    Returns:
        Slugs.

    Raises:
        ValueError: A name means nobody; the nearest are listed.
    """
    if not names:
        return {one.slug for one in found.submissions}
    known: dict[str, set[str]] = {}
    for one in found.submissions:
        also = (one.person.name, one.person.email, one.person.id) if one.person else ()
        for name in filter(None, (one.student, one.slug, *also)):
            known.setdefault(name.casefold(), set()).add(one.slug)
    for name in names:
        if name.casefold() not in known:
            raise unknown("student", name, [one.student for one in found.submissions])
    return set().union(*(known[name.casefold()] for name in names))


def grade(
    path: Path,
    out: Path,
    key: str | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    *,
    people: Sequence[Person] = (),
    only: Sequence[str] = (),
    regrade: bool = False,
    late: float | None = None,
    term: str = "",
    each: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Run, Found, dict[str, list[Result]]]:
    """Grade what is not graded yet.

    Args:
        path: The submissions: a folder or a .zip, as learning platforms pack them.
        out: Folder of the run; the same folder continues a run that was stopped.
        key: The assignment, "a2"; None takes that of the run, or the one that most of the submissions answer.
        jobs: Submissions at a time; None takes twice as many as there are cores, since an answer that waits needs none.
        scheduler: Address of a Dask cluster whose workers have this package and a sandbox, "tcp://host:8786"; None
            works on this machine.
        people: The roster; see `roster.read`.
        only: Grade these students alone; empty means all.
        regrade: Grade again what is graded already.
        late: What a day of lateness costs from now on, in percent of the points; None leaves it as it is.
        term: The word that the constants follow from; "" takes that of the folder.
        each: Has each student of the roster a variant?
        say: Is told who was found, line by line, before anything is graded.

    Returns:
        The run, who was found, and all results by slug, in the order of the assignment's questions.

    Raises:
        NoSandbox: There is no working sandbox; says what to install or to change.
        RuntimeError: A reference fails on its own inputs, or the cluster is lost.
        ValueError: No submissions, no known assignment, a folder of another assignment's grades, a name in `only` that
            nobody has, or no cluster at that address.
    """
    before = saved_run(out)
    found = collect(path, key or (before.assignment.key if before else None), people)
    for line in summary(found, people):
        say(line)
    wanted = chosen(found, only)
    if before is None and scheduler is None:
        sandbox.probe()
    run = open_run(out, found.assignment, late, term, each)
    submissions = {one.slug: one for one in found.submissions}
    results: dict[str, dict[str, Result]] = {slug: {} for slug in submissions}
    todo: dict[str, dict[str, list[tuple[str, bool]]]] = {}
    for slug, submission in submissions.items():
        for asked in run.assignment.questions:
            stored = None if regrade and slug in wanted else run.stored(submission, asked.name)
            if stored is None and slug not in wanted:
                stored = lost(asked, PENDING, "not graded yet")
            if stored is None and run.variant(submission) is None:
                stored = lost(asked, PENDING, "nobody knows the variant of who is not in the roster: mend the roster")
            names = run.assignment.before(asked)
            said = submission.problem or submission.notebook.too_long(names)
            if stored is None and said:
                stored = lost(asked, "malformed", said)
                run.store(submission, stored)
            if stored is None:
                todo.setdefault(slug, {})[asked.name] = submission.notebook.cells(names)
            else:
                results[slug][asked.name] = stored
    if todo:
        if scheduler is None:
            sandbox.probe()
        variant = {slug: run.variant(submissions[slug]) or "" for slug in todo}
        try:
            for slug, made in _work_all(run, todo, variant, len(submissions), jobs, scheduler):
                for result in made:
                    if result.status != PENDING:
                        run.store(submissions[slug], result)
                    results[slug][result.question] = result
        finally:
            sandbox.end()
    order = [asked.name for asked in run.assignment.questions]
    return run, found, {slug: [results[slug][name] for name in order] for slug in sorted(results)}


def reopen(path: Path, out: Path, people: Sequence[Person] = ()) -> tuple[Run, Found, dict[str, list[Result]]]:
    """A run as it is, without grading anything.

    Args:
        path: The submissions.
        out: Folder of the run.
        people: The roster.

    Returns:
        As `grade`; "pending" for what is not graded.

    Raises:
        ValueError: The folder holds no run, or the submissions are not there.
    """
    run = saved_run(out)
    if run is None:
        raise ValueError(f"{out} holds no grades yet: run `grade` with the same words first")
    found = collect(path, run.assignment.key, people)
    results = {
        one.slug: [
            run.stored(one, asked.name) or lost(asked, PENDING, "not graded yet") for asked in run.assignment.questions
        ]
        for one in found.submissions
    }
    return run, found, results


def _work_all(
    run: Run,
    todo: dict[str, dict[str, list[tuple[str, bool]]]],
    variant: dict[str, str],
    count: int,
    jobs: int | None,
    scheduler: str | None,
) -> Iterator[tuple[str, list[Result]]]:
    """The results of each submission as they come. Threads are enough here: the work is in the sandboxes."""
    with (
        scale.parallel(scheduler, jobs=jobs or 2 * joblib.cpu_count(), ordered=False) as parallel,
        tqdm(total=count, unit="submission") as bar,
    ):
        bar.update(count - len(todo))
        key, seed = run.assignment.key, run.seed
        tasks = (joblib.delayed(work)(slug, key, cells, seed, variant[slug]) for slug, cells in todo.items())
        made = iter(parallel(tasks))
        while True:
            try:
                slug, results = next(made)
            except StopIteration:
                return
            except Exception as error:
                if scheduler is None or isinstance(error, RuntimeError):
                    raise
                raise RuntimeError(
                    f"the cluster at {scheduler} is lost ({type(error).__name__}): start it again, and run the same "
                    "command; what is graded is kept"
                ) from None
            yield slug, results
            bar.update()
