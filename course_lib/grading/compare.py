"""How an answer differs from the reference, in words that teach and never hold the right answer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.grading import plain
from course_lib.grading.question import Mistake, Question

ORDER = "in another order"


def verdict(question: Question, answer: Any, inputs: Mapping[str, Any], expected: Any) -> str | None:
    """What is wrong with one answer to these inputs.

    Args:
        question: The question that was answered.
        answer: What the student's function returned, as plain data (see `plain`).
        inputs: The arguments that it was called with, by name, as plain data.
        expected: What the reference returned for them, as plain data; not used where the question has a judge.

    Returns:
        None for a right answer. An answer that equals the output of a known mistake gets that mistake's words, any
        other a description of the difference.
    """
    if question.judge is not None:
        if unfit := not_finite(answer):
            return unfit
        try:
            return question.judge(answer, **{name: plain.build(value) for name, value in inputs.items()})
        except Exception as error:  # a judge need not foresee every form that an answer may have
            return f"the answer has another form than asked for ({type(error).__name__})"
    wrong = difference(answer, expected, question.tolerance)
    if wrong is None or _also_right(question, answer, inputs, expected):
        return None
    if wrong.endswith(ORDER) and question.order:
        wrong = f"{wrong}; {question.order}"
    for mistake in question.mistakes:
        if _is(mistake, answer, inputs, question.tolerance):
            return f"It looks as if {mistake.says}."
    return wrong


def _is(mistake: Mistake, answer: Any, inputs: Mapping[str, Any], tolerance: float) -> bool:
    """Is an answer what this mistake gives? Not where the mistake fails on these inputs, or gives no finite numbers."""
    try:
        mistaken = settle(mistake.function(**{name: plain.build(value) for name, value in inputs.items()}))
    except Exception:  # a mistake may well fail on some input
        return False
    return not_finite(mistaken) is None and difference(answer, mistaken, tolerance) is None


def _also_right(question: Question, answer: Any, inputs: Mapping[str, Any], expected: Any) -> bool:
    """Is this another right answer, as where two neighbours are equally near?"""
    if question.also is None or not_finite(answer):
        return False
    try:
        return question.also(answer, expected, **{name: plain.build(value) for name, value in inputs.items()})
    except Exception:  # it has another form
        return False


def settle(answer: Any) -> Any:
    """An answer as the plain data that leave the sandbox: encoded and decoded again.

    Args:
        answer: What a function returned.

    Returns:
        Plain data; tuples have become lists, tensors are detached.

    Raises:
        TypeError: The answer is not plain data.
    """
    return plain.decode(plain.encode(answer))


def difference(answer: Any, expected: Any, tolerance: float) -> str | None:
    """What is wrong with an answer, part by part.

    A right answer has ``|answer - expected| <= tolerance * max |expected|`` everywhere, whatever the type of its
    numbers. Shapes, lengths and keys must agree; nothing may be NaN or infinite. Tuples count as lists, lists of
    numbers as tensors, tensors of dimension 0 as numbers.

    Args:
        answer: Plain data.
        expected: Plain data.
        tolerance: The largest error allowed, as a share of the largest expected magnitude.

    Returns:
        None, or one line that names the first difference and no expected value.

    Example:
        >>> difference(-torch.arange(3.0), torch.arange(3.0), 1e-3)
        'the sign is reversed'
        >>> difference([1, 2], [1, 2, 3], 1e-3)
        '2 values; 3 are asked for'
    """
    if isinstance(expected, list | tuple):
        return _lists(answer, expected, tolerance)
    if isinstance(expected, dict):
        return _dicts(answer, expected, tolerance)
    if expected is None or isinstance(expected, str):
        return None if type(answer) is type(expected) and answer == expected else f"{_type(answer)} is not it"
    return _tensors(answer, expected, tolerance)


def _lists(answer: Any, expected: Any, tolerance: float) -> str | None:
    """`difference` where a list or a tuple is expected."""
    if isinstance(answer, Tensor) and answer.dim():
        answer = list(answer)
    if not isinstance(answer, list | tuple):
        return f"the answer is {_type(answer)}; {len(expected)} values in a tuple are asked for"
    if len(answer) != len(expected):
        return f"{len(answer)} values; {len(expected)} are asked for"
    for i, (one, right) in enumerate(zip(answer, expected, strict=True), start=1):
        if wrong := difference(one, right, tolerance):
            return f"value {i} of {len(expected)}: {wrong}"
    return None


def _dicts(answer: Any, expected: dict[str, Any], tolerance: float) -> str | None:
    """`difference` where a dictionary is expected."""
    if not isinstance(answer, dict):
        return f"the answer is {_type(answer)}; a dictionary is asked for"
    if set(answer) != set(expected):
        return f"the keys are {', '.join(answer) or 'none'}; {', '.join(expected)} are asked for"
    for key, right in expected.items():
        if wrong := difference(answer[key], right, tolerance):
            return f"{key}: {wrong}"
    return None


def _tensors(answer: Any, expected: Any, tolerance: float) -> str | None:
    """`difference` where a number or a tensor is expected."""
    got, right = tensor(answer), _given(expected)
    if got is None:
        return f"the answer is {_type(answer)}; {_type(expected)} is asked for"
    if got.shape != right.shape:
        return f"the shape is {tuple(got.shape)}; {tuple(right.shape)} is asked for"
    types = _numbers(got), _numbers(right)
    got, right = got.double(), right.double()
    if unfit := not_finite(got):
        return unfit
    if close(got, right, tolerance):
        return None
    if types[0] != types[1]:
        return f"the answer holds {types[0]} numbers; {types[1]} ones are asked for"
    if close(-got, right, tolerance):
        return "the sign is reversed"
    if float(got.abs().max()) == 0:
        return "everything is zero"
    factor = float((got * right).sum() / right.square().sum().clamp(min=1e-300))
    if abs(factor) > 1e-6 and got.numel() > 1 and close(got / factor, right, tolerance):
        much = f"{factor:.3g} times too large" if abs(factor) > 1 else f"{1 / factor:.3g} times too small"
        return f"right up to its scale: {much}"
    if got.dim() and close(_sorted(got), _sorted(right), tolerance):
        return f"the right values, {ORDER}"
    wrong = ~((got - right).abs() <= tolerance * right.abs().max())  # all of them where NaN or infinity is expected
    if got.dim() == 0:
        return "the number is too large" if float(got) > float(right) else "the number is too small"
    first = tuple(wrong.nonzero()[0].tolist())
    return f"{int(wrong.sum())} of {wrong.numel()} values differ, the first at index {first}"


def tensor(answer: Any) -> Tensor | None:
    """An answer's numbers as a tensor.

    Args:
        answer: Plain data.

    Returns:
        A tensor of a number, a tensor, or lists of them of equal lengths; None for anything else.

    Example:
        >>> tensor([[1, 2], [3, 4]]).shape
        torch.Size([2, 2])
    """
    if isinstance(answer, bool | int | float | Tensor):
        return _given(answer)
    if not isinstance(answer, list | tuple) or not answer:
        return None
    rows = [tensor(one) for one in answer]
    if any(row is None or row.shape != (rows[0].shape if rows[0] is not None else None) for row in rows):
        return None
    return torch.stack([row.double() if len({one.dtype for one in rows if one is not None}) > 1 else row
                        for row in rows if row is not None])  # fmt: skip


def _given(number: bool | int | float | Tensor) -> Tensor:
    """A number or a tensor as a tensor that holds what was given: Python's floats are float64."""
    return torch.as_tensor(number, dtype=torch.float64 if isinstance(number, float) else None)


def _sorted(x: Tensor) -> Tensor:
    """The rows of a tensor, sorted as words in a dictionary are."""
    rows = x.flatten(1) if x.dim() > 1 else x[:, None]
    return rows[torch.from_numpy(np.lexsort(rows.T.flip(0).numpy()))]


def close(got: Tensor, right: Tensor, tolerance: float) -> bool:
    """Whether two tensors agree: ``|got - right| <= tolerance * max |right|`` everywhere.

    Args:
        got: Any shape.
        right: The shape of `got`.
        tolerance: At least 0.

    Returns:
        True for empty tensors.
    """
    return got.numel() == 0 or bool(((got - right).abs() <= tolerance * right.abs().max()).all())


def not_finite(answer: Any) -> str | None:
    """Words for an answer that holds NaN or infinity, at any depth.

    Args:
        answer: Plain data.

    Returns:
        None where all numbers are finite.

    Example:
        >>> not_finite([1.0, float("nan")])
        'the answer holds NaN or infinity'
    """
    if isinstance(answer, list | tuple | dict):
        return next(
            (wrong for one in (answer.values() if isinstance(answer, dict) else answer) if (wrong := not_finite(one))),
            None,
        )
    if isinstance(answer, float | Tensor) and not bool(_given(answer).isfinite().all()):
        return "the answer holds NaN or infinity"
    return None


def _numbers(x: Tensor) -> str:
    """The type of a tensor's numbers, in words."""
    return "bool" if x.dtype == torch.bool else "floating-point" if x.is_floating_point() else "whole"


def _type(value: Any) -> str:
    """The type of an answer, in words."""
    if isinstance(value, Tensor):
        return "a tensor" if value.dim() else "a number"
    names = {bool: "a bool", int: "a number", float: "a number", str: "a text", dict: "a dictionary", list: "a list"}
    return "nothing (is there a return?)" if value is None else names.get(type(value), f"a {type(value).__name__}")
