"""The instructor's commands: `python -m course_lib.grading release`, `grade` and `serve`."""

import argparse
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from course_lib.grading.notebook import Notebook
    from course_lib.grading.question import Assignment


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands.

    Args:
        arguments: The words of the command line after the program's name; None takes those of this process.

    Raises:
        SystemExit: 0 after --help, 1 if `release --check` finds a notebook that is not current, 2 for an error in the
            arguments, the input or the machine, in a sentence that says what to do, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m course_lib.grading", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("release", help="write the students' notebooks from the solutions")
    first.add_argument("--check", action="store_true", help="write nothing; fail if one is not current")
    first.add_argument(
        "--questions", type=Path, metavar="FOLDER", help="a course's own questions, with their solutions"
    )
    first.add_argument("--roster", type=Path, help="who gets a variant each (with --seed)")
    first.add_argument("--seed", default="", metavar="WORD", help="what constants follow from, for example 2027-spring")
    fourth = commands.add_parser("variants", help="say whether the variants of a course's questions are equally hard")
    fourth.add_argument("--questions", type=Path, required=True, metavar="FOLDER", help="a course's own questions")
    fourth.add_argument("--assignment", required=True, help="for example b1")
    second = commands.add_parser("grade", help="grade what was handed in; a run that was stopped goes on")
    third = commands.add_parser("serve", help="mark written answers in the browser, after `grade`, with the same words")
    for command in (second, third):
        command.add_argument("submissions", type=Path, help="a folder or a .zip, as learning platforms pack them")
        command.add_argument("--out", type=Path, required=True, help="folder for the grades")
        command.add_argument(
            "--questions", type=Path, metavar="FOLDER", help="a course's own questions, looked at first"
        )
        command.add_argument("--roster", type=Path, help="who is in the class: a CSV of Canvas, Moodle or your own")
    second.add_argument("--assignment", help="for example a2 (default: what most of the submissions answer)")
    second.add_argument("--jobs", type=int, help="submissions at a time (default: two for each core)")
    second.add_argument("--only", action="append", default=[], metavar="STUDENT", help="grade this student alone")
    second.add_argument("--regrade", action="store_true", help="grade again what is graded (with --only: of those)")
    second.add_argument("--seed", default="", metavar="WORD", help="the word that `release` got, for constants")
    second.add_argument("--each", action="store_true", help="each student of the roster has a variant (with --seed)")
    second.add_argument("--late", type=float, metavar="PERCENT", help="what a day of lateness costs (default: nothing)")
    second.add_argument("--look", action="store_true", help="only say who was found how, and grade nothing")
    second.add_argument("--scheduler", help="address of a Dask cluster that does the work, for example tcp://host:8786")
    third.add_argument("--port", type=int, default=0, help="of this machine alone (default: a free one)")
    given = parser.parse_args(arguments)
    try:
        if given.questions:
            from course_lib.grading.question import add_folder

            add_folder(given.questions)
        if given.command == "release":
            _release(given)
        elif given.command == "variants":
            _variants(given.assignment)
        elif given.command == "serve":
            _serve(given)
        else:
            _grade(given)
    except OSError as error:
        parser.exit(2, f"{_remedy(error)}\n")
    except (ValueError, RuntimeError) as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\nstopped; the same command goes on from what is in {getattr(given, 'out', 'the folder')}\n")


def _remedy(error: OSError) -> str:
    """What a file system complains about, and what to do, in a sentence."""
    if error.errno is None:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    remedies = {
        errno.ENOSPC: "make room on the disk",
        errno.EDQUOT: "make room in your quota",
        errno.EACCES: "choose a folder that you may write to",
        errno.EROFS: "choose a folder that you may write to",
        errno.ENOTDIR: "choose another --out, a folder",
        errno.EEXIST: "choose another --out, a folder",
        errno.EMFILE: "allow more open files (ulimit -n), or use fewer --jobs",
    }
    what = remedies.get(error.errno, "mend it")
    said = error.strerror or str(error)
    return f"{where}{said}; {what}, and run the same command: what is graded is kept"


def _release(given: argparse.Namespace) -> None:
    """Write the students' notebooks, or only check that they are current, and print which are not."""
    from course_lib.errors import require
    from course_lib.grading import roster
    from course_lib.grading.release import release

    check = given.check
    require(bool(given.questions) or not given.seed, "--seed goes with --questions: the public assignments do not vary")
    require(
        bool(given.seed) or not given.roster, "--roster goes with --seed WORD: each student's variant follows from both"
    )
    if given.questions:
        people = roster.read(given.roster) if given.roster else ()
        _tell(release(given.questions, "", write=not check, term=given.seed, people=people), check)
        return
    try:
        from project import repository
    except ImportError:
        raise FileNotFoundError("release needs the course's repository: run it in its folder") from None
    owner_and_name = repository.URL.removeprefix("https://github.com/")
    colab = f"{repository.CONFIG['launch_buttons']['colab_url']}/github/{owner_and_name}/blob/{repository.BRANCH}"
    changed = release(repository.ROOT / "assignments", colab, write=not check)
    _tell([path.relative_to(repository.ROOT) for path in changed], check)


def _tell(changed: Sequence[Path], check: bool) -> None:
    """Print which notebooks were not current, or that all are; where they should have been, end with 1."""
    if not changed:
        print("all notebooks are current")
    for path in changed:
        print(f"{'not current' if check else 'written'}: {path}")
    if check and changed:
        raise SystemExit(1)


def _grade(given: argparse.Namespace) -> None:
    """Grade, write the reports, and print where they are."""
    from course_lib.errors import require
    from course_lib.grading import cgroup, collect, roster
    from course_lib.grading.grade import grade
    from course_lib.grading.report import report
    from course_lib.grading.results import PENDING
    from course_lib.grading.run import saved_run

    require(
        not (given.questions and given.scheduler),
        "--questions and --scheduler do not go together: the workers of a cluster have the package's questions only",
    )
    people = roster.read(given.roster) if given.roster else ()
    if given.look:
        before = saved_run(given.out)
        key = given.assignment or (before.assignment.key if before else None)
        found = collect.collect(given.submissions, key, people)
        print("\n".join(collect.summary(found, people)))
        return
    if not given.scheduler and not cgroup.available():
        print("no group of processes with a limit of memory can be made here: memory is looked at ten times a second")
    run, found, results = grade(
        given.submissions,
        given.out,
        given.assignment,
        given.jobs,
        given.scheduler,
        people=people,
        only=given.only,
        regrade=given.regrade,
        late=given.late,
        term=given.seed,
        each=given.each,
        say=print,
    )
    stub = _handed_out(run.assignment, given.questions)
    report(run, found, results, people, stub, print)
    print(f"{len(results)} submissions graded: {given.out / 'index.html'}, {given.out / 'gradebook.csv'}")
    waiting = {one.parts[0].said for each in results.values() for one in each if one.status == PENDING}
    if waiting - {"not graded yet"}:
        raise RuntimeError(f"not all is graded, so run the same command again: {'; '.join(sorted(waiting))}")


def _variants(key: str) -> None:
    """Measure the variants of an assignment's questions, and say where they are not equally hard."""
    from course_lib.grading import variants
    from course_lib.grading.question import assignment

    wrong = []
    for asked in assignment(key).questions:
        if not asked.constants:
            continue
        made = variants.choices(asked)
        print(f"{asked.name}: constants; spread of the right answers; others' answers refused; what each mistake keeps")
        for one in made:
            values = ", ".join(f"{name} {value}" for name, value in one.constants.items())
            kept = " ".join(f"{points:g}" for points in one.mistakes)
            print(f"  {values}; {one.spread:.3f}; {one.told:.0%}; {kept or 'none is known'}")
        if said := variants.unequal(made):
            wrong.append(f"{asked.name} is not equally hard in all variants: {said}")
    if wrong:
        raise ValueError("\n".join(wrong))
    print("equally hard, by these measures")


def _serve(given: argparse.Namespace) -> None:
    """Let an instructor mark the written answers of a run."""
    from course_lib.grading import roster
    from course_lib.grading.grade import reopen
    from course_lib.grading.report.serve import Desk, serve

    people = roster.read(given.roster) if given.roster else ()
    run, found, results = reopen(given.submissions, given.out, people)
    serve(Desk(run, found, results, people, _handed_out(run.assignment, given.questions)), print, given.port)


def _handed_out(assignment: "Assignment", own: Path | None) -> "Notebook | None":
    """What the students got, where it is at hand."""
    from course_lib.grading import notebook, sandbox

    folders = [own, sandbox.PACKAGE.parent / "assignments"]
    files = [folder / assignment.name / f"{assignment.name}.ipynb" for folder in folders if folder]
    return next((notebook.read(path.read_bytes()) for path in files if path.exists()), None)


if __name__ == "__main__":
    main()
