"""The student's notebook out of the solution."""

import copy
import json
import re
from pathlib import Path
from typing import Any

from course_lib.errors import require
from course_lib.grading import question as questions
from course_lib.grading.notebook import MARKS

STUB = 'raise NotImplementedError("your code here")'
WRITE = "*Your answer here.*"
BEGIN, END = re.compile(r"^(\s*)# BEGIN SOLUTION\s*$"), re.compile(r"^\s*# END SOLUTION\s*$")
WORDS = re.compile(r"<!-- BEGIN SOLUTION -->.*?<!-- END SOLUTION -->", re.DOTALL)
BADGE = "{{colab}}"  # in the title cell of a solution: becomes the Colab link


def student_notebook(solution: dict[str, Any], link: str) -> dict[str, Any]:
    """The notebook without solutions and outputs.

    Args:
        solution: The JSON of a solution; it is not changed.
        link: Address that the Colab button leads to; "" for no button.

    Returns:
        The JSON of the student's notebook.

    Raises:
        ValueError: The marks of a solution do not match: one begins and does not end, or the other way round.
    """
    book = copy.deepcopy(solution)
    for cell in book["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            text = without_solution(text)
            cell["outputs"], cell["execution_count"] = [], None
        else:
            text = WORDS.sub(WRITE, text).replace(BADGE, f"[Open in Colab]({link})" if link else "")
            require("SOLUTION -->" not in text, f"a solution's marks do not match: {text[:80]!r}")
        cell["source"] = text.splitlines(keepends=True)
    return book


def without_solution(text: str) -> str:
    """Python text in which each region between the marks raises NotImplementedError.

    Args:
        text: The text of a code cell.

    Returns:
        The text with every solution replaced, in the solution's indentation.

    Raises:
        ValueError: A solution begins within another one, begins and does not end, or ends and did not begin.

    Example:
        >>> print(without_solution("def f(x):\\n    # BEGIN SOLUTION\\n    return x\\n    # END SOLUTION"))
        def f(x):
            raise NotImplementedError("your code here")
    """
    lines: list[str] = []
    inside = False
    for line in text.split("\n"):
        if begin := BEGIN.match(line):
            require(not inside, f"a solution begins within another one: {line!r}")
            inside = True
            lines.append(begin.group(1) + STUB)
        elif END.match(line):
            require(inside, f"a solution ends that did not begin: {line!r}")
            inside = False
        elif not inside:
            lines.append(line)
    require(not inside, f"a solution begins and does not end: {text[:80]!r}")
    return "\n".join(lines)


def check_solution(solution: dict[str, Any], key: str) -> None:
    """Check that the questions in a notebook are those of the assignment.

    Args:
        solution: The JSON of a solution.
        key: The assignment, "a2".

    Raises:
        ValueError: A question lacks its cell, or a cell answers no question; names them.
    """
    asked = questions.assignment(key)
    found = {
        (cell["cell_type"], match.group(1))
        for cell in solution["cells"]
        if cell["cell_type"] in MARKS and (match := MARKS[cell["cell_type"]].match("".join(cell["source"])))
    }
    wanted = {("code", question.name) for question in asked.questions}
    wanted |= {("markdown", question.name) for question in asked.written}
    names = [name for _, name in sorted(found ^ wanted)]
    require(not names, f"{asked.name}: notebook and questions do not agree on {', '.join(names)}")


def release(folder: Path, address: str, *, write: bool = True) -> list[Path]:
    """Write the student's notebook of each assignment.

    Args:
        folder: Holds a folder for each assignment, with its solution.ipynb.
        address: A notebook's path is appended to it for the Colab link; "" for none.
        write: False writes nothing.

    Returns:
        The notebooks that were not current.

    Raises:
        ValueError: There is no solution, or one whose marks or questions do not match.
    """
    solutions = sorted(folder.glob("*/solution.ipynb"))
    require(bool(solutions), f"no solution.ipynb in a folder of {folder}: run this in the course's repository")
    changed = []
    for path in solutions:
        name = path.parent.name
        solution = json.loads(path.read_text(encoding="utf-8"))
        check_solution(solution, name.split("_")[0])
        target = path.parent / f"{name}.ipynb"
        book = student_notebook(solution, address and f"{address}/{folder.name}/{name}/{name}.ipynb")
        text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            if write:
                target.write_text(text, encoding="utf-8")
            changed.append(target)
    return changed
