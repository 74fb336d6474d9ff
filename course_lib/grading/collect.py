"""Submissions out of a folder or an archive, as learning platforms pack them.

Who handed in is decided by what the platform or the instructor wrote, the outermost name, and never by the name of a
file that a student chose:

====================================================  ==================================================
layout                                                 the student
====================================================  ==================================================
Canvas, `doejane_LATE_123_4567_a2.ipynb`               `doejane_123`
Moodle, `Ann Lee_42_assignsubmission_file_/a2.ipynb`   `Ann Lee_42`
nbgrader, `submitted/ann/a2_pixels/a2_pixels.ipynb`    `ann`
GitHub Classroom, `a2-pixels-ann/...` with .git        `ann`
a folder for each student, as deep as you like         the outermost folder
files of any other name                                the file's name
====================================================  ==================================================
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from course_lib.errors import require
from course_lib.grading import notebook
from course_lib.grading import question as questions
from course_lib.grading.files import File, Refused, Source, opened
from course_lib.grading.layouts import CANVAS, MOODLE, Owner, copies, owner_of, unwrapped
from course_lib.grading.notebook import Notebook, Shown, Unreadable
from course_lib.grading.roster import Person, match

NOTEBOOKS = 20  # of one student
SHOWN = 300  # characters of a list of files


@dataclass(frozen=True)
class Submission:
    """What one student handed in.

    Attributes:
        student: The student's name, as the learning platform writes it.
        file: The name of the notebook's file, or of all files where there is not exactly one notebook.
        sha256: Of the file's content; where it was not read, of the names of the files.
        notebook: What the grader takes from it; empty where there is a problem.
        problem: Why it cannot be graded, in words for the student; "" where it can.
        how: What named the student: "Canvas", "Moodle", "GitHub", "folder", "file name".
        note: What an instructor should know about the choice of the file; "" for nothing.
        late: Did Canvas mark it as late?
        person: Who it is in the roster; None without a roster, or where nobody is sure to be meant.
        where: Its place in the folder or archive, from which it can be read again; None where it was not read.
    """

    student: str
    file: str
    sha256: str
    notebook: Notebook
    problem: str = ""
    how: str = ""
    note: str = ""
    late: bool = False
    person: Person | None = None
    where: "tuple[Source, File] | None" = field(default=None, repr=False, compare=False)

    @property
    def slug(self) -> str:
        """The student's name as a file name, the same for nobody else."""
        plain = unicodedata.normalize("NFKD", self.student).encode("ascii", "ignore").decode()
        name = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:40]
        return f"{name or 'student'}-{hashlib.sha256(self.student.encode('utf-8', 'replace')).hexdigest()[:8]}"

    def shown(self) -> Shown:
        """What the notebook shows, read from the file again, since that of a whole class would fill the memory.

        Returns:
            Images and printed text; nothing where the file cannot be read any more, or is not what was graded.
        """
        try:
            data = self.where[0].read(self.where[1]) if self.where else b""
            return notebook.shown(data) if hashlib.sha256(data).hexdigest() == self.sha256 else Shown()
        except (Refused, Unreadable):
            return Shown()


@dataclass(frozen=True)
class Found:
    """Who was found in a folder or an archive.

    Attributes:
        submissions: One for each student, sorted by name.
        assignment: The key of what is graded, "a2".
        ignored: Files that belong to no student, as (name, why).
        absent: Those of the roster who handed in nothing.
    """

    submissions: tuple[Submission, ...]
    assignment: str
    ignored: tuple[tuple[str, str], ...] = ()
    absent: tuple[Person, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    """A notebook that a student handed in."""

    file: File
    shown: str
    submission: int
    late: bool
    sha256: str
    notebook: Notebook
    problem: str

    @property
    def age(self) -> tuple[int, int, float]:
        """Larger for what was handed in later: Canvas's number, the platform's copy number, the file's time."""
        return (self.submission, copies(self.shown)[1], self.file.changed)


def collect(path: Path, key: str | None = None, roster: Sequence[Person] = ()) -> Found:
    """One submission for each student, whatever each of them handed in.

    Nothing is unpacked to the disk, and no file can stop the others from being read. Of several notebooks of a student,
    the one that answers the assignment counts; of several versions of that one, the newest.

    Args:
        path: A folder or a .zip.
        key: The assignment, "a2"; None takes what most of the students answer.
        roster: Who is in the class; see `roster.read`.

    Returns:
        Who was found, and what was not understood.

    Raises:
        ValueError: The path is not there, is neither of the two, holds no submission or too many files, or no answer
            to a known assignment while `key` is None.
    """
    require(path.exists(), f"no submissions: {path} is not there")
    source = opened(path)
    files, clones, ignored = unwrapped(source.files(), source.clones, packed=not path.is_dir())
    owned: dict[Owner, list[File]] = {}
    for file in files:
        owner = owner_of(file, clones)
        if owner is None:
            ignored.append((str(file.name), "no notebook, and no student's name"))
        else:
            owned.setdefault(owner, []).append(file)
    require(bool(owned), f"no submissions in {path}" + (f": only {_list(n for n, _ in ignored)}" if ignored else ""))
    read = {owner: _candidates(source, mine) for owner, mine in owned.items()}
    key = key or which([one.notebook for candidates in read.values() for one in candidates])
    made = [_submission(source, owner, owned[owner], read[owner], key) for owner in owned]
    made, absent = _named(made, {owner.student: owner.names for owner in owned}, roster)
    return Found(tuple(sorted(made, key=lambda one: one.student)), key, tuple(ignored), tuple(absent))


def which(notebooks: Iterable[Notebook]) -> str:
    """The assignment that most of the notebooks answer.

    Args:
        notebooks: At least one.

    Returns:
        Its key, "a2".

    Raises:
        ValueError: No notebook has an answer cell of a known assignment.
    """
    found = Counter(filter(None, map(answers, notebooks)))
    require(bool(found), "no submission holds an answer to a known assignment; name it with --assignment")
    return found.most_common(1)[0][0]


def answers(book: Notebook) -> str:
    """The assignment that most of a notebook's marks belong to.

    Args:
        book: What was read of it.

    Returns:
        Its key, "" for none.
    """
    known = questions.keys()
    found = Counter(key for mark in book.marks if (key := mark.split(".")[0]) in known)
    return found.most_common(1)[0][0] if found else ""


def _named(
    made: list[Submission], names: dict[str, tuple[str, ...]], roster: Sequence[Person]
) -> tuple[list[Submission], list[Person]]:
    """The submissions with whom the roster knows, and who of the roster is missing."""
    if not roster:
        return made, []
    people = {one.student: match(roster, names[one.student]) for one in made}
    claims = Counter(person for person in people.values() if person)
    named = []
    for one in made:
        person = people[one.student]
        if person is None:
            one = replace(one, note=_join(one.note, "not in the roster"))
        elif claims[person] > 1:
            one = replace(one, note=_join(one.note, f"{claims[person]} submissions look like {person.name}'s"))
        else:
            one = replace(one, person=person)
        named.append(one)
    return named, [person for person in roster if not claims[person]]


def _join(*notes: str) -> str:
    """Notes in one line."""
    return "; ".join(filter(None, notes))


# ---------------------------------------------------------------- which notebook counts


def _candidates(source: Source, files: list[File]) -> list[_Candidate]:
    """A student's notebooks, read; the newest first."""
    notebooks = sorted((file for file in files if file.name.suffix.lower() == ".ipynb"), key=lambda file: file.name)
    return sorted((_candidate(source, file) for file in notebooks[:NOTEBOOKS]), key=lambda one: one.age, reverse=True)


def _candidate(source: Source, file: File) -> _Candidate:
    """A notebook, read, or why it was not."""
    found = (CANVAS.fullmatch(file.name.name) if len(file.name.parts) == 1 else None) or MOODLE.fullmatch(
        file.name.name
    )
    shown = found["file"] if found and found["file"] else file.name.name
    canvas = found is not None and "submission" in found.groupdict()
    number, late = (int(found["submission"][:18]), bool(found["late"])) if found and canvas else (0, False)
    digest, read, problem = hashlib.sha256(str(file.name).encode("utf-8", "replace")).hexdigest(), Notebook(), ""
    try:
        data = source.read(file)
        digest = hashlib.sha256(data).hexdigest()
        read = notebook.read(data)
    except (Refused, Unreadable) as error:
        problem = str(error)
    return _Candidate(file, shown, number, late, digest, read, problem)


def _submission(source: Source, owner: Owner, files: list[File], candidates: list[_Candidate], key: str) -> Submission:
    """What a student's files amount to: one notebook, or a problem."""
    mine = [one for one in candidates if not one.problem and answers(one.notebook) == key]
    others = [] if mine else [one for one in candidates if not one.problem]
    for found in (mine, others, [] if mine or others else candidates):
        if found and not _several(found):
            return _of(source, owner, found[0], candidates, key)
    shown = sorted(_shown(file) for file in files)
    seen = "\n".join(shown)
    digest = hashlib.sha256(seen.encode("utf-8", "replace")).hexdigest()
    if candidates:
        clash = mine or candidates
        digest = hashlib.sha256("".join(sorted(one.sha256 for one in clash)).encode()).hexdigest()
        names = _list(sorted(one.shown for one in clash))
        problem = f"{len(clash)} notebooks ({names}){' answer this assignment' if mine else ''}: hand in one"
    else:
        problem = f"no notebook (.ipynb) among what was handed in: {_list(shown)}"
    return Submission(owner.student, seen[:SHOWN], digest, Notebook(), problem, owner.how)


def _of(source: Source, owner: Owner, one: _Candidate, candidates: list[_Candidate], key: str) -> Submission:
    """The submission that is this notebook."""
    note = "late" if one.late else ""
    if len(candidates) > 1:
        newest = "the newest" if one is candidates[0] else "the newest that answers the assignment"
        note = _join(note, f"{len(candidates)} notebooks ({_list(c.shown for c in candidates)}); {newest}, {one.shown}")
    problem = one.problem
    if not problem and (other := answers(one.notebook)) != key:
        found = f"it answers assignment {other}" if other else "no cell begins with a line `# answer: ...`"
        problem = f"the notebook is not that of assignment {key}: {found}"
    read = Notebook() if one.problem else one.notebook
    where = (source, one.file)
    return Submission(owner.student, one.shown, one.sha256, read, problem, owner.how, note, one.late, None, where)


def _several(found: list[_Candidate]) -> bool:
    """Is there more than one notebook to choose from, and neither a number nor a name says which came later?"""
    first = found[0]
    rivals = [one for one in found[1:] if one.submission == first.submission and one.sha256 != first.sha256]
    return any(copies(one.shown)[0] != copies(first.shown)[0] for one in rivals)


def _shown(file: File) -> str:
    """A file's name as the student gave it."""
    found = CANVAS.fullmatch(file.name.name) if len(file.name.parts) == 1 else None
    return found["file"] if found else file.name.name


def _list(names: Iterable[str]) -> str:
    """Names in one line that is not too long."""
    text = ", ".join(names)
    return text if len(text) <= SHOWN else text[:SHOWN] + " ..."


def summary(found: Found, roster: Sequence[Person] = ()) -> list[str]:
    """Who was found how, for reading before anything is graded; what needs a look, line by line.

    Args:
        found: What `collect` gives.
        roster: The roster that it was given.

    Returns:
        Lines of text.
    """
    hows = Counter(one.how for one in found.submissions)
    named = ", ".join(f"{how} {count}" for how, count in hows.most_common())
    lines = [f"found {len(found.submissions)} students of assignment {found.assignment} (named by: {named})"]
    if roster:
        known = sum(one.person is not None for one in found.submissions)
        lines.append(
            f"{known} of them are in the roster, which has {len(roster)}; {len(found.absent)} handed in nothing"
        )
    look = [one for one in found.submissions if one.problem or one.note]
    lines += [f"  {one.student}: {_join(one.problem and f'CANNOT BE GRADED, {one.problem}', one.note)}" for one in look]
    lines += [f"  not understood: {name[:SHOWN]} ({why})" for name, why in found.ignored[:NOTEBOOKS]]
    if len(found.ignored) > NOTEBOOKS:
        lines.append(f"  not understood: {len(found.ignored) - NOTEBOOKS} more files")
    return ["".join(c if c.isprintable() else " " for c in line) for line in lines]
