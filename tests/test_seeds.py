"""What students are asked to measure, the book has not measured for them: no scene stands in both."""

import ast
import json

import pytest

from course_lib.grading.define import parsed
from project.repository import ROOT

DRAWERS = ("draw", "compose")  # world.draw, cutouts.compose
ROOMS = ("world", "cutouts")


def seeds(path):
    """The seeds of all scenes that a notebook draws; None for one that is no number."""
    found = set()
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            for node in ast.walk(parsed("".join(cell["source"]))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in DRAWERS:
                    room = node.func.value
                    if isinstance(room, ast.Name) and room.id in ROOMS:
                        found.add((room.id, seed_of(node)))
    return found


def seed_of(call):
    given = [one.value for one in call.keywords if one.arg == "seed"] or call.args[1:2]
    if not given:
        return 0
    return given[0].value if isinstance(given[0], ast.Constant) else None


BOOK = set().union(*(seeds(path) for path in ROOT.glob("book/*.ipynb")))


@pytest.mark.parametrize("path", sorted(ROOT.glob("assignments/*/solution.ipynb")), ids=lambda path: path.parent.name)
def test_the_seeds_of_an_assignment_are_not_those_of_the_book(path):
    own = seeds(path)
    assert own and (own & BOOK) == set()
    assert all(seed is not None for _, seed in own), "a seed that is a number can be compared"


def test_the_book_draws_scenes_and_their_seeds_are_found():
    assert {("world", 500), ("world", 700)} <= BOOK
