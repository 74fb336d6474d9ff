"""Submissions out of a folder or an archive, as learning platforms pack them."""

import hashlib
import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course_lib.errors import require
from course_lib.grading import notebook
from course_lib.grading.notebook import Notebook, Unreadable

# Canvas: NAME_USER_SUBMISSION_FILE, with LATE after the name where it was late
CANVAS = re.compile(r"(?P<name>[^_/]+)_(?:LATE_)?(?P<user>\d+)_(?P<submission>\d+)_(?P<file>.+)")
FILES = 20_000  # of an archive


@dataclass(frozen=True)
class Submission:
    """What one student handed in.

    Attributes:
        student: The student's name, as the learning platform writes it.
        file: The name of the notebook's file, or of all files where there is not exactly one notebook.
        sha256: Of the file's content; where it was not read, of the names of the files.
        notebook: What the grader takes from it; empty where there is a problem.
        problem: Why it cannot be graded, in words for the student; "" where it can.
    """

    student: str
    file: str
    sha256: str
    notebook: Notebook
    problem: str = ""

    @property
    def slug(self) -> str:
        """The student's name as a file name, the same for nobody else."""
        plain = unicodedata.normalize("NFKD", self.student).encode("ascii", "ignore").decode()
        name = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:40]
        return f"{name or 'student'}-{hashlib.sha256(self.student.encode('utf-8', 'replace')).hexdigest()[:8]}"


class _Refused(Exception):
    """A file that is not read."""


def collect(path: Path) -> Iterator[Submission]:
    """One submission for each student, whatever each of them handed in.

    The student is Canvas's NAME_USER of a file's name, else the folder that the file lies in, else the file's name.
    Nothing is unpacked to the disk.

    Args:
        path: A folder or a .zip.

    Yields:
        The submissions, sorted by the student's name.

    Raises:
        ValueError: The path is not there, is neither of the two, or holds no submission or too many files.
    """
    require(path.exists(), f"no submissions: {path} is not there")
    files = _folder(path) if path.is_dir() else _archive(path)
    wrapped = not path.is_dir() and len({name.parts[0] for name in files}) == 1  # a folder that was packed whole
    flat = wrapped and sum(len(name.parts) == 2 and name.suffix == ".ipynb" for name in files) > 1
    students: dict[str, list[PurePosixPath]] = {}
    for name in files:
        students.setdefault(name.stem if flat and not CANVAS.fullmatch(name.name) else _student(name), []).append(name)
    require(bool(students), f"no submissions in {path}")
    for student in sorted(students):
        yield _submission(path, student, sorted(students[student]))


def _folder(path: Path) -> list[PurePosixPath]:
    """The files of a folder, links and pipes included."""
    return [PurePosixPath(file.relative_to(path).as_posix()) for file in path.rglob("*") if _is_work(file, path)]


def _is_work(file: Path, root: Path) -> bool:
    """Is this a file that a student may have handed in?"""
    hidden = any(part.startswith((".", "__MACOSX")) for part in file.relative_to(root).parts)
    return not hidden and (file.is_symlink() or not file.is_dir())


def _archive(path: Path) -> list[PurePosixPath]:
    """The files of a zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ValueError(f"{path} is neither a folder nor a zip archive: {error}") from None
    require(len(names) <= FILES, f"{path} holds {len(names)} files; {FILES} is the limit")
    shown = [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in _safe(name).split("/"))]
    require(len(set(shown)) == len(shown), f"{path} holds two files of one name")
    return [PurePosixPath(name) for name in shown]


def _safe(name: str) -> str:
    """An archive's name for a file, without the ways out of a folder."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _student(name: PurePosixPath) -> str:
    """The student that a file belongs to."""
    found = CANVAS.fullmatch(name.name)
    if found:
        return f"{found['name']}_{found['user']}"
    parts = PurePosixPath(_safe(str(name))).parts
    return parts[-2] if len(parts) > 1 else name.stem


def _submission(path: Path, student: str, names: list[PurePosixPath]) -> Submission:
    """What a student's files amount to: one notebook, or a problem."""
    shown = [_shown(name) for name in names]
    notebooks = [name for name in names if name.suffix.lower() == ".ipynb"]
    seen = "\n".join(shown)
    nothing = hashlib.sha256(seen.encode("utf-8", "replace")).hexdigest()
    if len(notebooks) != 1:
        problem = (
            f"{len(notebooks)} notebooks ({', '.join(_shown(name) for name in notebooks)}): hand in one"
            if notebooks
            else f"no notebook (.ipynb) among what was handed in: {', '.join(shown)}"
        )
        return Submission(student, seen, nothing, Notebook(), problem)
    try:
        data = _bytes(path, notebooks[0])
    except _Refused as error:
        return Submission(student, _shown(notebooks[0]), nothing, Notebook(), str(error))
    digest = hashlib.sha256(data).hexdigest()
    try:
        return Submission(student, _shown(notebooks[0]), digest, notebook.read(data))
    except Unreadable as error:
        return Submission(student, _shown(notebooks[0]), digest, Notebook(), str(error))


def _shown(name: PurePosixPath) -> str:
    """A file's name as the student gave it."""
    found = CANVAS.fullmatch(name.name)
    return found["file"] if found else name.name


def _bytes(path: Path, name: PurePosixPath) -> bytes:
    """A file's first bytes, one more than the limit at most, so that neither size nor a zip bomb costs memory."""
    most = notebook.LIMIT + 1
    try:
        if path.is_dir():
            file = path / name
            if file.is_symlink() or not stat.S_ISREG(file.stat().st_mode):
                raise _Refused("the file is a link, or no plain file: hand in the notebook itself")
            size = file.stat().st_size
            with file.open("rb") as stream:
                data = stream.read(most)
        else:
            with zipfile.ZipFile(path) as archive:
                info = archive.getinfo(str(name))
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise _Refused("the file is a link: hand in the notebook itself")
                if ".." in name.parts or name.is_absolute() or "\\" in str(name):
                    raise _Refused("the file's name leads out of its folder")
                size = info.file_size
                with archive.open(info) as stream:
                    data = stream.read(most)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        raise _Refused(f"the file cannot be read: {type(error).__name__}") from None
    if len(data) == most:
        raise _Refused(
            f"the file has {max(size, most) / 1e6:.0f} MB, and {notebook.LIMIT / 1e6:.0f} MB is the limit: "
            "clear the largest outputs and hand in again"
        )
    return data
