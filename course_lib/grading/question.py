"""What an assignment asks, as data: questions, parts, known mistakes, written questions."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Generator

from course_lib.errors import require, unknown
from course_lib.grading import questions
from course_lib.grading.plain import Plain

ITEM = re.compile(r"(?:^|(?<=\s))(\d+(?:\.\d+)?) points?: ")  # how an item of a rubric begins
Inputs = Callable[[Generator], Mapping[str, Plain]]
CS231N, EECS498 = "CS231n", "EECS 498"  # courses in whose public solutions a mistake was found


@dataclass(frozen=True)
class Part:
    """One hidden test: the answer is called with fresh inputs and must agree each time, or the points are lost.

    Attributes:
        name: What the student reads in the report, "a batch of two images".
        points: What the part is worth.
        inputs: Draws the arguments, by name, as plain data (see `plain`): tensors, numbers, strings, lists,
            dictionaries, `Net`, `Seed`. All random numbers come from the generator that it gets.
        calls: Number of calls, each with inputs of its own; at least 2, so that nothing is right by luck or on the
            first call only.
    """

    name: str
    points: float
    inputs: Inputs
    calls: int = 2


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people give.

    Attributes:
        says: Completes "It looks as if ...".
        function: The wrong answer. It uses nothing but its arguments, torch, F (torch.nn.functional) and the functions
            of the questions that this one needs, for the tests hand in its source as a student would.
        points: What the rubric leaves for it.
        seen: The courses in whose public solutions it was found; the code here is our own.
    """

    says: str
    function: Callable[..., Any]
    points: float = 0.0
    seen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A function that the student writes.

    Attributes:
        name: The mark of its cells, "a2.saliency".
        function: The name that the answer must define.
        reference: The right function, called with the same arguments; it never enters the sandbox.
        parts: The hidden tests.
        mistakes: Wrong answers that are recognised.
        tolerance: The largest error allowed, as a share of the largest expected magnitude.
        needs: Questions whose cells run before, since their functions are called by this one.
        judge: Where there is no single right answer: ``judge(answer, **inputs)`` returns what is wrong with this one,
            or None. Without a judge the answer is compared with the reference.
        also: Where several answers are right, as among ties: ``also(answer, expected, **inputs)`` says whether one that
            differs from the reference's is right, too.
        order: The rule of the order, as a sentence that begins in lower case, for who has all values in another one.
        seconds: Limit of processor time for all calls together, beside what starting takes.
        constants: {name: the values that it may have}; see `variants`. The functions above take them, too.
        by_hand: Whether the answer runs where autograd cannot, as a derivation that is to be derived.
    """

    name: str
    function: str
    reference: Callable[..., Any]
    parts: tuple[Part, ...]
    mistakes: tuple[Mistake, ...] = ()
    tolerance: float = 1e-3
    needs: tuple[str, ...] = ()
    judge: Callable[..., str | None] | None = None
    also: Callable[..., bool] | None = None
    order: str = ""
    seconds: float = 10.0
    constants: Mapping[str, tuple[Plain, ...]] = field(default_factory=dict)
    by_hand: bool = False

    @property
    def last(self) -> tuple[tuple[str, bool], ...]:
        """What runs behind the answer's cells: nothing, or where it is `by_hand` a cell that switches autograd off."""
        text = f"import torch\n{self.function} = torch.inference_mode()({self.function})"
        return ((text, True),) if self.by_hand else ()

    @property
    def points(self) -> float:
        """The points of all parts together."""
        return sum(part.points for part in self.parts)


@dataclass(frozen=True)
class Item:
    """A line of a rubric.

    Attributes:
        points: What it is worth.
        says: What it is given for.
    """

    points: float
    says: str


@dataclass(frozen=True)
class Written:
    """A question that is answered in words, and read by the instructor.

    Attributes:
        name: The mark of its cell, "a2.logit".
        points: What a full answer is worth.
        rubric: What points are given for, as "2 points: a reason. 1 point: a number."; students do not see it.
    """

    name: str
    points: float
    rubric: str

    @property
    def items(self) -> tuple[Item, ...]:
        """The rubric's lines; one line for all points where it has another form."""
        head, *rest = ITEM.split(self.rubric)
        made = tuple(Item(float(points), says.strip()) for points, says in zip(rest[::2], rest[1::2], strict=True))
        if head.strip() or sum(item.points for item in made) != self.points:
            return (Item(float(self.points), self.rubric),)
        return made


@dataclass(frozen=True)
class Assignment:
    """A notebook of questions worth 100 points.

    Attributes:
        name: Its folder under `assignments`, "a2_pixels"; the part before the underscore begins the names of its
            questions.
        title: What pages and tables call it.
        questions: The questions that are answered by code.
        written: The questions that are answered in words.
        modules: The rooms of course_lib that an answer may import (with all that they import).
        libraries: The distributions that an answer may import beside torch and numpy.

    Raises:
        ValueError: Two questions have one name, or a name does not begin with the assignment's key.
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
        """What the names of its questions begin with, "a2"."""
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
        """The question of that name.

        Args:
            name: For example "a2.saliency".

        Returns:
            The question, one that is answered by code.

        Raises:
            ValueError: There is none of that name; the nearest names are listed.
        """
        for question in self.questions:
            if question.name == name:
                return question
        raise unknown("question", name, [question.name for question in self.questions])

    def before(self, question: Question) -> tuple[str, ...]:
        """The questions whose cells make up the answer to this one.

        Args:
            question: One of this assignment's.

        Returns:
            Their names, its own last.
        """
        return (*question.needs, question.name)


def keys() -> list[str]:
    """The keys of all assignments.

    Returns:
        The names of the modules in `questions`, sorted.

    Example:
        >>> keys()
        ['a1', 'a2', 'a3', 'a4', 'a5']
    """
    return sorted(module.name for module in pkgutil.iter_modules(questions.__path__))


def assignment(key: str) -> Assignment:
    """The assignment of that key.

    Args:
        key: For example "a2".

    Returns:
        The assignment.

    Raises:
        ValueError: There is none of that key; the keys are listed.

    Example:
        >>> assignment("a2").title
        'Which pixels matter'
    """
    if key not in keys():
        raise unknown("assignment", key, keys())
    found: Assignment = importlib.import_module(f"{questions.__name__}.{key}").ASSIGNMENT
    return found


def source(key: str) -> Path:
    """The file of an assignment's questions.

    Args:
        key: For example "a2".

    Returns:
        Its path.
    """
    return next(path for folder in questions.__path__ if (path := Path(folder, f"{key}.py")).exists())


def add_folder(folder: Path) -> None:
    """Look for assignments in a folder, too, and there first: a course's own, which are not published.

    Args:
        folder: Holds a module for each assignment, as `course_lib/grading/questions` does.

    Raises:
        ValueError: It is no folder, or holds no module whose name could be an assignment's key.
    """
    require(folder.is_dir(), f"no questions: {folder} is no folder")
    found = [path.stem for path in folder.glob("*.py") if path.stem.isalnum()]
    require(bool(found), f"no questions in {folder}; a file `b1.py` in it holds the ASSIGNMENT of that key")
    if str(folder.resolve()) not in questions.__path__:
        questions.__path__.insert(0, str(folder.resolve()))


def question(name: str) -> Question:
    """The question of that name.

    Args:
        name: For example "a2.saliency".

    Returns:
        The question, one that is answered by code.

    Raises:
        ValueError: There is no such assignment, or no such question in it; the nearest names are listed.

    Example:
        >>> question("a2.saliency").points
        10
    """
    return assignment(name.split(".")[0]).question(name)
