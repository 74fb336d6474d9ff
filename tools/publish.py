"""Publish the built book: beside the terms that are kept, or as the files of a release.

python -m tools.publish SITE                        the current course, in SITE itself
python -m tools.publish SITE --term 2026-autumn     a term that is kept, in SITE/2026-autumn
python -m tools.publish FOLDER --release v0.1.0     what a release holds besides the wheel

SITE is a checkout of the published branch, or an empty folder. Every page in it then says which term it belongs to
and links to the others, in plain HTML: pages are also read as files, and nothing may be asked of another machine.
"""

import argparse
import posixpath
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from project.repository import BRANCH, ROOT, URL, VERSION

BOOK = ROOT / "_build" / "html"
CURRENT = ""  # the place of the current course within a site; a term's place is its name
TERM = re.compile(r"\d{4}(-[a-z0-9]+)+")  # begins with a digit, so no folder of a built book is called so
SEASONS = ["spring", "summer", "autumn", "winter"]
MARK = ".nojekyll"  # tells GitHub Pages to leave the files as they are, and us that the folder is a site
BY_HAND = {"CNAME", "robots.txt"}  # what an owner may have put beside the current course; so are hidden files
SWITCH = re.compile(r'\n<nav class="terms".*?</nav>', re.DOTALL)

GONE = '<meta name="course" content="gone">'
GONE_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8">{gone}<meta name="robots" content="noindex"><title>No longer here</title></head>
<body>
<h1>This page is no longer part of the course</h1>
<p><a href="{start}">The course begins here.</a></p>
</body>
</html>
"""


# --- a site of several terms --------------------------------------------------------------------------------


def publish(book: Path, site: Path, term: str = CURRENT) -> None:
    """Put a built book into a site, as the current course or as a term, and renew the switch of every page there.

    Whatever was at that place is replaced. A page that the book no longer has leaves a few lines at its address, so
    that old links lead on. Doing this twice gives the same bytes as doing it once.

    Raises ValueError for a name that is no term's, a folder that is no site, and a book that cannot stand there;
    FileNotFoundError if there is no book. In each case nothing is changed.
    """
    _check(book, site, term)
    target = site / term
    before = _pages(site, term) if target.exists() else []
    _clear(site, term)
    shutil.copytree(book, target, dirs_exist_ok=True)
    (site / MARK).touch()
    for page in before:
        if not (target / page).exists():
            start = posixpath.relpath("index.html", posixpath.dirname(page) or ".")
            (target / page).parent.mkdir(parents=True, exist_ok=True)
            _write(target / page, GONE_PAGE.format(gone=GONE, start=start))
    if term:
        _pin_links(site, term)
    renew_switches(site)


def terms(site: Path) -> list[str]:
    """The terms that a site keeps, newest first: by year, then by season, winter last."""
    kept = [path.name for path in site.iterdir() if path.is_dir() and TERM.fullmatch(path.name)]
    return sorted(kept, key=_age, reverse=True)


def renew_switches(site: Path) -> None:
    """Rewrite the switch between terms in all pages of a site; a page without a body, a redirection, has none."""
    places = [*([CURRENT] if (site / "index.html").exists() else []), *terms(site)]
    pages = {place: _pages(site, place) for place in places}
    whole = {place: {page for page in pages[place] if not _is_gone(site / place / page)} for place in places}
    for place in places:
        for page in pages[place]:
            path = site / place / page
            text = _read(path)
            new = _insert(SWITCH.sub("", text), switch(page, place, whole))
            if new != text:
                _write(path, new)


def switch(page: str, place: str, pages: Mapping[str, set[str]]) -> str:
    """The `<nav>` of one page: which term this is, and links to the others; empty if there are no others.

    page: its path within its place. pages: {place: its pages}, newest first. A link leads to the same page in the other
    term where it has one, else to its start.
    """

    def links(places: Sequence[str]) -> str:
        return ", ".join(f'<a href="{_address(page, place, other, pages)}">{_label(other)}</a>' for other in places)

    order = list(pages)
    newer, older = order[: order.index(place)], order[order.index(place) + 1 :]
    if not newer and not older:
        return ""
    if place == CURRENT:
        said = [f"This is the <strong>{_label(place)}</strong>.", f"Terms that are kept: {links(older)}."]
    else:
        said = [f"This is <strong>{_label(place)}</strong>, kept as it was."]
        said += [f"Newer: {links(newer)}."] if newer else []
        said += [f"Older: {links(older)}."] if older else []
    return f'<nav class="terms" aria-label="Terms"><p>{" ".join(said)}</p></nav>'


def _check(book: Path, site: Path, term: str) -> None:
    """Raise before anything is touched."""
    if term and not TERM.fullmatch(term):
        raise ValueError(f"no term can be called {term!r}; a year and lower-case words can, such as 2026-autumn")
    if not (book / "index.html").exists():
        raise FileNotFoundError(f"no book in {book}: run make book")
    here, there = book.resolve(), site.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ValueError(f"{site} and the book in {book} lie within each other")
    if clash := sorted(path.name for path in book.iterdir() if TERM.fullmatch(path.name)):
        raise ValueError(f"the book has a folder that is called like a term: {clash[0]}")
    inside = {path.name for path in site.iterdir()} - {".git"} if site.exists() else set()
    if inside and MARK not in inside:
        raise ValueError(f"{site} holds {min(inside)} and no {MARK}: it is neither a published site nor empty")


def _age(term: str) -> tuple[str, int, str]:
    year, rest = term.split("-", maxsplit=1)
    season = rest.replace("fall", "autumn").split("-")[0]
    return year, SEASONS.index(season) if season in SEASONS else -1, rest


def _label(place: str) -> str:
    return place or "current course"


def _pages(site: Path, place: str) -> list[str]:
    """The pages of a place, as paths within it; what the theme brings along is none of them."""
    found = []
    for path in sorted((site / place).rglob("*.html")):
        page = path.relative_to(site / place)
        folders = page.parts[:-1]
        elsewhere = place == CURRENT and bool(folders) and TERM.fullmatch(folders[0]) is not None
        if not elsewhere and not any(folder.startswith((".", "_", "@")) for folder in folders):
            found.append(page.as_posix())
    return found


def _clear(site: Path, place: str) -> None:
    """Remove a term's folder; or the current course, but no term and nothing that was put there by hand."""
    if place:
        shutil.rmtree(site / place, ignore_errors=True)
        return
    for path in site.iterdir() if site.exists() else []:
        if path.name.startswith(".") or path.name in BY_HAND or TERM.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _pin_links(site: Path, term: str) -> None:
    """Lead links to files of the repository to those of the term, whose name is that of a tag."""
    repository = URL.removeprefix("https://github.com/")
    for page in _pages(site, term):
        path = site / term / page
        _write(path, _read(path).replace(f"{repository}/blob/{BRANCH}/", f"{repository}/blob/{term}/"))


def _address(page: str, place: str, other: str, pages: Mapping[str, set[str]]) -> str:
    target = posixpath.join(other, page if page in pages[other] else "index.html")
    return quote(posixpath.relpath(target, posixpath.dirname(posixpath.join(place, page)) or "."))


def _insert(text: str, nav: str) -> str:
    """The page with the switch at the head of its content."""
    places = (re.search(rf"<{tag}\b[^>]*>", text) for tag in ("article", "main", "body"))
    place = next(filter(None, places), None)
    return f"{text[: place.end()]}\n{nav}{text[place.end() :]}" if place and nav else text


def _is_gone(path: Path) -> bool:
    with path.open("rb") as file:
        return GONE.encode() in file.read(200)


def _read(path: Path) -> str:
    """A page's text from which `_write` makes the same bytes, whatever its line ends and its encoding."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


# --- a release ----------------------------------------------------------------------------------------------


def release(book: Path, folder: Path, tag: str) -> list[Path]:
    """Write the files of a release: what changed, the book, the students' notebooks.

    Raises ValueError if the tag is not `v` and the version in pyproject.toml, if the changelog does not know it, or if
    a student's notebook is not current; FileNotFoundError if there is no book.
    """
    if tag != f"v{VERSION}":
        raise ValueError(f"the tag {tag} does not belong to the version in pyproject.toml, which is {VERSION}")
    if not (book / "index.html").exists():
        raise FileNotFoundError(f"no book in {book}: run make book")
    said = changes(VERSION)
    current = subprocess.run([sys.executable, "-m", "course_lib.grading", "release", "--check"], cwd=ROOT)
    if current.returncode:
        raise ValueError("the students' notebooks are not current: run python -m course_lib.grading release")
    name = f"{URL.rsplit('/', maxsplit=1)[-1]}-{VERSION}"
    files = [folder / "changes.md", folder / f"{name}-site.zip", folder / f"{name}-assignments.zip"]
    folder.mkdir(parents=True, exist_ok=True)
    files[0].write_text(said)
    pack(files[1], {f"{name}/{path.relative_to(book)}": path for path in book.rglob("*") if path.is_file()})
    pack(files[2], student_notebooks(ROOT / "assignments"))
    return files


def changes(version: str, changelog: Path = ROOT / "CHANGELOG.md") -> str:
    """What the changelog says about a version, without the heading. ValueError, with those there are, if nothing."""
    _, *parts = re.split(r"^## (\S+).*\n", changelog.read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    if version not in sections:
        raise ValueError(f"{changelog.name} has no version {version}; it has {', '.join(sections)}")
    return sections[version].strip() + "\n"


def student_notebooks(assignments: Path) -> dict[str, Path]:
    """{name in the archive: the student's notebook}. ValueError if there is none, or one gives answers."""
    found = {}
    for solution in sorted(assignments.glob("*/solution.ipynb")):
        path = solution.parent / f"{solution.parent.name}.ipynb"
        if not path.exists() or re.search(r"(BEGIN|END) SOLUTION", path.read_text(encoding="utf-8")):
            raise ValueError(f"{path.name} is missing or holds a solution: run python -m course_lib.grading release")
        found[path.name] = path
    if not found:
        raise ValueError(f"no assignments in {assignments}")
    return found


def pack(archive: Path, files: Mapping[str, Path]) -> None:
    """A zip of {name in it: file}: the same bytes for the same files, whenever and wherever it is made."""
    with zipfile.ZipFile(archive, "w") as made:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name)  # dated 1980
            entry.external_attr = 0o644 << 16
            made.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


# --- the command --------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="python -m tools.publish", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", type=Path, metavar="FOLDER", help="the published site, or the folder of a release")
    made.add_argument("--book", type=Path, default=BOOK, help="the built book (default: what make book made)")
    either = made.add_mutually_exclusive_group()
    either.add_argument("--term", metavar="NAME", help="keep the book under this name, such as 2026-autumn")
    either.add_argument("--release", metavar="TAG", help="write the files of the release with this tag")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    command = parser()
    given = command.parse_args(arguments)
    try:
        if given.release is not None:
            for path in release(given.book, given.folder, given.release):
                print(path)
        elif given.term == CURRENT:
            raise ValueError("--term needs a name; without --term the book becomes the current course")
        else:
            publish(given.book, given.folder, given.term or CURRENT)
            print(f"{_label(given.term or CURRENT)}: {given.folder / (given.term or '') / 'index.html'}")
    except (ValueError, FileNotFoundError) as error:
        command.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
