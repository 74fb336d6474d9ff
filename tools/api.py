"""The reference: every public name of the package, from its docstring.

`page()` is the book's page, which `make book` writes.
"""

import ast
import re
from pathlib import Path

from project.repository import BRANCH, ROOT, URL

PACKAGE = ROOT / "course_lib"
ROW = re.compile(r"^\|\s*(?:\d+|-)\s*\|\s*`(\w+)`\s*\|\s*(.+?)\s*\|$", re.MULTILINE)
Definition = ast.FunctionDef | ast.ClassDef


def modules() -> dict[str, str]:
    """{module: its idea}, in the order of the package's map."""
    return dict(ROW.findall(ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text())) or ""))


def files(module: str) -> list[Path]:
    """The file of a module, or the files of a folder."""
    alone = PACKAGE / f"{module}.py"
    return [alone] if alone.exists() else sorted((PACKAGE / module).glob("*.py"))


def place(module: str, path: Path) -> str:
    """Where a name is imported from: the module, or, of a folder that does not gather its names, the file."""
    gathers = path.stem == module or "import" in (PACKAGE / module / "__init__.py").read_text()
    return module if gathers else f"{module}.{path.stem}"


def definitions(path: Path) -> list[Definition]:
    """The functions and classes of a file that are meant for others and say what they do."""
    return [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, Definition) and not node.name.startswith("_") and ast.get_docstring(node)
    ]


def signature(node: Definition) -> str:
    """As it stands in the code: name(arguments) -> result; for a class, the arguments of its __init__."""
    function = node
    if isinstance(node, ast.ClassDef):
        made = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        if not made:
            fields = [ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign)]
            return f"{node.name}({', '.join(fields)})"
        (function,) = made
    assert isinstance(function, ast.FunctionDef)
    arguments = re.sub(r"^self(, )?", "", ast.unparse(function.args))
    returns = f" -> {ast.unparse(function.returns)}" if function.returns and function is node else ""
    return f"{node.name}({arguments}){returns}"


def page() -> str:
    """The book's page, in MyST Markdown."""
    parts = [
        "# Reference",
        "",
        "Every public name of `course_lib`, with its docstring. Pictures are `(n, 3, h, w)`, RGB in [0, 1].",
        "",
    ]
    for module, idea in modules().items():
        found = [(path, node) for path in files(module) for node in definitions(path)]
        if not found:
            continue
        parts += [f"## {module}", "", f"{idea[0].upper()}{idea[1:]}.", ""]
        for path, node in found:
            source = f"{URL}/blob/{BRANCH}/{path.relative_to(ROOT)}#L{node.lineno}"
            docstring = ast.get_docstring(node) or ""
            parts += [f"### `{place(module, path)}.{node.name}`", ""]  # code: a name such as grading.Net is no address
            parts += ["```{code-block} python", ":class: signature", "", signature(node), "```", ""]
            parts += ["```{code-block} text", ":class: docstring", "", docstring, "```", "", f"[Source]({source})", ""]
    return "\n".join(parts)
