"""What is wrong with an answer as a whole: a known mistake is named where it explains every call, and only there."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from course_lib.grading import compare, plain
from course_lib.grading.question import Mistake, Question

Row = tuple[int, Mapping[str, Any], Any, Mapping[str, Any]]  # part, inputs, expected, {"answer": ...} or {"error": ...}
RAISED = (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError)  # a mistake may well fail on some input


def wrong_parts(question: Question, rows: Iterable[Row]) -> dict[int, str]:
    """What is wrong with each part of an answer.

    Two mistakes in one answer are neither of them: a mistake's words stand there only if its function would have
    given every wrong value, and would have been right wherever the answer is.

    Args:
        question: The question that was answered.
        rows: Of each call its part, its inputs and the expected answer, as plain data, and what came back.

    Returns:
        {part: the first thing that is wrong}, without the parts that are right.
    """
    rows = list(rows)
    unnamed = replace(question, mistakes=())
    found = [
        frame["error"] if "error" in frame else compare.verdict(unnamed, frame["answer"], inputs, expected)
        for _, inputs, expected, frame in rows
    ]
    said: dict[int, str] = {}
    for (part, *_), wrong in zip(rows, found, strict=True):
        if wrong:
            said.setdefault(part, wrong)
    errors = {part for (part, _, _, frame), wrong in zip(rows, found, strict=True) if wrong and "error" in frame}
    if question.judge is None and set(said) - errors:
        for mistake in question.mistakes:
            if all(_explains(mistake, unnamed, row, wrong) for row, wrong in zip(rows, found, strict=True)):
                return {part: wrong if part in errors else named(mistake) for part, wrong in said.items()}
    return said


def named(mistake: Mistake) -> str:
    """The words of a mistake.

    Args:
        mistake: A known mistake.

    Returns:
        A sentence.
    """
    return f"It looks as if {mistake.says}."


def in_place(names: Iterable[str]) -> str:
    """What is said of arguments that a function has changed.

    Args:
        names: Their names.

    Returns:
        A sentence.

    Example:
        >>> in_place(["x"])
        'the function changes what it is given, in place: x. Work on a copy'
    """
    return f"the function changes what it is given, in place: {', '.join(names)}. Work on a copy"


def _explains(mistake: Mistake, unnamed: Question, row: Row, wrong: str | None) -> bool:
    """Whether a mistake does in one call what the answer did: the same wrong value, an error, or what is right."""
    _, inputs, expected, frame = row
    try:
        made = compare.settle(mistake.function(**{name: plain.build(value) for name, value in inputs.items()}))
    except RAISED:
        return "error" in frame
    if "error" in frame:
        return False
    if wrong:
        return compare.difference(frame["answer"], made, unnamed.tolerance) is None
    return compare.verdict(unnamed, made, inputs, expected) is None
