"""All that is known about a student's work, and what a class found hard."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from course_lib.grading.collect import Found, Submission
from course_lib.grading.notebook import Notebook
from course_lib.grading.question import Item, Question, Written
from course_lib.grading.release import WRITE
from course_lib.grading.report.late import Late
from course_lib.grading.report.marks import Mark, Marks
from course_lib.grading.results import PENDING, Result
from course_lib.grading.run import Run


@dataclass(frozen=True)
class Answer:
    """A written answer, and what the instructor gave for it.

    Attributes:
        question: What was asked.
        text: The student's own words; "" where nothing was written.
        mark: Points, comment and items of the rubric.
    """

    question: Written
    text: str
    mark: Mark

    @property
    def unread(self) -> bool:
        """Does it wait for somebody to read it?"""
        return bool(self.text) and self.mark.points is None

    @property
    def given(self) -> list[Item]:
        """The items of the rubric that it has."""
        return [item for number, item in enumerate(self.question.items, start=1) if number in self.mark.items]


@dataclass(frozen=True)
class Card:
    """All that is known about one student's work.

    Attributes:
        submission: What was handed in.
        results: One result for each question that is graded by code, in the order of the assignment.
        written: One answer for each written question.
        changed: {question: mark} where an instructor has overridden the grader; the comment is the reason.
        late: How late it was, and what that costs.
    """

    submission: Submission
    results: tuple[Result, ...]
    written: tuple[Answer, ...]
    changed: Mapping[str, Mark]
    late: Late = Late()

    @property
    def points(self) -> dict[str, float | None]:
        """The points of every question, written ones last; None where nobody has read the answer."""
        changed = {name: mark.points for name, mark in self.changed.items()}
        by_code = {one.question: changed.get(one.question, one.points) for one in self.results}
        return {**by_code, **{one.question.name: one.mark.points for one in self.written}}

    @property
    def reached(self) -> float:
        """The sum; a written answer that nobody has read counts 0."""
        return sum(points or 0 for points in self.points.values())

    @property
    def taken(self) -> float:
        """What is taken off, since it was late."""
        return self.late.taken(self.reached)

    @property
    def total(self) -> float:
        """What was reached, without what is taken off."""
        return self.reached - self.taken

    @property
    def unread(self) -> list[Written]:
        """The written questions whose answer waits to be read."""
        return [one.question for one in self.written if one.unread]

    @property
    def remarks(self) -> str:
        """What an instructor should look at."""
        return "; ".join(filter(None, (remarks(self.results), self.submission.note)))


def deal(
    run: Run,
    found: Found,
    results: Mapping[str, Sequence[Result]],
    written: Marks,
    changes: Marks,
    stub: Notebook | None = None,
    days: Mapping[str, float | None] | None = None,
) -> list[Card]:
    """A card for each student.

    Args:
        run: The run that was graded.
        found: Who handed in.
        results: For each slug, one result for each question that is graded by code.
        written: What `marks.read_written` gives.
        changes: What `marks.read_overrides` gives.
        stub: What was handed out; the questions in it are taken off the answers.
        days: What `late.read_late` gives.

    Returns:
        Cards, sorted by name.
    """
    made = []
    for one in sorted(found.submissions, key=lambda one: one.student):
        answers = []
        for asked in run.assignment.written:
            handed_out = stub.written.get(asked.name, "") if stub else ""
            text = _own(one.notebook.written.get(asked.name, ""), handed_out)
            answers.append(Answer(asked, text, written.get((one.student, asked.name), Mark())))
        changed = {name: mark for (who, name), mark in changes.items() if who == one.student}
        extension = one.person.extension if one.person else ""
        late = Late(one.late, extension, (days or {}).get(one.student), run.late)
        made.append(Card(one, tuple(results[one.slug]), tuple(answers), changed, late))
    return made


def _own(answer: str, handed_out: str) -> str:
    """A written answer without the question above it; "" where nothing was written."""
    prompt = handed_out.replace(WRITE, "").strip()
    return (answer.replace(prompt, "", 1) if prompt else answer).replace(WRITE, "").strip()


def remarks(found: Sequence[Result]) -> str:
    """Every question that was not graded as usual.

    Args:
        found: The results of one student.

    Returns:
        One line; "" where every question was graded or left unanswered.
    """
    unusual = [result for result in found if result.status not in ("graded", "unanswered")]
    said = {result.parts[0].said for result in unusual}
    if unusual and len(said) == 1 and all(result.status == "malformed" for result in unusual):
        return f"malformed: {unusual[0].parts[0].said}"
    if unusual and all(result.status == PENDING for result in unusual) and len(said) == 1:
        return f"pending: {said.pop()}"
    return "; ".join(f"{result.question}: {result.status}" for result in unusual)


def hardness(question: Question, made: Sequence[Card]) -> tuple[str, float, int, str]:
    """How a class did on a question.

    Args:
        question: One that is graded by code.
        made: What `cards.deal` gives.

    Returns:
        Its name, the mean share of its points among those who answered, their number, and the reason that was given
        most often, with its count ("" where nothing was lost).
    """
    results = [result for card in made for result in card.results if result.question == question.name]
    given = [one for one in results if one.status not in ("unanswered", "malformed", PENDING)]
    said = Counter(reason for one in given for reason in {part.said for part in one.parts if part.said})
    top = said.most_common(1)
    reason = f"{top[0][0]} ({'once' if top[0][1] == 1 else f'{top[0][1]} times'})" if top else ""
    share = mean(one.points for one in given) / question.points if given else 0.0
    return question.name, share, len(given), reason
