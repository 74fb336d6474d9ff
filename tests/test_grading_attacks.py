"""Every attack as a real notebook: it scores nothing, harms nothing, and is reported as what it was."""

import csv
import dataclasses
import os
import time

import pytest

from course_lib.grading import grade, question
from course_lib.grading.report import report
from project import submissions

KEY = "a2"
BOOKS = submissions.attack_books(KEY)
CASES = [(name, asked, attack) for name, (chosen, _) in BOOKS.items() for asked, attack in chosen.items()]
BESIDE = "a good neighbour"


pytestmark = [pytest.mark.usefixtures("sandboxed"), pytest.mark.timeout(1800)]  # all of them at once, at the first test


def impatient(key):
    """The assignment with a short time limit."""
    asked = original(key)
    return dataclasses.replace(asked, questions=tuple(dataclasses.replace(q, seconds=3.0) for q in asked.questions))


original = question.assignment


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """All attacks and one good submission, graded together; what is in the folder afterwards."""
    folder = tmp_path_factory.mktemp("submissions")
    out = tmp_path_factory.mktemp("grades")
    for name, (_, book) in BOOKS.items():
        (folder / f"{name}.ipynb").write_bytes(submissions.bytes_of(book))
    (folder / f"{BESIDE}.ipynb").write_bytes(submissions.bytes_of(submissions.solution(KEY)))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(question, "assignment", impatient)
        made, found, graded = grade.grade(folder, out, KEY)
        report(made, found, graded)
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    return out, {one.student: {result.question: result for result in graded[one.slug]} for one in found.submissions}


@pytest.mark.parametrize(("name", "asked", "attack"), CASES, ids=[attack for _, _, attack in CASES])
def test_an_attack_scores_nothing_and_is_reported_as_what_it_was(name, asked, attack, run):
    result = run[1][name][asked]
    assert result.points == 0
    said = " | ".join(part.said for part in result.parts)
    assert submissions.says(said, attack), said


def test_the_neighbour_gets_full_marks(run):
    assert sum(result.points for result in run[1][BESIDE].values()) == 80


def test_tampering_stands_in_the_gradebook(run):
    rows = {row["student"]: row for row in csv.DictReader((run[0] / "gradebook.csv").read_text().splitlines())}
    for name, asked, attack in CASES:
        if run[1][name][asked].status == "tampered":
            assert f"{asked}: tampered" in rows[name]["remarks"], attack
    assert sum("tampered" in row["remarks"] for row in rows.values()) >= 2
    assert rows[BESIDE]["remarks"] == ""


def test_no_report_runs_what_a_student_wrote(run):
    pages = [file.read_text() for file in (run[0] / "reports").iterdir()]
    assert sum("&lt;script&gt;alert(1)" in page for page in pages) == 1
    assert not any("<script" in page or "<img src=x" in page for page in pages)
    assert all("default-src &#x27;none&#x27;" in page or "default-src 'none'" in page for page in pages)


def test_nothing_is_left_running(run):
    """Sandboxes end with the grader's last word to them."""
    mine = str(os.getpid())
    for _ in range(50):
        parents = []
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/stat") as file:
                    name, rest = file.read().split(" (", 1)[1].rsplit(") ", 1)
                parents.append((name, rest.split()[1]))
            except (OSError, IndexError):
                continue
        if ("bwrap", mine) not in parents:
            return
        time.sleep(0.1)
    pytest.fail("a sandbox is still there")
