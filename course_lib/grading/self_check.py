"""The student's check: instant, fresh random input each time, a message that teaches, never the right answer.

It runs in the student's own process, so it gives no points; `grade` does that, out of the student's reach.
"""

import ast
import inspect
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch

from course_lib.grading import compare, plain
from course_lib.grading.notebook import MARKS
from course_lib.grading.plain import Plain
from course_lib.grading.question import Part, Question, question


def check(name: str, function: Callable[..., Any]) -> None:
    """Try an answer on fresh random input, and print what differs from the reference.

    One line for each part: its shape, sign, scale, the first index that differs, or the mistake that it looks like. An
    error of the function is shown with the line of the function that raised it. Nothing is graded here.

    Args:
        name: The question, "a2.saliency".
        function: The answer, with the parameters that the question names.

    Raises:
        ValueError: There is no such question; the nearest names are listed.
        TypeError: `function` is not callable.

    Example:
        >>> check("a1.precision", lambda indices, labels: (labels[indices] == labels[:, None]).double())
        not yet  five neighbours: the shape is (40, 5); (40,) is asked for
        not yet  one neighbour: the shape is (30, 1); (30,) is asked for
    """
    asked = question(name)
    if not callable(function):
        raise TypeError(f"check wants the function itself, as in check({name!r}, {asked.function}), got {function!r}")
    generator = torch.Generator()
    generator.seed()
    wrong = 0
    for part in asked.parts:
        said = _try(asked, part, function, generator)
        wrong += said is not None
        print(f"{'not yet' if said else 'right  '}  {part.name}" + (f": {said}" if said else ""))
    if foreign := sorted(_foreign(asked, function)):
        print(f"but     {', '.join(foreign)}: from a cell that is not handed in; hand it over as an argument")
    elif not wrong:
        print(f"{name}: all right here. It is graded later, on other inputs.")


def _try(asked: Question, part: Part, function: Callable[..., Any], generator: torch.Generator) -> str | None:
    """What is wrong with an answer to one part, or None."""
    inputs = part.inputs(generator)
    with torch.enable_grad():
        expected = compare.settle(asked.reference(**_built(inputs)))
    try:
        answer = function(**_built(inputs))
    except NotImplementedError:
        return "not answered yet"
    except Exception as error:
        return _said(error, function)
    try:
        plainly = compare.settle(answer)
    except TypeError as error:
        return f"the answer cannot be read: {error}"
    return compare.verdict(asked, plainly, inputs, expected)


def _foreign(asked: Question, function: Callable[..., Any]) -> set[str]:
    """The notebook's variables that an answer uses although no marked cell and no import makes them.

    IPython keeps the text of the cells in a list named In; where there is none, nothing is known.
    """
    space = getattr(function, "__globals__", {})
    mine: list[ast.Module] = []
    others: list[ast.Module] = []
    for text in space.get("In", ()):
        mark = MARKS["code"].match(text)
        try:
            (mine if mark and mark.group(1) in (asked.name, *asked.needs) else others).append(ast.parse(text))
        except SyntaxError:
            continue  # a cell with a magic, or one that failed
    nodes = [node for tree in mine for node in ast.walk(tree)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in [*nodes, *(statement for tree in others for statement in tree.body)]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return {name for name in used - made if name in space}


def _built(inputs: Mapping[str, Plain]) -> dict[str, Any]:
    """The arguments of one call, made of plain data."""
    return {key: plain.build(value) for key, value in inputs.items()}


def _said(error: Exception, function: Callable[..., Any]) -> str:
    """The error, and the last line of the student's own that led to it."""
    try:
        own = inspect.getsourcefile(function)
    except TypeError:
        own = None
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    where = f", in the line `{lines[-1].line}`" if lines and lines[-1].line else ""
    return f"{type(error).__name__}: {error}{where}"
