"""What runs inside the sandbox: imports torch once, then forks for each submission, and in there for each question.

==========  ===========================================================================================
process     what it does
==========  ===========================================================================================
the first   loads torch, and forks for each submission; never sees a word of any of them (`main`)
a guard     one a submission: ends it with all that came of it when the grader says so, or is gone (`_guard`)
the second  one a submission, behind walls of its own (`apart`): gets its questions, one after the other (`_serve`)
an answer   one a question: runs the student's code (`_answer`)
==========  ===========================================================================================

Nothing that comes out of the second is trusted by the grader, since a student's code runs next to it: it knows the
inputs of one question at a time and no expected value, and all it can send out is bytes that the grader reads strictly.
This module is not part of the package's import tree: `sandbox` shows this file, `apart`, `define` and `plain` to a
Python without site-packages.

The first gets a message for each submission: the user's number, and three open files: the way in, the way out, and a
socket to the guard. The ways carry frames: 8 bytes of length, then a message of `plain`. The first frame out says that
the walls stand; then a frame comes back for each frame sent.
"""

import ctypes
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

PACKAGES = "/sandbox"
if __name__ == "__main__":  # in the sandbox, where course_lib.grading is not
    sys.path[:0] = [PACKAGES]
    import apart  # type: ignore[import-not-found]
    import define  # type: ignore[import-not-found]
    import plain  # type: ignore[import-not-found]
else:
    from course_lib.grading import apart, define, plain

MEMORY = 1_000_000_000  # bytes that an answer may use beside what the libraries take
PATIENCE = 3  # limits are of processor time; the clock may show so many times more, and what a busy machine takes
TEXT = define.TEXT


def main() -> NoReturn:
    """Load torch, then fork for each submission that standard input, a socket, announces, until the grader is gone."""
    # libraries look for these folders as they are imported; nothing can be written there
    tempfile.tempdir = os.environ["TORCHINDUCTOR_CACHE_DIR"] = "/tmp"
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a guard's end is nothing to wait for
    door = socket.socket(fileno=0)
    door.send(b"ready")
    while True:
        message, files, _, _ = socket.recv_fds(door, 32, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            _begin(int(message), *files)
        for file in files:
            os.close(file)


def _begin(user: int, way_in: int, way_out: int, life: int) -> NoReturn:
    """Fork behind walls, and serve there; stay outside as the guard."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a namespace's first does not handle never reaches it
        os.close(0)  # the door
        pid = apart.enter(user)
        if pid:
            os.close(way_in)
            os.close(way_out)
            _guard(pid, life)
        else:
            os.dup2(way_in, 0)
            os.dup2(way_out, 3, inheritable=False)
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))
            _serve(3)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(1)


def _guard(pid: int, life: int) -> None:
    """End a submission's processes when the other end of the socket is closed."""
    os.write(life, b"x")  # the kernel tells the grader whose byte this is
    os.read(life, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _serve(out: int) -> None:
    """Answer requests until standard input ends."""
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)  # what an answer prints must not get among the frames
    os.dup2(quiet, 2)
    os.close(quiet)
    system = ctypes.CDLL(None)
    system.prctl(apart.DUMPABLE, 0, 0, 0, 0)  # no process of an answer may look into this one, or its open files
    pages = Path("/proc/self/statm").read_text().split()
    # addresses and data: of addresses alone, who lets go of a library would have more
    for which, taken in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
        most = int(taken) * os.sysconf("SC_PAGESIZE") + MEMORY
        resource.setrlimit(which, (most, most))
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
    gone = os.pidfd_open(pid)
    while True:
        ready = select.select([read, gone], [], [], max(0.0, deadline - time.monotonic()))[0]
        if ready == [gone]:
            break  # what it has left running holds nobody up
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
    os.close(gone)
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
            while os.waitpid(-1, os.WNOHANG)[0]:  # orphans come to this one, the first in here
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
                built = {name: plain.build(value) for name, value in inputs.items()}
                message = {"call": i, "answer": function(**built)}
                frame = plain.encode(message)
                plain.check(frame)
                with suppress(Exception):  # a remark, and no reason to lose an answer
                    frame = plain.encode({**message, "changed": plain.changed(inputs, built)})
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
