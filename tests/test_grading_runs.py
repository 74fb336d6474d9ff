"""A run and its reports: what is kept, what is done again, what an instructor may change, and what may break."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
import time

import pytest

from course_lib.grading import collect, grade, judge, notebook, question, results, roster, sandbox, similar, stamp
from course_lib.grading import run as runs
from course_lib.grading.__main__ import main
from course_lib.grading.report import marks, pages, tables, write
from project import submissions

KEY = "a2"
ASKED = question.assignment(KEY)
UNREAD = f"{sum(one.points for one in ASKED.questions):g}"  # of a perfect submission whose words nobody has read


@pytest.fixture
def graded(monkeypatch):
    """A grader without sandboxes: every answer gets full marks; the students that it was called for."""
    called = []

    def work(slug, key, cells, seed, variant):
        called.append((slug, sorted(cells)))
        made = []
        for name in cells:
            asked = question.question(name)
            parts = tuple(results.PartResult(part.name, float(part.points), float(part.points)) for part in asked.parts)
            made.append(results.Result(name, "graded", parts))
        return slug, made

    monkeypatch.setattr(grade, "work", work)
    monkeypatch.setattr(sandbox, "probe", lambda: None)
    return called


@pytest.fixture
def folder(tmp_path):
    """A class of three."""
    made = tmp_path / "class"
    made.mkdir()
    for name in ("ann", "bob", "cem"):
        (made / f"{name}.ipynb").write_bytes(submissions.bytes_of(submissions.solution(KEY)))
    return made


def run(folder, out, *more):
    main(["grade", str(folder), "--out", str(out), *more])


def fails(folder, out, capsys, *more):
    """The sentence of a run that cannot go on."""
    with pytest.raises(SystemExit) as stopped:
        run(folder, out, *more)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.splitlines()[-1] + "\n"  # bars may stand above


def rows(out, name="gradebook.csv"):
    return list(csv.DictReader(io.StringIO((out / name).read_text())))


def totals(out):
    return {row["student"]: row["total"] for row in rows(out)[1:]}


# --- what is done again -------------------------------------------------------------------------------------


def test_the_stamp_holds_all_that_can_change_a_point():
    files = {
        path.relative_to(sandbox.PACKAGE).as_posix()
        for path in stamp.sources(
            [sandbox.PACKAGE / "grading" / f"{name}.py" for name in stamp.RULES] + [question.source(KEY)]
        )
    }
    assert {"grading/questions/a2.py", "grading/compare.py", "grading/define.py", "grading/child.py"} <= files
    assert {"attribution/__init__.py", "measure/__init__.py"} <= files
    assert any(name.startswith("attribution/") and "gradient" in name for name in files)
    assert not {"grading/report/write.py", "grading/questions/a1.py", "recipes/__init__.py"} & files


def test_no_rule_of_the_judge_is_forgotten():
    """All of the grader's modules that judging imports, directly or not: Python finds them, and not the stamp."""
    listing = (
        "import sys, types; package = types.ModuleType('course_lib.grading'); "
        f"package.__path__ = [{str(sandbox.PACKAGE / 'grading')!r}]; sys.modules['course_lib.grading'] = package; "
        "import course_lib.grading.judge, course_lib.grading.notebook; print(*sys.modules)"
    )
    made = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    rules = {name.split(".")[2] for name in made if name.startswith("course_lib.grading.")}
    assert "diagnose" in rules
    # who somebody is decides which variant counts, which stands beside the stamp
    assert rules - {"questions", "roster"} == set(stamp.RULES)


def test_a_corrected_rule_grades_everybody_again(graded, folder, tmp_path, monkeypatch):
    rule = tmp_path / "rule.py"
    rule.write_text("1")
    monkeypatch.setattr(stamp, "sources", lambda paths: [rule])
    for text, expected in (("1", 3), ("1", 0), ("2", 3)):
        rule.write_text(text)
        stamp.stamp.cache_clear()
        graded.clear()
        run(folder, tmp_path / "out")
        assert len(graded) == expected
    stamp.stamp.cache_clear()


def test_a_run_with_nothing_left_needs_no_sandbox(graded, folder, tmp_path, monkeypatch):
    run(folder, tmp_path / "out")
    monkeypatch.setattr(sandbox, "probe", lambda: 1 / 0)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    graded.clear()
    run(folder, tmp_path / "out")
    assert graded == []
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_submissions_are_compared_again_only_where_one_has_changed(graded, folder, tmp_path, monkeypatch):
    compared, original, out = [], write.similar, tmp_path / "out"
    monkeypatch.setattr(write, "similar", lambda *given: compared.append(1) or original(*given))
    run(folder, out)
    first = (out / "similar.csv").read_text()
    run(folder, out)
    assert len(compared) == 1 and (out / "similar.csv").read_text() == first
    assert "ann" in first and 'href="reports/ann' in (out / "index.html").read_text()
    (folder / "cem.ipynb").write_bytes(submissions.bytes_of(submissions.stub(KEY)))
    run(folder, out)
    assert len(compared) == 2 and "cem" not in (out / "similar.csv").read_text()
    (out / "results" / "alike.json").write_text("{}")
    run(folder, out)
    assert len(compared) == 3


def test_only_and_regrade_mean_the_students_that_they_name(graded, folder, tmp_path, capsys):
    out = tmp_path / "out"
    run(folder, out, "--only", "ann")
    assert [slug[:3] for slug, _ in graded] == ["ann"]
    assert totals(out) == {"ann": UNREAD, "bob": "0", "cem": "0"}
    assert rows(out)[2]["remarks"] == "pending: not graded yet"
    graded.clear()
    run(folder, out)
    assert sorted(slug[:3] for slug, _ in graded) == ["bob", "cem"]
    graded.clear()
    run(folder, out, "--regrade", "--only", "Bob", "--only", "cem")
    assert sorted(slug[:3] for slug, _ in graded) == ["bob", "cem"]
    graded.clear()
    run(folder, out, "--regrade")
    assert len(graded) == 3
    assert "no student 'dora'" in fails(folder, out, capsys, "--only", "dora")


def test_what_the_machine_failed_at_is_tried_again(graded, folder, tmp_path, monkeypatch, capsys):
    right, out = grade.work, tmp_path / "out"

    def work(slug, key, cells, seed, variant):
        if slug.startswith("bob"):
            return slug, [results.lost(question.question(name), "pending", "no memory for a sandbox") for name in cells]
        return right(slug, key, cells, seed, variant)

    monkeypatch.setattr(grade, "work", work)
    assert "run the same command again: no memory for a sandbox" in fails(folder, out, capsys)
    assert totals(out) == {"ann": UNREAD, "bob": "0", "cem": UNREAD}
    monkeypatch.setattr(grade, "work", right)
    graded.clear()
    run(folder, out)
    assert [slug[:3] for slug, _ in graded] == ["bob"]
    assert totals(out)["bob"] == UNREAD


def test_a_question_that_breaks_the_grader_is_a_remark_and_the_others_go_on(monkeypatch):
    """Not even the sandbox's own failures reach the run."""

    class Broken:
        def __init__(self, *_):
            pass

        def answer(self, request, seconds):
            if request["function"] == "saliency":
                raise ZeroDivisionError
            raise sandbox.Ended("it was killed")

        def close(self):
            pass

    monkeypatch.setattr(sandbox, "Sandbox", Broken)
    cells = {one.name: [("x", True)] for one in ASKED.questions}
    made = {one.question: one for one in judge.answer(KEY, cells, 1)}
    assert made["a2.saliency"].status == "unjudged"
    assert "ZeroDivisionError. Somebody must look" in made["a2.saliency"].parts[0].said
    assert {one.status for name, one in made.items() if name != "a2.saliency"} == {"crashed"}


def test_a_page_that_cannot_be_made_keeps_nobody_from_theirs(graded, folder, tmp_path, monkeypatch, capsys):
    original = pages.student_page

    def page(run, card):
        if card.submission.student == "bob":
            raise RecursionError
        return original(run, card)

    monkeypatch.setattr(pages, "student_page", page)
    monkeypatch.setattr(write, "similar", lambda *_: 1 / 0)
    run(folder, tmp_path / "out")
    said = capsys.readouterr().out
    assert "no page for bob: RecursionError" in said
    assert "submissions were not compared: ZeroDivisionError" in said
    assert len(list((tmp_path / "out" / "reports").iterdir())) == 3
    assert totals(tmp_path / "out") == {"ann": UNREAD, "bob": UNREAD, "cem": UNREAD}


# --- what an instructor types -------------------------------------------------------------------------------


def override(out, *changes):
    (out / "overrides.csv").write_text(tables.table([marks.CHANGES, *changes]))


def test_an_override_counts_is_shown_with_its_reason_and_stays(graded, folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    override(out, ("ann", "a2.overlap", "3,5", "agreed in the office hour"))
    for more in ((), ("--regrade",)):
        run(folder, out, *more)
        row = {row["student"]: row for row in rows(out)}["ann"]
        assert (row["a2.overlap"], row["total"]) == ("3.5", "78.5")
        (page,) = (out / "reports").glob("ann*")
        assert "agreed in the office hour" in page.read_text()
        (file,) = (out / "gradescope").glob("ann*/results.json")
        assert json.loads(file.read_text())["score"] == 78.5
        assert rows(out, "overrides.csv")[0]["reason"] == "agreed in the office hour"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("ann", "a2.overlap", "3", ""), "line 2: an override needs its points and a reason"),
        (("ann", "a2.overlap", "", "why"), "line 2: an override needs its points and a reason"),
        (("ann", "a2.overlap", "11", "why"), "line 2: points of a2.overlap go from 0 to 5, got 11"),
        (("ann", "a2.overlap", "nan", "why"), "line 2: points of a2.overlap go from 0 to 5, got nan"),
        (("ann", "a2.overlp", "1", "why"), "line 2: no question 'a2.overlp' (did you mean 'a2.overlap'"),
    ],
)
def test_an_override_that_cannot_be_is_refused_by_line(graded, folder, tmp_path, capsys, change, said):
    run(folder, tmp_path / "out")
    override(tmp_path / "out", change)
    assert said in fails(folder, tmp_path / "out", capsys)


def test_a_table_saved_by_windows_is_read(graded, folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    table = rows(out, "written.csv")
    text = "student;question;points;comment\n" + "".join(
        f"{row['student']};{row['question']};{'4,5' if row['student'] == 'ann' else ''};schön erklärt\n"
        for row in table
    )
    (out / "written.csv").write_bytes(text.encode("cp1252"))
    run(folder, out)
    assert totals(out)["ann"] == f"{float(UNREAD) + 4.5 * len(ASKED.written):g}" == "93.5"
    assert "schön erklärt" in (out / "written.csv").read_text(encoding="utf-8")


# --- what breaks --------------------------------------------------------------------------------------------


def test_a_full_disk_is_a_sentence_and_costs_nothing(graded, folder, tmp_path, monkeypatch, capsys):
    out, real, left = tmp_path / "out", os.fsync, [4]

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    said = fails(folder, out, capsys)
    assert said == "No space left on device; make room on the disk, and run the same command: what is graded is kept\n"
    assert not [path for path in out.rglob(".*") if path.is_file()]
    monkeypatch.setattr(os, "fsync", real)
    run(folder, out)
    assert totals(out) == {"ann": UNREAD, "bob": UNREAD, "cem": UNREAD}


def test_an_out_that_is_a_file_or_of_no_use_is_a_sentence(graded, folder, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert "is a file; --out names a folder" in fails(folder, tmp_path / "file", capsys)
    assert "choose another --out, a folder" in fails(folder, tmp_path / "file" / "below", capsys)
    assert "is not there" in fails(tmp_path / "nowhere", tmp_path / "out", capsys)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"assignment": "a2"}', '{"assignment": "a2", "seed": "1"}', "\0"])
def test_a_damaged_run_is_a_sentence(graded, folder, tmp_path, capsys, text):
    runs.write(tmp_path / "out" / "run.json", text or b"\xff")
    assert "run.json is damaged: restore it" in fails(folder, tmp_path / "out", capsys)


def test_no_cluster_is_a_sentence(graded, folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("distributed")
    monkeypatch.setattr("course_lib.scale.WAIT", 1)
    said = fails(folder, tmp_path / "out", capsys, "--scheduler", "tcp://127.0.0.1:9")
    assert "127.0.0.1:9" in said


def test_a_lost_cluster_is_a_sentence_and_costs_what_was_at_work(graded, folder, tmp_path, monkeypatch, capsys):
    class Lost:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __call__(self, tasks):
            function, given, named = next(iter(tasks))
            yield function(*given, **named)
            raise ConnectionError("scheduler gone")

    monkeypatch.setattr(grade.scale, "parallel", lambda *_, **__: Lost())
    said = fails(folder, tmp_path / "out", capsys, "--scheduler", "tcp://x:1")
    assert "the cluster at tcp://x:1 is lost (ConnectionError): start it again" in said
    assert len(list((tmp_path / "out" / "results").iterdir())) == 1


# --- tables and pages ---------------------------------------------------------------------------------------

CANVAS = 'Student,ID,SIS User ID,SIS Login ID,Section\n"Lee, Ann",41,U41,al12,Lab 1\n"Roe, Dora",44,U44,dr1,Lab 2\n'


@pytest.fixture
def class_(graded, tmp_path):
    """Canvas's names, a roster, one who is absent and one who is a stranger."""
    folder = tmp_path / "canvas"
    folder.mkdir()
    (folder / "leeann_LATE_41_900_a2.ipynb").write_bytes(submissions.bytes_of(submissions.solution(KEY)))
    (folder / "eve_66_901_a2.ipynb").write_bytes(submissions.bytes_of(submissions.stub(KEY)))
    (tmp_path / "roster.csv").write_text(CANVAS)
    run(folder, tmp_path / "out", "--roster", str(tmp_path / "roster.csv"))
    return tmp_path / "out"


def test_the_gradebook_has_maxima_ids_absentees_and_who_was_late(class_):
    table = rows(class_)
    assert (table[0]["student"], table[0]["total"], table[0]["a2.saliency"]) == ("(maximum)", "100", "10")
    by_name = {row["student"]: row for row in table[1:] if row["student"]}
    assert (by_name["leeann_41"]["id"], by_name["leeann_41"]["name"]) == ("41", "Lee, Ann")
    assert (by_name["leeann_41"]["late"], by_name["leeann_41"]["taken off"]) == ("late", "")
    assert (class_ / by_name["leeann_41"]["report"]).exists()
    assert by_name["eve_66"]["to be read"] == ""  # the stub's own words are no answer
    assert by_name["leeann_41"]["to be read"] == "a2.logit a2.which_map a2.own"
    assert "not in the roster" in by_name["eve_66"]["remarks"]
    assert (table[-1]["name"], table[-1]["remarks"], table[-1]["total"]) == ("Roe, Dora", "nothing handed in", "0")


def test_canvas_and_moodle_get_what_they_import(class_):
    canvas = list(csv.reader(io.StringIO((class_ / "platforms" / "canvas.csv").read_text())))
    assert canvas[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", ASKED.title]
    assert canvas[1] == ["Points Possible", "", "", "", "", "100"]
    assert canvas[2] == ["Lee, Ann", "41", "U41", "al12", "Lab 1", UNREAD]
    assert canvas[3] == ["Roe, Dora", "44", "U44", "dr1", "Lab 2", "0"]
    assert canvas[4][:2] == ["eve", "66"]
    moodle = list(csv.reader(io.StringIO((class_ / "platforms" / "moodle.csv").read_text())))
    assert moodle[0] == ["Full name", "ID number", "Email address", ASKED.title, "Feedback"]
    assert moodle[1][:2] == ["Lee, Ann", "U41"]


def test_the_students_page_shows_code_words_and_what_is_unread(class_):
    (page,) = (class_ / "reports").glob("leeann*")
    text = page.read_text()
    assert "<strong>80</strong> of 80 points for code." in text
    assert "Written answers worth 20 points are still to be read." in text
    assert "def saliency(net, x, label):" in text
    assert "of 100 points" not in text


def test_the_index_says_mean_hardest_question_and_what_is_to_be_read(class_):
    text = (class_ / "index.html").read_text()
    assert "Mean 80.0, median 80.0 of 100 points." in text  # the stub counts as answered here: no sandbox
    assert "written answers are to be read" in text
    assert "1 of the roster handed in nothing." in text
    assert "(maximum)" in text and "The hardest questions" in text


def test_lateness_is_a_list_and_costs_points_only_where_that_is_asked_for(class_, tmp_path):
    def again(*more):
        run(tmp_path / "canvas", class_, "--roster", str(tmp_path / "roster.csv"), *more)
        row = {row["student"]: row for row in rows(class_)}["leeann_41"]
        return row["total"], row["late"], row["taken off"]

    assert rows(class_, "late.csv") == [{"student": "leeann_41", "marked": "late", "extension": "", "days": ""}]
    assert again("--late", "10") == ("72", "late", "8")
    (class_ / "late.csv").write_text("student;marked;extension;days\nleeann_41;late;;2,3\n")
    assert again() == ("61.6", "2.3 days late", "18.4")  # the rule is the folder's, the days are the instructor's
    (page,) = (class_ / "reports").glob("leeann*")
    assert "It came 2.3 days late: <strong>18.4</strong> points are taken off (10 % a day)." in page.read_text()
    (file,) = (class_ / "gradescope").glob("leeann*/results.json")
    assert json.loads(file.read_text())["score"] == 61.6
    canvas = list(csv.reader(io.StringIO((class_ / "platforms" / "canvas.csv").read_text())))
    assert canvas[2][-1] == "61.6"
    (tmp_path / "roster.csv").write_text(CANVAS.replace("Section", "Section,Extension").replace("Lab 1", "Lab 1,2 May"))
    (class_ / "late.csv").unlink()
    assert again() == (UNREAD, "late, extension: 2 May", "")
    assert again("--late", "0")[0] == UNREAD


def test_a_late_rule_that_cannot_be_is_a_sentence(graded, folder, tmp_path, capsys):
    assert "from 0 to 100, got 101" in fails(folder, tmp_path / "out", capsys, "--late", "101")
    run(folder, tmp_path / "out", "--late", "100")
    for days, said in (("x", "days are a number, got 'x'"), ("-1", "days go from 0 to 366, got -1")):
        (tmp_path / "out" / "late.csv").write_text(f"student,marked,extension,days\nann,,,{days}\n")
        assert f"line 2: {said}" in fails(folder, tmp_path / "out", capsys)
    (tmp_path / "out" / "late.csv").write_text("student,marked,extension,days\nann,,,400e-2\n")
    run(folder, tmp_path / "out")
    assert totals(tmp_path / "out") == {"ann": "0", "bob": UNREAD, "cem": UNREAD}


# --- alike --------------------------------------------------------------------------------------------------


def read(book):
    return notebook.read(submissions.bytes_of(book))


def class_of(count):
    """Students who each wrote one of the known answers to every question, no two the same."""
    books = {}
    for i in range(count):
        wrong = {
            one.name: submissions.mistaken(one, one.mistakes[(i + j) % len(one.mistakes)]).replace("gradient", f"g{i}")
            for j, one in enumerate(ASKED.questions)
        }
        books[f"student{i:02d}"] = read(submissions.handed_in(KEY, wrong))
    return books


JUNK = "\n".join(f"x{i} = [{i}, {i * i}]\nfor k in range({i}): x{i}.append(k ** {i})" for i in range(20))


def test_a_copy_with_forty_lines_of_junk_comes_first_in_a_class_of_blank_notebooks():
    solution = submissions.solution(KEY)
    copy = submissions.solution(KEY)
    for cell in copy["cells"]:
        if "# answer:" in "".join(cell["source"])[:12]:
            cell["source"] = "".join(cell["source"]) + "\n" + JUNK
    stub = read(submissions.stub(KEY))
    blank = {f"blank{i:02d}": stub for i in range(16)}
    books = {**blank, **class_of(4), "ann": read(solution), "zoe": read(copy)}
    (first, *_) = clusters = similar.similar(ASKED, books, stub)
    assert first.students == ("ann", "zoe")
    assert first.pairs[0].as_written == pytest.approx(1)
    assert not any("blank" in name for cluster in clusters for name in cluster.students)


def test_renamed_code_is_found_and_copied_words_too():
    solution = submissions.solution(KEY)
    renamed = json.loads(json.dumps(solution).replace("gradient", "slope").replace("heat", "warmth"))
    other = class_of(1)["student00"]
    words = notebook.Notebook(other.code, read(solution).written)
    books = {"ann": read(solution), "bob": read(renamed), "cem": words}
    pairs = {(p.first, p.second): p for cluster in similar.similar(ASKED, books) for p in cluster.pairs}
    assert pairs["ann", "bob"].shared == pytest.approx(1)
    assert pairs["ann", "bob"].as_written < 0.9
    assert pairs["ann", "cem"].words == pytest.approx(1)
    assert pairs["ann", "cem"].shared < 0.9


def test_three_who_share_are_one_group_and_not_three_pairs():
    solution = read(submissions.solution(KEY))
    books = {"ann": solution, "bob": solution, "cem": solution, **class_of(1)}
    (cluster,) = similar.similar(ASKED, books, read(submissions.stub(KEY)))
    assert cluster.students == ("ann", "bob", "cem")
    assert len(cluster.pairs) == 3


@pytest.mark.parametrize("count", [0, 1, 2])
def test_nothing_is_alike_where_there_is_nothing(count):
    stub = read(submissions.stub(KEY))
    assert similar.similar(ASKED, {f"s{i}": stub for i in range(count)}, stub) == []
    assert similar.similar(ASKED, {f"s{i}": notebook.Notebook() for i in range(count)}) == []


def test_long_answers_do_not_slow_the_comparison():
    code = "".join(f"x{i} = {i} * y{i}\n" for i in range(40_000))
    books = {f"s{i}": notebook.Notebook(((code + f"# {i}", "a2.saliency"),)) for i in range(6)}
    start = time.process_time()
    similar.similar(ASKED, books)
    assert time.process_time() - start < 20


def test_what_is_no_python_is_compared_by_words():
    assert similar.tokens("def f(:\n '''") == ["def", "f(:", "'''"]


def test_found_csv_lists_everybody(class_):
    table = rows(class_, "found.csv")
    assert [(row["student"], row["named by"], row["note"]) for row in table[:2]] == [
        ("eve_66", "Canvas", "not in the roster"),
        ("leeann_41", "Canvas", "late"),
    ]
    assert table[2]["in the roster as"] == "Roe, Dora"
    assert isinstance(collect.Found((), KEY).absent, tuple) and roster.COLUMNS["name"]


PRIVATE = """
from course_lib.grading import plain
from course_lib.grading.question import Assignment, Part, Question

def double(x):
    return 2 * x

def inputs(generator):
    import torch
    return {"x": torch.rand(3, generator=generator)}

ASKED = Question("b7.double", "double", double, (Part("three numbers", 100, inputs),))
ASSIGNMENT = Assignment("b7_private", "Private", (ASKED,))
"""


def test_questions_of_a_course_of_its_own_are_released_and_graded(graded, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(question.questions, "__path__", list(question.questions.__path__))
    own = tmp_path / "mycourse"
    (own / "b7_private").mkdir(parents=True)
    (own / "b7.py").write_text(PRIVATE)
    cell = "# answer: b7.double\ndef double(x):\n    # BEGIN SOLUTION\n    return 2 * x\n    # END SOLUTION\n"
    cells = [{"cell_type": "code", "source": cell.splitlines(True), "metadata": {}, "outputs": []}]
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (own / "b7_private" / "solution.ipynb").write_text(json.dumps(book))
    main(["release", "--questions", str(own)])
    assert "b7_private.ipynb" in capsys.readouterr().out
    main(["release", "--questions", str(own)])
    assert capsys.readouterr().out == "all notebooks are current\n"
    student = (own / "b7_private" / "b7_private.ipynb").read_text()
    assert "your code here" in student and "2 * x" not in student
    folder = tmp_path / "class"
    folder.mkdir()
    (folder / "ann.ipynb").write_text(json.dumps(book))
    run(folder, tmp_path / "out", "--questions", str(own))
    assert totals(tmp_path / "out") == {"ann": "100"}
    with pytest.raises(SystemExit):
        run(folder, tmp_path / "out", "--questions", str(tmp_path / "nowhere"))
    assert "is no folder" in capsys.readouterr().err
