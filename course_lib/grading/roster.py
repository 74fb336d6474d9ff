"""Who is in the class: a CSV of the learning platform, and the person that a submission's name means.

The columns are recognised by their names, whatever their order, as Canvas (gradebook export), Moodle (participants or
grades) and GitHub Classroom write them; a list of your own needs `name` and, best, `id`, `email`, `github`.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.errors import require

COLUMNS = {
    "name": ("student", "name", "fullname", "studentname", "identifier", "rostername"),
    "first": ("firstname", "givenname"),
    "last": ("lastname", "surname", "familyname"),
    "id": ("id", "userid", "studentid", "canvasid", "username", "orgdefinedid"),
    "number": ("idnumber", "sisuserid", "matriculation", "studentnumber"),
    "login": ("sisloginid", "login", "loginid", "uid"),
    "email": ("email", "emailaddress", "mail"),
    "github": ("github", "githubusername", "githublogin"),
    "section": ("section", "group", "groups"),
    "extension": ("extension", "extendedto", "dueextension"),
}
SIZE = 5_000_000  # bytes of the file


@dataclass(frozen=True)
class Person:
    """Somebody in the class.

    Attributes:
        name: As the platform writes it.
        id: The platform's number or name for the person, "" where there is none.
        number: The institution's number.
        login: The name to log in with.
        email: The address.
        github: The user's name on GitHub.
        section: The group.
        extension: What the roster says about a later due date.
    """

    name: str
    id: str = ""
    number: str = ""
    login: str = ""
    email: str = ""
    github: str = ""
    section: str = ""
    extension: str = ""

    @property
    def names(self) -> set[str]:
        """All that the person may be known by, without case, accents, spaces and signs."""
        local = self.email.split("@")[0]
        words = [word for word in re.split(r"[\s,]+", self.name) if word]
        turned = [" ".join(words[i:] + words[:i]) for i in range(len(words))]
        return set(
            filter(None, map(_plain, (self.id, self.number, self.login, self.email, local, self.github, *turned)))
        )


def read(path: Path) -> tuple[Person, ...]:
    """The people in a CSV.

    Args:
        path: A file with a header, in UTF-8 or as a spreadsheet of Windows saves it; separated by commas, semicolons
            or tabs.

    Returns:
        The people, in the file's order. Rows without a name are left out, and so are Canvas's row of maxima and its
        test student.

    Raises:
        ValueError: The file is not there or cannot be read, has no column of names, or two people with one id.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; name the roster's CSV") from None
    require(len(data) <= SIZE, f"{path} has {len(data) / 1e6:.0f} MB; that is no roster")
    rows = table(data)
    require(bool(rows), f"{path} is empty; a roster has a header and a row for each student")
    fields = {_field(name): i for i, name in reversed(list(enumerate(rows[0]))) if _field(name)}
    require(
        bool({"name", "last"} & set(fields)),
        f"{path} has no column of names; call one `name`, or `first name` and `last name`. Its columns: "
        + ", ".join(rows[0])[:300],
    )
    people = []
    for row in rows[1:]:
        found = {name: row[i].strip() for name, i in fields.items() if i < len(row)}
        first, last = found.pop("first", ""), found.pop("last", "")
        name = found.pop("name", "") or f"{first} {last}".strip()
        if name and not name.casefold().startswith(("points possible", "student, test", "test student")):
            people.append(Person(name, **found))
    ids = [person.id for person in people if person.id]
    twice = sorted({one for one in ids if ids.count(one) > 1}) if len(set(ids)) < len(ids) else []
    require(not twice, f"{path}: two people have the id {', '.join(twice[:5])}; mend the roster")
    return tuple(people)


def table(data: bytes) -> list[list[str]]:
    """The rows of a CSV, however a spreadsheet has saved it.

    Args:
        data: The file's bytes: UTF-8 with or without its mark, UTF-16 with its mark, else Windows-1252; the separator
            is the commonest of comma, semicolon and tab in the header.

    Returns:
        The rows that are not empty.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(row)]


def match(roster: Sequence[Person], names: Iterable[str]) -> Person | None:
    """The person that a submission's name means.

    Args:
        roster: Who is in the class.
        names: What the submission is known by, the surest first.

    Returns:
        The only one that is known by the first of these names that anybody is known by; None where nobody is, or
        several people are.
    """
    for name in names:
        found = [person for person in roster if _plain(name) in person.names] if _plain(name) else []
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _plain(text: str) -> str:
    """Letters and digits alone, without case and accents; letters of other scripts stay as they are."""
    spread = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in spread if c.isalnum())


def _field(column: str) -> str:
    """The field that a column's name means, or ""."""
    name = _plain(column)
    return next((field for field, names in COLUMNS.items() if name in names), "")
