"""The run: every question of every submission once, on all cores, resumable.

A question that is done leaves a small file, written whole or not at all; the gradebook is made of these files. So
`kill -9` at any moment costs only what was being answered, and the same command goes on. A file counts as long as the
submission, the questions and the run's seed are the same; a student who hands in again is graded again.
"""

import hashlib
import json
import os
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import torch
from tqdm.auto import tqdm

from course_lib import scale
from course_lib.errors import require
from course_lib.grading import child, compare, plain, sandbox
from course_lib.grading import question as questions
from course_lib.grading.collect import Submission, collect
from course_lib.grading.question import Assignment, Question


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
        status: "graded", or what else happened: "unanswered", "malformed", "time", "size", "crashed", "tampered".
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
def calls(name: str, seed: int) -> tuple[tuple[int, dict[str, Any], Any], ...]:
    """All calls of a question's answer, part after part and then again, so that no part is done in one go.

    Args:
        name: The question.
        seed: The run's seed; inputs depend on it and on the question's name, not on the other questions.

    Returns:
        (index of the part, inputs, what the reference returned for them) of each call, all as plain data.
    """
    asked = questions.question(name)
    mixed = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(mixed)
    made = []
    for number in range(max(part.calls for part in asked.parts)):
        for i, part in enumerate(asked.parts):
            if number < part.calls:
                inputs = dict(part.inputs(generator))
                arguments = {key: plain.build(value) for key, value in inputs.items()}
                made.append((i, inputs, compare.settle(asked.reference(**arguments))))
    return tuple(made)


def judge(asked: Question, seed: int, answer: bytes) -> Result:
    """Grade what a sandbox sent back: untrusted bytes, read strictly.

    Args:
        asked: The question.
        seed: The run's seed.
        answer: What `Sandbox.answer` returned.

    Returns:
        The result.
    """
    planned = calls(asked.name, seed)
    try:
        ended, frames = unpack(answer)
    except ValueError:
        return lost(asked, "tampered", "the results were tampered with: they are not what the grader's own code sends")
    if frames and set(frames[0]) == {"error"} and len(frames) == 1:
        said = str(frames[0]["error"])
        return lost(asked, "unanswered" if said == "not answered yet" else "graded", said)
    said_by_part: dict[int, str] = {}
    answered: Counter[int] = Counter()
    for number, frame in enumerate(frames):
        if (
            number >= len(planned)
            or frame.get("call") != number
            or set(frame) - {"call"} not in ({"answer"}, {"error"})
        ):
            return lost(asked, "tampered", "the results were tampered with: answers came twice, early or out of order")
        part, inputs, expected = planned[number]
        answered[part] += 1
        if "error" in frame:
            wrong: str | None = str(frame["error"])
        else:
            wrong = compare.verdict(asked, frame["answer"], inputs, expected)
        if wrong:
            said_by_part.setdefault(part, wrong)
    status = "graded"
    if len(frames) < len(planned):
        status, why = why_ended(ended, asked)
        for i, part_asked in enumerate(asked.parts):
            if answered[i] < part_asked.calls:
                said_by_part.setdefault(i, why)
    elif said_by_part and set(said_by_part.values()) == {"not answered yet"}:
        status = "unanswered"
    return Result(
        asked.name,
        status,
        tuple(
            PartResult(
                part.name,
                0.0 if i in said_by_part else float(part.points),
                float(part.points),
                shorten(said_by_part.get(i, "")),
            )
            for i, part in enumerate(asked.parts)
        ),
    )


def unpack(answer: bytes) -> tuple[str, list[dict[str, Any]]]:
    """Read what a sandbox sent back.

    Args:
        answer: What `Sandbox.answer` returned.

    Returns:
        How the answer's process ended ("well", "time", "size", "signal 9", "exit 1"), and its frames.

    Raises:
        ValueError: The bytes have another form.
    """
    line, _, raw = answer.partition(b"\n")
    tree = json.loads(line)
    if not isinstance(tree, dict) or set(tree) != {"ended"} or not isinstance(tree["ended"], str):
        raise ValueError("no header")
    frames, at = [], 0
    while at < len(raw):
        end = at + 8 + int.from_bytes(raw[at : at + 8], "big")
        if end > len(raw):
            if tree["ended"] == "well":
                raise ValueError("a frame is cut short")
            break  # killed while it wrote
        frame = plain.decode(raw[at + 8 : end])
        if not isinstance(frame, dict):
            raise ValueError("a frame is a dictionary")
        frames.append(frame)
        at = end
    return tree["ended"], frames


def why_ended(ended: str, asked: Question) -> tuple[str, str]:
    """What a process that ended too early means.

    Args:
        ended: How it ended, as `unpack` says.
        asked: The question that it was to answer.

    Returns:
        The result's status, and words for the student.
    """
    if ended in ("time", "signal 24"):  # SIGXCPU
        return "time", f"stopped after {asked.seconds:g} seconds of computing: an endless loop, or far too slow"
    if ended == "size":
        return "size", f"stopped: it sent more than {child.ANSWER / 1e6:g} MB"
    if ended == "signal 9":
        return "crashed", "the process was killed, or went on after its answers were closed"
    ended = "exit 0" if ended == "well" else ended
    return "crashed", f"the process ended before it had answered ({ended}): exit() or a crash"


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
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= child.TEXT else line[: child.TEXT] + " ..."


# ---------------------------------------------------------------- one submission


def answer(key: str, cells: dict[str, list[tuple[str, bool]]], seed: int) -> Iterator[Result]:
    """Have a submission's questions answered in a sandbox, and grade them.

    Args:
        key: The assignment, "a2".
        cells: For each question, what `Notebook.cells` gives: (text, whether it is the answer's).
        seed: The run's seed.

    Yields:
        One result for each question, in order.

    Raises:
        NoSandbox: The sandbox does not start.
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
                "calls": [inputs for _, inputs, _ in calls(name, seed)],
            }
            box = box or sandbox.Sandbox(assignment.modules, assignment.libraries)
            try:
                yield judge(asked, seed, box.answer(request, asked.seconds))
            except sandbox.Ended as error:
                box.close()
                box = None  # the next question gets another one
                yield lost(asked, "crashed", f"the sandbox was broken off: {error}")
    finally:
        if box:
            box.close()


def work(slug: str, key: str, cells: dict[str, list[tuple[str, bool]]], seed: int) -> tuple[str, list[Result]]:
    """Grade one submission, here or on another machine.

    Args:
        slug: The submission's slug.
        key: The assignment, "a2".
        cells: As for `answer`.
        seed: The run's seed.

    Returns:
        The slug, and the results.

    Raises:
        NoSandbox: There is no working sandbox on this machine.
    """
    sandbox.probe()
    torch.set_num_threads(1)
    return slug, list(answer(key, cells, seed))


# ---------------------------------------------------------------- the run


@dataclass(frozen=True)
class Run:
    """A run of the grader.

    Attributes:
        out: Its folder.
        assignment: What is graded.
        seed: Seed of all inputs, kept in the folder.
    """

    out: Path
    assignment: Assignment
    seed: int

    @property
    def stamp(self) -> str:
        """Changes with the seed and with the text of the questions, so that old results are not taken for new ones."""
        text = Path(questions.__file__).parent.joinpath("questions", f"{self.assignment.key}.py").read_bytes()
        return hashlib.sha256(text + str(self.seed).encode()).hexdigest()[:16]

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
            None where there is none, or where the submission, the questions or the seed were others.
        """
        try:
            saved = json.loads(self.path(submission, name).read_text())
            if (saved["sha256"], saved["stamp"]) == (submission.sha256, self.stamp):
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
        saved = {"student": submission.student, "sha256": submission.sha256, "stamp": self.stamp}
        write(self.path(submission, result.question), json.dumps({**saved, "result": asdict(result)}, indent=1))


def write(path: Path, text: str | bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file; folders on the way to it are made.
        text: Its content; text is written in UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(text.encode("utf-8", "replace") if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def open_run(out: Path, key: str) -> Run:
    """The run in this folder, or a new one with a random seed.

    Args:
        out: The run's folder.
        key: The assignment, "a2".

    Returns:
        The run.

    Raises:
        ValueError: The folder holds the grades of another assignment.
    """
    file = out / "run.json"
    if not file.exists():
        write(file, json.dumps({"assignment": key, "seed": secrets.randbits(62)}))
    saved = json.loads(file.read_text())
    require(saved["assignment"] == key, f"{out} holds the grades of {saved['assignment']}; choose another --out")
    return Run(out, questions.assignment(key), int(saved["seed"]))


def which(submissions: Iterable[Submission]) -> str:
    """The assignment that most of the submissions answer.

    Args:
        submissions: At least one.

    Returns:
        Its key, "a2".

    Raises:
        ValueError: No submission has an answer cell of a known assignment.
    """
    found = Counter(_key(submission) for submission in submissions)
    del found[""]
    require(bool(found), "no submission holds an answer to a known assignment; name it with --assignment")
    return found.most_common(1)[0][0]


def _key(submission: Submission) -> str:
    """The assignment that most of a notebook's marks belong to, "" for none."""
    known = questions.keys()
    found = Counter(key for mark in submission.notebook.marks if (key := mark.split(".")[0]) in known)
    return found.most_common(1)[0][0] if found else ""


def problem(submission: Submission, key: str) -> str:
    """Why a submission cannot be graded as this assignment.

    Args:
        submission: What the student handed in.
        key: The assignment, "a2".

    Returns:
        Words for the student, or "" where it can be graded.
    """
    if submission.problem:
        return submission.problem
    found = _key(submission)
    if found != key:
        other = f"it answers assignment {found}" if found else "no cell begins with a line `# answer: ...`"
        return f"the notebook is not that of assignment {key}: {other}"
    return ""


def grade(
    path: Path, out: Path, key: str | None = None, jobs: int | None = None, scheduler: str | None = None
) -> tuple[Run, dict[str, Submission], dict[str, list[Result]]]:
    """Grade what is not graded yet.

    Args:
        path: The submissions: a folder or a .zip, as learning platforms pack them.
        out: Folder of the run; the same folder continues a run that was stopped.
        key: The assignment, "a2"; None takes the one that most of the submissions answer.
        jobs: Submissions at a time; None takes as many as there are cores.
        scheduler: Address of a Dask cluster whose workers have this package and a sandbox, "tcp://host:8786"; None
            works on this machine.

    Returns:
        The run, its submissions by slug, and all results by slug, in the order of the assignment's questions.

    Raises:
        NoSandbox: There is no working sandbox; says what to install or to change.
        ValueError: No submissions, no known assignment, a folder of another assignment's grades, or no cluster at
            that address.
    """
    sandbox.probe()
    submissions = {one.slug: one for one in tqdm(collect(path), desc="reading", unit="submission", leave=False)}
    run = open_run(out, key or which(submissions.values()))
    results: dict[str, dict[str, Result]] = {slug: {} for slug in submissions}
    todo: dict[str, dict[str, list[tuple[str, bool]]]] = {}
    for slug, submission in submissions.items():
        said = problem(submission, run.assignment.key)
        for asked in run.assignment.questions:
            stored = run.stored(submission, asked.name)
            if stored is None and said:
                stored = lost(asked, "malformed", said)
                run.store(submission, stored)
            if stored is None:
                cells = submission.notebook.cells(run.assignment.before(asked))
                todo.setdefault(slug, {})[asked.name] = cells
            else:
                results[slug][asked.name] = stored
    # Threads are enough here: the work is in the sandboxes.
    with (
        scale.parallel(scheduler, jobs=jobs, ordered=False) as parallel,
        tqdm(total=len(submissions), unit="submission") as bar,
    ):
        bar.update(len(submissions) - len(todo))
        tasks = (joblib.delayed(work)(slug, run.assignment.key, cells, run.seed) for slug, cells in todo.items())
        for slug, found in parallel(tasks) if todo else ():
            for result in found:
                run.store(submissions[slug], result)
                results[slug][result.question] = result
            bar.update()
    order = [asked.name for asked in run.assignment.questions]
    return run, submissions, {slug: [results[slug][name] for name in order] for slug in sorted(results)}
