"""The student's notebook out of the solution."""

import copy
import functools
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from course_lib.errors import require
from course_lib.grading import question as questions
from course_lib.grading import variants
from course_lib.grading.notebook import MARKS
from course_lib.grading.question import Assignment
from course_lib.grading.roster import Person

STUB = 'raise NotImplementedError("your code here")'
WRITE = "*Your answer here.*"
BEGIN, END = re.compile(r"^(\s*)# BEGIN SOLUTION\s*$"), re.compile(r"^\s*# END SOLUTION\s*$")
WORDS = re.compile(r"<!-- BEGIN SOLUTION -->.*?<!-- END SOLUTION -->", re.DOTALL)
BADGE = "{{colab}}"  # in the title cell of a solution: becomes the Colab link


def student_notebook(
    solution: dict[str, Any], link: str, fill: Callable[[str], str] = lambda text: text
) -> dict[str, Any]:
    """The notebook without solutions and outputs.

    Args:
        solution: The JSON of a solution; it is not changed.
        link: Address that the Colab button leads to; "" for no button.
        fill: Puts the values of constants into the text of a cell; see `variants.filled`.

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
        cell["source"] = fill(text).splitlines(keepends=True)
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


def release(
    folder: Path, address: str, *, write: bool = True, term: str = "", people: Sequence[Person] = ()
) -> list[Path]:
    """Write the student's notebook of each assignment.

    Args:
        folder: Holds a folder for each assignment, with its solution.ipynb.
        address: A notebook's path is appended to it for the Colab link; "" for none.
        write: False writes nothing.
        term: The word that constants follow from; "" takes the first value of each.
        people: Who gets a variant each, in the folder `students`; empty for one variant for all.

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
        assignment = questions.assignment(name.split("_")[0])
        link = address and f"{address}/{folder.name}/{name}/{name}.ipynb"
        targets = {path.parent / f"{name}.ipynb": variants.word(term)}
        if people and variants.varies(assignment):
            students = path.parent / "students"
            targets |= {students / f"{name}-{_file(one)}.ipynb": variants.word(term, one) for one in people}
        for target, variant in targets.items():
            book = student_notebook(solution, link, functools.partial(_fill, assignment, variant))
            text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
            if not target.exists() or target.read_text(encoding="utf-8") != text:
                if write:
                    target.parent.mkdir(exist_ok=True)
                    target.write_text(text, encoding="utf-8")
                changed.append(target)
    return changed


def _fill(assignment: Assignment, variant: str, text: str) -> str:
    """The text of a cell with the values of its constants."""
    return variants.filled(text, assignment, variant)


def _file(person: Person) -> str:
    """What the file of a person's variant is called."""
    known = person.id or person.number
    digest = "" if known else hashlib.sha256(f"{person.email} {person.name}".encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9]+", "-", f"{known or person.name}-{digest}").strip("-")
