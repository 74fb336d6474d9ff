"""Arguments that an answer changes in place are named by the check and in the report, and cost no points."""

import json
import types

import pytest
import torch
from test_grading_right import Shell

from course_lib.grading import check, frames, grade, judge, plain, question
from course_lib.grading.report.write import report
from project import submissions

STEP = """# answer: a3.step
def step(x, slope, length, decay):
    slope -= 2 * decay * (x - 0.5)
    x += length * slope / slope.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
    return x.clamp_(0, 1)
"""
HOOKED = """# answer: a2.saliency
import torch
def saliency(net, x, label):
    for module in net.modules():
        module.register_forward_hook(lambda *a: None)
    x.requires_grad_()
    net(x).gather(1, label[:, None]).sum().backward()
    return x.grad.abs().amax(1, keepdim=True)
"""
SAID = "the function changes what it is given, in place: {}. Work on a copy"


def test_what_counts_as_changed():
    net = plain.net(torch.Generator().manual_seed(0))
    inputs = {"x": torch.rand(3), "each": {"a": torch.rand(2)}, "rows": [[1.0], torch.rand(2)], "net": net, "k": 3}

    def after(spoil):
        built = plain.build(inputs)
        spoil(built)
        return plain.changed(inputs, built)

    assert after(lambda b: None) == []
    assert after(lambda b: (b["x"].requires_grad_(), b["net"](torch.rand(1, 3, 16, 16).double()))) == []
    assert after(lambda b: b["x"].mul_(2)) == ["x"]
    assert after(lambda b: (b["each"]["a"].zero_(), b["rows"][1].zero_())) == ["each", "rows"]
    assert after(lambda b: b["rows"].append(1)) == ["rows"]
    assert after(lambda b: b["each"].update(b=1)) == ["each"]
    assert after(lambda b: next(b["net"].parameters()).zero_()) == ["net"]
    assert after(lambda b: b["net"][1].register_full_backward_hook(lambda *a: None)) == ["net"]
    assert after(lambda b: b["net"][1].register_forward_hook(lambda *a: None).remove()) == []


@pytest.mark.usefixtures("sandboxed")
def test_the_students_report_names_them_and_all_points_are_there(tmp_path):
    (tmp_path / "ann.ipynb").write_bytes(
        submissions.bytes_of(submissions.handed_in("a3", {"a3.step": STEP}, submissions.solution))
    )
    run, found, graded = grade.grade(tmp_path, tmp_path / "out", "a3")
    report(run, found, graded)
    (results,) = (graded[one.slug] for one in found.submissions)
    remarks = {result.question: result.remark for result in results if result.remark}
    assert remarks == {"a3.step": SAID.format("x, slope"), "a3.ascend": SAID.format("x")}  # which calls step
    assert sum(result.points for result in results) == sum(one.points for one in question.assignment("a3").questions)
    (page,) = (tmp_path / "out").glob("reports/*ann*.html")
    assert [page.read_text().count(said) for said in remarks.values()] == [1, 1]
    (file,) = (tmp_path / "out").glob("gradescope/*ann*/results.json")
    said = [test["output"] for test in json.loads(file.read_text())["tests"] if "beside" in test["name"]]
    assert said == list(remarks.values())


@pytest.mark.parametrize(("name", "text", "names"), [("a3.step", STEP, "slope, x"), ("a2.saliency", HOOKED, "net")])
def test_check_names_them(name, text, names, capsys):
    check(name, types.FunctionType((lambda **k: None).__code__, {"get_ipython": lambda: Shell([text])}))
    said = capsys.readouterr().out
    assert f"but      {SAID.format(names)}" in said and "not yet" not in said


ASKED = question.question("a2.overlap")


def sent(changed):
    """What a sandbox sends back for right answers, with this beside each."""
    data = b'{"ended": "well", "computed": 0.5}\n'
    for i, (_, _, expected) in enumerate(judge.calls(ASKED.name, 3)):
        message = plain.encode({"call": i, "answer": expected, "changed": changed})
        data += len(message).to_bytes(8, "big") + message
    return judge.judge(ASKED, 3, data)


def test_only_names_of_arguments_are_repeated():
    result = sent(["heat", "<script>", "heat", "points"])
    assert (result.points, result.remark) == (ASKED.points, SAID.format("heat"))
    assert sent([]).remark == ""


@pytest.mark.parametrize("changed", ["heat", ["heat", 1], {"heat": "x"}, None, 3, [["heat"]]])
def test_what_is_no_list_of_names_was_tampered_with(changed):
    assert sent(changed).status == "tampered"


def test_an_answer_of_an_error_has_no_such_list():
    message = plain.encode({"call": 0, "error": "x", "changed": []})
    data = b'{"ended": "well", "computed": 0.5}\n' + len(message).to_bytes(8, "big") + message
    with pytest.raises(ValueError, match="not what the grader's own code sends"):
        frames.unpack(data, 1)
