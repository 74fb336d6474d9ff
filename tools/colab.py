"""Walk a student's path in an environment like Colab's: the first cell, the checks, the file that is handed in.

python -m tools.colab [--folder FOLDER] [ASSIGNMENT ...]          (default: every assignment)

FOLDER keeps an environment with Colab's IPython and ipywidgets and the oldest torch that the package admits, about
6 GB, which is made if it is not there. Each notebook runs twice, as it is handed out and with the solution in it; its
first cell runs as it stands, with git sent to this checkout: to the tag of the version, where it has one, or to its
last commit. What was run is handed in and graded.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from course_lib.grading.question import assignment
from project import needs
from project.repository import BRANCH, ROOT, URL

PINS = Path(__file__).with_name("colab.txt")
PINNED = dict(line.split("==") for line in PINS.read_text().splitlines() if "==" in line)
WATCHED = ("torch", "torchvision", "numpy", "ipython", "ipywidgets")
# The last line of every run: what is installed then. The course must not have replaced any of it.
VERSIONS = f"import importlib.metadata as m; print(*(m.version(name).partition('+')[0] for name in {WATCHED}))"


def environment(folder: Path) -> Path:
    """The interpreter of an environment with Colab's versions, and nothing of the course in it."""
    python, done = folder / "bin" / "python", folder / "pins.txt"
    if not (done.exists() and done.read_text() == PINS.read_text()):
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", PINS], check=True)
        done.write_text(PINS.read_text())
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "course-lib", "openTSNE"], check=True)
    return python


def add_kernel(python: Path, scratch: Path) -> None:
    """A kernel named "colab": google.colab is loaded from the start, and the course's address leads here."""
    course, package = scratch / "course", scratch / "path" / "google" / "colab"
    subprocess.run(["git", "clone", "--quiet", ROOT, course], check=True)
    subprocess.run(["git", "-C", course, "branch", "--force", BRANCH, "HEAD"], check=False, capture_output=True)
    startup, spec = scratch / "ipython" / "profile_default" / "startup", scratch / "kernels" / "colab"
    for new in (package, startup, spec):
        new.mkdir(parents=True)
    (package / "__init__.py").touch()
    (startup / "colab.py").write_text("import google.colab\n")
    settings = {
        "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "like Colab",
        "language": "python",
        "env": {
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(scratch / "path"),
            "IPYTHONDIR": str(scratch / "ipython"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{course.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": URL,
        },
    }
    (spec / "kernel.json").write_text(json.dumps(settings))
    os.environ["JUPYTER_PATH"] = str(scratch)


def run(path: Path) -> Any:
    """The notebook with its outputs. An error stops no later cell, as for a student who goes on."""
    book = nbformat.read(path, as_version=4)
    book.cells = [cell for cell in book.cells if not needs.lacking(cell)]
    book.cells.append(nbformat.v4.new_code_cell(VERSIONS))
    # The student's folder holds nothing but the notebook.
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(
            book, resources=place, kernel_name="colab", timeout=1200, allow_errors=True, coalesce_streams=True
        ).execute()
    return book


def outputs(book: Any, kind: str) -> Iterator[Any]:
    """All outputs of a kind, in order."""
    for cell in book.cells:
        if cell.cell_type == "code":
            yield from (output for output in cell.outputs if output.output_type == kind)


def grades(folder: Path, out: Path) -> dict[str, float]:
    """{submission: points} from the gradebook that the instructor's command writes."""
    command: list[str | Path] = [sys.executable, "-m", "course_lib.grading", "grade", folder, "--out", out]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with (out / "gradebook.csv").open(newline="") as file:
        return {row["student"]: float(row["total"]) for row in csv.DictReader(file)}


def walk(name: str, scratch: Path) -> bool:
    """Run, hand in and grade one assignment, and say what came of it; whether all is as it should be."""
    submissions, good = scratch / name / "in", True
    for who, file in (("stub", name), ("solution", "solution")):
        book = run(ROOT / "assignments" / name / f"{file}.ipynb")
        text = "".join(output.text for output in outputs(book, "stream") if output.name == "stdout")
        said = {word: sum(line.startswith(word) for line in text.splitlines()) for word in ("right", "not yet")}
        failed = [f"{error.ename}: {error.evalue}" for error in outputs(book, "error")]
        print(f"{name} {who}: {said['right']} parts right, {said['not yet']} not yet, {len(failed)} errors;", end=" ")
        versions = text.splitlines()[-1]
        print(dict(zip(WATCHED, versions.split(), strict=True)))
        good = good and versions == " ".join(PINNED[name] for name in WATCHED)
        if who == "solution":
            print(*failed, sep="\n", end="\n" if failed else "")
            good = good and not failed and said["right"] > 0 and not said["not yet"]
        else:
            good = good and not said["right"]
        target = submissions / who / f"{name}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(book, target)
    points = grades(submissions, scratch / name / "out")
    print(f"{name} graded: {points}")
    asked = assignment(name.partition("_")[0])
    full = sum(one.points for one in asked.questions)  # what is not written in words
    return good and points == {"stub": 0, "solution": full}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.colab", description=__doc__.splitlines()[0])
    every = sorted(path.parent.name for path in (ROOT / "assignments").glob("*/solution.ipynb"))
    parser.add_argument("assignments", nargs="*", metavar="ASSIGNMENT", help=f"of {', '.join(every)}")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv-colab", help="of the environment")
    given = parser.parse_args()
    if unknown := set(given.assignments) - set(every):
        parser.error(f"no assignment {min(unknown)}; there are {', '.join(every)}")
    with tempfile.TemporaryDirectory() as folder:
        add_kernel(environment(given.folder.absolute()), Path(folder))
        good = [walk(name, Path(folder)) for name in given.assignments or every]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
