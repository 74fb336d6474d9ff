"""A stamp on each result, which changes with all that can change a point: old results are not taken for new ones."""

import ast
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from course_lib.grading import question as questions
from course_lib.grading import sandbox

# what can change a point
RULES = (
    "apart",
    "cgroup",
    "child",
    "compare",
    "define",
    "diagnose",
    "frames",
    "judge",
    "notebook",
    "plain",
    "question",
    "results",
    "sandbox",
    "seccomp",
    "variants",
)


@cache
def stamp(key: str, seed: int) -> str:
    """Changes with all that can change a point, so that old results are not taken for new ones.

    Args:
        key: The assignment, "a2".
        seed: The run's seed.

    Returns:
        A digest of the seed, the questions, the grader's rules, the modules of the package that any of them imports,
        and the versions of torch and numpy.
    """
    grading = Path(__file__).parent
    digest = hashlib.sha256(f"{seed} {torch.__version__} {np.__version__}".encode())
    for path in sources([grading / f"{name}.py" for name in RULES] + [questions.source(key)]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def sources(paths: Sequence[Path]) -> list[Path]:
    """Some files of the package, and the files of all of its modules that they import, directly or not.

    Args:
        paths: Files of Python text.

    Returns:
        Their paths, sorted; pages and tables of the grader, which give no points, are left out.
    """
    found: set[Path] = set()
    todo = list(paths)
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        names = set()
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        for name in names:
            base = sandbox.PACKAGE.joinpath(*name.split(".")[1:])
            if name.startswith("course_lib.") and "grading" not in name:
                todo += [one for one in (base.with_suffix(".py"), base / "__init__.py") if one.exists()]
    return sorted(found)
