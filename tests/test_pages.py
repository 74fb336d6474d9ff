"""Pages that lead to the others: the lecture, slide by slide, and the gallery of chapters on the first page."""

import ast
import importlib
import json
import re

import pytest
import yaml
from PIL import Image, ImageDraw

from project.repository import BOOK, ROOT
from tools import cover, lecture

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


# --- the gallery --------------------------------------------------------------------------------------------

INTRO = (ROOT / BOOK / "intro.md").read_text()
CARDS = re.findall(r"^:::\{grid-item-card\} (.*?)^:::$", INTRO, re.MULTILINE | re.DOTALL)
CHAPTERS = [
    chapter
    for part in yaml.safe_load(TOC)["parts"]
    for chapter in part["chapters"]
    if re.match(r"\d", chapter.get("file", ""))
]


def size(picture):
    with Image.open(ROOT / BOOK / picture) as image:
        return image.size


def title(page):
    notebook = json.loads((ROOT / BOOK / f"{page}.ipynb").read_text())
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].removeprefix("# ")


@pytest.mark.parametrize(("card", "chapter"), list(zip(CARDS, CHAPTERS, strict=True)), ids=lambda it: str(it)[:24])
def test_each_chapter_has_a_card_with_its_number_its_picture_and_its_second_page(card, chapter):
    page = chapter["file"]
    assert int(card.split(" · ")[0]) == int(page[:2])
    assert f":link: {page}\n" in card and "?" in card
    assert len(re.search(r":img-alt: (.*)", card)[1]) >= 30
    (picture,) = re.findall(r":img-top: (\S+)", card)
    assert (ROOT / BOOK / picture).stat().st_size <= 30 * 1024
    assert picture.endswith(".svg") or size(picture) == cover.CARD_SIZE
    for second in chapter.get("sections", []):
        assert f"[{title(second['file'])}]({second['file']})" in card


def test_the_cards_are_drawn_from_figures_that_the_pages_have():
    assert [cover.MAP, *(row.page for row in cover.CARDS)] == [chapter["file"] for chapter in CHAPTERS]
    assert cover.map_of_words() == (ROOT / BOOK / "images" / "cards" / "01.svg").read_text()
    for row in cover.CARDS:
        assert cover.card(row).size == cover.CARD_SIZE


def test_what_the_first_page_shows_is_small_and_credited():
    assert (ROOT / BOOK / "images" / "readme.jpg").stat().st_size <= 350 * 1024
    assert size("images/social.jpg") == (1200, 630)
    for text in (INTRO, (ROOT / "README.md").read_text()):
        assert "Tux Paint stamps, GPL-2" in text and "Stéfan van der Walt, CC0" in text


def test_the_tiles_of_a_figure_are_found_row_by_row_without_its_heads():
    figure = Image.new("RGB", (400, 260), "white")
    draw = ImageDraw.Draw(figure)
    draw.text((40, 4), "head", fill="black")
    colours = ["red", "green", "blue", "black"]
    for colour, (x, y) in zip(colours, [(20, 30), (150, 31), (20, 150), (150, 150)], strict=True):
        draw.rectangle((x, y, x + 99, y + 89), fill=colour)
    found = cover.tiles(figure)
    assert [tile.size for tile in found] == [(96, 86)] * 4
    assert [tile.getpixel((5, 5)) for tile in found] == [Image.new("RGB", (1, 1), c).getpixel((0, 0)) for c in colours]


def test_the_large_map_has_the_order_of_the_page():
    grid = cover.grid_of_photographs()
    assert sorted(grid.flatten().tolist()) == list(range(270))
    with Image.open(ROOT / BOOK / "images" / "cutouts.webp") as image:
        assert image.size == (grid.shape[1] * 209 + 1, grid.shape[0] * 209 + 1)
