"""An answer that is right on the CPU is right on another device: the solutions are, and check says where one is not."""

import types

import pytest
from test_grading_right import MARKS, QUESTIONS, Shell, solution

from course_lib import grading
from course_lib.grading import compare, define, judge, plain, question, self_check
from tests.elsewhere import away, elsewhere, home


def answer_of(name):
    """The function of the solution, defined as the grader does."""
    asked, of = question.question(name), question.assignment(name.split(".")[0])
    others, marked = solution(name)
    cells = [*[(one, False) for one in others], *[(one, True) for one in marked]]
    return define.define(cells, asked.function, {}, modules=of.modules, libraries=of.libraries)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_solution_answers_on_a_second_device(name):
    asked, function = question.question(name), answer_of(name)
    for _, inputs, expected in judge.calls(name, 3):
        built = {key: plain.build(value) for key, value in inputs.items()}
        with elsewhere():
            found = home(function(**moved(built)))
        assert compare.verdict(asked, compare.settle(found), inputs, expected) is None


def moved(arguments):
    return {key: away(value) for key, value in arguments.items()}


FORGETS = {
    "a3.smooth": (
        """# answer: a3.smooth
import torch
def smooth(slope, power):
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w) ** 2).sqrt().clamp(min=1 / max(h, w))
    return torch.fft.irfft2(torch.fft.rfft2(slope) / f**power, s=(h, w))
""",
        "same device",
    ),
    "a2.overlap": (
        """# answer: a2.overlap
import numpy as np
def overlap(heat, mask):
    a, b = heat.numpy(), mask.numpy()
    out = []
    for x, y in zip(a.reshape(len(a), -1), b.reshape(len(b), -1)):
        hot = np.zeros_like(y)
        hot[np.argsort(-x)[: y.sum()]] = True
        out.append((hot & y).sum() / (hot | y).sum())
    return np.array(out)
""",
        "to numpy",
    ),
}


@pytest.mark.parametrize("name", FORGETS)
def test_check_says_where_an_answer_fails_on_a_gpu(name, capsys, monkeypatch):
    text, says = FORGETS[name]
    monkeypatch.setattr(self_check, "_elsewhere", lambda: {"on the GPU": moved})
    function = types.FunctionType((lambda **k: None).__code__, {"get_ipython": lambda: Shell([text])})
    with elsewhere():
        grading.check(name, function)
    said = capsys.readouterr().out
    assert "not yet" not in said  # points are given on the CPU
    assert "but      on the GPU: " in said and says in said


def test_check_says_nothing_of_a_gpu_to_an_answer_that_runs_there(capsys, monkeypatch):
    monkeypatch.setattr(self_check, "_elsewhere", lambda: {"on the GPU": moved})
    others, marked = solution("a3.smooth")
    assert all(MARKS["code"].match(one) for one in marked)
    function = types.FunctionType((lambda **k: None).__code__, {"get_ipython": lambda: Shell([*others, *marked])})
    with elsewhere():
        grading.check("a3.smooth", function)
    assert "GPU" not in capsys.readouterr().out


def test_check_says_where_an_answer_leaves_single_precision(capsys):
    text = """# answer: a3.smooth
import torch
def smooth(slope, power):
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h)[:, None].double() ** 2 + torch.fft.rfftfreq(w).double() ** 2).sqrt()
    return torch.fft.irfft2(torch.fft.rfft2(slope) / f.clamp(min=1 / max(h, w)) ** power, s=(h, w))
"""
    function = types.FunctionType((lambda **k: None).__code__, {"get_ipython": lambda: Shell([text])})
    grading.check("a3.smooth", function)
    assert "but      in float32, as images are: the answer is float64" in capsys.readouterr().out


@pytest.mark.parametrize("name", QUESTIONS)
def test_check_says_only_right_of_the_solution(name, capsys):
    others, marked = solution(name)
    grading.check(
        name, types.FunctionType((lambda **k: None).__code__, {"get_ipython": lambda: Shell([*others, *marked])})
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("not yet", "but      in", "but      on", "but      the"))] == []


@pytest.mark.parametrize("name", [name for name in QUESTIONS if question.question(name).by_hand])
def test_check_knows_the_function_of_the_cells_where_autograd_is_off(name, capsys):
    others, marked = solution(name)
    shell = Shell([*others, *marked])
    space = {"get_ipython": lambda: shell}
    for text in [*others, *marked]:
        exec("\n".join(line for line in text.splitlines() if not line.lstrip().startswith("!")), space)
    grading.check(name, space[question.question(name).function])
    assert "all right here" in capsys.readouterr().out
