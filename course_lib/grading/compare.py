"""How an answer differs from the reference, in words that teach and never hold the answer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from course_lib.grading import plain
from course_lib.grading.question import Question


def verdict(question: Question, answer: Any, inputs: Mapping[str, Any], expected: Any) -> str | None:
    """What is wrong with one answer to these inputs, or None. expected: what the reference said.

    An answer that equals what a known mistake gives is told so. Both sides are plain data (see `plain`).
    """
    if question.judge is not None:
        if unfit := not_finite(answer):
            return unfit
        try:
            return question.judge(answer, **{name: plain.build(value) for name, value in inputs.items()})
        except Exception as error:  # a judge need not foresee every form that an answer may have
            return f"the answer has another form than asked for ({type(error).__name__})"
    wrong = difference(answer, expected, question.tolerance)
    if wrong is None:
        return None
    for mistake in question.mistakes:
        try:
            mistaken = mistake.function(**{name: plain.build(value) for name, value in inputs.items()})
        except (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError):
            continue  # a mistake may well not bear every input
        if difference(answer, settle(mistaken), question.tolerance) is None:
            return f"It looks as if {mistake.says}."
    return wrong


def settle(answer: Any) -> Any:
    """A function's answer as the plain data that the border lets through: a message, there and back."""
    return plain.decode(plain.encode(answer))


def difference(answer: Any, expected: Any, tolerance: float) -> str | None:
    """What is wrong with `answer`, or None. Tuples count as lists, tensors without places as numbers.

    Every number must lie within tolerance times the largest expected magnitude. Kinds must agree (floating, whole,
    bool), shapes, lengths and keys too; nothing may be NaN or infinite.
    """
    if isinstance(expected, list | tuple):
        return _lists(answer, expected, tolerance)
    if isinstance(expected, dict):
        return _dicts(answer, expected, tolerance)
    if expected is None or isinstance(expected, str):
        return None if type(answer) is type(expected) and answer == expected else f"{_kind(answer)} is not it"
    return _tensors(answer, expected, tolerance)


def _lists(answer: Any, expected: Any, tolerance: float) -> str | None:
    if not isinstance(answer, list | tuple):
        return f"the answer is {_kind(answer)}; {len(expected)} values in a tuple are asked for"
    if len(answer) != len(expected):
        return f"{len(answer)} values; {len(expected)} are asked for"
    for i, (one, right) in enumerate(zip(answer, expected, strict=True), start=1):
        if wrong := difference(one, right, tolerance):
            return f"value {i} of {len(expected)}: {wrong}"
    return None


def _dicts(answer: Any, expected: dict[str, Any], tolerance: float) -> str | None:
    if not isinstance(answer, dict):
        return f"the answer is {_kind(answer)}; a dictionary is asked for"
    if set(answer) != set(expected):
        return f"the keys are {', '.join(answer) or 'none'}; {', '.join(expected)} are asked for"
    for key, right in expected.items():
        if wrong := difference(answer[key], right, tolerance):
            return f"{key}: {wrong}"
    return None


def _tensors(answer: Any, expected: Any, tolerance: float) -> str | None:
    if not isinstance(answer, bool | int | float | Tensor):
        return f"the answer is {_kind(answer)}; {_kind(expected)} is asked for"
    got, right = torch.as_tensor(answer), torch.as_tensor(expected)
    if got.shape != right.shape:
        return f"the shape is {tuple(got.shape)}; {tuple(right.shape)} is asked for"
    if _numbers(got) != _numbers(right):
        return f"the answer holds {_numbers(got)} numbers; {_numbers(right)} ones are asked for"
    got, right = got.double(), right.double()
    if unfit := not_finite(got):
        return unfit
    if close(got, right, tolerance):
        return None
    if close(-got, right, tolerance):
        return "the sign is reversed"
    if float(got.abs().max()) == 0:
        return "everything is zero"
    factor = float((got * right).sum() / right.square().sum().clamp(min=1e-300))
    if abs(factor) > 1e-6 and got.numel() > 1 and close(got / factor, right, tolerance):
        much = f"{factor:.3g} times too large" if abs(factor) > 1 else f"{1 / factor:.3g} times too small"
        return f"right up to its scale: {much}"
    wrong = (got - right).abs() > tolerance * right.abs().max()
    if got.dim() == 0:
        return "the number is too large" if float(got) > float(right) else "the number is too small"
    first = tuple(wrong.nonzero()[0].tolist())
    return f"{int(wrong.sum())} of {wrong.numel()} values differ, the first at index {first}"


def close(got: Tensor, right: Tensor, tolerance: float) -> bool:
    """Whether every number lies within tolerance times the largest magnitude of `right`."""
    return got.numel() == 0 or bool(((got - right).abs() <= tolerance * right.abs().max()).all())


def not_finite(answer: Any) -> str | None:
    """Says so where an answer holds NaN or infinity, at any depth."""
    if isinstance(answer, list | tuple | dict):
        return next(
            (wrong for one in (answer.values() if isinstance(answer, dict) else answer) if (wrong := not_finite(one))),
            None,
        )
    if isinstance(answer, float | Tensor) and not bool(torch.as_tensor(answer).isfinite().all()):
        return "the answer holds NaN or infinity"
    return None


def _numbers(x: Tensor) -> str:
    return "bool" if x.dtype == torch.bool else "floating-point" if x.is_floating_point() else "whole"


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return "a tensor" if value.dim() else "a number"
    kinds = {bool: "a bool", int: "a number", float: "a number", str: "a text", dict: "a dictionary", list: "a list"}
    return "nothing (is there a return?)" if value is None else kinds.get(type(value), f"a {type(value).__name__}")
