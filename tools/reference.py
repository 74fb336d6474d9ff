"""The reference: a page for each room of the package, which Sphinx fills from the docstrings.

`pages()` are the book's pages, which `make book` writes. Public is what a room names in its `__all__` and, in a file of
a command line, what is defined there. The module is an extension of Sphinx as well: docstrings name functions as one
speaks of them, `minimize` or `preimage.minimize`.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from functools import cache
from types import ModuleType
from typing import Any, is_typeddict

from docutils.nodes import Element, TextElement
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode

PACKAGE = "course_lib"
ROW = re.compile(r"^(\|\s*(?:\d+|-)\s*\|\s*)`(\w+)`(?=\s*\|)", re.MULTILINE)
WIDEST = 60  # characters of a constant that its entry shows


def rooms() -> list[str]:
    """The rooms, in the order of the package's map."""
    return [name for _, name in ROW.findall(_docstring(importlib.import_module(PACKAGE)))]


def sections(room: str) -> list[ModuleType]:
    """The modules that a reader imports from: the room or, where it is a command line, each of its files."""
    module = importlib.import_module(f"{PACKAGE}.{room}")
    files = [name for _, name, _ in pkgutil.iter_modules(getattr(module, "__path__", []))]
    if "__main__" not in files:
        return [module]
    own = [importlib.import_module(f"{module.__name__}.{name}") for name in files if name != "__main__"]
    return [one for one in [module, *own] if public(one)]


def public(module: ModuleType) -> list[str]:
    """The names that a module offers; what goes with them, errors and options, last."""
    names = getattr(module, "__all__", ()) or filter(lambda name: _is_made_in(module, name), vars(module))
    return sorted(names, key=lambda name: (_is_beside(getattr(module, name)), name.casefold()))


def is_definition(thing: object) -> bool:
    """A function or a class; what else a module offers are constants and names of types."""
    return inspect.isroutine(thing) or inspect.isclass(thing)


def pages() -> dict[str, str]:
    """{name of a page: its MyST Markdown}."""
    return {"reference": index()} | {f"reference/{room}": page(room) for room in rooms()}


def index() -> str:
    """The package's own docstring, whose map leads to the rooms."""
    linked = ROW.sub(r"\1[`\2`](reference/\2.md)", _docstring(importlib.import_module(PACKAGE)))
    return f"# Reference\n\n{linked}\n"


def page(room: str) -> str:
    """One room: its docstring, its names at a glance, and each of them."""
    first, *others = sections(room)
    parts = [f"# {room}", "", *_section(first)]
    for module in others:
        parts += [f"## {module.__name__.removeprefix(PACKAGE + '.')}", "", *_section(module)]
    return "\n".join(parts)


def _section(module: ModuleType) -> list[str]:
    names = public(module)
    others = [name for name in names if is_definition(getattr(module, name))]
    constants = [name for name in names if name not in others]
    lines = [f".. automodule:: {module.__name__}", ""]
    if others:
        lines += [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in others), ""]
    for name in others:
        lines += _definition(module, name)
    for name in constants:
        lines += _constant(module, name)
    return ["```{eval-rst}", *lines, "```", ""]


def _definition(module: ModuleType, name: str) -> list[str]:
    """A function; or a class with its methods, but without its fields, which its docstring describes."""
    thing = getattr(module, name)
    if not inspect.isclass(thing):
        return [f".. autofunction:: {name}", ""]
    fields = [field.name for field in dataclasses.fields(thing)] if dataclasses.is_dataclass(thing) else []
    fields += getattr(thing, "_fields", ())
    without = [f"   :exclude-members: {', '.join(fields)}"] if fields else []
    return [f".. autoclass:: {name}", "   :members:", *without, ""]


def _constant(module: ModuleType, name: str) -> list[str]:
    value = getattr(module, name)
    lines = [f".. py:data:: {name}", f"   :type: {type(value).__name__}"]
    if isinstance(value, int | float | str) and len(repr(value)) <= WIDEST:
        lines.append(f"   :value: {value!r}")
    said = ModuleAnalyzer.for_module(module.__name__).find_attr_docs().get(("", name), [])
    return [*lines, "", *(f"   {line}" for line in said), ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _keep_shape, priority=400)  # before napoleon, at 500
    app.connect("missing-reference", _lead_to_entry)
    return {"parallel_read_safe": True}


def _lead_to_entry(app: Sphinx, env: BuildEnvironment, node: Element, shown: TextElement) -> Element | None:
    """A link to the one entry that a name can mean: `preimage.minimize`, the file that it comes from, or `minimize`
    alone unless a parameter is called so."""
    *path, name = node["reftarget"].split(".")
    relative = path and path[0] != PACKAGE
    ending = f".{node['reftarget']}" if relative else f".{name}"
    entries = [
        (page, anchor)
        for full, _, what, page, anchor, _ in env.get_domain("py").get_objects()
        if what in ("function", "class") and full.endswith(ending)
    ]
    if len(entries) != 1 or (not path and name in _parameters()):
        return None
    return make_refnode(app.builder, node["refdoc"], *entries[0], shown)


@cache
def _parameters() -> frozenset[str]:
    """The names of all parameters of all public functions."""
    things = [getattr(module, name) for room in rooms() for module in sections(room) for name in public(module)]
    return frozenset(p for thing in filter(inspect.isroutine, things) for p in inspect.signature(thing).parameters)


def _keep_shape(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """`(n, 1, h, w), signed: positive where ...` describes what is returned; napoleon takes what precedes a colon for
    a type, unless the type is empty."""
    for i, line in enumerate(lines[:-1]):
        if line.strip() == "Returns:":
            text = lines[i + 1].lstrip()
            lines[i + 1] = lines[i + 1].removesuffix(text) + f": {text}"


def _is_made_in(module: ModuleType, name: str) -> bool:
    thing = getattr(module, name)
    here = getattr(thing, "__module__", "") or ""
    return is_definition(thing) and not name.startswith("_") and f"{here}.".startswith(f"{module.__name__}.")


def _is_beside(thing: object) -> bool:
    return is_typeddict(thing) or (inspect.isclass(thing) and issubclass(thing, BaseException))


def _docstring(module: ModuleType) -> str:
    return inspect.getdoc(module) or ""
