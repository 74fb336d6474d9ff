"""What the benchmarks share: interleaved rounds, time without the garbage collector, memory in a fresh process."""

import gc
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from course_lib import models

T = TypeVar("T")


class Cost(NamedTuple):
    """Seconds; MiB at the process's peak, PyTorch included; and how many of them came on top of what it held before."""

    seconds: float
    peak: float
    added: float


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long one call takes, by a clock: `time.process_time` leaves out what other work on the machine takes."""
    gc.collect()  # as timeit does: what one call leaves behind is not charged to the next
    gc.disable()
    try:
        start = clock()
        run()
        return clock() - start
    finally:
        gc.enable()


def cost(run: Callable[[], object]) -> Cost:
    """Time and memory of one call, as the kernel counts them (Linux). Meant for a fresh process."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    before, start = _memory("VmRSS"), time.perf_counter()
    run()  # with the collector on: it is part of what memory is needed
    taken = time.perf_counter() - start
    peak = _memory("VmHWM")  # ru_maxrss would begin at what the parent held
    return Cost(taken, peak, peak - before)


def in_a_fresh_process(function: Callable[..., T], *arguments: str | int) -> T:
    """What a function of a module returns in a Python that was started for it; its error, if it raises one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def rotated(things: Sequence[T], i: int) -> list[T]:
    """The same things, beginning with the i-th, so that in the rounds each is first, second, ... equally often."""
    i %= len(things)
    return [*things[i:], *things[:i]]


def interleaved(rounds: int, *measures: Callable[[], T]) -> list[list[T]]:
    """What each measure gives in each round: one list a measure. All of them run in every round, in rotated order."""
    found: list[list[T]] = [[] for _ in measures]
    for i in range(rounds):
        for k in rotated(range(len(measures)), i):
            found[k].append(measures[k]())
    return found


def timed(
    rounds: int, *runs: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Seconds of each call in each round."""
    return interleaved(rounds, *(partial(seconds, run, clock) for run in runs))


def squeezenet() -> models.Network:
    """SqueezeNet 1.0, trained where its weights are on the machine: they make no difference to time and memory."""
    trained = models.cached_file("squeezenet1_0").exists()
    return models.load("squeezenet1_0", weights="pretrained" if trained else "random")


def _memory(field: str) -> float:
    """MiB of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024
