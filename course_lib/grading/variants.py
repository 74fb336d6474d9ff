"""Variants: constants of a question that differ by term or by student, and whether they are equally hard.

A question names the values that a constant may have, ``constants={"grey": (0.2, 0.35, 0.65, 0.8)}``; its reference, its
mistakes, its judge and `also` take the constant beside the inputs, and the solution's notebook writes
``{{b1.cover.grey}}`` where the student reads the value. Which one it is follows from a word, "2027-spring", and, where
each student has a variant, from who the student is in the roster; never from what was handed in.
"""

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from course_lib.errors import require
from course_lib.grading import compare, plain
from course_lib.grading.question import Assignment, Question
from course_lib.grading.roster import Person

PLACE = re.compile(r"\{\{\s*([\w.]+)\.(\w+)\s*\}\}")  # {{b1.cover.grey}}
SPREAD = 1.5  # how many times the widest spread may be the narrowest
COMBINATIONS = 64  # of one question
DRAWS = 8  # calls of each part


def word(seed: str, person: Person | None = None) -> str:
    """What a variant follows from.

    Args:
        seed: The term's word, "2027-spring"; "" for the first value of every constant.
        person: Whose variant it is; None for that of the term.

    Returns:
        A line of text.
    """
    return f"{seed} / {person.id or person.number or person.email or person.name}" if person and seed else seed


def constants(asked: Question, variant: str = "") -> dict[str, Any]:
    """The constants of a question.

    Args:
        asked: The question.
        variant: What `word` gives; "" takes the first value of each.

    Returns:
        {name: value}.
    """
    chosen = {}
    for name, values in asked.constants.items():
        digest = hashlib.sha256(f"{variant} / {asked.name}.{name}".encode()).digest()
        chosen[name] = values[int.from_bytes(digest[:8], "big") % len(values) if variant else 0]
    return chosen


def bound(asked: Question, values: Mapping[str, Any]) -> Question:
    """A question whose functions know its constants.

    Args:
        asked: The question.
        values: What `constants` gives.

    Returns:
        The question, with functions that take the inputs alone.
    """
    if not values:
        return asked

    def knows(function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.partial(function, **values)

    return replace(
        asked,
        reference=knows(asked.reference),
        mistakes=tuple(replace(one, function=knows(one.function)) for one in asked.mistakes),
        judge=asked.judge and knows(asked.judge),
        also=asked.also and knows(asked.also),
        constants={},
    )


def filled(text: str, assignment: Assignment, variant: str = "") -> str:
    """The text of a cell with the values of its constants.

    Args:
        text: The text, with ``{{b1.cover.grey}}`` where a value stands.
        assignment: Whose cell it is.
        variant: What `word` gives.

    Returns:
        The text.

    Raises:
        ValueError: There is no such constant; names it.
    """
    values = {one.name: constants(one, variant) for one in assignment.questions}

    def value(found: re.Match[str]) -> str:
        question, name = found.groups()
        require(name in values.get(question, {}), f"{assignment.name}: no constant {question}.{name}, see {found[0]!r}")
        return f"{values[question][name]}"

    return PLACE.sub(value, text)


def varies(assignment: Assignment) -> bool:
    """Does an assignment have variants?

    Args:
        assignment: Any.

    Returns:
        Whether one of its questions has constants.
    """
    return any(one.constants for one in assignment.questions)


# ---------------------------------------------------------------- are they equally hard?


@dataclass(frozen=True)
class Choice:
    """A question with one value for each of its constants.

    Attributes:
        constants: The values.
        spread: The standard deviation of all numbers that the reference returns, over their largest magnitude: what a
            constant answer would miss.
        told: The smallest share of a part's calls in which the answer to another choice is refused; 1 where a
            neighbour's answer never passes.
        mistakes: The points that each known mistake keeps.
    """

    constants: dict[str, Any]
    spread: float
    told: float
    mistakes: tuple[float, ...]


def choices(asked: Question, seed: int = 0) -> list[Choice]:
    """Every choice of a question's constants, measured on the same inputs.

    Args:
        asked: A question with constants and without a judge.
        seed: Of the inputs.

    Returns:
        A choice for each combination of values.

    Raises:
        ValueError: It has no constants, too many combinations, or a judge, which has no single right answer.
    """
    names, combinations = list(asked.constants), list(itertools.product(*asked.constants.values()))
    require(bool(names), f"{asked.name} has no constants")
    require(
        asked.judge is None, f"{asked.name} has a judge, so there is no right answer whose spread could be measured"
    )
    require(
        len(combinations) <= COMBINATIONS, f"{asked.name}: {len(combinations)} combinations; {COMBINATIONS} is the most"
    )
    sets = [dict(zip(names, values, strict=True)) for values in combinations]
    drawn = list(_calls(asked, seed))
    ready = [bound(asked, values) for values in sets]
    right = [[compare.settle(one.reference(**_built(inputs))) for _, inputs in drawn] for one in ready]
    made = []
    for i, one in enumerate(ready):
        rivals = [answers for j, answers in enumerate(right) if j != i]
        told = min((_refused(one, drawn, right[i], answers) for answers in rivals), default=1.0)
        kept = tuple(_points(one, drawn, right[i], mistake.function) for mistake in one.mistakes)
        made.append(Choice(sets[i], _spread(right[i]), told, kept))
    return made


def unequal(made: list[Choice]) -> str:
    """Why choices are not equally hard.

    Args:
        made: What `choices` gives.

    Returns:
        A sentence, or "" where they are.
    """
    spreads = [one.spread for one in made]
    if min(spreads) <= 0 or max(spreads) > SPREAD * min(spreads):
        return f"the spread of the right answers goes from {min(spreads):.3g} to {max(spreads):.3g}"
    if any(one.told < 1 for one in made):
        return (
            f"another variant's answer passes: it is refused in {min(one.told for one in made):.0%} of a part's calls"
        )
    if len({one.mistakes for one in made}) > 1:
        return "a mistake keeps other points in another variant"
    return ""


def _calls(asked: Question, seed: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(index of the part, inputs) of some calls, the same for every choice."""
    generator = torch.Generator().manual_seed(seed)
    for i, part in enumerate(asked.parts):
        for _ in range(max(DRAWS, part.calls)):
            yield i, part.inputs(generator)


def _built(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call."""
    return {name: plain.build(value) for name, value in inputs.items()}


def _refused(asked: Question, drawn: list[tuple[int, Mapping[str, Any]]], right: list[Any], other: list[Any]) -> float:
    """The smallest share, over the parts, of calls in which other answers are refused."""
    wrong: dict[int, list[bool]] = {}
    for (part, inputs), expected, answer in zip(drawn, right, other, strict=True):
        wrong.setdefault(part, []).append(
            compare.verdict(replace(asked, mistakes=()), answer, inputs, expected) is not None
        )
    return min(sum(one) / len(one) for one in wrong.values())


def _points(
    asked: Question, drawn: list[tuple[int, Mapping[str, Any]]], right: list[Any], answer: Callable[..., Any]
) -> float:
    """The points that an answer keeps."""
    lost = set()
    for (part, inputs), expected in zip(drawn, right, strict=True):
        try:
            given = compare.settle(answer(**_built(inputs)))
        except (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError):
            lost.add(part)
            continue
        if compare.verdict(replace(asked, mistakes=()), given, inputs, expected) is not None:
            lost.add(part)
    return float(sum(part.points for i, part in enumerate(asked.parts) if i not in lost))


def _spread(answers: list[Any]) -> float:
    """The standard deviation of all numbers in some answers, over their largest magnitude."""
    numbers = torch.cat([torch.zeros(0, dtype=torch.float64), *map(_numbers, answers)])
    most = float(numbers.abs().max()) if len(numbers) else 0.0
    return float(numbers.std(correction=0)) / most if most else 0.0


def _numbers(answer: Any) -> torch.Tensor:
    """All numbers in an answer."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple):
        return torch.cat([torch.zeros(0, dtype=torch.float64), *map(_numbers, answer)])
    found = compare.tensor(answer)
    return torch.zeros(0, dtype=torch.float64) if found is None else found.double().flatten()
