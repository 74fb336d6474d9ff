"""A page that is written from the code: the lecture, slide by slide."""

import ast
import importlib
import json
import re

import pytest
import yaml

from project.repository import BOOK, ROOT
from tools import lecture

TOC = (ROOT / BOOK / "_toc.yml").read_text()


@pytest.mark.parametrize("row", lecture.ROWS, ids=lambda row: row.slides)
def test_every_row_of_the_lecture_leads_to_code_a_page_and_tests(row):
    assert row.slides and row.functions and row.tests
    assert f" {row.chapter}\n" in TOC
    notebook = json.loads((ROOT / BOOK / f"{row.chapter}.ipynb").read_text())
    code = "".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    for name in row.functions:
        module, function = name.rsplit(".", 1)
        assert callable(getattr(importlib.import_module(f"course_lib.{module}"), function)), name
        assert re.search(rf"\b{function}\b", code) or name == "generator.load", f"{row.chapter} does not use {name}"
    for test in row.tests:
        file, function = test.split("::")
        defined = [
            node.name for node in ast.parse((ROOT / "tests" / f"{file}.py").read_text()).body if hasattr(node, "name")
        ]
        assert function in defined, test


def test_the_lecture_names_every_chapter():
    chapters = {row.chapter for row in lecture.ROWS}
    pages = {page.stem for page in (ROOT / BOOK).glob("*.ipynb")}
    assert chapters == pages


def test_the_page_is_part_of_the_book():
    files = [chapter["file"] for part in yaml.safe_load(TOC)["parts"] for chapter in part["chapters"]]
    assert "lecture" in files
