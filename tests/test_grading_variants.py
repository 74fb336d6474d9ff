"""Variants: constants that follow from a term and a student, in the notebook and in the grader alike, equally hard."""

import csv
import dataclasses
import io
import json

import pytest

from course_lib.grading import judge, question, roster, stamp, variants
from course_lib.grading.__main__ import main
from course_lib.grading.question import Mistake, Part, Question

COVER = """
from course_lib.grading.question import Assignment, Mistake, Part, Question

GREYS = (0.2, 0.35, 0.65, 0.8)


def cover(x, grey):
    x = x.clone()
    x[..., :2] = grey
    return x


def black(x, grey):
    return cover(x, 0.0)


def inputs(generator):
    import torch

    return {"x": torch.rand(3, 4, 4, generator=generator)}


ASKED = Question(
    "b1.cover", "cover", cover, (Part("an image", 100, inputs),), (Mistake("the patch is black", black),),
    constants={"grey": GREYS},
)
ASSIGNMENT = Assignment("b1_cover", "Cover it", (ASKED,))
"""
ROSTER = "name,id\n" + "".join(f"Student {i},{40 + i}\n" for i in range(8))


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of its own, whose only question has a constant."""
    monkeypatch.setattr(question.questions, "__path__", list(question.questions.__path__))
    own = tmp_path / "mycourse"
    (own / "b1_cover").mkdir(parents=True)
    (own / "b1.py").write_text(COVER)
    text = "Cover the left with grey {{b1.cover.grey}}, and nothing else."
    code = "# answer: b1.cover\ndef cover(x):\n    # BEGIN SOLUTION\n    return x\n    # END SOLUTION\n"
    cells = [
        {"cell_type": "markdown", "source": text, "metadata": {}},
        {"cell_type": "code", "source": code, "metadata": {}, "outputs": []},
    ]
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (own / "b1_cover" / "solution.ipynb").write_text(json.dumps(book))
    (tmp_path / "roster.csv").write_text(ROSTER)
    yield own
    import sys

    sys.modules.pop("course_lib.grading.questions.b1", None)
    judge.calls.cache_clear()
    stamp.stamp.cache_clear()


def read(path):
    """The grey that a notebook names, and the notebook with the answer that follows from it."""
    book = json.loads(path.read_text())
    grey = float("".join(book["cells"][0]["source"]).split("grey ")[1].split(",")[0])
    answer = f"# answer: b1.cover\ndef cover(x):\n    x = x.clone()\n    x[..., :2] = {grey}\n    return x\n"
    book["cells"][1]["source"] = answer
    return grey, json.dumps(book)


def totals(out):
    table = list(csv.DictReader(io.StringIO((out / "gradebook.csv").read_text())))[1:]
    return {row["student"]: (row["total"], row["remarks"]) for row in table}


def test_each_student_gets_a_variant_and_is_graded_by_it(course, tmp_path, sandboxed, capsys):
    main(["release", "--questions", str(course), "--seed", "2027-spring", "--roster", str(tmp_path / "roster.csv")])
    made = {path.stem.split("-")[1]: read(path) for path in (course / "b1_cover" / "students").iterdir()}
    assert len(made) == 8
    assert len({grey for grey, _ in made.values()}) > 1
    folder, out = tmp_path / "class", tmp_path / "out"
    folder.mkdir()
    other = next(book for grey, book in made.values() if grey != made["40"][0])
    for name, text in {"40": other, "41": made["41"][1], "42": made["42"][1], "stranger": made["43"][1]}.items():
        (folder / f"{name}.ipynb").write_text(text)
    words = [
        "grade",
        str(folder),
        "--out",
        str(out),
        "--questions",
        str(course),
        "--roster",
        str(tmp_path / "roster.csv"),
    ]
    with pytest.raises(SystemExit):  # one is not in the roster
        main([*words, "--seed", "2027-spring", "--each"])
    assert "nobody knows the variant" in capsys.readouterr().err
    found = totals(out)
    assert {name: total for name, (total, _) in found.items() if name} == {
        "40": "0",
        "41": "100",
        "42": "100",
        "stranger": "0",
    }
    assert "pending" in found["stranger"][1]
    (tmp_path / "roster.csv").write_text(ROSTER + "stranger,43a\n")
    folder.joinpath("stranger.ipynb").unlink()
    folder.joinpath("43.ipynb").write_text(made["43"][1])
    main(words)  # the folder knows its word
    assert totals(out)["43"][0] == "100"
    with pytest.raises(SystemExit):
        main([*words, "--seed", "2027-autumn"])
    assert "choose another --out" in capsys.readouterr().err


def test_a_variant_of_the_term_is_one_for_all(course, tmp_path):
    greys = set()
    for term in ("2026", "2027", "2028", "2029", "2030"):
        main(["release", "--questions", str(course), "--seed", term])
        grey, _ = read(course / "b1_cover" / "b1_cover.ipynb")
        greys.add(grey)
    assert len(greys) > 1
    main(["release", "--questions", str(course)])
    assert read(course / "b1_cover" / "b1_cover.ipynb")[0] == 0.2


def test_the_word_and_the_person_decide_and_nothing_else():
    asked = Question("b2.x", "x", len, (), constants={"k": tuple(range(1000)), "m": tuple(range(1000))})
    ann, bob = roster.Person("Ann", id="1"), roster.Person("Bob", id="2")
    values = [variants.constants(asked, variants.word(term, who)) for term in ("a", "b") for who in (None, ann, bob)]
    assert len({tuple(one.values()) for one in values}) == 6
    renamed = dataclasses.replace(ann, name="Ann Lee", section="2")
    assert variants.constants(asked, variants.word("a", renamed)) == values[1]
    assert variants.constants(asked) == {"k": 0, "m": 0}


def test_all_values_are_drawn_about_equally_often():
    asked = Question("b2.x", "x", len, (), constants={"grey": (0.2, 0.35, 0.65, 0.8)})
    people = [roster.Person(f"S{i}", id=str(i)) for i in range(2000)]
    drawn = [variants.constants(asked, variants.word("2027", one))["grey"] for one in people]
    assert all(430 < drawn.count(value) < 570 for value in asked.constants["grey"])  # 500, and 3.6 deviations of 19.4


def test_equally_hard_is_measured(course, capsys):
    main(["variants", "--questions", str(course), "--assignment", "b1"])
    said = capsys.readouterr().out
    assert said.count("100%") == 4 and "equally hard" in said


def _question(reference, *mistakes, values):
    def inputs(generator):
        import torch

        return {"x": torch.rand(20, generator=generator)}

    return Question("b3.x", "x", reference, (Part("numbers", 5, inputs),), mistakes, constants={"k": values})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (_question(lambda x, k: x + k, values=(0.0, 1e6)), "the spread of the right answers"),
        (_question(lambda x, k: x + k, values=(0.5, 0.5000001)), "another variant's answer passes"),
        (
            _question(lambda x, k: k * x, Mistake("k is 2", lambda x, k: 2 * x), values=(2.0, 3.0)),
            "a mistake keeps other points",
        ),
        (_question(lambda x, k: k * x, Mistake("no k", lambda x, k: x), values=(2.0, 3.0)), ""),
    ],
)
def test_variants_that_are_not_equally_hard_are_found(asked, said):
    assert said in variants.unequal(variants.choices(asked)) if said else not variants.unequal(variants.choices(asked))


def test_a_constant_that_is_not_there_is_named(course):
    of = question.assignment("a2")
    with pytest.raises(ValueError, match="no constant a2.saliency.grey"):
        variants.filled("{{a2.saliency.grey}}", of)
    assert variants.filled("{{colab}} {a.b} {{ x }}", of) == "{{colab}} {a.b} {{ x }}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["release", "--seed", "x"], "--seed goes with --questions"),
        (["release", "--roster", "x"], "--roster goes with"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words, said, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert said in capsys.readouterr().err
