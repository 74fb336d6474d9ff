"""The run: every question of every submission once, on all cores, resumable.

A question that is done leaves a small file, written whole or not at all; the gradebook is made of these files. So
`kill -9` at any moment costs only what was being answered, and the same command goes on. A file counts as long as the
submission, the questions and the run's seed are the same; a student who hands in again is graded again.
"""

import ast
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from course_lib import scale
from course_lib.errors import require, unknown
from course_lib.grading import child, compare, plain, sandbox, variants
from course_lib.grading import question as questions
from course_lib.grading.collect import Found, Submission, collect, summary
from course_lib.grading.question import Assignment, Question
from course_lib.grading.roster import Person

RULES = (
    "child",
    "compare",
    "define",
    "grade",
    "notebook",
    "plain",
    "question",
    "sandbox",
    "variants",
)  # what can change a point
UNJUDGED, PENDING = "unjudged", "pending"


@dataclass(frozen=True)
class PartResult:
    """A part's points.

    Attributes:
        name: The part's name.
        points: What the answer got.
        of: What the part is worth.
        said: Why points were lost; "" where none were.
    """

    name: str
    points: float
    of: float
    said: str = ""


@dataclass(frozen=True)
class Result:
    """The outcome of one question.

    Attributes:
        question: The question's name.
        status: "graded", or what else happened: "unanswered", "malformed", "time", "size", "crashed", "tampered",
            "unjudged" (the grader itself failed on it), "pending" (the machine failed; the next run tries again).
        parts: The outcome of each part.
    """

    question: str
    status: str
    parts: tuple[PartResult, ...] = field(default_factory=tuple)

    @property
    def points(self) -> float:
        """The points of all parts together."""
        return sum(part.points for part in self.parts)

    @staticmethod
    def of(saved: dict[str, Any]) -> "Result":
        """The result in a file of a run.

        Args:
            saved: What `dataclasses.asdict` made of a result, read back from JSON.

        Returns:
            The result.

        Raises:
            KeyError: An entry is missing.
            TypeError: A part has an entry too many, or too few.
        """
        return Result(saved["question"], saved["status"], tuple(PartResult(**part) for part in saved["parts"]))


# ---------------------------------------------------------------- one question


@cache
def calls(name: str, seed: int, variant: str = "") -> tuple[tuple[int, dict[str, Any], Any], ...]:
    """All calls of a question's answer, part after part and then again, so that no part is done in one go.

    Args:
        name: The question.
        seed: The run's seed; inputs depend on it and on the question's name, not on the other questions.
        variant: What `variants.word` gives; inputs do not depend on it.

    Returns:
        (index of the part, inputs, what the reference returned for them) of each call, all as plain data.

    Raises:
        RuntimeError: The reference fails on its own inputs, which is no student's fault.
    """
    asked = questions.question(name)
    asked = variants.bound(asked, variants.constants(asked, variant))
    mixed = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(mixed)
    made = []
    for number in range(max(part.calls for part in asked.parts)):
        for i, part in enumerate(asked.parts):
            if number < part.calls:
                inputs = dict(part.inputs(generator))
                arguments = {key: plain.build(value) for key, value in inputs.items()}
                try:
                    expected = compare.settle(asked.reference(**arguments))
                except Exception as error:
                    said = f"{type(error).__name__}: {error}"
                    raise RuntimeError(f"the reference of {name} fails on {part.name!r}, so mend it: {said}") from error
                made.append((i, inputs, expected))
    return tuple(made)


def judge(asked: Question, seed: int, answer: bytes, variant: str = "") -> Result:
    """Grade what a sandbox sent back: untrusted bytes, read strictly.

    Whatever happens here is this answer's remark: no bytes make it raise.

    Args:
        asked: The question.
        seed: The run's seed.
        answer: What `Sandbox.answer` returned.
        variant: Whose constants it has; see `variants.word`.

    Returns:
        The result.
    """
    planned = calls(asked.name, seed, variant)
    asked = variants.bound(asked, variants.constants(asked, variant))
    try:
        header, frames = unpack(answer, len(planned))
    except ValueError as error:
        return lost(asked, "tampered", f"the results were tampered with: {error}")
    if len(frames) == 1 and "call" not in frames[0]:
        said = frames[0]["error"]
        return lost(asked, "unanswered" if said == "not answered yet" else "graded", said)
    try:
        said_by_part = _wrong(asked, planned, frames)
    except Exception as error:
        return lost(asked, UNJUDGED, f"the answer could not be compared: {type(error).__name__}. Somebody must look")
    status = "graded"
    if len(frames) < len(planned):
        status, why = why_ended(header, asked)
        for i, _, _ in planned[len(frames) :]:
            said_by_part.setdefault(i, why)
    elif said_by_part and set(said_by_part.values()) == {"not answered yet"}:
        status = "unanswered"
    parts = [
        PartResult(part.name, 0.0 if i in said_by_part else float(part.points), float(part.points),
                   shorten(said_by_part.get(i, "")))
        for i, part in enumerate(asked.parts)
    ]  # fmt: skip
    return Result(asked.name, status, tuple(parts))


def _wrong(
    asked: Question, planned: Sequence[tuple[int, dict[str, Any], Any]], frames: Sequence[dict[str, Any]]
) -> dict[int, str]:
    """What is wrong with each part, as far as there are answers; right parts are left out."""
    said: dict[int, str] = {}
    for (part, inputs, expected), frame in zip(planned, frames, strict=False):
        if part not in said:
            wrong = frame["error"] if "error" in frame else compare.verdict(asked, frame["answer"], inputs, expected)
            if wrong:
                said[part] = wrong
    return said


@dataclass(frozen=True)
class Ending:
    """How the process of an answer ended, as the sandbox says.

    Attributes:
        how: "well", "time", "size", "signal 9", "exit 1".
        computed: Seconds of computing.
    """

    how: str
    computed: float


def unpack(answer: bytes, calls: int) -> tuple[Ending, list[dict[str, Any]]]:
    """Read what a sandbox sent back: every type exact, every size bounded.

    Args:
        answer: What `Sandbox.answer` returned.
        calls: How many calls the answer was asked for.

    Returns:
        How the answer's process ended, and its frames: either one ``{"error": text}``, or
        ``{"call": 0, "answer": plain data}`` and ``{"call": 1, "error": text}``, in order, at most so many as calls.

    Raises:
        ValueError: The bytes have another form; says which.
    """
    if len(answer) > child.room(calls) + plain.HEADER:
        raise ValueError("they are too long")
    line, _, raw = answer.partition(b"\n")
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("they have no header") from None
    forms = {"ended": str, "computed": float}
    if type(tree) is not dict or {key: type(value) for key, value in tree.items()} != forms:
        raise ValueError("they have no header")
    frames: list[dict[str, Any]] = []
    at = 0
    while at < len(raw):
        end = at + 8 + int.from_bytes(raw[at : at + 8], "big")
        if end > len(raw):
            if tree["ended"] == "well":
                raise ValueError("an answer is cut short")
            break  # killed while it wrote
        if len(frames) == calls:
            raise ValueError("there are more answers than calls")
        frames.append(_frame(raw[at + 8 : end], len(frames)))
        at = end
    if len(frames) > 1 and "call" not in frames[0]:
        raise ValueError("answers come after an error that ends them")
    return Ending(tree["ended"], tree["computed"]), frames


def _frame(message: bytes, number: int) -> dict[str, Any]:
    """One frame; raises ValueError unless it has exactly the form of the call of that number."""
    try:
        frame = plain.decode(message, answer=True)
    except ValueError:
        raise ValueError("they are not what the grader's own code sends") from None
    if type(frame) is not dict:
        raise ValueError("they are not what the grader's own code sends")
    said = type(frame.get("error")) is str
    if set(frame) == {"error"} and said and number == 0:
        return frame
    if type(frame.get("call")) is not int or frame["call"] != number:
        raise ValueError("answers came twice, early or out of order")
    if not (set(frame) == {"call", "answer"} or (set(frame) == {"call", "error"} and said)):
        raise ValueError("they are not what the grader's own code sends")
    return frame


def why_ended(ending: Ending, asked: Question) -> tuple[str, str]:
    """What a process that ended too early means.

    Args:
        ending: How it ended.
        asked: The question that it was to answer.

    Returns:
        The result's status, and words for the student.
    """
    if ending.how == "signal 24" or (ending.how in ("time", "signal 9") and ending.computed >= 0.9 * asked.seconds):
        return "time", f"stopped after {asked.seconds:g} seconds of computing: an endless loop, or far too slow"
    if ending.how == "time":
        return "time", (
            f"stopped after {child.PATIENCE * asked.seconds:g} seconds, of which it computed for "
            f"{ending.computed:.1f}: it waits for something, as sleep() or input() do"
        )
    if ending.how == "size":
        return "size", f"stopped: it sent more than its answers may have, {plain.ANSWER // 1000} kB each"
    if ending.how == "signal 9":
        return "crashed", "the process was killed, or went on after its answers were closed"
    how = "exit 0" if ending.how == "well" else ending.how
    return "crashed", f"the process ended before it had answered ({how}): exit() or a crash"


def lost(asked: Question, status: str, said: str) -> Result:
    """A result without points.

    Args:
        asked: The question.
        status: The result's status.
        said: Why all points were lost, the same for every part.

    Returns:
        The result.
    """
    return Result(
        asked.name, status, tuple(PartResult(p.name, 0.0, float(p.points), shorten(said)) for p in asked.parts)
    )


def shorten(text: str) -> str:
    """One readable line: an error message is the student's, and may hold anything.

    Args:
        text: Any text.

    Returns:
        At most 600 printable characters, and " ..." where some were cut off.

    Example:
        >>> shorten("line 1\\n\\tline\\x00 2")
        'line 1 line 2'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 10 * child.TEXT]).split())
    return line if len(line) <= child.TEXT else line[: child.TEXT] + " ..."


# ---------------------------------------------------------------- one submission


def answer(key: str, cells: dict[str, list[tuple[str, bool]]], seed: int, variant: str = "") -> Iterator[Result]:
    """Have a submission's questions answered in a sandbox, and grade them.

    Whatever goes wrong with one question is that question's result, and the others go on.

    Args:
        key: The assignment, "a2".
        cells: For each question, what `Notebook.cells` gives: (text, whether it is the answer's).
        seed: The run's seed.
        variant: Whose constants the questions have; see `variants.word`.

    Yields:
        One result for each question, in order; "pending" where this machine has no sandbox to offer.

    Raises:
        RuntimeError: A reference fails on its own inputs.
    """
    assignment = questions.assignment(key)
    box: sandbox.Sandbox | None = None
    try:
        for name, texts in cells.items():
            asked = assignment.question(name)
            if not any(mine for _, mine in texts):
                yield lost(asked, "unanswered", f"no cell begins with the line `# answer: {name}`")
                continue
            request = {
                "cells": [list(cell) for cell in texts],
                "function": asked.function,
                "calls": [inputs for _, inputs, _ in calls(name, seed, variant)],
            }
            try:
                box = box or sandbox.Sandbox(assignment.modules, assignment.libraries)
                result = judge(asked, seed, box.answer(request, asked.seconds), variant)
            except sandbox.NoSandbox as error:
                result = lost(asked, PENDING, f"{error}")
            except Exception as error:
                how = str(error) if isinstance(error, sandbox.Ended) else f"{type(error).__name__}. Somebody must look"
                status = "crashed" if isinstance(error, sandbox.Ended) else UNJUDGED
                result = lost(asked, status, f"the sandbox was broken off: {how}")
                if box:
                    box.close()
                box = None  # the next question gets another one
            yield result
    finally:
        if box:
            box.close()


def work(
    slug: str, key: str, cells: dict[str, list[tuple[str, bool]]], seed: int, variant: str = ""
) -> tuple[str, list[Result]]:
    """Grade one submission, here or on another machine.

    Args:
        slug: The submission's slug.
        key: The assignment, "a2".
        cells: As for `answer`.
        seed: The run's seed.
        variant: As for `answer`.

    Returns:
        The slug, and the results; "pending" where there is no working sandbox on this machine.

    Raises:
        RuntimeError: A reference fails on its own inputs.
    """
    try:
        sandbox.probe()
    except sandbox.NoSandbox as error:
        return slug, [lost(questions.question(name), PENDING, str(error)) for name in cells]
    torch.set_num_threads(1)
    return slug, list(answer(key, cells, seed, variant))


# ---------------------------------------------------------------- the run


@cache
def stamp(key: str, seed: int) -> str:
    """Changes with all that can change a point, so that old results are not taken for new ones.

    Args:
        key: The assignment, "a2".
        seed: The run's seed.

    Returns:
        A digest of the seed, the questions, the grader's rules, the modules of the package that any of them imports,
        and the versions of torch and numpy.
    """
    grading = Path(__file__).parent
    digest = hashlib.sha256(f"{seed} {torch.__version__} {np.__version__}".encode())
    for path in sources([grading / f"{name}.py" for name in RULES] + [questions.source(key)]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def sources(paths: Sequence[Path]) -> list[Path]:
    """Some files of the package, and the files of all of its modules that they import, directly or not.

    Args:
        paths: Files of Python text.

    Returns:
        Their paths, sorted; pages and tables of the grader, which give no points, are left out.
    """
    found: set[Path] = set()
    todo = list(paths)
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        names = set()
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        for name in names:
            base = sandbox.PACKAGE.joinpath(*name.split(".")[1:])
            if name.startswith("course_lib.") and "grading" not in name:
                todo += [one for one in (base.with_suffix(".py"), base / "__init__.py") if one.exists()]
    return sorted(found)


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
        jobs: Submissions at a time; None takes as many as there are cores.
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
        for slug, made in _work_all(run, todo, variant, len(submissions), jobs, scheduler):
            for result in made:
                if result.status != PENDING:
                    run.store(submissions[slug], result)
                results[slug][result.question] = result
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
        scale.parallel(scheduler, jobs=jobs, ordered=False) as parallel,
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
