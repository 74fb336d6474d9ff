"""A student's code, with the lines marked that cost points."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from course_lib.grading import define
from course_lib.grading.notebook import Notebook
from course_lib.grading.question import Assignment
from course_lib.grading.results import Result

RAISED = re.compile(r"line (\d+) of the answer's cell(?: (\d+))?")  # as `define.said` writes it
SYNTAX = re.compile(r"\(answer(?: (\d+))?, line (\d+)\)")  # as Python writes it

LINES = 2000  # of a cell that are shown


@dataclass(frozen=True)
class Line:
    """A line of code.

    Attributes:
        number: In its cell, from 1.
        text: What stands there.
        lost: "here" where an error was raised, "function" where the function stands that lost points, else "".
    """

    number: int
    text: str
    lost: str = ""


def excerpts(book: Notebook, assignment: Assignment, result: Result) -> list[list[Line]]:
    """The cells of an answer, line by line.

    Args:
        book: What was handed in.
        assignment: What was asked.
        result: What came of one of its questions.

    Returns:
        A list of lines for each cell that is marked as this answer's.
    """
    asked = assignment.question(result.question)
    before = assignment.before(asked)
    raised = {place for part in result.parts for place in _places(part.said)}
    lost = any(part.points < part.of for part in result.parts)
    marked = [(text, mark) for text, mark in book.code if mark in before]
    made = []
    for cell, (text, mark) in enumerate(marked, start=1):
        if mark == result.question:
            here = {line for number, line in raised if number in (cell, 0)}
            made.append(_lines(text, here, _body(text, asked.function) if lost and not raised else range(0)))
    return made


def _places(said: str) -> list[tuple[int, int]]:
    """(cell, line) of what an error names; cell 0 where the answer has one cell only."""
    found = [(int(cell or 0), int(line)) for line, cell in RAISED.findall(said)]
    return found + [(int(cell or 0), int(line)) for cell, line in SYNTAX.findall(said)]


def _body(text: str, function: str) -> range:
    """The lines of a function in a cell; none where the cell is no Python, or does not define it."""
    try:
        body = define.parsed(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return range(0)
    for one in reversed(body):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == function:
            return range(one.lineno, (one.end_lineno or one.lineno) + 1)
    return range(0)


def _lines(text: str, here: set[int], function: Sequence[int]) -> list[Line]:
    """A cell's lines with their marks."""
    marks = {**dict.fromkeys(function, "function"), **dict.fromkeys(here, "here")}
    lines = re.split(r"\r\n|\r|\n", text)  # as Python counts them
    made = [Line(i, line, marks.get(i, "")) for i, line in enumerate(lines[:LINES], start=1)]
    return made if len(lines) <= LINES else [*made, Line(LINES + 1, f"... [{len(lines) - LINES} more lines]")]
