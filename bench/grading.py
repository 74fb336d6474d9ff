"""300 submissions, right, empty, wrong and hostile: how many a minute, the grader's own memory, stopped and resumed.

It is killed at five random moments, its disk runs full once, and once its Dask cluster is lost; then the same command
goes on, to the same gradebook. A class of nothing but attacks shows the memory of the grader itself.

python -m bench.grading [COUNT]
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.rows import show, versus
from course_lib.grading import question
from course_lib.grading import run as runs
from project import submissions
from project.benches import Row

ROOT = Path(__file__).resolve().parent.parent
KEY = "a2"
SEED = json.dumps({"assignment": KEY, "seed": 1})
JOBS = 4 * (os.cpu_count() or 1)  # submissions at a time: an answer that waits, as some attacks do, needs no core
RATE = 40  # submissions a minute, at least
NOTHING = 5.0  # seconds that a run with nothing left may take
MEMORY = 1e9  # bytes that the grader's own process may have
FULL = 80.0  # points of all questions that are graded by code
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


def fill_with_attacks(folder: Path) -> None:
    """Every attack once, and notebooks as large as may be handed in."""
    for name, (_, book) in submissions.attack_books(KEY).items():
        (folder / f"{name}.ipynb").write_bytes(submissions.bytes_of(book))
    first = question.assignment(KEY).questions[0].name
    large = {"comment": f"#{'x' * 24_000_000}", "lists": "[" * 900_000, "words": "x" * 90_000}
    for name, text in large.items():
        book = submissions.handed_in(KEY, {first: text})
        (folder / f"large {name}.ipynb").write_bytes(submissions.bytes_of(book))


def command(folder: Path, out: Path) -> list[str]:
    """The command line of the grader."""
    return [sys.executable, "-m", "course_lib.grading", "grade", str(folder), "--out", str(out), "--jobs", str(JOBS)]


def run(folder: Path, out: Path) -> tuple[float, float]:
    """Seconds that the grader takes, and the largest memory of its own process, in bytes."""
    peak = 0.0
    began = time.perf_counter()
    with subprocess.Popen(command(folder, out), **SILENT) as process:
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"the grader failed: {process.returncode}")
    return time.perf_counter() - began, peak


def _peak(pid: int) -> float:
    """The largest memory that a process has had so far, in bytes; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def done(out: Path) -> int:
    """How many submissions have the grade of their last question."""
    return len(list(out.glob("results/*/a2.overlap.json")))


def stop(folder: Path, out: Path, count: int, *more: str, victim: int | None = None) -> None:
    """Begin, or go on, and kill a process when so many submissions have their grades: the grader, or the one named."""
    with subprocess.Popen([*command(folder, out), *more], **SILENT) as process:
        while process.poll() is None and done(out) < count:
            time.sleep(0.05)
        if process.poll() is None:
            os.kill(victim or process.pid, signal.SIGKILL)


def lose_the_cluster(folder: Path, out: Path, count: int) -> None:
    """Grade on a Dask cluster whose scheduler is killed when so many submissions have their grades."""
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-show"]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "scheduler.json")
        scheduler = subprocess.Popen(
            [*words, "--scheduler-file", str(file), "--dashboard-address", "127.0.0.1:0"], **SILENT
        )
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "2", "--no-dashboard"]
        workers = subprocess.Popen([*worker, "--death-timeout", "10"], **SILENT)
        try:
            stop(folder, out, count, "--scheduler", address, victim=scheduler.pid)
        finally:
            for process in (scheduler, workers):
                process.kill()
                process.wait()


def fill_the_disk(folder: Path, out: Path, size: int) -> str:
    """Grade on a disk that holds half of what is to be written, then on one that is large enough; what was said."""
    with subprocess.Popen(
        command(folder, out), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        said = process.stderr.read().splitlines()[-1]
    if process.returncode != 2 or "No space left" not in said:
        raise RuntimeError(f"on a full disk it ended with {process.returncode} and said: {said}")
    subprocess.run(["mount", "-o", f"remount,size={20 * size}", str(out)], check=True)
    run(folder, out)
    return said.split(": ", 1)[-1]


def room(out: Path) -> int:
    """What the files of a run take on a disk, in bytes."""
    return sum(4096 * (1 + file.stat().st_size // 4096) for file in out.rglob("*"))


def fair(out: Path) -> None:
    """Raise unless who is right has all points, and who is hostile or empty none."""
    with (out / "gradebook.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            turn = int(row["student"].rpartition("_")[2]) % 10 if row["student"] != "(maximum)" else 5
            if (turn < 4 and float(row["total"]) != FULL) or (turn in (4, 9) and float(row["total"])):
                raise RuntimeError(f"{row['student']} has {row['total']} points: {row['remarks']}")


def same(out: Path, whole: Path, how: str) -> None:
    """Raise unless both gradebooks are the same, byte for byte."""
    if (whole / "gradebook.csv").read_bytes() != (out / "gradebook.csv").read_bytes():
        raise RuntimeError(f"{how} and resumed: another gradebook")


def memory(what: str, peak: float) -> Row:
    """The row of so many bytes."""
    return versus(what, "1 GB", [peak / 2**20], [MEMORY / 2**20], unit="memory", bar="at most 1")


def rows(count: int = 300) -> Iterator[Row]:
    """Grade a class of `count` submissions, and again with all that may stop a run."""
    with tempfile.TemporaryDirectory() as parent:
        folder, whole, cut, lost = (Path(parent, name) for name in ("class", "whole", "cut", "lost"))
        hostile, attacked, full = (Path(parent, name) for name in ("hostile", "attacked", "full"))
        for one in (folder, hostile, full):
            one.mkdir()
        fill(folder, count)
        fill_with_attacks(hostile)
        for out in (whole, cut, lost):
            runs.write(out / "run.json", SEED)
        taken, peak = run(folder, whole)
        fair(whole)
        note = f"{60 * count / taken:.0f} a minute, {JOBS} at a time on {os.cpu_count()} cores"
        least = f"{RATE} a minute"
        yield versus(f"grading {count} submissions", least, [taken], [60 * count / RATE], bar="at most 1", note=note)
        yield memory("the grader's own memory meanwhile", peak)
        taken, _ = run(folder, whole)
        what = "the same command once more, with nothing left"
        yield versus(what, f"{NOTHING:g} s", [taken], [NOTHING], bar="at most 1")
        moments = sorted(random.Random(1).sample(range(1, count), 5))
        for moment in moments:
            stop(folder, cut, moment)
        run(folder, cut)
        same(cut, whole, f"killed after {moments}")
        yield Row(f"killed after {', '.join(map(str, moments))}, and resumed", "", "the same gradebook")
        if os.geteuid() == 0:  # only root can make a small disk
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room(whole) // 2}", "none", str(full)], check=True)
            try:
                runs.write(full / "run.json", SEED)
                said = fill_the_disk(folder, full, room(whole))
                same(full, whole, "its disk full")
            finally:
                subprocess.run(["umount", str(full)], check=True)
            yield Row(f"its disk full ({said}), and resumed", "", "the same gradebook")
        _, peak = run(hostile, attacked)
        yield memory(f"the grader's own memory, {len(list(hostile.iterdir()))} hostile submissions", peak)
        lose_the_cluster(folder, lost, count // 2)
        run(folder, lost)
        same(lost, whole, "its cluster killed")
        yield Row(f"its Dask cluster killed after {count // 2}, and resumed here", "", "the same gradebook")


if __name__ == "__main__":
    show(rows(*map(int, sys.argv[1:])))
