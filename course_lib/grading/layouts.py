"""Who a file belongs to, by the layout in which a platform packs a class, and which of two versions is the newer."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from course_lib.grading import question as questions
from course_lib.grading.files import File

# Canvas: NAME_USER_SUBMISSION_FILE, with LATE after the name where it was late
CANVAS = re.compile(r"(?P<name>[^_/]+)_(?P<late>LATE_)?(?P<user>\d+)_(?P<submission>\d+)_(?P<file>.+)", re.DOTALL)
MOODLE = re.compile(r"(?P<name>.+?)_(?P<user>\d+)_assignsubmission_(file|onlinetext)_?(?P<file>.*)", re.DOTALL)
AGAIN = re.compile(
    r"[-_ ]?[Cc]opy(\d*)$|-(\d{1,2})$| ?\((\d{1,2})\)$"
)  # what platforms append to a name that was there
WRAPPERS = re.compile(r"submitted|submissions?|.*-submissions|assignsubmission.*")
NBGRADER = {"source", "release", "autograded", "feedback", "exchange"}


@dataclass(frozen=True)
class Owner:
    """A student as the layout names it.

    Attributes:
        student: The name.
        how: What named the student: "Canvas", "Moodle", "GitHub", "folder", "file name".
        names: What a roster may know the student by, the surest first.
    """

    student: str
    how: str
    names: tuple[str, ...]


def owner_of(file: File, clones: dict[str, str]) -> Owner | None:
    """The student that a file belongs to: by the outermost name, and by nothing that a student chose.

    Args:
        file: A file below the folders that hold a class; see `unwrapped`.
        clones: GitHub's user by folder.

    Returns:
        The student; None for a file that is nobody's.
    """
    top, inside = file.name.parts[0], len(file.name.parts) > 1
    if found := MOODLE.fullmatch(top):
        return Owner(f"{found['name']}_{found['user']}", "Moodle", (found["user"], found["name"]))
    if inside and top in clones:
        return Owner(clones[top], "GitHub", (clones[top],))
    if inside:
        return Owner(top, "folder", (top, *top.split("_")))
    if found := CANVAS.fullmatch(top):
        return Owner(f"{found['name']}_{found['user']}", "Canvas", (found["user"], found["name"]))
    stem = file.name.stem
    return Owner(stem, "file name", (stem, *stem.split("_"))) if file.name.suffix.lower() == ".ipynb" else None


def unwrapped(
    files: list[File], clones: frozenset[PurePosixPath], *, packed: bool
) -> tuple[list[File], dict[str, str], list[tuple[str, str]]]:
    """The files below the folders that hold a whole class.

    Args:
        files: All files.
        clones: Folders that hold a .git.
        packed: Do they come from an archive?

    Returns:
        The files, GitHub's user by folder, and what was left out, as (name, why).
    """
    ignored: list[tuple[str, str]] = []
    while files:
        tops = {file.name.parts[0] for file in files}
        if "submitted" in tops and tops & NBGRADER:
            out = [file for file in files if file.name.parts[0] != "submitted"]
            ignored += [(str(file.name), "beside nbgrader's folder `submitted`") for file in out]
            files = [file for file in files if file not in out]
        elif not _is_wrapper(files, clones, packed):
            break
        else:
            clones = frozenset(PurePosixPath(*clone.parts[1:]) for clone in clones if len(clone.parts) > 1)
            files = [replace(file, name=PurePosixPath(*file.name.parts[1:])) for file in files]
    return files, _github(sorted(str(clone) for clone in clones if len(clone.parts) == 1)), ignored


def _is_wrapper(files: list[File], clones: frozenset[PurePosixPath], packed: bool) -> bool:
    """Do all files lie in one folder that is no student, but holds the class?"""
    tops = {file.name.parts[0] for file in files}
    if len(tops) > 1 or any(len(file.name.parts) == 1 for file in files):
        return False
    top = tops.pop()
    if MOODLE.fullmatch(top) or PurePosixPath(top) in clones:
        return False
    notebooks = [PurePosixPath(*file.name.parts[1:]) for file in files if file.name.suffix.lower() == ".ipynb"]
    folders = {name.parts[0] for name in notebooks if len(name.parts) > 1}
    lying = {copies(name.name)[0] for name in notebooks if len(name.parts) == 1}
    named = any(MOODLE.fullmatch(name.parts[0]) or CANVAS.fullmatch(name.parts[0]) for name in notebooks)
    known = questions.keys()
    students = {folder for folder in folders if folder.split("_")[0] not in known}
    if WRAPPERS.fullmatch(top) or named or len(students) > 1 or (packed and len(lying) > 1):
        return True
    inner = [replace(file, name=PurePosixPath(*file.name.parts[1:])) for file in files]
    return len(students) == 1 and not lying and _is_wrapper(inner, frozenset(), packed)


def _github(clones: list[str]) -> dict[str, str]:
    """The user of each clone: what is left of its folder's name without the assignment's, which all begin with."""
    common = os.path.commonprefix(clones) if len(clones) > 1 else ""
    prefix = common[: common.rfind("-") + 1]
    return {clone: clone.removeprefix(prefix) or clone for clone in clones}


def copies(name: str) -> tuple[str, int]:
    """A file's name without what a platform appends to the second of that name.

    Args:
        name: As it was handed in.

    Returns:
        The name without its suffix, and the number that was appended, 0 for none.

    Example:
        >>> copies("a2-Copy1 (2).ipynb")
        ('a2', 3)
    """
    stem, number = PurePosixPath(name).stem, 0
    while found := AGAIN.search(stem):
        stem, number = stem[: found.start()], number + int(found[1] or found[2] or found[3] or 1)
    return stem or name, number
