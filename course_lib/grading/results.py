"""What came of a question: points part by part, and why some were lost."""

from dataclasses import dataclass, field
from typing import Any

from course_lib.grading import define
from course_lib.grading.question import Question

UNJUDGED, PENDING = "unjudged", "pending"


@dataclass(frozen=True)
class PartResult:
    """A part's points.

    Attributes:
        name: The part's name.
        points: What the answer got.
        of: What the part is worth.
        said: Why points were lost; "" where none were.
    """

    name: str
    points: float
    of: float
    said: str = ""


@dataclass(frozen=True)
class Result:
    """The outcome of one question.

    Attributes:
        question: The question's name.
        status: "graded", or what else happened: "unanswered", "malformed", "time", "size", "crashed", "tampered",
            "unjudged" (the grader itself failed on it), "pending" (the machine failed; the next run tries again).
        parts: The outcome of each part.
        remark: What is said beside the points, for which none are lost; "" for nothing.
    """

    question: str
    status: str
    parts: tuple[PartResult, ...] = field(default_factory=tuple)
    remark: str = ""

    @property
    def points(self) -> float:
        """The points of all parts together."""
        return sum(part.points for part in self.parts)

    @staticmethod
    def of(saved: dict[str, Any]) -> "Result":
        """The result in a file of a run.

        Args:
            saved: What `dataclasses.asdict` made of a result, read back from JSON.

        Returns:
            The result.

        Raises:
            KeyError: An entry is missing.
            TypeError: A part has an entry too many, or too few.
        """
        parts = tuple(PartResult(**part) for part in saved["parts"])
        return Result(saved["question"], saved["status"], parts, saved["remark"])


def lost(asked: Question, status: str, said: str) -> Result:
    """A result without points.

    Args:
        asked: The question.
        status: The result's status.
        said: Why all points were lost, the same for every part.

    Returns:
        The result.
    """
    return Result(
        asked.name, status, tuple(PartResult(p.name, 0.0, float(p.points), shorten(said)) for p in asked.parts)
    )


def shorten(text: str) -> str:
    """One readable line: an error message is the student's, and may hold anything.

    Args:
        text: Any text.

    Returns:
        At most 600 printable characters, and " ..." where some were cut off.

    Example:
        >>> shorten("line 1\\n\\tline\\x00 2")
        'line 1 line 2'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 10 * define.TEXT]).split())
    return line if len(line) <= define.TEXT else line[: define.TEXT] + " ..."
