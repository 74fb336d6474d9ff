"""200 submissions, right, empty, wrong and hostile: how many a minute, killed in the middle, resumed, the same grades.

python bench/grading.py [COUNT]
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for the tests' submissions

from course_lib.grading import grade, question  # noqa: E402
from tests.attacks import notebooks  # noqa: E402

KEY = "a2"
SEED = json.dumps({"assignment": KEY, "seed": 1})


def fill(folder: Path, count: int) -> None:
    """Of ten submissions, four are right, one is empty, four are wrong in known ways, and one is hostile."""
    asked = question.assignment(KEY)
    wrong = [
        {one.name: notebooks.mistaken(one, one.mistakes[i % len(one.mistakes)]) for one in asked.questions}
        for i in range(4)
    ]
    attacks = [book for _, book in notebooks.attack_books(KEY).values()]
    for i in range(count):
        kind = i % 10
        if kind < 4:
            book = notebooks.solution(KEY)
        elif kind == 4:
            book = notebooks.stub(KEY)
        elif kind < 9:
            book = notebooks.handed_in(KEY, wrong[kind - 5])
        else:
            book = attacks[i // 10 % len(attacks)]
        (folder / f"student{i:03d}_{i}_{i}_a2_pixels.ipynb").write_bytes(notebooks.bytes_of(book))


def command(folder: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "course_lib.grading", "grade", str(folder), "--out", str(out)]


def run(folder: Path, out: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command(folder, out), check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def done(out: Path) -> int:
    return len(list(out.glob("results/*/a2.overlap.json")))


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, whole, cut = Path(place, "class"), Path(place, "whole"), Path(place, "cut")
        folder.mkdir()
        fill(folder, count)
        for out in (whole, cut):
            grade.write(out / "run.json", SEED)
        seconds = run(folder, whole)
        rate = 60 * count / seconds
        print(f"{count} submissions in {seconds:.0f} s on {os.cpu_count()} cores: {rate:.0f} a minute", flush=True)

        process = subprocess.Popen(command(folder, cut), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and done(cut) < count // 2:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = done(cut)
        seconds = run(folder, cut)
        same = (whole / "gradebook.csv").read_bytes() == (cut / "gradebook.csv").read_bytes()
        print(f"killed after {killed}, resumed in {seconds:.0f} s; the same gradebook: {same}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
