"""One submission: its questions are answered in a sandbox, and the answers compared outside of it."""

import hashlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch

from course_lib.grading import compare, diagnose, plain, sandbox, variants
from course_lib.grading import question as questions
from course_lib.grading.frames import unpack, why_ended
from course_lib.grading.question import Question
from course_lib.grading.results import PENDING, UNJUDGED, PartResult, Result, lost, shorten


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
        rows = [(*call, frame) for call, frame in zip(planned, frames, strict=False)]
        said_by_part = diagnose.wrong_parts(asked, rows)
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
    said = {name for frame in frames for name in frame.get("changed", ())}
    touched = [name for name in planned[0][1] if name in said]  # an argument's name, and nothing else that was sent
    return Result(asked.name, status, tuple(parts), diagnose.in_place(touched) if touched else "")


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
                "cells": [list(cell) for cell in (*texts, *asked.last)],
                "function": asked.function,
                "calls": [inputs for _, inputs, _ in calls(name, seed, variant)],
            }
            try:
                box = box or sandbox.Sandbox(assignment.modules, assignment.libraries)
                result = judge(asked, seed, box.answer(request, asked.seconds), variant)
            except Exception as error:
                result = _broken_off(asked, error)
                if box:
                    box.close()
                box = None  # the next question gets another one
            yield result
    finally:
        if box:
            box.close()


def _broken_off(asked: Question, error: Exception) -> Result:
    """What a question gets whose sandbox did not live to answer it."""
    if isinstance(error, sandbox.NoSandbox):
        return lost(asked, PENDING, f"{error}")
    if isinstance(error, sandbox.Ended):
        return lost(asked, "crashed", f"the sandbox was broken off: {error}")
    return lost(asked, UNJUDGED, f"the sandbox was broken off: {type(error).__name__}. Somebody must look")


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
