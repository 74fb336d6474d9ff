"""The student's check: instant, fresh random input each time, a message that teaches, never the right answer.

It runs the marked cells as the grader will: alone, in a fresh namespace, with the same imports (see `define`). It runs
in the student's own process, so it gives no points; `grade` does that, out of the student's reach.
"""

import contextlib
import functools
import inspect
import io
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch

from course_lib.grading import compare, define, diagnose, notebook, plain
from course_lib.grading.notebook import MARKS
from course_lib.grading.plain import Plain
from course_lib.grading.question import Assignment, Question, assignment, question
from course_lib.grading.variants import bound, constants

Cells = list[tuple[str, bool]]


def check(name: str, function: Callable[..., Any]) -> None:
    """Try an answer on fresh random input, and print what the grader will find.

    In a notebook the cells that begin with the question's mark are run again, alone, and the function that they define
    is tried; elsewhere the function itself. One line for each part: its shape, sign, scale, the first index that
    differs, or the mistake that it looks like, if that explains all that is wrong. Arguments that the function has
    changed in place are named. A right answer is tried as the notebook will use it, too: in single precision, and where
    there is a GPU, on it. Nothing is graded here.

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
    asked = bound(asked, constants(asked))
    cells = handed_in(asked, assignment(name.split(".")[0]), getattr(function, "__globals__", {}))
    tried: Callable[..., Any] | None = function
    failed: dict[str, str] = {}
    unfit = ""
    if cells is not None:
        with _as_graded():
            tried, unfit = _defined(asked, cells, failed)
    generator = torch.Generator()
    generator.seed()
    known = failed if cells is not None else None
    rows: list[diagnose.Row] = []
    touched: set[str] = set()
    for i, part in enumerate(asked.parts if not unfit else ()):
        for _ in range(part.calls):  # as many as the grader makes
            inputs = part.inputs(generator)
            with torch.enable_grad():
                expected = compare.settle(asked.reference(**_built(inputs)))
            rows.append((i, inputs, expected, _answered(inputs, tried, touched, known)))
    wrong = dict.fromkeys(range(len(asked.parts)), unfit) if unfit else diagnose.wrong_parts(asked, rows)
    for i, part in enumerate(asked.parts):
        print(f"{'not yet' if i in wrong else 'right  '}  {part.name}" + (f": {wrong[i]}" if i in wrong else ""))
    if touched:
        print(f"but      {diagnose.in_place(sorted(touched))}")
    if tried is not None and not wrong:
        for where, move in _elsewhere().items():
            if said := _fails(move, tried, rows):
                print(f"but      {where}: {said}")
    if cells is not None and tried is not None and not _same(tried, function):
        print(f"but      this is the function of the cells marked `# answer: {name}`, not the one given to check")
    elif not wrong:
        print(f"{name}: all right here. It is graded later, on other inputs.")


def handed_in(asked: Question, of: Assignment, space: Mapping[str, Any]) -> Cells | None:
    """The cells that the grader will see, as far as a notebook remembers what it has run.

    Args:
        asked: The question.
        of: Its assignment.
        space: The names of the notebook; IPython keeps the text of the cells in there.

    Returns:
        (text, whether it is the answer's) of each, in the order in which they were run last; of a marked cell that was
        changed and run again, the last version. None outside of a notebook. Without a marked cell, one that raises.
    """
    texts = _history(space)
    if texts is None:
        return None
    names = of.before(asked)
    cells: Cells = []
    made: set[tuple[str, str]] = set()  # of later cells: (mark, name)
    seen: set[str] = set()
    for text in reversed(texts):
        found = MARKS["code"].match(text)
        mark = found.group(1) if found else ""
        mine = mark in names
        if text in seen or not (mine or (not mark and "import" in text)):
            continue
        seen.add(text)
        own = {(mark, name) for name in _makes(text)} if mine else set()
        if own and own <= made:
            continue  # an older version
        made |= own
        cells.append((text, mine))
    cells.reverse()
    if not any(mine for _, mine in cells):
        return [(f"raise LookupError('no cell begins with the line `# answer: {asked.name}`')", True)]
    return cells


def _history(space: Mapping[str, Any]) -> list[str] | None:
    """The cells that were run, as they were written; None outside of a notebook."""
    shell = space.get("get_ipython")
    with contextlib.suppress(Exception):
        raw = shell().history_manager.input_hist_raw  # type: ignore[misc]
        return [text for text in raw if isinstance(text, str)]
    return [text for text in space["In"] if isinstance(text, str)] if "In" in space else None


def _makes(text: str) -> set[str]:
    """The names that a cell makes at its top level; its whole text where it is no Python, so that it stays."""
    try:
        return set().union(*(define.names(statement) for statement in define.parsed(text).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {text}


@contextlib.contextmanager
def _as_graded() -> Iterator[None]:
    """Without a GPU, without the notebook's own defaults, and in silence."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            mock.patch.object(torch.cuda, "is_available", lambda: False),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            torch.enable_grad(),
        ):
            yield
    finally:
        torch.set_default_dtype(before)


def _defined(asked: Question, cells: Cells, failed: dict[str, str]) -> tuple[Callable[..., Any] | None, str]:
    """The function that the cells define by the grader's rules, or why there is none."""
    size = sum(len(text) for text, mine in cells if mine)
    if size > notebook.ANSWER:
        return None, f"the answer has {size} characters, and {notebook.ANSWER} is the most"
    of = assignment(asked.name.split(".")[0])
    try:
        return define.define(
            [*cells, *asked.last], asked.function, failed, modules=of.modules, libraries=of.libraries
        ), ""
    except Exception as error:
        return None, define.said(error, failed)


def _same(tried: Callable[..., Any], function: Callable[..., Any]) -> bool:
    """Have both the same code?"""
    codes = [getattr(inspect.unwrap(one), "__code__", None) for one in (tried, function)]
    return None in codes or codes[0].co_code == codes[1].co_code  # type: ignore[union-attr]


def _answered(
    inputs: Mapping[str, Plain],
    function: Callable[..., Any] | None,
    touched: set[str],
    failed: Mapping[str, str] | None,
) -> dict[str, Any]:
    """The answer to one call, or its error, with `failed` in the grader's words; notes arguments that it changed."""
    assert function is not None
    built = _built(inputs)
    with _as_graded():
        try:
            message = plain.encode(function(**built))
            plain.check(message)
        except NotImplementedError:
            return {"error": "not answered yet"}
        except (Exception, SystemExit) as error:
            return {"error": define.said(error, failed) if failed is not None else _said(error, function)}
    touched.update(plain.changed(inputs, built))
    return {"answer": plain.decode(message)}


def _elsewhere() -> dict[str, Callable[[Any], Any]]:
    """How else a notebook will call a right answer: {where: what brings the arguments there}. No points hang on it."""
    found: dict[str, Callable[[Any], Any]] = {"in float32, as images are": functools.partial(_moved, to=_single)}
    if torch.cuda.is_available():
        found["on the GPU"] = functools.partial(_moved, to=lambda value: value.to("cuda"))
    return found


def _fails(move: Callable[[Any], Any], function: Callable[..., Any], rows: list[diagnose.Row]) -> str:
    """What is wrong with a right answer elsewhere; "" for nothing."""
    for part in dict.fromkeys(part for part, *_ in rows):
        inputs = next(inputs for one, inputs, *_ in rows if one == part)
        arguments = move(_built(inputs))
        try:
            with warnings.catch_warnings(action="ignore"):
                answer = function(**arguments)
        except Exception as error:
            said = f"{type(error).__name__}: {error}".split("\n")[0]
            return f"{said}. Make new tensors as the others are, by dtype=x.dtype, device=x.device"
        given, made = ({one.dtype for one in _tensors(value)} for value in (arguments, answer))
        if torch.float32 in given and torch.float64 not in given and torch.float64 in made:
            return "the answer is float64, and a network will refuse it. Make new tensors by dtype=x.dtype"
    return ""


def _single(value: Any) -> Any:
    """A tensor or a network in single precision."""
    return value.float() if isinstance(value, torch.nn.Module) or value.is_floating_point() else value


def _moved(value: Any, *, to: Callable[[Any], Any]) -> Any:
    """Tensors and networks, and lists and dictionaries that hold them, brought elsewhere."""
    if isinstance(value, torch.Tensor | torch.nn.Module):
        return to(value)
    if isinstance(value, dict):
        return {key: _moved(one, to=to) for key, one in value.items()}
    return type(value)(_moved(one, to=to) for one in value) if isinstance(value, list | tuple) else value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in an argument or an answer, and the parameters of networks."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def _built(inputs: Mapping[str, Plain]) -> dict[str, Any]:
    """The arguments of one call, made of plain data."""
    return {key: plain.build(value) for key, value in inputs.items()}


def _said(error: BaseException, function: Callable[..., Any]) -> str:
    """The error, and the last line of the student's own that led to it."""
    try:
        own = inspect.getsourcefile(function)
    except TypeError:
        own = None
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    where = f", in the line `{lines[-1].line}`" if lines and lines[-1].line else ""
    return f"{type(error).__name__}: {error}{where}"
