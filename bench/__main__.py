"""Run the benchmarks and keep their rows in bench/results.json.

python -m bench [NAME ...]          (default: all of them)

A bench is stored when it has ended. One that fails or is interrupted leaves its older rows, and the others.
"""

import importlib
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch

from bench.rows import show
from course_lib.errors import unknown
from project.benches import BENCHES, RESULTS, Record, keep


def measured(bench: str) -> Record:
    """Run one bench, printing its rows."""
    rows = show(importlib.import_module(f"bench.{bench}").rows())
    python, threads = platform.python_version(), torch.get_num_threads()
    return Record(bench, date.today().isoformat(), python, torch.__version__, threads, processor(), rows)


def processor() -> str:
    """Its name, as Linux knows it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main(benches: Sequence[str], path: Path = RESULTS) -> int:
    """Run these, or all; 0 if every one ended well, 1 if one failed, 130 if interrupted."""
    for bench in benches:
        if bench not in BENCHES:
            raise unknown("bench", bench, BENCHES)
    failed = []
    for bench in benches or BENCHES:
        print(bench, flush=True)
        start = time.perf_counter()
        try:
            keep(measured(bench), path)
        except KeyboardInterrupt:
            print(f"\n{bench} was interrupted; what ended before it is stored")
            return 130
        except Exception:
            traceback.print_exc()
            failed.append(bench)
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    if failed:
        print(f"failed, and not stored: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
