"""The reference: every public name is in it, and every parameter is described."""

import ast
import importlib
import inspect
import json
import re
from typing import Unpack, get_origin, is_typeddict

import pytest
import yaml
from sphinx.ext import napoleon
from sphinx.util.inventory import InventoryFile

from project.repository import BOOK, ROOT
from tools import reference

MODULES = [module for room in reference.rooms() for module in reference.sections(room)]
PUBLIC = [(module, name, getattr(module, name)) for module in MODULES for name in reference.public(module)]
TOC = yaml.safe_load((ROOT / BOOK / "_toc.yml").read_text())


def test_every_room_has_a_page():
    rooms = {path.stem for path in (ROOT / "course_lib").glob("*.py")} | {
        path.parent.name for path in (ROOT / "course_lib").glob("*/__init__.py")
    }
    assert set(reference.pages()) == {"reference"} | {f"reference/{room}" for room in rooms - {"__init__"}}


@pytest.mark.parametrize("room", reference.rooms())
def test_a_room_says_what_it_offers(room):
    """Where it is a command line, each file offers what is defined there."""
    (module, *files) = reference.sections(room)
    if files or module.__name__ != f"course_lib.{room}":
        return
    assert module.__all__ and [name for name in module.__all__ if not hasattr(module, name)] == []


def test_every_public_name_is_in_the_inventory(html):
    """What other projects' documentation, and the code cells of the chapters, link to."""
    with (html / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, target: target)
    listed = {name for kind, entries in inventory.items() if kind.startswith("py:") for name in entries}
    assert {f"{module.__name__}.{name}" for module, name, _ in PUBLIC} - listed == set()
    assert "course_lib.attribution.saliency" in inventory["py:function"]


def test_a_docstring_leads_to_what_it_names(html):
    """Into other rooms too: by a name alone, as `minimize`, and by the type of a parameter."""
    text = (html / "reference" / "recipes.html").read_text()
    assert 'href="preimage.html#course_lib.preimage.minimize"' in text
    assert 'href="energy.html#course_lib.energy.Energy"' in text
    assert "#course_lib.plotting.heat" not in (html / "reference" / "attribution.html").read_text()  # a parameter


def names_used(tree):
    """{(room, name)}: what code takes from a room of the package, by an import or by `room.name`."""
    rooms, used = {}, set()  # what a room is called there -> the room
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "course_lib":
            rooms |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_lib."):
            used |= {(node.module.removeprefix("course_lib."), alias.name) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in rooms:
            used.add((rooms[node.value.id], node.attr))
    return used


def sources():
    """(who: a room, "tests" or "book", its syntax tree)"""
    for path in (ROOT / "course_lib").rglob("*.py"):
        yield path.relative_to(ROOT / "course_lib").parts[0].removesuffix(".py"), ast.parse(path.read_text())
    for path in (ROOT / "tests").rglob("*.py"):
        yield "tests", ast.parse(path.read_text())
    for path in [*(ROOT / BOOK).glob("*.ipynb"), *(ROOT / "assignments").rglob("*.ipynb")]:
        code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        yield (
            "book",
            ast.parse("\n".join("".join(cell["source"]) for cell in code[1:])),
        )  # the first installs the package


def test_what_others_use_of_a_room_is_public():
    """A test may also look into a file of a room, and at what is private."""
    missing = set()
    for who, tree in sources():
        for path, name in names_used(tree):
            room, *file = path.split(".")
            module = importlib.import_module(f"course_lib.{path}")
            thing = getattr(module, name, None)
            made_there = (getattr(thing, "__module__", "") or "").startswith(f"course_lib.{room}")
            foreign = who != room and not (who == "tests" and (file or name.startswith("_")))
            if foreign and made_there and reference.is_definition(thing) and name not in reference.public(module):
                missing.add(f"{path}.{name}")
    assert missing == set()


def documented(docstring):
    """The parameters and attributes that a docstring describes, as Sphinx reads it."""
    config = napoleon.Config(napoleon_use_param=True, napoleon_use_ivar=True)
    lines = napoleon.GoogleDocstring(inspect.cleandoc(docstring or ""), config).lines()
    entries = [re.match(r":(?:param|keyword|ivar) ([^:]+): *\S", line) for line in lines]
    return {name.strip("\\* ") for entry in entries if entry for name in entry[1].split(",")}


def methods(thing):
    """The public methods that a class adds; one without a docstring does what the base's does."""
    own = {name: getattr(thing, name) for name in vars(thing) if not name.startswith("_")}
    own = {name: method for name, method in own.items() if inspect.isfunction(method) or inspect.ismethod(method)}
    return {name: m for name, m in own.items() if m.__doc__ or not any(hasattr(base, name) for base in thing.__bases__)}


def parameters(thing):
    """The names that a caller may give: of a function or, for a class, of what makes one."""
    if is_typeddict(thing):
        options = [set(one.__annotations__) for _, _, one in PUBLIC if is_typeddict(one)]
        mine = set(thing.__annotations__)
        return mine - set().union(*(inherited for inherited in options if inherited < mine))
    if getattr(thing, "_is_protocol", False):
        return set()  # nobody makes one
    if isinstance(thing, type):
        (maker, *_) = [base for base in thing.__mro__ if {"__init__", "__new__"} & set(vars(base))]
        if not maker.__module__.startswith("course_lib."):
            return set()
    return set(inspect.signature(thing).parameters) - {"self"}


def described(module, name, thing):
    """{what: whether it is documented} of a public function, or of a class and its methods."""
    found = {f"{name}({p})": p in documented(thing.__doc__) for p in parameters(thing)}
    for method_name, method in methods(thing).items() if isinstance(thing, type) else ():
        signature = inspect.signature(method).parameters
        names = {p for p in signature if p not in ("self", "cls")}
        found |= {f"{name}.{method_name}({p})": p in documented(method.__doc__) for p in names}
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_parameter_is_documented(module):
    things = [(name, thing) for where, name, thing in PUBLIC if where is module and reference.is_definition(thing)]
    found = {what: told for name, thing in things for what, told in described(module, name, thing).items()}
    assert sorted(what for what, told in found.items() if not told) == []


def test_options_are_typed_so_that_an_editor_completes_them():
    functions = [(f"{m.__name__}.{name}", thing) for m, name, thing in PUBLIC if inspect.isfunction(thing)]
    for name, function in functions:
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                typed = get_origin(parameter.annotation) is Unpack or str(parameter.annotation).startswith("Unpack[")
                assert typed, f"{name}(**{parameter.name})"


def test_the_reference_is_part_of_the_book_and_made_anew():
    (chapter,) = [one for part in TOC["parts"] for one in part["chapters"] if one["file"] == "reference"]
    assert chapter["sections"] == [{"glob": "reference/*"}]
    assert {f"{BOOK}/reference.md", f"{BOOK}/reference/"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_what_a_function_returns_may_hold_a_colon():
    lines = ["One sentence.", "", "Returns:", "    (n, 1, h, w), signed: positive where it rises.", ""]
    reference._keep_shape(None, "function", "f", None, None, lines)
    assert ":returns: (n, 1, h, w), signed: positive where it rises." in napoleon.GoogleDocstring(lines).lines()
