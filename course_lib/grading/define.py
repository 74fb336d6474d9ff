"""An answer's cells, run under the grader's rules: in the sandbox, and the same way by the student's check.

Statement by statement, in a fresh namespace. A statement that raises costs its own names and no more: a demonstration
below the function, an import that only a figure needs, a check inside the cell. Notebook commands (%time, !pip) do
nothing. Of other cells the imports count, where an answer uses them, and nothing else. This module is also loaded
inside the sandbox, so it needs Python's own modules and nothing else.
"""

import __future__

import ast
import builtins
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TEXT = 600  # characters of an error
NAME = 100  # of its name
FILE = "answer"  # what tracebacks call an answer's cell; with a number where there are several
_COMMAND = re.compile(r"\s*(%{1,2}[A-Za-z]|!(?!=)|\?\w|[\w.]+\?{1,2}\s*$)")  # %time, %%bash, !pip, ?name, name?
LIBRARIES = ("numpy", "torch")  # what every answer may import, beside Python's own modules
Space = dict[str, Any]


def define(
    cells: Iterable[tuple[str, bool]],
    function: str,
    failed: dict[str, str],
    *,
    modules: Sequence[str] = (),
    libraries: Sequence[str] = (),
) -> Any:
    """Run an answer's cells, and before them the imports of other cells that they use.

    Args:
        cells: (text, whether it is the answer's) of the cells, in order.
        function: The name that the answer must define.
        failed: Is filled: for names that are missing since their statement raised, what to say instead.
        modules: Rooms of course_lib that the answer may import.
        libraries: What else it may import beside torch, numpy and Python's own modules.

    Returns:
        The function.

    Raises:
        LookupError: No function of that name came of it; says what went wrong first.
        NotImplementedError: Nor did the student try.
    """
    space: Space = {"__name__": "__main__", "__builtins__": _builtins(modules, libraries)}
    first: BaseException | None = None
    bodies: list[tuple[list[ast.stmt], str]] = []  # with the name of the answer's cell; "" for another one's imports
    cells = list(cells)
    several = sum(mine for _, mine in cells) > 1
    number = 0
    for text, mine in cells:
        number += mine
        try:
            if mine:
                name = f"{FILE} {number}" if several else FILE
                bodies.append((parsed(text, name).body, name))
            else:
                bodies.append((imports(text), ""))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            first = first or error
    used = {
        node.id for body, mine in bodies if mine for one in body for node in ast.walk(one) if type(node) is ast.Name
    }
    flags = 0
    for body, file in bodies:
        for statement in body:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                flags |= sum(getattr(__future__, one.name).compiler_flag for one in statement.names if file)
            elif file or names(statement) & used:
                try:
                    exec(compile(ast.Module([statement], []), file or FILE, "exec", flags, True), space)
                except (Exception, SystemExit) as error:
                    failed |= dict.fromkeys(names(statement) - set(space), said(error, failed))
                    first = first or (error if file else None)
    if callable(space.get(function)):
        return space[function]
    if isinstance(first, NotImplementedError):
        raise first
    raise LookupError(
        f"the answer defines no function {function!r}" + (f"; first of all, {said(first, failed)}" if first else "")
    )


def parsed(text: str, name: str = FILE) -> ast.Module:
    """The tree of a cell, without its notebook commands.

    Args:
        text: The text of a cell.
        name: What an error calls the cell.

    Returns:
        The tree; a line that is a notebook command counts as empty, unless it is Python as it stands.

    Raises:
        SyntaxError: What is left is no Python.
        ValueError: It holds null bytes.

    Example:
        >>> print(ast.unparse(parsed("%matplotlib inline\\nx = (5\\n% 3)")))
        pass
        x = 5 % 3
    """
    try:
        return ast.parse(text, name)
    except SyntaxError:
        lines = text.splitlines()
        plain = "\n".join(_pass(line) if _is_command(line) else line for line in lines)
        return ast.parse(plain, name)


def _is_command(line: str) -> bool:
    """Is this line for the notebook, and not for Python? `% 3` and `!= 3` go on with the line before."""
    return bool(_COMMAND.match(line))


def _pass(line: str) -> str:
    """A line of the same indentation that does nothing."""
    return line[: len(line) - len(line.lstrip())] + "pass"


def imports(text: str) -> list[ast.stmt]:
    """The imports at the top level of a cell.

    Args:
        text: The text of a cell, whatever it is.

    Returns:
        The statements; none where the cell is no Python.
    """
    try:
        body = parsed(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [statement for statement in body if isinstance(statement, ast.Import | ast.ImportFrom)]


def names(statement: ast.stmt) -> set[str]:
    """The names that a statement at the top level makes.

    Args:
        statement: Any statement.

    Returns:
        The names that it imports, defines or assigns.
    """
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _builtins(modules: Sequence[str], libraries: Sequence[str]) -> dict[str, Any]:
    """Python's built-in names, with an import that knows what an answer may import."""
    allowed = {*sys.stdlib_module_names, *LIBRARIES, *libraries}

    def importing(
        name: str,
        space: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top, *rest = name.split(".")
        if level or (top != "course_lib" and top not in allowed):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if top == "course_lib":
            missing = [one for one in rest[:1] or wanted or () if one not in modules]
            if missing or not modules:
                raise ModuleNotFoundError(f"No module named {name!r}", name=".".join([top, *missing[:1]]))
        return builtins.__import__(name, space, local, wanted or (), level)

    return {**vars(builtins), "__import__": importing}


def said(error: BaseException, failed: Mapping[str, str]) -> str:
    """An error in a line, with the line of the answer that raised it.

    Args:
        error: What was raised.
        failed: What `define` filled.

    Returns:
        At most some 600 characters.
    """
    if isinstance(error, NotImplementedError):
        return "not answered yet"
    if isinstance(error, ImportError):
        what = error.name if isinstance(error, ModuleNotFoundError) else f"this: {error}"
        return f"an answer may not import {what}"[:TEXT]
    if type(error) is LookupError:
        return str(error)[:TEXT]
    if isinstance(error, NameError) and error.name and error.name in failed:
        return failed[error.name][:TEXT]
    where = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.split(" ")[0] == FILE:
            where = f" (line {trace.tb_lineno} of the answer's cell{file.removeprefix(FILE)})"
        trace = trace.tb_next
    if isinstance(error, NameError):
        why = "An answer's cells are run alone: other cells' variables are not there"
        return f"NameError: {str(error)[:TEXT]}{where}. {why}"
    return f"{type(error).__name__[:NAME]}: {str(error)[:TEXT]}{where}"
