"""Exercises say how difficult they are, hints and results are folded, and the table of questions is current."""

import re

import pytest

from course_lib.grading import question
from tools import lecture, questions, thumbnails

KEYS = question.keys()
HINTS = re.compile(r"<details><summary>Hint ([123]): ([^<]+)</summary>\n\n(.+?)\n\n</details>", re.DOTALL)


def sections(key):
    """The text of each numbered section's first cell."""
    texts = ["".join(cell["source"]) for cell in questions.cells(key) if cell["cell_type"] == "markdown"]
    return [text[text.index("## ") :] for text in texts if re.search(r"^## \d", text, re.MULTILINE)]


@pytest.mark.parametrize("key", KEYS)
def test_every_question_says_how_difficult_important_and_long_it_is(key):
    paces = questions.sections(key)
    assert set(paces) == set(question.assignment(key).points)
    assert all(1 <= pace.difficulty <= 5 and 1 <= pace.importance <= 5 for pace in paces.values())
    assert {pace.tier for pace in paces.values()} == {"core", "stretch", "bonus"}


@pytest.mark.parametrize("key", KEYS)
def test_an_assignment_takes_no_more_than_four_hours(key):
    assert 180 <= sum(questions._minutes(key)) <= 240


@pytest.mark.parametrize("key", KEYS)
def test_the_core_is_the_greater_part_of_the_points(key):
    asked, paces = question.assignment(key).points, questions.sections(key)
    points = {
        tier: sum(asked[name] for name in asked if paces[name].tier == tier) for tier in ("core", "stretch", "bonus")
    }
    assert points["core"] >= 60 and points["bonus"] == 10


@pytest.mark.parametrize("key", KEYS)
def test_every_exercise_that_is_answered_by_code_has_three_folded_hints(key):
    asked = [text for text in sections(key) if "In words" not in text and "of your own" not in text]
    for text in asked:
        found = HINTS.findall(text)
        assert [number for number, _, _ in found] == ["1", "2", "3"], text[:60]
        assert len({hint for _, _, hint in found}) == 3 and all(len(hint) > 30 for _, _, hint in found)


@pytest.mark.parametrize("key", KEYS)
def test_the_front_page_agrees_with_the_sections(key):
    front = "".join(questions.cells(key)[0]["source"])
    rows = re.findall(r"^\| (\d+) \| .+? \| (\w+) \| (\d+) \| (\d+) \|$", front, re.MULTILINE)
    found = []
    for text in sections(key):
        number, points = re.match(r"## (\d+)\. .*\((\d+) points\)", text).groups()
        pace = questions.PACE.search(text)
        found.append((number, pace[4], pace[3], points))
    assert rows == found
    assert sum(int(points) for *_, points in rows) == 100


@pytest.mark.parametrize("key", KEYS)
def test_under_every_figure_is_folded_what_the_solution_drew(key):
    cells = questions.cells(key)
    for cell, below in zip(cells, cells[1:], strict=False):
        if thumbnails.draws(cell):
            text = thumbnails.text(below)
            assert text.startswith(thumbnails.FOLDED) and "data:image/jpeg;base64," in text, thumbnails.text(cell)[:80]


def test_a_thumbnail_of_another_figure_is_refused():
    cell = {"cell_type": "code", "id": "x", "source": ["plotting.chart(a)"], "outputs": []}
    with pytest.raises(ValueError, match="the cell x has changed"):
        thumbnails.with_thumbnails({"cells": [cell]}, {"cells": [cell | {"source": ["plotting.chart(b)"]}]})


def test_every_group_of_slides_has_a_question_and_every_question_a_group():
    named = {name for names in questions.GROUPS.values() for name in names}
    every = {name for key in KEYS for name in question.assignment(key).points}
    assert named <= every and all(questions.GROUPS.values())
    assert every - named == {"a1.company"}
    assert len(questions.GROUPS) >= len([row for row in lecture.ROWS if "(" not in row.slides])


def test_the_table_in_the_guide_is_current():
    guide = questions.GUIDE.read_text(encoding="utf-8")
    assert questions.written(guide) == guide


# --- rubrics and questions ----------------------------------------------------------------------------------

WRITTEN = [written for key in KEYS for written in question.assignment(key).written]
COMMON = {"points", "point", "which", "where", "their", "there", "other", "those", "these", "student", "students"}


def stems(text):
    """The beginnings of the longer words of a text."""
    return {word[:5] for word in re.findall(r"[a-z]{5,}", text.lower()) if word not in COMMON}


def asked(name):
    """A written question with the solution's answer."""
    texts = ["".join(cell["source"]) for cell in questions.cells(name.split(".")[0])]
    return next(text for text in texts if text.startswith(f"<!-- answer: {name} -->"))


def shared(rubric, text):
    return len(stems(rubric) & stems(text)) / len(stems(rubric))


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.name)
def test_a_rubric_speaks_of_what_is_asked(written):
    """Of the longer words of a rubric, and of each of its items, many stand in the question and its answer."""
    text = asked(written.name)
    assert f"({written.points} points)" in text
    assert sum(item.points for item in written.items) == written.points and len(written.items) > 1
    assert shared(written.rubric, text) >= 0.4
    assert all(stems(item.says) & stems(text) for item in written.items)


CLOSED = [written for written in WRITTEN if not written.name.endswith(".own")]  # open tasks are read alike


@pytest.mark.parametrize("written", CLOSED, ids=lambda written: written.name)
def test_another_questions_rubric_does_not(written):
    text = asked(written.name)
    others = [shared(one.rubric, text) for one in CLOSED if one is not written]
    assert max(others) < shared(written.rubric, text) - 0.1


@pytest.mark.parametrize("key", KEYS)
def test_questions_that_are_referred_to_are_there(key):
    texts = ["".join(cell["source"]) for cell in questions.cells(key) if cell["cell_type"] == "markdown"]
    numbers = {int(number) for text in texts for number in re.findall(r"^## (\d+)\. ", text, re.MULTILINE)}
    meant = {int(number) for text in texts for number in re.findall(r"questions? (\d+)", text)}
    assert numbers == set(range(1, len(numbers) + 1)) and meant <= numbers
