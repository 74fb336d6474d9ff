"""The instructor's two commands: `python -m course_lib.grading release` and `... grade SUBMISSIONS --out GRADES`."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the two commands.

    Args:
        arguments: The words of the command line after the program's name; None takes those of this process.

    Raises:
        SystemExit: 0 after --help, 1 if `release --check` finds a notebook that is not current, 2 for an error in the
            arguments or the input, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m course_lib.grading", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("release", help="write the students' notebooks from the solutions")
    first.add_argument("--check", action="store_true", help="write nothing; fail if one is not current")
    second = commands.add_parser("grade", help="grade what was handed in; a run that was stopped goes on")
    second.add_argument("submissions", type=Path, help="a folder or a .zip, as learning platforms pack them")
    second.add_argument("--out", type=Path, required=True, help="folder for the grades")
    second.add_argument("--assignment", help="for example a2 (default: what most of the submissions answer)")
    second.add_argument("--jobs", type=int, help="submissions at a time (default: as many as there are cores)")
    second.add_argument("--scheduler", help="address of a Dask cluster that does the work, for example tcp://host:8786")
    given = parser.parse_args(arguments)
    try:
        if given.command == "release":
            _release(given.check)
        else:
            _grade(given)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\nstopped; the same command goes on from what is in {given.out}\n")


def _release(check: bool) -> None:
    """Write the students' notebooks, or only check that they are current, and print which are not."""
    from course_lib.grading.release import release

    try:
        from project import repository
    except ImportError:
        raise FileNotFoundError("release needs the course's repository: run it in its folder") from None
    owner_and_name = repository.URL.removeprefix("https://github.com/")
    colab = f"{repository.CONFIG['launch_buttons']['colab_url']}/github/{owner_and_name}/blob/{repository.BRANCH}"
    changed = release(repository.ROOT / "assignments", colab, write=not check)
    for path in changed:
        print(f"{'not current' if check else 'written'}: {path.relative_to(repository.ROOT)}")
    if check and changed:
        raise SystemExit(1)


def _grade(given: argparse.Namespace) -> None:
    """Grade, write the reports, and print where they are."""
    from course_lib.grading.grade import grade
    from course_lib.grading.report import report

    run, submissions, results = grade(given.submissions, given.out, given.assignment, given.jobs, given.scheduler)
    report(run, submissions, results)
    print(f"{len(results)} submissions graded: {given.out / 'index.html'}, {given.out / 'gradebook.csv'}")


if __name__ == "__main__":
    main()
