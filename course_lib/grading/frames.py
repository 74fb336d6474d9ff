"""What a sandbox sent back: untrusted bytes, read strictly, every type exact and every size bounded."""

import json
from dataclasses import dataclass
from typing import Any

from course_lib.grading import child, plain
from course_lib.grading.question import Question


@dataclass(frozen=True)
class Ending:
    """How the process of an answer ended, as the sandbox says.

    Attributes:
        how: "well", "time", "size", "signal 9", "exit 1".
        computed: Seconds of computing.
    """

    how: str
    computed: float


def unpack(answer: bytes, calls: int) -> tuple[Ending, list[dict[str, Any]]]:
    """Read what a sandbox sent back: every type exact, every size bounded.

    Args:
        answer: What `Sandbox.answer` returned.
        calls: How many calls the answer was asked for.

    Returns:
        How the answer's process ended, and its frames: either one ``{"error": text}``, or
        ``{"call": 0, "answer": plain data}`` and ``{"call": 1, "error": text}``, in order, at most so many as calls.
        An answer may have ``"changed"`` beside it, the names of the arguments that it changed.

    Raises:
        ValueError: The bytes have another form; says which.
    """
    if len(answer) > child.room(calls) + plain.HEADER:
        raise ValueError("they are too long")
    line, _, raw = answer.partition(b"\n")
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("they have no header") from None
    forms = {"ended": str, "computed": float}
    if type(tree) is not dict or {key: type(value) for key, value in tree.items()} != forms:
        raise ValueError("they have no header")
    frames: list[dict[str, Any]] = []
    at = 0
    while at < len(raw):
        end = at + 8 + int.from_bytes(raw[at : at + 8], "big")
        if end > len(raw):
            if tree["ended"] == "well":
                raise ValueError("an answer is cut short")
            break  # killed while it wrote
        if len(frames) == calls:
            raise ValueError("there are more answers than calls")
        frames.append(_frame(raw[at + 8 : end], len(frames)))
        at = end
    if len(frames) > 1 and "call" not in frames[0]:
        raise ValueError("answers come after an error that ends them")
    return Ending(tree["ended"], tree["computed"]), frames


def _frame(message: bytes, number: int) -> dict[str, Any]:
    """One frame; raises ValueError unless it has exactly the form of the call of that number."""
    try:
        frame = plain.decode(message, answer=True)
    except ValueError:
        raise ValueError("they are not what the grader's own code sends") from None
    if type(frame) is not dict:
        raise ValueError("they are not what the grader's own code sends")
    said = type(frame.get("error")) is str
    if set(frame) == {"error"} and said and number == 0:
        return frame
    if type(frame.get("call")) is not int or frame["call"] != number:
        raise ValueError("answers came twice, early or out of order")
    answered = {"call", "answer"} <= set(frame) <= {"call", "answer", "changed"} and _names(frame.get("changed", []))
    if not (answered or (set(frame) == {"call", "error"} and said)):
        raise ValueError("they are not what the grader's own code sends")
    return frame


def _names(value: Any) -> bool:
    """Is this a list of texts?"""
    return type(value) is list and all(type(one) is str for one in value)


def why_ended(ending: Ending, asked: Question) -> tuple[str, str]:
    """What a process that ended too early means.

    Args:
        ending: How it ended.
        asked: The question that it was to answer.

    Returns:
        The result's status, and words for the student.
    """
    if ending.how == "signal 24" or (ending.how in ("time", "signal 9") and ending.computed >= 0.9 * asked.seconds):
        return "time", f"stopped after {asked.seconds:g} seconds of computing: an endless loop, or far too slow"
    if ending.how == "time":
        return "time", (
            f"stopped after {child.PATIENCE * asked.seconds:g} seconds, of which it computed for "
            f"{ending.computed:.1f}: it waits for something, as sleep() or input() do"
        )
    if ending.how == "size":
        return "size", f"stopped: it sent more than its answers may have, {plain.ANSWER // 1000} kB each"
    if ending.how == "signal 9":
        return "crashed", "the process was killed, or went on after its answers were closed"
    how = "exit 0" if ending.how == "well" else ending.how
    return "crashed", f"the process ended before it had answered ({how}): exit() or a crash"
