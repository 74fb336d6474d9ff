import csv
import io
import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib import grading
from course_lib.grading import (
    collect,
    compare,
    frames,
    grade,
    judge,
    notebook,
    plain,
    question,
    release,
    results,
    sandbox,
)
from course_lib.grading import run as runs
from course_lib.grading.__main__ import main
from course_lib.grading.report import marks, report, tables
from project import submissions

KEY = "a2"
ASKED = question.assignment(KEY)
UNREAD = f"{sum(one.points for one in ASKED.questions):g}"  # of a perfect submission whose words nobody has read
MISTAKEN = f"{sum(one.mistakes[0].points for one in ASKED.questions):g}"  # of one with each question's first mistake
ROOT = Path(__file__).resolve().parent.parent


def book(*cells, **more):
    made = [{"cell_type": cell_type, "source": text, "metadata": {}, "outputs": []} for cell_type, text in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more}).encode()


# --- plain data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -2.5, "text\n\u20ac", [1, [2, []]], {"a": 1, "b": [None]}],
)
def test_plain_values_come_back(value):
    assert plain.decode(plain.encode(value)) == value


@pytest.mark.parametrize("dtype", plain.DTYPES.values())
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 4), (2, 3, 4)])
def test_tensors_come_back_bit_for_bit(dtype, shape, generator):
    x = (100 * torch.rand(shape, generator=generator)).to(dtype)
    back = plain.decode(plain.encode({"x": x.transpose(0, -1) if x.dim() else x}))["x"]
    assert back.dtype == dtype
    assert torch.equal(back, x.transpose(0, -1) if x.dim() else x)


def test_networks_and_seeds_come_back_and_are_built_alike(generator):
    drawn = plain.net(generator, channels=(4, 5, 6), classes=3)
    back = plain.decode(plain.encode({"net": drawn, "seed": plain.Seed(7)}))
    x = torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64)
    net = plain.build(back["net"])
    assert torch.equal(net(x), plain.build(drawn)(x))
    assert net(x).shape == (2, 3)
    names = ["conv1", "relu1", "pool1", "conv2", "relu2", "conv3", "relu3", "flat", "fc"]
    assert [name for name, _ in net.named_children()] == names
    assert torch.rand(3, generator=plain.build(back["seed"])).equal(torch.rand(3, generator=plain.Seed(7).build()))


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, np.zeros(2, "O"), np.array(["x"]), torch.zeros(2, dtype=torch.cfloat), b"x"]
)
def test_what_is_not_plain_is_refused(value):
    with pytest.raises(TypeError, match="not plain data"):
        plain.encode([value])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b'{"tensor": "float32", "shape": [2]}\n1234567',
        b'{"tensor": "float32", "shape": [1]}\n12345678',
        b'{"tensor": "float32", "shape": [-1]}\n',
        b'{"tensor": "float32", "shape": [true]}\n1234',
        b'{"tensor": "float32", "shape": [1099511627776, 1099511627776]}\n1234',
        b'{"tensor": "object", "shape": [1]}\n12345678',
        b'{"tensor": "bool", "shape": [1]}\n\x02',
        b'{"tensor": "float32", "shape": [0], "more": 1}\n',
        b'{"dict": 3}\n',
        b'{"dict": [["a"]]}\n',
        b'{"dict": [[1, 2]]}\n',
        b'{"dict": [["a", 1], ["a", 2]]}\n',
        b'{"net": [[1, 2]], "x": 1}\n',
        b"[" * 100_000,
        b"1\n ",
        b"\xff\xfe\n",
    ],
)
def test_other_bytes_are_no_message(message):
    with pytest.raises(ValueError, match="not a message|too deep"):
        plain.decode(message)


def test_random_bytes_never_do_anything_else():
    """A message with some bytes changed is either refused or plain."""
    draw = random.Random(0)
    message = plain.encode({"call": 0, "answer": [torch.arange(6.0), 3, "x", {"y": torch.ones(2, dtype=torch.bool)}]})
    for _ in range(3000):
        damaged = bytearray(message)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            plain.encode(plain.decode(bytes(damaged)))
        except ValueError as error:
            assert "not a message" in str(error) or "deep" in str(error)


# --- comparing ----------------------------------------------------------------------------------------------

X = torch.tensor([[1.0, -2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (X, X, None),
        (X.double(), X, None),
        (X + 0.003, X, None),
        (torch.tensor(2.0), 2.0, None),
        ([1, 2], (1, 2), None),
        (X + 0.005, X, r"4 of 4 values differ, the first at index \(0, 0\)"),
        (-X, X, "the sign is reversed"),
        (3 * X, X, "3 times too large"),
        (X / 8, X, "8 times too small"),
        (X[None], X, r"the shape is \(1, 2, 2\); \(2, 2\) is asked for"),
        (X.long(), X, None),
        (X.tolist(), X, None),
        ([X[0], X[1]], X, None),
        (X, [X[0], X[1]], None),
        (X.double() > 0, torch.tensor([[1, 0], [1, 1]]), None),
        (X.half(), X, None),
        (X.flip(0), X, "the right values, in another order"),
        (X.long() + 1, X, "holds whole numbers; floating-point ones"),
        (X > 0, X, "holds bool numbers"),
        ([[1.0, 2.0], [3.0]], X, "the answer is a list; a tensor is asked for"),
        (X * float("nan"), X, "NaN or infinity"),
        (0 * X, X, "everything is zero"),
        (None, X, "is there a return"),
        ("text", X, "the answer is a text; a tensor is asked for"),
        (1.0, 2.0, "right up to|too small"),
        ([X, X], [X], "2 values; 1 are asked for"),
        ([X, -X], [X, X], "value 2 of 2: the sign"),
        ({"a": X}, {"b": X}, "the keys are a; b are asked for"),
        ({"a": -X}, {"a": X}, "a: the sign"),
        (1e307 * X.double(), X, "4 of 4 values differ"),
        (1e39, 1e39, None),
        (0.0, 1e39, "everything is zero"),
    ],
)
def test_the_difference_is_said_in_words(answer, expected, said):
    found = compare.difference(answer, expected, 1e-3)
    if said is None:
        assert found is None
    else:
        assert found and re.search(said, found), found


def test_the_words_never_hold_the_answer():
    """One wrong value among many: neither it nor the right one is told."""
    right = torch.full((4, 4), 0.123456)
    answer = right.clone()
    answer[2, 1] = 0.654321
    said = compare.difference(answer, right, 1e-3)
    assert "(2, 1)" in said
    assert "0.12" not in said and "0.65" not in said


def judged(answer):
    def judge(answer, low):
        return None if answer[0] > low else "too low"

    asked = question.Question("a2.x", "x", lambda low: torch.ones(1), (), judge=judge)
    return compare.verdict(asked, answer, {"low": 0.5}, None)


def test_a_judge_decides_where_there_is_no_single_answer():
    assert judged(torch.ones(1)) is None
    assert judged(torch.zeros(1)) == "too low"
    assert "NaN" in judged(torch.full((1,), float("nan")))
    assert "another form" in judged(3.0)


# --- the student's check ------------------------------------------------------------------------------------


def right_saliency(net, x, label):
    x = x.clone().requires_grad_()
    net(x).gather(1, label[:, None]).sum().backward()
    return x.grad.abs().amax(1, keepdim=True)


def test_check_says_right(capsys):
    grading.check("a2.saliency", right_saliency)
    assert "all right here" in capsys.readouterr().out


def test_check_takes_fresh_inputs_each_time():
    seen = []

    def saliency(net, x, label):
        seen.append(x)
        return right_saliency(net, x, label)

    grading.check("a2.saliency", saliency)
    grading.check("a2.saliency", saliency)
    assert not torch.equal(seen[0], seen[2])


def test_check_names_a_known_mistake_and_the_line_of_an_error(capsys):
    grading.check("a2.saliency", lambda net, x, label: right_saliency(net, x, label).expand(-1, 3, -1, -1))
    assert "the shape is (1, 3, 16, 16); (1, 1, 16, 16) is asked for" in capsys.readouterr().out
    (probability, *_) = question.question("a2.saliency").mistakes
    grading.check("a2.saliency", probability.function)
    assert "It looks as if the probability was differentiated" in capsys.readouterr().out

    def broken(net, x, label):
        return x.nothing

    grading.check("a2.saliency", broken)
    assert "in the line `return x.nothing`" in capsys.readouterr().out

    def unanswered(net, x, label):
        raise NotImplementedError("your code here")

    grading.check("a2.saliency", unanswered)
    assert "not answered yet" in capsys.readouterr().out


def test_check_refuses_what_is_no_question_or_no_function():
    with pytest.raises(ValueError, match=r"no question 'a2.salience' \(did you mean 'a2.saliency'"):
        grading.check("a2.salience", right_saliency)
    with pytest.raises(ValueError, match="no assignment 'b7'"):
        grading.check("b7.x", right_saliency)
    with pytest.raises(TypeError, match="wants the function itself"):
        grading.check("a2.saliency", torch.zeros(1))


def test_check_leaves_the_global_seed_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    grading.check("a2.overlap", lambda heat, mask: heat)
    assert torch.equal(torch.get_rng_state(), before)


# --- handed-in notebooks ------------------------------------------------------------------------------------


def test_marked_cells_are_taken_in_their_order():
    read = notebook.read(
        book(
            ("code", "import torch"),
            ("code", "x = 'a cell that nothing needs'"),
            ("code", "# answer: a2.x\ndef helper(): pass"),
            ("markdown", "<!-- answer: a2.why -->\n\nBecause."),
            ("code", "\n#answer:a2.x \nsecond"),
            ("code", "x = 1  # answer: a2.x"),
            ("code", "# answer: a2.other\nthird"),
        )
    )
    assert [mark for _, mark in read.code] == ["", "a2.x", "a2.x", "a2.other"]
    assert read.written == {"a2.why": "Because."}
    mine = [(text.splitlines()[-1], own) for text, own in read.cells(("a2.x",))]
    assert [own for _, own in mine] == [False, True, True]
    assert not any("third" in text for text, _ in mine)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_of_json_are_read(encoding):
    text = book(("code", "# answer: a2.x\nname = 'Zoë €'")).decode("utf-8")
    text = text.replace("\\u00eb", "ë").replace("\\u20ac", "€")
    assert "Zoë €" in notebook.read(text.encode(encoding)).code[0][0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "broken or cut short"),
        (book(("code", "x"))[:-9], "broken or cut short"),
        (b"[" * 100_000 + b"]" * 100_000, "broken"),
        (b"PK\x03\x04 a zip", "broken|UTF-8"),
        ('{"cells": "é"}'.encode("latin-1"), "UTF-8"),
        (b"[]", "no list of cells"),
        (b'{"worksheets": []}', "no list of cells"),
        (b'{"cells": [3]}', "has no type"),
        (b'{"cells": [{"cell_type": "code", "source": 3}]}', "no text"),
        (b" " * (notebook.LIMIT + 1), "25 MB is the limit"),
    ],
)
def test_what_is_no_notebook_is_refused_in_words(data, said):
    with pytest.raises(notebook.Unreadable, match=said):
        notebook.read(data)


DOT = submissions.image(3, 2)


def test_only_plain_images_and_printed_text_are_kept():
    png = {"output_type": "display_data", "data": {"image/png": DOT + "\n", "text/plain": "<Figure>"}}
    bad = {"output_type": "display_data", "data": {"image/png": '"><script>', "text/html": "<b>", "image/svg+xml": "<"}}
    wrong = [{"data": {"image/png": "aGVsbG8="}}, {"data": {"image/jpeg": DOT}}, {"data": {"image/png": [1]}}]
    printed = [{"text": ["\x1b[31mred\x1b[0m\n", "2\x00"]}, {"data": {"text/plain": 3}}, {"text": {"a": 1}}]
    cell = {"cell_type": "code", "source": "x", "outputs": [png, bad, 3, {"data": []}, *wrong, *printed]}
    shown = notebook.shown(json.dumps({"cells": [cell]}).encode()).outputs
    assert [(one.media_type, one.content) for one in shown] == [("image/png", DOT), ("text/plain", "red\n2")]


def test_what_a_notebook_shows_is_bounded():
    huge = submissions.image(7000, 7000)  # a small file that unfolds to 49 million pixels
    outputs = [{"data": {"image/png": one}} for one in [huge, *[DOT] * 40]] + [{"text": "x" * 10**4}] * 100
    cell = {"cell_type": "code", "source": "x", "outputs": outputs}
    made = notebook.shown(json.dumps({"cells": [cell] * 3}).encode())
    assert len(made.images) == notebook.FIGURES
    assert {one.content for one in made.images} == {DOT}
    assert max(len(one.content) for one in made.outputs) <= notebook.PRINTED + 4
    assert len(made.outputs) <= 2 * notebook.FIGURES


def test_what_an_answer_speaks_of_stands_before_it_or_in_it():
    def code(text):
        return {"cell_type": "code", "source": "print()", "outputs": [{"text": text}]}

    pasted = {"a.png": {"image/png": DOT}, "b.svg": {"image/svg+xml": "<svg onload=alert(1)>"}}
    answer = {"cell_type": "markdown", "source": "<!-- answer: a2.logit -->\nwords", "attachments": pasted}
    check = {"cell_type": "code", "source": 'grading.check("a2.x", x)', "outputs": [{"text": "right"}]}
    cells = [*map(code, "abcde"), check, answer, code("after")]
    near, more = notebook.shown(json.dumps({"cells": cells}).encode()).around("a2.logit")
    assert [one.content for one in near] == ["c", "d", "e", DOT]
    assert [one.content for one in more] == ["a", "b", "after"]


# --- folders and archives -----------------------------------------------------------------------------------


def names(path):
    return {one.student: one for one in collect.collect(path, KEY).submissions}


def test_canvas_names_folders_and_plain_files_name_the_student(tmp_path):
    good = book(("code", "# answer: a2.saliency\n"))
    (tmp_path / "doejane_LATE_123_4567_a2_pixels-1.ipynb").write_bytes(good)
    (tmp_path / "roe.ipynb").write_bytes(good)
    (tmp_path / "Ann Lee_99").mkdir()
    (tmp_path / "Ann Lee_99" / "a2_pixels.ipynb").write_bytes(good)
    (tmp_path / "Ann Lee_99" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "Ann Lee_99" / ".ipynb_checkpoints" / "a2_pixels.ipynb").write_bytes(good)
    found = names(tmp_path)
    assert sorted(found) == ["Ann Lee_99", "doejane_123", "roe"]
    assert not any(one.problem for one in found.values())
    assert found["doejane_123"].file == "a2_pixels-1.ipynb"


def test_malformed_uploads_cost_their_student_a_message(tmp_path):
    good = book(("code", "# answer: a2.saliency\n"))

    def put(student, name, data):
        (tmp_path / student).mkdir(exist_ok=True)
        (tmp_path / student / name).write_bytes(data)

    put("good", "a2.ipynb", good)
    put("none", "essay.docx", b"x")
    put("two", "a.ipynb", good)
    put("two", "b.ipynb", good + b" ")
    put("broken", "a2.ipynb", good[:-3])
    put("empty", "a2.ipynb", b"")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a2.ipynb").symlink_to("/etc/passwd")
    (tmp_path / "huge").mkdir()
    with (tmp_path / "huge" / "a2.ipynb").open("wb") as file:
        file.truncate(200_000_000)
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped" / "a2.ipynb")
    problems = {student: one.problem for student, one in names(tmp_path).items()}
    assert problems["good"] == ""
    assert "no notebook (.ipynb) among what was handed in: essay.docx" in problems["none"]
    assert "2 notebooks (a.ipynb, b.ipynb) answer this assignment: hand in one" in problems["two"]
    assert "broken or cut short" in problems["broken"]
    assert "empty" in problems["empty"]
    assert "link" in problems["linked"]
    assert "200 MB" in problems["huge"]
    assert "no plain file" in problems["piped"]


def test_archives_are_read_without_unpacking(tmp_path):
    good = book(("code", "# answer: a2.saliency\n"))
    path = tmp_path / "submissions.zip"
    link = zipfile.ZipInfo("linked_4_40_a2.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good_1_10_a2.ipynb", good)
        archive.writestr("../../evil_2_20_a2.ipynb", good)
        archive.writestr("/absolute_3_30_a2.ipynb", good)
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bomb_5_50_a2.ipynb", b" " * 60_000_000)
        archive.writestr("__MACOSX/._good_1_10_a2.ipynb", b"x")
    assert path.stat().st_size < 100_000
    problems = {student: one.problem for student, one in names(path).items()}
    assert problems.pop("good_1") == ""
    assert "leads out" in problems.pop("evil_2")
    assert "leads out" in problems.pop("absolute_3")
    assert "link" in problems.pop("linked_4")
    assert "60 MB" in problems.pop("bomb_5")
    assert not problems
    assert sorted(file.name for file in tmp_path.iterdir()) == ["submissions.zip"]


def test_a_folder_that_was_packed_whole_is_no_student(tmp_path):
    path = tmp_path / "class.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("class/ann.ipynb", "class/bob.ipynb"):
            archive.writestr(name, book(("code", "# answer: a2.saliency\n")))
    assert sorted(names(path)) == ["ann", "bob"]


def test_an_archive_that_lies_about_a_size_costs_no_memory(tmp_path):
    path = tmp_path / "submissions.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb_5_50_a2.ipynb", b" " * 60_000_000)
    data = bytearray(path.read_bytes())
    for at in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[at : at + 4] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    (one,) = collect.collect(path, KEY).submissions
    assert "cannot be read" in one.problem or "empty" in one.problem


def test_what_holds_no_submissions_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not there"):
        (collect.collect(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="no submissions in"):
        (collect.collect(tmp_path))
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        (collect.collect(tmp_path / "x.zip"))


def test_no_two_students_share_a_slug():
    def slug(name):
        return collect.Submission(name, "", "", notebook.Notebook()).slug

    odd = ["Zoë", "Zoe", "../../x", "x", "", "名前", "名", "a/b", "a b"]
    assert len({slug(name) for name in odd}) == len(odd)
    assert all("/" not in slug(name) and not slug(name).startswith(".") for name in odd)


# --- releasing ----------------------------------------------------------------------------------------------


def test_a_solution_region_becomes_an_error_where_it_stood():
    text = "def f(x):\n    # BEGIN SOLUTION\n    y = x\n    return y\n    # END SOLUTION\n\nprint(1)"
    made = release.without_solution(text)
    assert made == 'def f(x):\n    raise NotImplementedError("your code here")\n\nprint(1)'


@pytest.mark.parametrize(
    "text", ["# BEGIN SOLUTION\nx", "x\n# END SOLUTION", "# BEGIN SOLUTION\n# BEGIN SOLUTION\n# END SOLUTION"]
)
def test_marks_that_do_not_match_are_refused(text):
    with pytest.raises(ValueError, match="solution (begins|ends)"):
        release.without_solution(text)


def test_a_notebook_that_misses_a_question_is_refused():
    solution = submissions.solution(KEY)
    solution["cells"] = [cell for cell in solution["cells"] if "# answer: a2.overlap" not in "".join(cell["source"])]
    with pytest.raises(ValueError, match="do not agree on a2.overlap"):
        release.check_solution(solution, KEY)


def test_a_stale_notebook_is_found(tmp_path):
    folder = tmp_path / "assignments" / "a2_pixels"
    folder.mkdir(parents=True)
    (folder / "solution.ipynb").write_text(json.dumps(submissions.solution(KEY)))
    assert release.release(folder.parent, "https://x", write=False) == [folder / "a2_pixels.ipynb"]
    assert release.release(folder.parent, "https://x") == [folder / "a2_pixels.ipynb"]
    assert release.release(folder.parent, "https://x", write=False) == []
    text = (folder / "a2_pixels.ipynb").read_text()
    assert "https://x/assignments/a2_pixels/a2_pixels.ipynb" in text
    (folder / "a2_pixels.ipynb").write_text(text.replace("Assignment 2", "Homework 2"))
    assert release.release(folder.parent, "https://x", write=False) == [folder / "a2_pixels.ipynb"]


# --- the sandbox --------------------------------------------------------------------------------------------


@pytest.fixture
def fresh():
    """Nothing is remembered of what this machine has, before and after."""
    for remembered in (sandbox.probe, sandbox._mounts):
        remembered.cache_clear()
    yield
    for remembered in (sandbox.probe, sandbox._mounts):
        remembered.cache_clear()


def test_without_a_sandbox_it_refuses_and_says_what_to_install(fresh, tmp_path, monkeypatch):
    (tmp_path / "x.ipynb").write_bytes(book(("code", "# answer: a2.saliency\n")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(sandbox.NoSandbox, match="without a sandbox; install bubblewrap"):
        grade.grade(tmp_path, tmp_path / "grades", KEY)
    assert not (tmp_path / "grades").exists()


def test_a_sandbox_that_does_not_start_is_refused_with_its_own_words(fresh, tmp_path, monkeypatch):
    sandbox.end()
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho bwrap: no permission to make namespaces >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(sandbox.NoSandbox, match=r"no permission to make namespaces\nNothing .* may not enter"):
        sandbox.probe()


def test_an_answer_may_import_the_modules_of_its_assignment_and_no_others(sandboxed):
    text = "from course_lib import world, {}\ndef f():\n    return world.draw(2, seed=0).images.sum()"
    with sandbox.Sandbox(("world", "models")) as box:
        for module, said in (("models", b'"answer"'), ("attribution", b"attribution")):
            cells = [["", False], [text.format(module), True]]
            answer = box.answer({"cells": cells, "function": "f", "calls": [{}]}, 10)
            assert said in answer, answer
            assert (b'"error"' in answer) == (module == "attribution")


def test_a_room_that_is_not_there_is_refused_and_the_nearest_is_named():
    with pytest.raises(ValueError, match=r"no module 'atribution' \(did you mean 'attribution'"):
        sandbox.command(("atribution",))


def test_imports_of_other_cells_count_where_an_answer_uses_them(sandboxed):
    asked = question.question("a2.overlap")
    cells = [
        ["%pip install x\nimport torch as t, captum\nfrom math import pi\nboom = 1 / 0", False],
        ["def f():\n    return t.tensor(pi)", True],
    ]
    with sandbox.Sandbox() as box:
        good = box.answer({"cells": cells, "function": "f", "calls": [{}]}, 10)
        cells[1][0] = "def f():\n    return captum.x"
        bad = box.answer({"cells": cells, "function": "f", "calls": [{}]}, 10)
        cells[1][0] = "def f():\n    return boom"
        other = box.answer({"cells": cells, "function": "f", "calls": [{}]}, 10)
    assert frames.unpack(good, 1)[1][0]["answer"].item() == pytest.approx(3.14159, abs=1e-5)
    assert b"an answer may not import captum" in bad
    assert b"other cells' variables are not there" in other
    assert asked.function == "overlap"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_gets_the_same_sandbox_or_is_told_why(tmp_path):
    """Where that user may enter the Python's folder it works; where not, the message says so."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    interpreter = Path(sys.executable).resolve()
    run = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(interpreter), "-c",
         "from course_lib.grading import sandbox; sandbox.probe(); print('works')"],
        capture_output=True, text=True, env=environment, cwd="/",
    )  # fmt: skip
    assert run.stdout == "works\n" or "ermission denied" in run.stderr or "may not enter" in run.stderr, run.stderr


# --- a run --------------------------------------------------------------------------------------------------


def some(folder, count):
    """Right, empty and wrong submissions in turn."""
    folder.mkdir(exist_ok=True)
    asked = question.assignment(KEY)
    wrong = {one.name: submissions.mistaken(one, one.mistakes[0]) for one in asked.questions}
    books = [submissions.solution(KEY), submissions.stub(KEY), submissions.handed_in(KEY, wrong)]
    for i in range(count):
        (folder / f"student{i:02d}.ipynb").write_bytes(submissions.bytes_of(books[i % 3]))


def command(folder, out, *more):
    return [sys.executable, "-m", "course_lib.grading", "grade", str(folder), "--out", str(out), *more]


def rows(out):
    return list(csv.DictReader(io.StringIO((out / "gradebook.csv").read_text())))[1:]  # the first holds the maxima


@pytest.fixture(scope="module")
def graded(sandboxed, tmp_path_factory):
    """One run of seven submissions, two of them malformed, from a zip by the command line."""
    folder = tmp_path_factory.mktemp("class")
    some(folder, 3)
    (folder / "broken.ipynb").write_bytes(b"{")
    (folder / "other.ipynb").write_bytes(book(("code", "print('a notebook of another course')")))
    pretty = json.loads((folder / "student00.ipynb").read_text())
    pretty["cells"][-1]["source"] = "<!-- answer: a2.logit -->\n=cmd()|<script>alert(1)</script> because"
    pretty["cells"][2]["outputs"] = [{"output_type": "display_data", "data": {"image/png": DOT}}]
    (folder / "=student.ipynb").write_text(json.dumps(pretty))
    archive = folder.parent / "class.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for file in folder.iterdir():
            made.write(file, file.name)
    out = tmp_path_factory.mktemp("grades")
    run = subprocess.run(command(archive, out), capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return archive, out, run


def test_the_gradebook_says_who_got_what_and_what_to_look_at(graded):
    _, out, run = graded
    found = {row["student"]: row for row in rows(out)}
    assert "6 submissions graded" in run.stdout
    assert {name: row["total"] for name, row in found.items()} == {
        "'=student": UNREAD,
        "broken": "0",
        "other": "0",
        "student00": UNREAD,
        "student01": "0",
        "student02": MISTAKEN,
    }
    assert found["broken"]["remarks"] == "malformed: the file is no notebook: its JSON is broken or cut short"
    assert "not that of assignment a2" in found["other"]["remarks"]
    assert found["student02"]["a2.relu_rule"] == "7"
    assert found["student02"]["remarks"] == found["student01"]["remarks"] == ""


def test_the_pages_show_text_as_text_and_the_students_figures(graded):
    _, out, _ = graded
    pages = {file.name: file.read_text() for file in (out / "reports").iterdir()}
    (page,) = [text for name, text in pages.items() if name.startswith("student-") and "=student" in text]
    assert f'src="data:image/png;base64,{DOT}"' in page
    written = (out / "written.html").read_text()
    assert "&lt;script&gt;alert(1)" in written and "<script" not in written
    assert "It looks as if" in "".join(pages.values())
    for text in [*pages.values(), written, (out / "index.html").read_text()]:
        assert "http" not in text.replace("http-equiv", "")


MARKUP = "<script>alert('1')</script> & \"co\""


class Page(HTMLParser):
    """The tags and the text of a page, as a browser reads it."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = set(), ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


def test_markup_of_a_student_arrives_as_text_on_every_page(tmp_path):
    """The student's name, the file's, an error message, a written answer, and the instructor's comment."""
    assignment = question.assignment(KEY)
    code = (("import torch\nprint(torch.ones(1) + torch.zeros(1))", "a2.overlap"),)
    read = notebook.Notebook(code, dict.fromkeys((one.name for one in assignment.written), MARKUP))
    class_ = [collect.Submission(name, f"{MARKUP}.ipynb", "0", read) for name in (MARKUP, "twin")]
    parts = (results.PartResult(MARKUP, 0.0, 1.0, MARKUP),)
    found = [results.Result(asked.name, "malformed", parts) for asked in assignment.questions]
    run = runs.Run(tmp_path, assignment, 1)
    by_slug = {submission.slug: found for submission in class_}
    (tmp_path / "written.csv").write_text(
        tables.table([marks.COLUMNS, *((name, "a2.logit", 3, MARKUP) for name in (MARKUP, "twin"))])
    )
    report(run, collect.Found(tuple(class_), KEY), by_slug)
    counts = {}
    for file in tmp_path.rglob("*.html"):
        page = Page(file.read_text())
        assert "script" not in page.tags
        counts[file.relative_to(tmp_path).as_posix()] = page.text.count(MARKUP)
    answers, asked = len(assignment.written), len(assignment.questions)
    assert counts == {
        "index.html": 1 + 2 + 2,  # the name, two remarks, and the pair that resembles each other with its heading
        "written.html": answers + 2 * answers,  # the name, and both students' answers
        f"reports/{class_[0].slug}.html": 2
        + 1
        + 2 * asked
        + 2
        + 1
        + answers,  # name, file, part and why, again, comment
        f"reports/{class_[1].slug}.html": 1 + 2 * asked + 2 + 1 + answers,
    }


def test_gradescope_gets_its_file(graded):
    _, out, _ = graded
    files = [json.loads(file.read_text()) for file in (out / "gradescope").glob("student00*/results.json")]
    assert files[0]["score"] == 80
    assert sum(test["max_score"] for test in files[0]["tests"]) == 80
    assert all(set(test) >= {"name", "score", "max_score", "output"} for test in files[0]["tests"])


def test_equal_code_is_listed(graded):
    _, out, _ = graded
    pairs = list(csv.DictReader(io.StringIO((out / "similar.csv").read_text())))
    (pair,) = [one for one in pairs if one["group"] == "1"]
    assert (pair["first"], pair["second"]) == ("'=student", "student00")
    assert (pair["shared"], pair["as written"]) == ("1.00", "1.00")


def test_the_same_command_grades_nothing_twice_and_keeps_typed_points(graded):
    archive, out, _ = graded
    stamps = {file: file.stat().st_mtime_ns for file in (out / "results").rglob("*.json")}
    table = list(csv.reader(io.StringIO((out / "written.csv").read_text())))
    assert table[0] == ["student", "question", "points", "comment", "items"]
    for row in table:
        if row[:2] == ["student00", "a2.logit"]:
            row[2:] = ["4,5", '-0.5: names no number; see "p"', "1 3"]
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows(table)  # as a spreadsheet may save it
    (out / "written.csv").write_text("\ufeff" + text.getvalue(), encoding="utf-8")
    main(command(archive, out)[3:])
    assert stamps == {file: file.stat().st_mtime_ns for file in (out / "results").rglob("*.json")}
    found = {row["student"]: row for row in rows(out)}
    assert found["student00"]["a2.logit"] == "4.5"
    assert found["student00"]["total"] == f"{float(UNREAD) + 4.5:g}" == "84.5"
    kept = {
        (row["student"], row["question"]): row for row in csv.DictReader((out / "written.csv").read_text().splitlines())
    }
    assert kept["student00", "a2.logit"]["comment"] == """'-0.5: names no number; see "p\""""
    assert ">-0.5: names no number" in "".join(file.read_text() for file in (out / "reports").glob("student00*"))


def test_points_that_cannot_be_are_refused_by_line(graded):
    _, out, _ = graded
    run = runs.open_run(out, KEY)
    before = (out / "written.csv").read_text()
    for points, said in (("7", "go from 0 to 5, got 7"), ("many", "points are a number, got 'many'")):
        (out / "written.csv").write_text(f"student,question,points,comment\nstudent00,a2.logit,{points},\n")
        with pytest.raises(ValueError, match=f"line 2: .*{said}"):
            marks.read_written(run)
    (out / "written.csv").write_text(before)


def test_a_folder_of_another_assignment_is_refused(graded, tmp_path):
    _, out, _ = graded
    (tmp_path / "run.json").write_text('{"assignment": "a5", "seed": 1}')
    with pytest.raises(ValueError, match="holds the grades of a5"):
        runs.open_run(tmp_path, KEY)


def test_who_hands_in_again_is_graded_again(graded, tmp_path):
    """And a result whose file was damaged counts as none."""
    folder, out = tmp_path / "class", tmp_path / "out"
    some(folder, 2)
    run, found, _ = grade.grade(folder, out, KEY)
    (folder / "student01.ipynb").write_bytes(submissions.bytes_of(submissions.solution(KEY)))
    first = next(one for one in found.submissions if one.student == "student00")
    run.path(first, "a2.overlap").write_text('{"sha256": ')
    _, found, graded = grade.grade(folder, out, KEY)
    assert {one.student: sum(result.points for result in graded[one.slug]) for one in found.submissions} == {
        "student00": 80,
        "student01": 80,
    }


def test_inputs_differ_from_run_to_run_and_are_the_same_within_one():
    one, again, other = (judge.calls.__wrapped__("a2.saliency", seed) for seed in (1, 1, 2))
    assert torch.equal(one[0][1]["x"], again[0][1]["x"])
    assert not torch.equal(one[0][1]["x"], other[0][1]["x"])
    assert [part for part, _, _ in one] == [0, 1, 0, 1]  # part after part, then again


def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_gradebook(sandboxed, tmp_path):
    folder, whole, cut = tmp_path / "class", tmp_path / "whole", tmp_path / "cut"
    some(folder, 4)
    for out in (whole, cut):
        runs.write(out / "run.json", json.dumps({"assignment": KEY, "seed": 5}))
    main(command(folder, whole)[3:])
    with subprocess.Popen(
        command(folder, cut, "--jobs", "1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as process:
        while process.poll() is None and not stored(cut):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    before, everything = {file: file.stat().st_mtime_ns for file in stored(cut)}, 4 * len(ASKED.questions)
    assert 0 < len(before) < everything
    main(command(folder, cut)[3:])
    assert before.items() <= {file: file.stat().st_mtime_ns for file in stored(cut)}.items()
    assert len(stored(cut)) == everything
    assert (cut / "gradebook.csv").read_bytes() == (whole / "gradebook.csv").read_bytes()


def stored(out):
    return [file for file in out.rglob("results/*/a2.*.json") if not file.name.startswith(".")]


def test_the_same_command_runs_on_a_dask_cluster(sandboxed, tmp_path):
    distributed = pytest.importorskip("distributed")
    folder = tmp_path / "class"
    some(folder, 3)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=None, processes=True, host="127.0.0.1"
    ) as cluster:
        main(command(folder, tmp_path / "out", "--scheduler", cluster.scheduler_address)[3:])
    assert [row["total"] for row in rows(tmp_path / "out")] == [UNREAD, "0", MISTAKEN]
