"""200 submissions, right, empty, wrong and hostile: how many a minute, killed in the middle, resumed, the same grades.

python -m bench.grading [COUNT]
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.measuring import seconds
from bench.rows import duration, show
from course_lib.grading import grade, question
from project import submissions
from project.benches import Row

ROOT = Path(__file__).resolve().parent.parent
KEY = "a2"
SEED = json.dumps({"assignment": KEY, "seed": 1})
SILENT: dict[str, Any] = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def fill(folder: Path, count: int) -> None:
    """Of ten submissions, four are right, one is empty, four are wrong in known ways, and one is hostile."""
    asked = question.assignment(KEY)
    wrong = [
        {one.name: submissions.mistaken(one, one.mistakes[i % len(one.mistakes)]) for one in asked.questions}
        for i in range(4)
    ]
    attacks = [book for _, book in submissions.attack_books(KEY).values()]
    for i in range(count):
        turn = i % 10
        if turn < 4:
            book = submissions.solution(KEY)
        elif turn == 4:
            book = submissions.stub(KEY)
        elif turn < 9:
            book = submissions.handed_in(KEY, wrong[turn - 5])
        else:
            book = attacks[i // 10 % len(attacks)]
        (folder / f"student{i:03d}_{i}_{i}_a2_pixels.ipynb").write_bytes(submissions.bytes_of(book))


def command(folder: Path, out: Path) -> list[str]:
    """The command line of the grader."""
    return [sys.executable, "-m", "course_lib.grading", "grade", str(folder), "--out", str(out)]


def run(folder: Path, out: Path) -> float:
    """Seconds that the grader takes."""
    return seconds(partial(subprocess.run, command(folder, out), check=True, **SILENT))


def done(out: Path) -> int:
    """How many submissions have the grade of their last question."""
    return len(list(out.glob("results/*/a2.overlap.json")))


def killed(folder: Path, out: Path, half: int) -> int:
    """Begin, and kill the grader when half of the submissions have their grades; how many had."""
    process = subprocess.Popen(command(folder, out), **SILENT)
    try:
        while process.poll() is None and done(out) < half:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return done(out)


def rows(count: int = 200) -> Iterator[Row]:
    """Grade a class of `count` submissions, and again with the grader killed half way."""
    with tempfile.TemporaryDirectory() as parent:
        folder, whole, cut = Path(parent, "class"), Path(parent, "whole"), Path(parent, "cut")
        folder.mkdir()
        fill(folder, count)
        for out in (whole, cut):
            grade.write(out / "run.json", SEED)
        taken = run(folder, whole)
        rate = f"{60 * count / taken:.0f} a minute on {os.cpu_count()} cores"
        yield Row(f"grading {count} submissions", "", f"{duration(taken)}; {rate}")
        before = killed(folder, cut, count // 2)
        taken = run(folder, cut)
        if (whole / "gradebook.csv").read_bytes() != (cut / "gradebook.csv").read_bytes():
            raise RuntimeError(f"killed after {before} of {count} submissions and resumed: another gradebook")
        yield Row(f"the same killed after {before} and resumed, to the same gradebook", "", duration(taken))


if __name__ == "__main__":
    show(rows(*map(int, sys.argv[1:])))
