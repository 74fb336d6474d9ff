"""What runs inside the sandbox: imports torch once, then answers one question a process.

Nothing here is trusted by the grader, since a student's code runs next to it: it knows the inputs of one question at a
time and no expected value, and all it can send out is bytes that the grader reads strictly. It is not part of the
package's import tree: `sandbox` shows this file, `define` and `plain` to a Python without site-packages.

The way in is standard input, the way out standard output. Both carry frames: 8 bytes of length, then a message of
`plain`. The first frame out says that the libraries are loaded; then a frame comes back for each frame sent.
"""

import ctypes
import json
import math
import os
import resource
import select
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

PACKAGES = "/sandbox"
if __name__ == "__main__":  # in the sandbox, where course_lib.grading is not
    sys.path[:0] = [PACKAGES]
    import define  # type: ignore[import-not-found]
    import plain  # type: ignore[import-not-found]
else:
    from course_lib.grading import define, plain

MEMORY = 1_000_000_000  # bytes that an answer may use beside what the libraries take
PATIENCE = 3  # limits are of processor time; the clock may show so many times more, and what a busy machine takes
TEXT = define.TEXT
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36  # of <linux/prctl.h>


def main() -> None:
    """Load torch, shut the ways out, and answer requests until standard input ends."""
    # libraries look for these folders as they are imported; nothing can be written there
    tempfile.tempdir = os.environ["TORCHINDUCTOR_CACHE_DIR"] = "/tmp"
    import torch

    torch.set_num_threads(1)
    out = os.dup(1)  # what an answer prints must not get among the frames
    os.set_inheritable(out, False)
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.close(quiet)
    system = ctypes.CDLL(None)
    system.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no process of an answer may look into this one, or its open files
    system.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what an answer leaves running is this one's to end
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    _write(out, plain.encode({"ready": True}))
    while (request := _frame(0)) is not None:
        _write(out, _in_a_process_of_its_own(plain.decode(request), out))


def _in_a_process_of_its_own(request: dict[str, Any], out: int) -> bytes:
    """Fork, answer there, and pass on what came back: so many bytes at most, in the request's seconds of computing."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        os.close(read)
        os.dup2(1, 0)  # nothing to read
        _answer(request, write)
    os.close(write)
    begun, allowed = time.monotonic(), PATIENCE * request["seconds"]
    deadline = begun + allowed
    received, ended = bytearray(), "well"
    while True:
        ready = select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            later = begun + allowed + starved(pid)
            if later < deadline + 0.1:
                ended = "time"
                break
            deadline = later
            continue
        chunk = os.read(read, 1 << 16)
        received += chunk
        if not chunk:
            break
        if len(received) > room(len(request["calls"])):
            ended = "size"
            break
    os.close(read)
    del received[room(len(request["calls"])) :]
    status, computed = _end(pid, kill=ended != "well")
    if ended == "well" and status != 0:
        ended = f"signal {-status}" if status < 0 else f"exit {status}"
    return json.dumps({"ended": ended, "computed": round(computed, 3)}).encode() + b"\n" + bytes(received)


def starved(pid: int) -> float:
    """How long a process has been ready to run while others ran: a busy machine is not the answer's fault.

    Args:
        pid: A process of this machine, or of this sandbox.

    Returns:
        Seconds; 0 where the kernel does not count them, or the process is gone.
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def room(calls: int) -> int:
    """Bytes that the answers to so many calls may have in all.

    Args:
        calls: How often a question's function is called.

    Returns:
        The room for one answer or error, times the calls, and one to spare.
    """
    each: int = plain.ANSWER + plain.HEADER + 8
    return (calls + 1) * each


def _end(pid: int, kill: bool) -> tuple[int, float]:
    """The exit status, negative for a signal, and the seconds of computing; what it left running is gone afterwards."""
    deadline = time.monotonic() + 1.0
    done = 0
    while not kill and not done and time.monotonic() < deadline:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if not done:
            time.sleep(0.001)
    if not done:
        os.kill(pid, signal.SIGKILL)
        _, status, used = os.wait4(pid, 0)
    _kill_all()
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def _kill_all() -> None:
    """Kill every process that came after this one: /proc shows those of this sandbox, which has few of them."""
    while younger := [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) > os.getpid()]:
        for pid in younger:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # orphans come to this one, see main
                pass


# ---------------------------------------------------------------- the answer's own process


def _answer(request: dict[str, Any], write: int) -> NoReturn:
    """Define the student's function, call it with each set of inputs, and write a frame for each call."""
    status = 1
    try:
        seconds = math.ceil(request["seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        failed: dict[str, str] = {}
        try:
            allowed = {key: request[key] for key in ("modules", "libraries")}
            function = define.define(request["cells"], request["function"], failed, **allowed)
        except BaseException as error:
            _write(write, plain.encode({"error": define.said(error, failed)}))
            os._exit(0)
        for i, inputs in enumerate(request["calls"]):
            try:
                message = {
                    "call": i,
                    "answer": function(**{name: plain.build(value) for name, value in inputs.items()}),
                }
                frame = plain.encode(message)
                plain.check(frame)
            except BaseException as error:
                frame = plain.encode({"call": i, "error": define.said(error, failed)})
            _write(write, frame)
        status = 0
    finally:
        os._exit(status)


# ---------------------------------------------------------------- frames


def _write(fd: int, message: bytes) -> None:
    """Write a frame, all of it."""
    data = memoryview(len(message).to_bytes(8, "big") + message)
    while data:
        data = data[os.write(fd, data) :]


def _frame(fd: int) -> bytes | None:
    """The message of the next frame, or None at the end."""
    length = _exactly(fd, 8)
    return None if length is None else _exactly(fd, int.from_bytes(length, "big"))


def _exactly(fd: int, n: int) -> bytes | None:
    """n bytes, or None at the end."""
    data = bytearray()
    while len(data) < n:
        chunk = os.read(fd, min(n - len(data), 1 << 20))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


if __name__ == "__main__":
    main()
