"""Every assignment there is: current notebook, 100 points, and each answer gets what the rubric says."""

import contextlib
import io
import json
import types

import matplotlib
import pytest

from course_lib import grading
from course_lib.grading import grade, question
from course_lib.grading.release import check_solution, release
from project import needs, repository, submissions

KEYS = question.keys()
BOOKS = {}  # of each assignment, what `results` has graded
FOLDER = repository.ROOT / "assignments"


pytestmark = pytest.mark.usefixtures("sandboxed")


@pytest.fixture(scope="module", params=KEYS)
def asked(request):
    return question.assignment(request.param)


def code_cells(book):
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def test_there_are_assignments():
    assert KEYS
    assert {path.parent.name for path in FOLDER.glob("*/solution.ipynb")} == {
        question.assignment(key).name for key in KEYS
    }


def test_the_generated_notebooks_are_current():
    colab = f"{repository.CONFIG['launch_buttons']['colab_url']}/github/"
    address = colab + repository.URL.removeprefix("https://github.com/") + f"/blob/{repository.BRANCH}"
    assert release(FOLDER, address, write=False) == []


def test_an_assignment_is_worth_100_points(asked):
    assert sum(asked.points.values()) == 100
    assert all(part.calls >= 2 for one in asked.questions for part in one.parts)


def test_each_question_knows_three_mistakes_or_more(asked):
    for one in asked.questions:
        assert len(one.mistakes) >= 3, one.name
        assert all(mistake.points < one.points for mistake in one.mistakes), one.name


def test_the_solution_begins_like_a_chapter_and_stores_no_outputs(asked):
    solution = submissions.solution(asked.key)
    first = code_cells(solution)[0]
    assert "".join(first["source"]) == repository.first_cell()
    assert first["metadata"]["tags"] == ["remove-cell"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code_cells(solution))
    check_solution(solution, asked.key)


def test_the_students_notebook_holds_no_solution(asked):
    text = json.dumps(submissions.stub(asked.key))
    assert "SOLUTION" not in text
    assert text.count("your code here") >= len(asked.questions)
    assert text.count("Your answer here") == len(asked.written)


@pytest.mark.timeout(1800)  # a whole notebook: a minute of one core, more on a busy machine
def test_the_solution_runs_from_top_to_bottom_and_every_check_says_right(asked):
    matplotlib.use("agg")
    space, said = {"__name__": "__main__"}, io.StringIO()
    for cell in code_cells(submissions.solution(asked.key))[1:]:
        if needs.lacking(cell):
            continue
        with contextlib.redirect_stdout(said):
            exec(compile("".join(cell["source"]), asked.name, "exec"), space)
    assert "not yet" not in said.getvalue()
    assert said.getvalue().count("all right here") == len(asked.questions)


# --- what answers get ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(asked, tmp_path_factory):
    """{student: {question: result}} of the solution, the stub, and notebooks that hold one mistake a question."""
    folder = tmp_path_factory.mktemp(asked.key)
    books = {"solution": submissions.solution(asked.key), "stub": submissions.stub(asked.key)}
    for group, whole in (("mistake", False), ("whole", True)):  # whole algorithms call other answers, right ones here
        chosen = [one for one in asked.questions if bool(one.needs) is whole]
        for i in range(max((len(one.mistakes) for one in chosen), default=0)):
            wrong = {one.name: submissions.mistaken(one, one.mistakes[i]) for one in chosen if i < len(one.mistakes)}
            books[f"{group}{i}"] = submissions.handed_in(asked.key, wrong, submissions.solution)
    for name, book in books.items():
        (folder / f"{name}.ipynb").write_bytes(submissions.bytes_of(book))
    BOOKS[asked.key] = books
    _, found, graded = grade.grade(folder, folder / "grades", asked.key)
    return {one.student: {result.question: result for result in graded[one.slug]} for one in found.submissions}


def book_of(one, i):
    """The student who hands in mistake i of a question."""
    return f"{'whole' if one.needs else 'mistake'}{i}"


def test_the_solution_gets_full_marks(asked, results):
    for one in asked.questions:
        result = results["solution"][one.name]
        assert (result.points, result.status) == (one.points, "graded"), result


def test_the_stub_gets_nothing(asked, results):
    for one in asked.questions:
        result = results["stub"][one.name]
        assert (result.points, result.status) == (0, "unanswered"), result


def test_each_known_mistake_keeps_what_the_rubric_says(asked, results):
    rows = [(one, i, mistake) for one in asked.questions for i, mistake in enumerate(one.mistakes)]
    table = {(one.name, mistake.says): results[book_of(one, i)][one.name].points for one, i, mistake in rows}
    assert table == {(one.name, mistake.says): mistake.points for one, _, mistake in rows}


def test_a_known_mistake_is_called_by_its_name(asked, results):
    for one in asked.questions:
        for i in range(len(one.mistakes)):
            said = " ".join(part.said for part in results[book_of(one, i)][one.name].parts)
            assert one.judge or any(mistake.says in said for mistake in one.mistakes), said


def test_check_says_what_the_grader_says(asked, results, capsys):
    """Of each part of each answer there is: the solution, the stub, and every known mistake.

    A whole algorithm is asked only where the answers that it calls are right: with wrong ones it may be right by luck,
    on some inputs (Adam's steps hardly see the scale of a distance), and the two draw different ones.
    """
    for student, found in results.items():
        cells = ["".join(cell["source"]) for cell in code_cells(BOOKS[asked.key][student])]
        shell = types.SimpleNamespace(history_manager=types.SimpleNamespace(input_hist_raw=cells))
        by_luck = student.startswith("mistake")
        for one in (one for one in asked.questions if not (one.needs and by_luck)):
            function = types.FunctionType((lambda **k: None).__code__, {"get_ipython": lambda shell=shell: shell})
            capsys.readouterr()
            grading.check(one.name, function)
            lines = capsys.readouterr().out.splitlines()[: len(one.parts)]
            right = [line.startswith("right") for line in lines]
            assert right == [part.points > 0 for part in found[one.name].parts], (student, lines)
