"""Right answers are right, however they are written; the student's check says what the grader will say."""

import re
import types
import warnings

import pytest
import torch

from course_lib import grading
from course_lib.grading import child, compare, define, judge, plain, question
from course_lib.grading.notebook import MARKS
from project import submissions

SEED = 11
KEYS = question.keys()
QUESTIONS = [asked.name for key in KEYS for asked in question.assignment(key).questions]


def solution(name):
    """The text of the solution's cells."""
    cells = submissions.solution(name.split(".")[0])["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    asked = question.question(name)
    names = question.assignment(name.split(".")[0]).before(asked)
    marked = [text for text in texts if (found := MARKS["code"].match(text)) and found[1] in names]
    return [text for text in texts if "import" in text and text not in marked], marked


def judged(name, cells):
    """The grader's result, without a process of its own: the rules of `define`, the bytes, the comparison."""
    asked = question.question(name)
    of = question.assignment(name.split(".")[0])
    failed, frames = {}, []
    try:
        function = define.define(
            [*cells, *asked.last], asked.function, failed, modules=of.modules, libraries=of.libraries
        )
    except Exception as error:
        frames = [{"error": define.said(error, failed)}]
    else:
        for i, (_, inputs, _) in enumerate(judge.calls(name, SEED)):
            try:
                arguments = {key: plain.build(value) for key, value in inputs.items()}
                with warnings.catch_warnings(action="ignore"):
                    message = plain.encode(function(**arguments))
                plain.check(message)
                frames.append({"call": i, "answer": plain.decode(message)})
            except Exception as error:
                frames.append({"call": i, "error": define.said(error, failed)})
    data = b'{"ended": "well", "computed": 0.1}\n'
    for frame in map(plain.encode, frames):
        data += len(frame).to_bytes(8, "big") + frame
    return judge.judge(asked, SEED, data)


def answered(name, text, imports=None):
    others, _ = solution(name)
    return judged(name, [*[(one, False) for one in (others if imports is None else imports)], (text, True)])


# --- the same values in another dress -----------------------------------------------------------------------

DRESSES = {
    "as it is": "def dressed(x): return x",
    "numpy": """
def dressed(x):
    if isinstance(x, torch.Tensor): return x.detach().numpy()
    if isinstance(x, (list, tuple)): return type(x)(dressed(one) for one in x)
    return x""",
    "lists": """
def dressed(x):
    if isinstance(x, torch.Tensor): return x.tolist()
    if isinstance(x, (list, tuple)): return [dressed(one) for one in x]
    return x""",
    "single precision": """
def dressed(x):
    if isinstance(x, torch.Tensor): return x.float() if x.is_floating_point() else x.int()
    if isinstance(x, (list, tuple)): return [dressed(one) for one in x]
    return x""",
    "with its graph, not contiguous": """
def dressed(x):
    if isinstance(x, torch.Tensor) and x.is_floating_point() and x.dim():
        return x.clone().requires_grad_().mT.contiguous().mT * 1 if x.dim() > 1 else x.clone().requires_grad_() * 1
    if isinstance(x, (list, tuple)): return tuple(dressed(one) for one in x)
    return x""",
}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_right_answer_is_right_in_every_dress(name, dress):
    others, marked = solution(name)
    function = question.question(name).function
    last = f"import torch\n{DRESSES[dress]}\n_bare = {function}\ndef {function}(**k):\n    return dressed(_bare(**k))\n"
    result = judged(name, [*[(one, False) for one in others], *[(one, True) for one in marked], (last, True)])
    assert result.points == question.question(name).points, result


# --- ties and order -----------------------------------------------------------------------------------------

NEIGHBOURS = {
    "torch.sort": """
import torch
def neighbours(codes, k):
    unit = codes / codes.norm(dim=1, keepdim=True)
    s = unit @ unit.T
    s.fill_diagonal_(-9)
    values, indices = s.sort(dim=1, descending=True)
    return values[:, :k], indices[:, :k]
""",
    "numpy.argsort": """
import numpy as np
def neighbours(codes, k):
    a = codes.numpy()
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    s = a @ a.T
    np.fill_diagonal(s, -np.inf)
    order = np.argsort(-s, axis=1)[:, :k]
    return np.take_along_axis(s, order, axis=1), order
""",
    "the other of two that are tied": """
import torch
def neighbours(codes, k):
    unit = torch.nn.functional.normalize(codes)
    s = (unit @ unit.T).fill_diagonal_(-2)
    values, indices = s.flip(1).topk(k)
    return values, len(codes) - 1 - indices
""",
    "a loop and Python's sort": """
from math import sqrt
def neighbours(codes, k):
    rows = codes.tolist()
    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b))
        return dot / sqrt(sum(x * x for x in a)) / sqrt(sum(y * y for y in b))
    values, indices = [], []
    for i, a in enumerate(rows):
        found = sorted(((cosine(a, b), j) for j, b in enumerate(rows) if j != i), reverse=True)[:k]
        values.append([c for c, _ in found])
        indices.append([j for _, j in found])
    return values, indices
""",
}


@pytest.mark.parametrize("how", NEIGHBOURS)
def test_neighbours_that_are_tied_are_both_right(how):
    result = answered("a1.neighbours", NEIGHBOURS[how], [])
    assert result.points == question.question("a1.neighbours").points == 10, result


@pytest.mark.parametrize(
    ("wrong", "kept"),
    [
        ("indices[:, 0] = torch.arange(len(codes))", 0),  # itself
        ("indices[:, 1] = indices[:, 0]", 0),  # one twice
        ("indices = indices.flip(1)", 0),  # the farthest of the k first
        ("indices = indices + 0.5", 0),
        ("indices = indices - len(codes)", 0),  # negative numbers count from the end
        ("values = values + 0.1", 0),
    ],
)
def test_no_other_neighbours_are_right(wrong, kept):
    text = NEIGHBOURS["torch.sort"] + (
        "\n_bare = neighbours\ndef neighbours(codes, k):\n    values, indices = _bare(codes, k)\n"
        f"    {wrong}\n    return values, indices\n"
    )
    assert answered("a1.neighbours", text, []).points == kept


def test_right_pairs_in_another_order_are_told_the_rule():
    text = """
import torch
def pairs(sessions, window):
    found = []
    for s in sessions:
        for step in range(1, window + 1):
            for a, b in zip(s, s[step:]):
                found += [(a, b), (b, a)]
    return torch.tensor(found)
"""
    said = [part.said for part in answered("a1.pairs", text, []).parts if part.said]
    assert said and all("the right values, in another order; the order is that of reading" in one for one in said)


def test_constants_solve_nothing():
    """What a question expects differs from draw to draw in every part, but where a part says why not."""
    constant = set()
    for name in QUESTIONS:
        asked = question.question(name)
        drawn = [judge.calls.__wrapped__(name, seed) for seed in (1, 2)]
        for i, part in enumerate(asked.parts):
            answers = [expected for calls in drawn for number, _, expected in calls if number == i]
            if all(compare.difference(one, answers[0], asked.tolerance) is None for one in answers[1:]):
                constant.add((name, part.name))
    assert constant == set()


# --- check and grade ----------------------------------------------------------------------------------------


class Shell:
    """What a notebook remembers, as IPython keeps it."""

    def __init__(self, cells):
        self.history_manager = types.SimpleNamespace(input_hist_raw=["", *cells])


def checked(name, cells, capsys, function=None):
    """What `check` prints for a notebook that has run these cells: {part: what is wrong, or ""}, and the rest."""
    space = {"get_ipython": lambda: Shell(cells)}
    given = types.FunctionType((lambda **k: None).__code__, space) if function is None else function
    capsys.readouterr()
    grading.check(name, given)
    lines = capsys.readouterr().out.splitlines()
    parts = [re.fullmatch(r"(right  |not yet)  (.*?)(?:: (.*))?", line) for line in lines]
    found = [part for part in parts if part]
    return [part[1] == "right  " for part in found], " ".join(part[3] or "" for part in found), lines


TEXT = "".join(solution("a2.overlap")[1])
MARK = "# answer: a2.overlap\n"

HABITS = {
    "a figure's import": "import matplotlib.pyplot as plt\nimport scipy\nfrom tqdm.auto import tqdm\n" + TEXT,
    "magics": "%matplotlib inline\n!pip install x\n" + TEXT,
    "a cell magic above the mark": "%%time\n" + TEXT,
    "a demonstration below": TEXT + "\nprint(overlap(saliency_of_the_cat, masks[0]))\nplt.show()\n",
    "a check inside": TEXT + "\ngrading.check('a2.overlap', overlap)\n",
    "a question mark": TEXT + "\noverlap?\n",
    "annotations of the future": "from __future__ import annotations\ndef f(x: Nothing): pass\n" + TEXT,
}


@pytest.mark.parametrize("habit", HABITS)
def test_harmless_habits_cost_nothing_and_check_says_so(habit, capsys):
    text = HABITS[habit] if MARKS["code"].match(HABITS[habit]) else MARK + HABITS[habit]
    others, _ = solution("a2.overlap")
    cells = [*[(one, False) for one in others], (text, True)]
    assert judged("a2.overlap", cells).points == question.question("a2.overlap").points
    right, said, _ = checked("a2.overlap", [*others, text, "grading.check('a2.overlap', overlap)"], capsys)
    assert all(right), said


def test_an_old_second_cell_that_raises_costs_nothing(capsys):
    others, _ = solution("a2.overlap")
    for old in (MARK + "x = nothing + 1", MARK + "def overlap(:"):
        for cells in ([*others, old, TEXT], [*others, TEXT, old]):
            marked = [(text, bool(MARKS["code"].match(text))) for text in cells]
            assert judged("a2.overlap", marked).points == question.question("a2.overlap").points
            assert all(checked("a2.overlap", cells, capsys)[0])


WRONG = {
    "the package's own answer": (
        "from course_lib import attribution\n"
        "def saliency(net, x, label):\n    return attribution.saliency(net, x, label)",
        "may not import course_lib.attribution",
    ),
    "the package's own answer, imported below": (
        "def saliency(net, x, label):\n"
        "    from course_lib.attribution import saliency as s\n    return s(net, x, label)",
        "may not import course_lib.attribution",
    ),
    "scipy": (
        "import scipy.ndimage as nd\ndef saliency(net, x, label):\n    return nd.zoom(x, 2)",
        "may not import scipy.ndimage",
    ),
    "a variable of another cell": (
        "import torch\ndef saliency(net, x, label):\n    return x.to(device)",
        "name 'device' is not defined (line 4 of the answer's cell). An answer's cells are run alone",
    ),
    "a variable of a statement that raised": (
        "k = device.index\ndef saliency(net, x, label):\n    return x * k",
        "name 'device' is not defined",
    ),
    "a variable as a default": (
        "def saliency(net, x, label, n=batch):\n    return x",
        "defines no function 'saliency'; first of all, NameError: name 'batch'",
    ),
    "no Python": ("def saliency(net, x, label:\n    return x", "first of all, SyntaxError"),
    "not tried": ("def saliency(net, x, label):\n    raise NotImplementedError", "not answered yet"),
    "another name": ("def salience(net, x, label):\n    return x", "defines no function 'saliency'"),
    "what is no data": ("def saliency(net, x, label):\n    return net", "Sequential is not plain data"),
    "too much": ("def saliency(net, x, label):\n    return x.repeat(99, 1, 1, 1)", "100 kB is the most"),
}


@pytest.mark.parametrize("how", WRONG)
def test_check_says_what_the_grader_says(how, capsys):
    text, expected = WRONG[how]
    others, _ = solution("a2.saliency")
    text = f"# answer: a2.saliency\n{text}"
    result = judged("a2.saliency", [*[(one, False) for one in others], (text, True)])
    assert result.points == 0
    assert expected in " ".join(part.said for part in result.parts)
    right, said, lines = checked("a2.saliency", [*others, text], capsys)
    assert not any(right), lines
    assert expected in said


def test_of_a_cell_that_was_run_often_the_last_version_is_checked(capsys):
    others, _ = solution("a2.overlap")
    old = TEXT.replace("return", "return 2 *", 1)
    assert not all(checked("a2.overlap", [*others, TEXT, old], capsys)[0])
    assert all(checked("a2.overlap", [*others, old, TEXT], capsys)[0])


def test_check_says_when_the_mark_is_missing_or_another_function_was_meant(capsys):
    others, _ = solution("a2.overlap")
    right, said, _ = checked("a2.overlap", [*others, TEXT.removeprefix(MARK)], capsys)
    assert not any(right) and "no cell begins with the line `# answer: a2.overlap`" in said

    space = {"get_ipython": lambda: Shell([*others, TEXT])}
    exec("def overlap(heat, mask):\n    return 3 * heat.sum()", space)
    _, _, lines = checked("a2.overlap", [], capsys, space["overlap"])
    assert "but      this is the function of the cells marked" in lines[-1]


def test_check_runs_without_the_gpu_and_leaves_everything_as_it_was(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    torch.set_default_dtype(torch.float64)
    try:
        text = MARK + (
            "import torch\ndef overlap(heat, mask):\n"
            "    raise ValueError(f'{torch.cuda.is_available()} {torch.zeros(1).dtype}')"
        )
        _, said, _ = checked("a2.overlap", [text], capsys)
        assert "ValueError: False torch.float32 (line 4 of the answer's cell)" in said
        assert torch.cuda.is_available() and torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_printing_answer_does_not_spoil_the_check(capsys):
    _, _, lines = checked("a2.overlap", [TEXT, MARK + "print('in the way')"], capsys)
    assert "in the way" not in " ".join(lines)


def test_in_a_real_notebook_kernel_check_sees_the_cells(capsys):
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    shell = interactive.InteractiveShell()
    others, _ = solution("a2.overlap")
    for cell in (
        "import torch",
        "from course_lib import grading\ndevice = 3",
        "%%time\n" + TEXT.replace("return", "device\n    return", 1),
        "grading.check('a2.overlap', overlap)",
    ):
        shell.run_cell(cell, store_history=True)
    said = capsys.readouterr().out
    assert "name 'device' is not defined (line" in said and "An answer's cells are run alone" in said
    assert child.TEXT == define.TEXT


BY_HAND = {
    "a4.variation_slope": """
import torch
def variation_slope(x, beta):
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        right, down = x.diff(dim=3), x.diff(dim=2)
        s = torch.zeros_like(x)
        s[..., :-1] += right**2
        s[..., :-1, :] += down**2
        return torch.autograd.grad((s[s > 0] ** (beta / 2)).sum(), x)[0]
""",
    "a5.gram_slope": """
import torch
def gram_slope(a, target):
    n, c, h, w = a.shape
    def energy(a):
        f = a.flatten(2)
        return (f @ f.mT / (h * w) - target).square().sum() / (4 * c**2)
    a = a.detach().clone().requires_grad_()
    energy(a).backward()
    return a.grad
""",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_derivation_runs_where_autograd_cannot(name, capsys):
    assert answered(name, BY_HAND[name], []).points == 0
    right, said, _ = checked(name, [f"# answer: {name}{BY_HAND[name]}"], capsys)
    assert not any(right) and "does not require grad" in said
