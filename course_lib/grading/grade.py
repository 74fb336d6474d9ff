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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import torch
from tqdm.auto import tqdm

from course_lib.errors import require
from course_lib.grading import child, compare, plain, sandbox
from course_lib.grading import question as questions
from course_lib.grading.collect import Submission, collect
from course_lib.grading.question import Assignment, Question


@dataclass(frozen=True)
class PartResult:
    """A part's points. said: why they were lost, or ""."""

    name: str
    points: float
    of: float
    said: str = ""


@dataclass(frozen=True)
class Result:
    """What came of one question.

    status: "graded", or what else it was: "unanswered", "malformed", "time", "size", "crashed", "tampered".
    """

    question: str
    status: str
    parts: tuple[PartResult, ...] = field(default_factory=tuple)

    @property
    def points(self) -> float:
        return sum(part.points for part in self.parts)

    @staticmethod
    def of(saved: dict[str, Any]) -> "Result":
        return Result(saved["question"], saved["status"], tuple(PartResult(**part) for part in saved["parts"]))


# ---------------------------------------------------------------- one question


@cache
def calls(name: str, seed: int) -> tuple[tuple[int, dict[str, Any], Any], ...]:
    """(part, inputs, expected) of every call, part after part and then again, so that no part is done in one go."""
    asked = questions.question(name)
    # the name is in the seed, so that a question's inputs do not depend on which questions come before it
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
    """The result of what a sandbox sent back to a question: untrusted bytes, read strictly."""
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
    """How the answer's process ended, and its frames. Raises ValueError for what has another form."""
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
    """(status, words) for a process that ended before it had answered everything."""
    if ended in ("time", "signal 24"):  # SIGXCPU
        return "time", f"stopped after {asked.seconds:g} seconds of computing: an endless loop, or far too slow"
    if ended == "size":
        return "size", f"stopped: it sent more than {child.ANSWER / 1e6:g} MB"
    if ended == "signal 9":
        return "crashed", "the process was killed, or went on after its answers were closed"
    ended = "exit 0" if ended == "well" else ended
    return "crashed", f"the process ended before it had answered ({ended}): exit() or a crash"


def lost(asked: Question, status: str, said: str) -> Result:
    return Result(
        asked.name, status, tuple(PartResult(p.name, 0.0, float(p.points), shorten(said)) for p in asked.parts)
    )


def shorten(text: str) -> str:
    """One readable line: an error message is the student's, and may hold anything."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= child.TEXT else line[: child.TEXT] + " ..."


# ---------------------------------------------------------------- one submission


def answer(key: str, cells: dict[str, list[tuple[str, bool]]], seed: int) -> Iterator[Result]:
    """The results of one submission's questions, {name: code cells and whether they are its answer's}."""
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
                yield judge(asked, seed, box.ask(request, asked.seconds))
            except sandbox.Ended as error:
                box.close()
                box = None  # the next question gets another one
                yield lost(asked, "crashed", f"the sandbox was broken off: {error}")
    finally:
        if box:
            box.close()


def work(slug: str, key: str, cells: dict[str, list[tuple[str, bool]]], seed: int) -> tuple[str, list[Result]]:
    """One task of the run, here or on another machine."""
    sandbox.probe()
    torch.set_num_threads(1)
    return slug, list(answer(key, cells, seed))


# ---------------------------------------------------------------- the run


@dataclass(frozen=True)
class Run:
    """A run's folder, its assignment and its seed."""

    out: Path
    assignment: Assignment
    seed: int

    @property
    def stamp(self) -> str:
        """Changes with the seed and with the text of the questions, so that old results are not taken for new ones."""
        text = Path(questions.__file__).parent.joinpath("questions", f"{self.assignment.key}.py").read_bytes()
        return hashlib.sha256(text + str(self.seed).encode()).hexdigest()[:16]

    def path(self, submission: Submission, name: str) -> Path:
        return self.out / "results" / submission.slug / f"{name}.json"

    def stored(self, submission: Submission, name: str) -> Result | None:
        """The question's result, if it is that of this submission."""
        try:
            saved = json.loads(self.path(submission, name).read_text())
            if (saved["sha256"], saved["stamp"]) == (submission.sha256, self.stamp):
                return Result.of(saved["result"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or not ours
        return None

    def store(self, submission: Submission, result: Result) -> None:
        saved = {"student": submission.student, "sha256": submission.sha256, "stamp": self.stamp}
        write(self.path(submission, result.question), json.dumps({**saved, "result": asdict(result)}, indent=1))


def write(path: Path, text: str | bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(text.encode("utf-8", "replace") if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def open_run(out: Path, key: str) -> Run:
    """The run in this folder, or a new one with a fresh seed. Raises ValueError if it is another assignment's."""
    file = out / "run.json"
    if not file.exists():
        write(file, json.dumps({"assignment": key, "seed": secrets.randbits(62)}))
    saved = json.loads(file.read_text())
    require(saved["assignment"] == key, f"{out} holds the grades of {saved['assignment']}; choose another --out")
    return Run(out, questions.assignment(key), int(saved["seed"]))


def which(submissions: Iterable[Submission]) -> str:
    """The assignment that most of the submissions are for. Raises ValueError where none has an answer cell."""
    found = Counter(_key(submission) for submission in submissions)
    del found[""]
    require(bool(found), "no submission holds an answer to a known assignment; name it with --assignment")
    return found.most_common(1)[0][0]


def _key(submission: Submission) -> str:
    """The assignment that a notebook's marks are of, "" for none."""
    known = questions.keys()
    found = Counter(key for mark in submission.notebook.marks if (key := mark.split(".")[0]) in known)
    return found.most_common(1)[0][0] if found else ""


def problem(submission: Submission, key: str) -> str:
    """Why a submission cannot be graded as this assignment, or ""."""
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
    """Grade what is not graded yet; the run, its submissions and all results, both by slug.

    scheduler: the address of a Dask cluster whose workers have this package and a sandbox.
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
    with _cluster(scheduler, jobs) as parallel, tqdm(total=len(submissions), unit="submission") as bar:
        bar.update(len(submissions) - len(todo))
        tasks = (joblib.delayed(work)(slug, run.assignment.key, cells, run.seed) for slug, cells in todo.items())
        for slug, found in parallel(tasks) if todo else ():
            for result in found:
                run.store(submissions[slug], result)
                results[slug][result.question] = result
            bar.update()
    order = [asked.name for asked in run.assignment.questions]
    return run, submissions, {slug: [results[slug][name] for name in order] for slug in sorted(results)}


class _cluster(AbstractContextManager["joblib.Parallel"]):
    """joblib on this machine's cores, or on a Dask cluster. Threads are enough here: the work is in the sandboxes."""

    def __init__(self, scheduler: str | None, jobs: int | None):
        self.client: AbstractContextManager[Any] = nullcontext()
        if scheduler:
            from distributed import Client

            self.client = Client(scheduler)
        self.backend = "dask" if scheduler else "threading"
        self.jobs = -1 if scheduler or jobs is None else jobs

    def __enter__(self) -> "joblib.Parallel":
        self.client.__enter__()
        self.config = joblib.parallel_config(backend=self.backend, n_jobs=self.jobs)
        self.config.__enter__()
        return joblib.Parallel(return_as="generator_unordered", batch_size=1)

    def __exit__(self, *error: Any) -> None:
        self.config.__exit__(*error)
        self.client.__exit__(*error)
