"""A run of the grader: its folder, its seed, and a small file for each result, written whole or not at all."""

import json
import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from course_lib.errors import require
from course_lib.grading import question as questions
from course_lib.grading import variants
from course_lib.grading.collect import Submission
from course_lib.grading.question import Assignment
from course_lib.grading.results import Result
from course_lib.grading.stamp import stamp


@dataclass(frozen=True)
class Run:
    """A run of the grader.

    Attributes:
        out: Its folder.
        assignment: What is graded.
        seed: Seed of all inputs, kept in the folder.
        late: Percent of the points that a day of lateness costs; kept in the folder, too.
        term: The word that the constants follow from, "2027-spring"; "" for the first value of each.
        each: Has each student of the roster a variant?
    """

    out: Path
    assignment: Assignment
    seed: int
    late: float = 0.0
    term: str = ""
    each: bool = False

    def variant(self, submission: Submission) -> str | None:
        """Whose constants a submission has.

        Args:
            submission: What the student handed in.

        Returns:
            What `variants.word` gives; None where each student has a variant, and this is nobody of the roster.
        """
        if not self.each:
            return variants.word(self.term)
        return variants.word(self.term, submission.person) if submission.person else None

    @property
    def stamp(self) -> str:
        """Changes with all that can change a point; see `stamp`."""
        return stamp(self.assignment.key, self.seed)

    def path(self, submission: Submission, name: str) -> Path:
        """The file of one result.

        Args:
            submission: What the student handed in.
            name: The question.

        Returns:
            A path in the run's folder, there or not.
        """
        return self.out / "results" / submission.slug / f"{name}.json"

    def stored(self, submission: Submission, name: str) -> Result | None:
        """The result of an earlier run.

        Args:
            submission: What the student handed in.
            name: The question.

        Returns:
            None where there is none, or where the submission, the rules or the seed were others.
        """
        try:
            saved = json.loads(self.path(submission, name).read_text(encoding="utf-8"))
            before = (saved["sha256"], saved["problem"], saved.get("variant", ""), saved["stamp"])
            if before == (*_identity(submission), self.variant(submission), self.stamp):
                return Result.of(saved["result"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or not ours
        return None

    def store(self, submission: Submission, result: Result) -> None:
        """Write a result to its file.

        Args:
            submission: What the student handed in.
            result: What came of one of its questions.
        """
        sha256, problem = _identity(submission)
        saved = {"student": submission.student, "sha256": sha256, "problem": problem, "stamp": self.stamp}
        if variant := self.variant(submission):
            saved["variant"] = variant
        write(self.path(submission, result.question), json.dumps({**saved, "result": asdict(result)}, indent=1))


def _identity(submission: Submission) -> tuple[str, str]:
    """What a result depends on, of a submission."""
    return submission.sha256, submission.problem


def write(path: Path, text: str | bytes) -> None:
    """Write a file whole or not at all; one that holds the same already is left alone.

    Args:
        path: The file; folders on the way to it are made.
        text: Its content; text is written in UTF-8.

    Raises:
        OSError: The disk is full, for example; the file is as it was.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    with suppress(OSError):
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def saved_run(out: Path) -> Run | None:
    """The run in this folder.

    Args:
        out: The run's folder.

    Returns:
        The run, or None if the folder holds none yet.

    Raises:
        ValueError: `out` is no folder, or its run.json cannot be read; says what to do.
    """
    file = out / "run.json"
    require(not out.exists() or out.is_dir(), f"{out} is a file; --out names a folder, a new one or that of a run")
    if not file.exists():
        return None
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        key, seed, late = saved["assignment"], saved["seed"], saved.get("late", 0.0)
        term, each = saved.get("term", ""), saved.get("each", False)
        if (
            type(key) is not str
            or type(seed) is not int
            or type(late) not in (int, float)
            or (type(term), type(each)) != (str, bool)
        ):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{file} is damaged: restore it from a backup, or choose another --out, where all is graded again"
        ) from None
    return Run(out, questions.assignment(key), seed, late, term, each)


def open_run(out: Path, key: str, late: float | None = None, term: str = "", each: bool = False) -> Run:
    """The run in this folder, or a new one with a random seed.

    Args:
        out: The run's folder.
        key: The assignment, "a2".
        late: What a day of lateness costs from now on, in percent of the points; None leaves it as it is.
        term: The word that the constants follow from; "" takes that of the folder.
        each: Has each student of the roster a variant?

    Returns:
        The run.

    Raises:
        ValueError: The folder holds the grades of another assignment or of other variants, or no readable run, `late`
            is not from 0 to 100, or there is a term and nothing that varies.
    """
    require(late is None or 0 <= late <= 100, f"--late is a percentage from 0 to 100, got {late}")
    run = saved_run(out)
    new = run is None
    run = run or Run(out, questions.assignment(key), secrets.randbits(62), 0.0, term, each)
    require(
        run.assignment.key == key, f"{out} holds the grades of {run.assignment.key}; choose another --out for {key}"
    )
    asked, has = (term, each), (run.term, run.each)
    require(
        asked in (has, ("", False)),
        f"{out} holds the grades of the variants {run.term!r}; choose another --out for {term!r}",
    )
    require(not (each and not term), "--each goes with --seed WORD")
    require(
        not run.term or variants.varies(run.assignment), f"{run.assignment.name} has no constants: leave out --seed"
    )
    if new or (late is not None and late != run.late):
        run = replace(run, late=run.late if late is None else late)
        rule = {name: value for name in ("late", "term", "each") if (value := getattr(run, name))}
        write(out / "run.json", json.dumps({"assignment": key, "seed": run.seed, **rule}))
    return run
