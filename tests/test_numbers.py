"""A number in the prose of a page is one that a cell of the page prints, uses, or that a source is named for."""

import copy
import json
import re
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from html import unescape

import pytest

from project.repository import BOOK, ROOT

PAGES = sorted((ROOT / BOOK).glob("*.ipynb"))
DECIMAL = r"(?<![\w.])-?\d+\.\d+(?!\.?\d|\w)"
#: With its interval, or alone; a licence or a network has a version, which is no measurement.
NUMBER = re.compile(rf"(?:{DECIMAL})? ?\[{DECIMAL}, {DECIMAL}\]|{DECIMAL}")
VERSION = re.compile(r"(?:CC BY(?:-SA)?|SqueezeNet|PyTorch) \d\.\d")
#: Where else a number may come from: a paper that is cited, or a command that anyone can run.
SOURCE = re.compile(r"\{cite[}:]|python -m |bench/")
UNREAD = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|(?<=\])\([^)]*\)|^:[\w-]+:.*?$", re.DOTALL | re.MULTILINE)


def tidy(text):
    """With ASCII's minus and single spaces."""
    return re.sub(r"\s+", " ", text.replace("−", "-").replace("–", "-"))


def printed(cells):
    """All that the code cells say, their sources, what they print, their tables; and the tables of a named command."""
    said = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown" and measured(cell)]
    for cell in cells:
        if cell["cell_type"] == "code":
            said.append("".join(cell["source"]))
            for output in cell["outputs"]:
                said.append("".join(output.get("text", "")))
                said += ("".join(output.get("data", {}).get(kind, "")) for kind in ("text/plain", "text/html"))
    without_style = re.sub(r"<(style|script).*?</\1>", " ", "\n".join(said), flags=re.DOTALL)
    return tidy(unescape(re.sub(r"</?[a-z][^>]*>", " ", without_style)))


def measured(cell):
    """Whether a cell of prose gives the numbers of a command that it names."""
    return bool(re.search("reproduce|python -m bench", "".join(cell["source"])))


def claims(cells):
    """(sentence, number) for each number of the prose that no source is named for."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            for sentence in re.split(r"(?<=[.!?]) +|(?<=[.!?])\n|\n\n|\n(?=[-|:]|\d+\. )", "".join(cell["source"])):
                if not SOURCE.search(sentence) and not measured(cell):
                    text = tidy(VERSION.sub("", UNREAD.sub(" ", sentence)))
                    yield from ((text.strip(), number.strip()) for number in NUMBER.findall(text))


def roundings(number):
    """The number, and what a sentence may make of it: the same with fewer digits, with its interval or alone."""
    places = max(map(len, re.findall(r"\.(\d+)", number)))
    for kept in range(1, places + 1):
        for way in (ROUND_HALF_UP, ROUND_HALF_EVEN):
            digits = Decimal(1).scaleb(-kept)
            yield re.sub(DECIMAL, lambda found: str(Decimal(found[0]).quantize(digits, way)), number)  # noqa: B023


def unsupported(notebook):
    """The numbers that no cell says, with their sentences. A sign may be the sentence's: "lower by 0.3"."""
    text = printed(notebook["cells"])
    found = {number.strip() for number in re.findall(DECIMAL, text) + NUMBER.findall(text)}
    said = {rounded.lstrip("-") for number in found for rounded in roundings(number)}
    return [(number, sentence) for sentence, number in claims(notebook["cells"]) if number.lstrip("-") not in said]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_prose_says_a_cell_has_printed(page):
    found = unsupported(json.loads(page.read_text()))
    assert not found, "\n".join(f"{number}: {sentence}" for number, sentence in found)


@pytest.fixture
def page():
    def cell(kind, source, **rest):
        return {"cell_type": kind, "source": source, **rest}

    output = {"data": {"text/html": ["<td>0.75 <i>[0.70, 0.79]</i></td><td>3.40</td><td>−0.12</td>"]}}
    prose = (
        "The cut overlaps by 0.75 [0.70,\n0.79], and not by 0.12; 3.40 long. CC BY 2.0. At $1.5$, `2.5`, 8.5 {cite}`a`."
    )
    return {"cells": [cell("code", "", outputs=[output]), cell("markdown", prose)]}


@pytest.mark.parametrize(
    ("old", "new"), [("0.75", "0.76"), ("0.79", "0.80"), ("3.40", "3.39"), ("0.12", "0.13"), (" {cite}`a`", "")]
)
def test_prose_that_parts_from_its_cell_is_found(page, old, new):
    assert unsupported(page) == []
    parted = copy.deepcopy(page)
    parted["cells"][1]["source"] = page["cells"][1]["source"].replace(old, new)
    assert len(unsupported(parted)) == 1


@pytest.mark.parametrize(("old", "new"), [("0.75", "0.76"), ("0.79", "0.80"), ("3.40", "3.39"), ("0.12", "0.13")])
def test_a_cell_that_parts_from_its_prose_is_found(page, old, new):
    page["cells"][0]["outputs"][0]["data"]["text/html"] = [
        page["cells"][0]["outputs"][0]["data"]["text/html"][0].replace(old, new)
    ]
    assert len(unsupported(page)) == 1
