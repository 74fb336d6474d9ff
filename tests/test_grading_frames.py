"""What leaves a sandbox: any bytes at all become a result, and nothing else."""

import dataclasses
import json
import math
import tracemalloc

import hypothesis
import pytest
import torch

from course_lib.grading import child, compare, judge, plain, question

st = hypothesis.strategies

ASKED = question.question("a2.overlap")
SEED = 3
STATUS = {"graded", "unanswered", "time", "size", "crashed", "tampered"}


def header(ended="well", computed=0.5):
    return json.dumps({"ended": ended, "computed": computed}).encode() + b"\n"


def frame(message):
    data = message if isinstance(message, bytes) else plain.encode(message)
    return len(data).to_bytes(8, "big") + data


def right():
    return b"".join(
        frame({"call": i, "answer": expected}) for i, (_, _, expected) in enumerate(judge.calls(ASKED.name, SEED))
    )


def judged(data):
    result = judge.judge(ASKED, SEED, data)
    assert result.status in STATUS
    assert 0 <= result.points <= ASKED.points
    assert all(part.points in (0, part.of) for part in result.parts)
    assert all(len(part.said) <= child.TEXT + 4 and part.said.isprintable() for part in result.parts)
    json.dumps(dataclasses.asdict(result))
    return result


def test_the_right_frames_get_full_marks():
    assert judged(header() + right()).points == ASKED.points


# --- what a student may send --------------------------------------------------------------------------------


ATTACKS = {
    "a call that is a tensor of two": frame({"call": torch.zeros(2), "answer": 1.0}),
    "a call that is true": frame({"call": False, "answer": 1.0}),
    "a call that is 0.0": frame({"call": 0.0, "answer": 1.0}),
    "a call beyond all numbers": frame(b'{"dict": [["call", 1' + b"0" * 4000 + b'], ["answer", 1]]}\n'),
    "an error that is a tensor": frame({"error": torch.zeros(3)}),
    "an error that is a list": frame({"call": 0, "error": ["x"]}),
    "an error and an answer": frame({"call": 0, "error": "x", "answer": 1.0}),
    "the same key twice": frame(b'{"dict": [["call", 0], ["answer", 1.0], ["answer", 2.0]]}\n'),
    "a number as a key": frame(b'{"dict": [["call", 0], [3, 1.0]]}\n'),
    "a list for a frame": frame([0, 1.0]),
    "a network as an answer": frame({"call": 0, "answer": plain.Net((("flat", "flatten"),))}),
    "a seed as an answer": frame({"call": 0, "answer": plain.Seed(3)}),
    "millions of lists": frame(b'{"dict": [["call", 0], ["answer", [' + b"[]," * 5_000_000 + b"1]]]}\n"),
    "30 000 lists": frame(b'{"dict": [["call", 0], ["answer", [' + b"[]," * 30_000 + b"1]]]}\n"),
    "an answer of two megabytes": frame({"call": 0, "answer": torch.zeros(250_000).double()}),
    "a shape of many zeros": frame(
        b'{"dict": [["call", 0], ["answer", {"tensor": "bool", "shape": [0, 99999999999]}]]}\n'
    ),
    "a shape beyond all numbers": frame(
        b'{"dict": [["call", 0], ["answer", {"tensor": "bool", "shape": [0, 1' + b"0" * 300 + b"]}]]}\n"
    ),
    "a frame longer than all bytes": (2**63).to_bytes(8, "big") + b"x",
    "a frame of no bytes": (0).to_bytes(8, "big"),
    "too many frames": right() + frame({"call": 99, "answer": 1.0}),
    "the first frame twice": right()[: len(frame({"call": 0, "answer": 0.5}))] * 2,
    "half a surrogate": frame(b'{"dict": [["call", 0], ["error", "\\ud800 \\u202e"]]}\n'),
    "an end after an answer": frame({"error": "x"}) + frame({"call": 0, "answer": 1.0}),
    "nested to the limit": frame(b'{"dict": [["call", 0], ["answer", ' + b"[" * 9000 + b"]" * 9000 + b"]]}\n"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_the_way_out_scores_nothing_and_costs_little(name):
    data = header() + ATTACKS[name]
    judge.calls(ASKED.name, SEED)
    tracemalloc.start()
    result = judged(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.points == 0, result
    assert peak < 40_000_000, f"{peak / 1e6:.0f} MB"


@pytest.mark.parametrize(
    "order", [(0, 0), (1,), (0, 2), (1, 0), (0, 1, 1), (0, -1), (False,), (0.0,), (0, True)], ids=str
)
def test_right_answers_count_once_and_in_order(order):
    """Each frame is as the grader's own code writes it, and all that is wrong is its number."""
    planned = judge.calls(ASKED.name, SEED)
    data = header() + b"".join(frame({"call": i, "answer": planned[int(i)][2]}) for i in order)
    result = judged(data)
    assert (result.status, result.points) == ("tampered", 0)
    assert "twice, early or out of order" in result.parts[0].said


def test_one_answer_too_many_is_tampering():
    calls = len(judge.calls(ASKED.name, SEED))
    result = judged(header() + right() + frame({"call": calls, "answer": 1.0}))
    assert (result.status, result.points) == ("tampered", 0)
    assert "more answers than calls" in result.parts[0].said


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"[" * 100_000 + b"\n",
        b'{"ended": "well"}\n',
        b'{"ended": "well", "computed": 1}\n',
        b'{"ended": "well", "computed": "0"}\n',
        b'{"ended": ["well"], "computed": 0.5}\n',
        b'{"ended": "well", "computed": 0.5, "points": 100}\n',
        b'{"ended": "well", "ended": 3, "computed": 0.5}\n',
    ],
)
def test_a_header_has_one_form(data):
    result = judged(data + right())
    assert (result.status, result.points) == ("tampered", 0)


@pytest.mark.parametrize("computed", ["NaN", "Infinity", "-1e308"])
def test_odd_seconds_do_no_harm(computed):
    assert judged(b'{"ended": "time", "computed": %s}\n' % computed.encode()).status == "time"


def test_computing_and_waiting_are_told_apart():
    def said(ended, computed):
        return judged(header(ended, computed)).parts[0].said

    assert "stopped after 10 seconds of computing" in said("signal 24", 10.1)
    assert "stopped after 10 seconds of computing" in said("signal 9", 11.0)
    assert "stopped after 10 seconds of computing" in said("time", 9.8)
    assert "after 30 seconds, of which it computed for 0.1: it waits" in said("time", 0.1)
    assert "killed, or went on" in said("signal 9", 0.2)


def test_what_breaks_the_comparison_is_a_remark_and_no_accusation(monkeypatch):
    monkeypatch.setattr(compare, "verdict", lambda *_: 1 / 0)
    result = judge.judge(ASKED, SEED, header() + right())
    assert (result.status, result.points) == ("unjudged", 0)
    assert "ZeroDivisionError. Somebody must look" in result.parts[0].said


def test_a_reference_that_fails_is_nobodys_fault(monkeypatch):
    judge.calls.cache_clear()
    monkeypatch.setattr(question, "question", lambda name: broken)
    broken = question.Question("a2.x", "x", lambda low: 1 / 0, (question.Part("p", 1, lambda g: {"low": 1}),))
    with pytest.raises(RuntimeError, match=r"the reference of a2\.x fails on 'p'"):
        judge.judge(broken, SEED, header())
    judge.calls.cache_clear()


# --- any bytes ----------------------------------------------------------------------------------------------

NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
JSON = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["tensor", "shape", "dict", "seed", "net", "call", "answer", "error"]), inner),
        st.fixed_dictionaries({"dict": st.lists(st.tuples(st.sampled_from(["call", "answer", "error"]), inner))}),
        st.fixed_dictionaries({"tensor": st.sampled_from([*plain.DTYPES, "object"]), "shape": st.lists(inner)}),
    ),
    max_leaves=12,
)
MESSAGES = st.one_of(
    st.binary(max_size=200),
    st.tuples(JSON.map(lambda tree: json.dumps(tree).encode()), st.binary(max_size=40)).map(b"\n".join),
    st.tuples(st.integers(-1, 5), JSON).map(
        lambda pair: json.dumps({"dict": [["call", pair[0]], ["answer", pair[1]]]}).encode() + b"\n"
    ),
)


def damaged(data, draw):
    """Real frames with some bytes changed, taken out or repeated."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(["change", "cut", "repeat"]))
        if how == "change":
            data[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 9))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 9))]
        data = data or bytearray(b"x")
    return bytes(data)


def settings(examples):
    return hypothesis.settings(max_examples=examples, deadline=None, database=None, derandomize=True)


def check_frames(draw):
    if draw(st.booleans()):
        data = damaged(header() + right(), draw)
    else:
        ended = draw(st.sampled_from(["well", "time", "size", "signal 9", "exit 1"]))
        data = header(ended) + b"".join(map(frame, draw(st.lists(MESSAGES, max_size=5))))
    judged(data)


@settings(300)
@hypothesis.given(st.data())
def test_any_frames_become_a_result(data):
    check_frames(data.draw)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(10_000)
@hypothesis.given(st.data())
def test_ten_thousand_frames_become_results(data):
    check_frames(data.draw)


@settings(300)
@hypothesis.given(JSON)
def test_what_is_decoded_from_a_sandbox_is_exactly_typed(tree):
    try:
        value = plain.decode(json.dumps(tree).encode() + b"\n", answer=True)
    except ValueError:
        return

    def check(value):
        assert type(value) in (type(None), bool, int, float, str, list, dict, torch.Tensor)
        if type(value) is int:
            assert abs(value) < 2**63
        for one in value.values() if type(value) is dict else value if type(value) is list else ():
            check(one)

    check(value)
    if not isinstance(value, float) or not math.isnan(value):
        plain.encode(value)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63) + 1])
def test_a_number_that_no_tensor_holds_is_infinite(number):
    assert plain.decode(b"%d\n" % number, answer=True) == number
    beyond = plain.decode(b"%d\n" % (number + (1 if number > 0 else -1)), answer=True)
    assert beyond == math.copysign(math.inf, number)


def test_values_are_counted_where_they_come_out_of_a_sandbox():
    most = plain.encode([0] * plain.VALUES)
    assert len(plain.decode(most, answer=True)) == plain.VALUES
    more = plain.encode([[]] * (plain.VALUES + 9))
    assert len(plain.decode(more)) == plain.VALUES + 9  # the grader's own messages may be long
    with pytest.raises(ValueError, match="not a message"):
        plain.decode(more, answer=True)


# --- any answer ---------------------------------------------------------------------------------------------

ODD = st.sampled_from([0.0, 1.0, -2.0, 1e308, -1e308, 1e-320, math.nan, math.inf, -math.inf])
SHAPES = st.lists(st.integers(0, 3), max_size=3)
TENSORS = st.tuples(SHAPES, st.sampled_from(list(plain.DTYPES.values())), ODD, ODD).map(
    lambda made: (
        torch.tensor([made[2], made[3]])
        .double()
        .nan_to_num(0, 9, -9)
        .to(made[1])[torch.arange(math.prod(made[0])) % 2]
        .reshape(made[0])
        if not made[1].is_floating_point
        else torch.tensor([made[2], made[3]], dtype=made[1])[torch.arange(math.prod(made[0])) % 2].reshape(made[0])
    )
)
PLAIN = st.recursive(
    st.one_of(NUMBERS, TENSORS, ODD),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner)),
    max_leaves=6,
)


@settings(1000)
@hypothesis.given(PLAIN, PLAIN)
@hypothesis.example(3.4028235677973366e38, 3.3994242359477646e38)  # the first is infinite in float32 only
def test_any_two_values_can_be_compared(answer, expected):
    said = compare.difference(compare.settle(answer), compare.settle(expected), 1e-3)
    assert said is None or (isinstance(said, str) and said)
    if compare.not_finite(answer):
        assert said is not None or not isinstance(expected, torch.Tensor | float)
    if isinstance(answer, float):
        assert (compare.not_finite(answer) is None) == math.isfinite(answer)


NOT_A_NUMBER = torch.full((3,), math.nan)


@pytest.mark.parametrize(
    "mistaken",
    [NOT_A_NUMBER, NOT_A_NUMBER[:2], torch.full((3,), math.inf), torch.zeros(0), None, {}, [], "x", object(), {1: 2},
     [NOT_A_NUMBER, 1], 10**30, torch.zeros(3, dtype=torch.cfloat)],
)  # fmt: skip
@pytest.mark.parametrize("answer", [torch.ones(3), torch.ones(2), NOT_A_NUMBER, [], None, 0.0, [[1.0], [2.0, 3.0]]])
def test_a_mistake_that_gives_no_numbers_is_not_what_an_answer_looks_like(answer, mistaken):
    """The answer is wrong, and the words about it are about the answer."""
    mistake = question.Mistake("it was a mistake", lambda low: mistaken)
    asked = question.Question("a2.x", "x", lambda low: torch.arange(3.0), (), mistakes=(mistake,))
    said = compare.verdict(asked, answer, {"low": 0.5}, torch.arange(3.0))
    assert said
    same = (answer is None and mistaken is None) or (type(answer) is type(mistaken) is list and not answer + mistaken)
    assert ("looks as if" in said) == same
