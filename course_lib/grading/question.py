"""What an assignment asks, as data: questions, parts, known mistakes, written questions."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Generator

from course_lib.errors import require, unknown
from course_lib.grading import questions
from course_lib.grading.plain import Plain

Inputs = Callable[[Generator], Mapping[str, Plain]]


@dataclass(frozen=True)
class Part:
    """One hidden test: the answer is called with fresh inputs and must agree each time, or the points are lost.

    name: what the student reads in the report ("a batch of two pictures"). inputs: draws the arguments, by name, as
    plain data (see `plain`): tensors, numbers, strings, lists, dictionaries, `Net`, `Seed`. All chance comes from the
    generator. calls: with how many draws; at least 2, so that nothing is right by luck or on the first call only.
    """

    name: str
    points: float
    inputs: Inputs
    calls: int = 2


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people give. says: completes "It looks as if ..."; points: what the rubric leaves for it.

    function: the wrong answer. It uses nothing but its arguments, torch and F (torch.nn.functional), for the tests
    hand in its source as a student would.
    """

    says: str
    function: Callable[..., Any]
    points: float = 0.0


@dataclass(frozen=True)
class Question:
    """A function that the student writes.

    name: "a2.saliency", the mark of its cells. function: the name it must define. reference: the right function, called
    with the same arguments; it never enters the sandbox. tolerance: the largest error allowed, as a share of the
    largest expected magnitude. needs: questions whose cells run before (their functions are called by this one).
    judge: where there is no single right answer, judge(answer, **inputs) says what is wrong with this one, or None.
    seconds: of computing (processor time), the limit of all its parts together, beside what starting takes.
    """

    name: str
    function: str
    reference: Callable[..., Any]
    parts: tuple[Part, ...]
    mistakes: tuple[Mistake, ...] = ()
    tolerance: float = 1e-3
    needs: tuple[str, ...] = ()
    judge: Callable[..., str | None] | None = None
    seconds: float = 10.0

    @property
    def points(self) -> float:
        return sum(part.points for part in self.parts)


@dataclass(frozen=True)
class Written:
    """A question answered in words, read and given points by the instructor. rubric: for the instructor alone."""

    name: str
    points: float
    rubric: str


@dataclass(frozen=True)
class Assignment:
    """A notebook of questions worth 100 points.

    name: its folder under `assignments`, "a2_pixels"; the part before the underscore begins the names of its
    questions. modules: those of course_lib that an answer may import (with all that they import). libraries:
    distributions that an answer may import beside torch and numpy.
    """

    name: str
    title: str
    questions: tuple[Question, ...]
    written: tuple[Written, ...] = ()
    modules: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [question.name for question in self.asked]
        require(len(set(names)) == len(names), f"{self.name}: two questions have one name")
        for name in names:
            require(name.startswith(f"{self.key}."), f"{self.name}: the name of {name!r} must begin with {self.key}.")

    @property
    def key(self) -> str:
        return self.name.split("_")[0]

    @property
    def asked(self) -> tuple[Question | Written, ...]:
        """All questions, written ones last."""
        return (*self.questions, *self.written)

    @property
    def points(self) -> dict[str, float]:
        """The points of every question, written ones last."""
        return {question.name: question.points for question in self.asked}

    def question(self, name: str) -> Question:
        """The question of that name. Raises ValueError for another one."""
        for question in self.questions:
            if question.name == name:
                return question
        raise unknown("question", name, [question.name for question in self.questions])

    def before(self, question: Question) -> tuple[str, ...]:
        """The names of the questions whose cells make up its answer, itself last."""
        return (*question.needs, question.name)


def keys() -> list[str]:
    """The assignments there are: a2, ..."""
    return sorted(module.name for module in pkgutil.iter_modules(questions.__path__))


def assignment(key: str) -> Assignment:
    """The assignment "a2". Raises ValueError for one that is not there."""
    if key not in keys():
        raise unknown("assignment", key, keys())
    found: Assignment = importlib.import_module(f"{questions.__name__}.{key}").ASSIGNMENT
    return found


def question(name: str) -> Question:
    """The question "a2.saliency". Raises ValueError for one that is not there."""
    return assignment(name.split(".")[0]).question(name)
