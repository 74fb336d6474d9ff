"""The files of a folder or an archive, read without unpacking, and none of them outside of it."""

import os
import stat
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from course_lib.errors import require
from course_lib.grading import notebook

FILES = 20_000  # of an archive
NAME = 255  # characters of a folder's or a file's name
DEPTH = 40  # folders in folders
LINK = "the file is a link, or no plain file: hand in the notebook itself"


@dataclass(frozen=True)
class File:
    """A file of the folder or the archive.

    Attributes:
        name: Without ways out.
        changed: When it was changed, as a number that grows.
        key: What the source needs to open it.
        problem: Why it is not read; "" where it is.
    """

    name: PurePosixPath
    changed: float
    key: object
    problem: str = ""


class Source(Protocol):
    """Where the files lie.

    Attributes:
        clones: Folders that hold a .git, once `files` was called.
    """

    clones: frozenset[PurePosixPath]

    def files(self) -> list[File]:
        """All files that are not hidden.

        Returns:
            Their names and times.
        """

    def read(self, file: File) -> bytes:
        """A file's bytes.

        Args:
            file: One of `files`.

        Returns:
            Its content.

        Raises:
            Refused: It is too large, a link, broken or out of the folder; the message is for the student.
        """


class Refused(Exception):
    """A file that is not read."""


def opened(path: Path) -> Source:
    """A folder or an archive.

    Args:
        path: A folder or a .zip.

    Returns:
        Its files, which are read when they are asked for.
    """
    return _Folder(path) if path.is_dir() else _Zip(path)


def _hidden(parts: Sequence[str]) -> bool:
    """Is this a file that nobody handed in, but a program left?"""
    return any(part.startswith((".", "__MACOSX")) for part in parts)


class _Folder:
    """The files of a folder."""

    def __init__(self, path: Path):
        self.path = path
        self.clones: frozenset[PurePosixPath] = frozenset()

    def files(self) -> list[File]:
        """All files that are not hidden, links and pipes included; links are not followed."""
        found, clones = [], []
        for folder, folders, names in os.walk(self.path):
            here = Path(folder).relative_to(self.path)
            if ".git" in folders:
                clones.append(PurePosixPath(here.as_posix()))
            names += [name for name in folders if os.path.islink(os.path.join(folder, name))]
            folders[:] = sorted(name for name in folders if not _hidden([name]))
            for name in sorted(name for name in names if not _hidden([name])):
                with suppress(OSError):  # it is gone again
                    changed = os.lstat(os.path.join(folder, name)).st_mtime
                    shown, problem = _shown([*here.parts, name])
                    found.append(File(shown, changed, Path(folder, name), problem))
        self.clones = frozenset(clones)
        return found

    def read(self, file: File) -> bytes:
        """A file's bytes, or Refused."""
        path = Path(str(file.key))
        if file.problem:
            raise Refused(file.problem)
        try:
            # one file is opened and looked at, whatever its name means a moment later; a pipe holds nobody up
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(number, "rb") as stream:
                about = os.fstat(number)
                if not stat.S_ISREG(about.st_mode):
                    raise Refused(LINK)
                return _limited(stream.read(notebook.LIMIT + 1), about.st_size)
        except OSError as error:
            raise Refused(LINK if path.is_symlink() else f"the file cannot be read: {type(error).__name__}") from None


class _Zip:
    """The files of a zip archive."""

    def __init__(self, path: Path):
        self.path = path
        self.clones: frozenset[PurePosixPath] = frozenset()

    def files(self) -> list[File]:
        """All files that are not hidden; of two entries of one name both."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = archive.infolist()
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
            raise ValueError(f"{self.path} is neither a folder nor a zip archive: {error}") from None
        require(len(entries) <= FILES, f"{self.path} holds {len(entries)} files; {FILES} is the limit")
        found, clones = [], set()
        for entry in entries:
            parts = _parts(entry.filename)
            if ".git" in parts:
                clones.add(PurePosixPath(*parts[: parts.index(".git")]))
            if parts and not entry.is_dir() and not _hidden(parts):
                shown, problem = _shown(parts)
                found.append(File(shown, _when(entry), entry, _leads_out(entry) or problem))
        self.clones = frozenset(clones)
        return found

    def read(self, file: File) -> bytes:
        """A file's bytes, or Refused."""
        entry = file.key
        assert isinstance(entry, zipfile.ZipInfo)
        if file.problem:
            raise Refused(file.problem)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(entry) as stream:
                return _limited(stream.read(notebook.LIMIT + 1), entry.file_size)
        except Refused:
            raise
        except Exception as error:  # decoders of broken archives raise what they like
            raise Refused(f"the file cannot be read: {type(error).__name__}") from None


def _parts(name: str) -> list[str]:
    """The folders and the name of an archive's entry, without the ways out of a folder."""
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _shown(parts: Sequence[str]) -> tuple[PurePosixPath, str]:
    """A name that can be shown, written and read again, and why the file of that name is not read, or "".

    Bytes that are no UTF-8, as names have that another system packed, become a sign that can be written.
    """
    plain = [part.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:NAME] for part in parts]
    if len(plain) > DEPTH:
        return PurePosixPath(plain[0], plain[-1]), f"the file lies more than {DEPTH} folders deep"
    return PurePosixPath(*plain), ""


def _leads_out(entry: zipfile.ZipInfo) -> str:
    """Why an entry is not read, or ""."""
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "the file is a link: hand in the notebook itself"
    if ".." in entry.filename.replace("\\", "/").split("/") or entry.filename.startswith(("/", "\\")):
        return "the file's name leads out of its folder"
    return ""


def _when(entry: zipfile.ZipInfo) -> float:
    """When an entry was changed, as a number that grows."""
    year, month, day, hour, minute, second = entry.date_time
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60.0 + second


def _limited(data: bytes, size: int) -> bytes:
    """The bytes of a file, unless they are too many: neither a size nor a zip bomb costs memory."""
    if len(data) > notebook.LIMIT:
        raise Refused(notebook.too_large(max(size, len(data))))
    return data
