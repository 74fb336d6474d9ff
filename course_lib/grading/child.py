"""What runs inside the sandbox: imports torch once, then answers one question a process.

Nothing here is trusted by the grader, since a student's code runs next to it: it knows the inputs of one question at a
time and no expected value, and all it can send out is bytes that the grader reads strictly. It is not part of the
package's import tree: `sandbox` shows this file and `plain` to a Python without site-packages.

The way in is standard input, the way out standard output. Both carry frames: 8 bytes of length, then a message of
`plain`. The first frame out says that the libraries are loaded; then a frame comes back for each frame sent.
"""

import ast
import ctypes
import json
import math
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

PACKAGES = "/sandbox"
if __name__ == "__main__":  # in the sandbox, where course_lib.grading is not
    sys.path[:0] = [PACKAGES]
    import plain  # type: ignore[import-not-found]
else:
    from course_lib.grading import plain

MEMORY = 1_000_000_000  # bytes that an answer may use beside what the libraries take
PATIENCE = 3  # limits are of processor time; on a busy machine the clock may show so many times more
ANSWER = 16_000_000  # bytes that all answers to a question may have
TEXT = 600  # characters of an error
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36  # of <linux/prctl.h>


def main() -> None:
    """Load torch, shut the ways out, and answer requests until standard input ends."""
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
    """Fork, answer there, and pass on what came back: at most ANSWER bytes, in the request's seconds of computing."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        os.close(read)
        os.dup2(1, 0)  # nothing to read
        _answer(request, write)
    os.close(write)
    deadline = time.monotonic() + PATIENCE * request["seconds"]
    received, ended = bytearray(), "well"
    while True:
        ready = select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            ended = "time"
            break
        chunk = os.read(read, 1 << 16)
        received += chunk
        if not chunk:
            break
        if len(received) > ANSWER:
            ended = "size"
            break
    os.close(read)
    status = _end(pid, kill=ended != "well")
    if ended == "well" and status != 0:
        ended = f"signal {-status}" if status < 0 else f"exit {status}"
    return json.dumps({"ended": ended}).encode() + b"\n" + bytes(received)


def _end(pid: int, kill: bool) -> int:
    """The exit status, negative for a signal; whatever the process left running is gone afterwards."""
    deadline = time.monotonic() + 1.0
    while not kill and time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            _kill_all()
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    _kill_all()
    return os.waitstatus_to_exitcode(status)


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
            function = _define(request, failed)
        except BaseException as error:
            _write(write, plain.encode({"error": _said(error, failed)}))
            os._exit(0)
        for i, inputs in enumerate(request["calls"]):
            try:
                message = {
                    "call": i,
                    "answer": function(**{name: plain.build(value) for name, value in inputs.items()}),
                }
                frame = plain.encode(message)
            except BaseException as error:
                frame = plain.encode({"call": i, "error": _said(error, failed)})
            _write(write, frame)
        status = 0
    finally:
        os._exit(status)


def _define(request: dict[str, Any], failed: dict[str, str]) -> Any:
    """Run the answer's cells, and before them the imports of other cells that they use; the function they define."""
    answers = [text for text, mine in request["cells"] if mine]
    used = {node.id for text in answers for node in ast.walk(_parsed(text)) if isinstance(node, ast.Name)}
    space: dict[str, Any] = {"__name__": "__main__"}
    for text, mine in request["cells"]:
        for statement in [] if mine else _imports(text):
            if {(alias.asname or alias.name).split(".")[0] for alias in statement.names} & used:
                try:
                    exec(compile(ast.Module([statement], []), "import", "exec"), space)
                except ImportError as error:
                    failed |= {(alias.asname or alias.name).split(".")[0]: _refused(error) for alias in statement.names}
        if mine:
            exec(compile(text, "answer", "exec"), space)
    if not callable(space.get(request["function"])):
        raise LookupError(f"the answer defines no function {request['function']!r}")
    return space[request["function"]]


def _parsed(text: str) -> ast.Module:
    """The tree of an answer's cell; notebook commands in it are a mistake of the student's."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith(("%", "!")):
            raise SyntaxError(f"line {number} is a notebook command, which is not run here: {line.strip()}")
    return ast.parse(text, "answer")


def _imports(text: str) -> list[ast.Import | ast.ImportFrom]:
    """The imports at the top level of a cell; notebook commands in it do not matter."""
    plainly = "\n".join("" if line.startswith(("%", "!")) else line for line in text.splitlines())
    try:
        body = ast.parse(plainly).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [statement for statement in body if isinstance(statement, ast.Import | ast.ImportFrom)]


def _refused(error: ImportError) -> str:
    """What is not shown in here cannot be imported."""
    what = error.name if isinstance(error, ModuleNotFoundError) else f"this: {error}"
    return f"an answer may not import {what}"[:TEXT]


def _said(error: BaseException, failed: dict[str, str]) -> str:
    """The error in a line, with the line of the answer that raised it."""
    if isinstance(error, NotImplementedError):
        return "not answered yet"
    if isinstance(error, ImportError):
        return _refused(error)
    if type(error) is LookupError:
        return str(error)[:TEXT]
    if isinstance(error, NameError) and error.name in failed:
        return failed[error.name][:TEXT]
    if isinstance(error, NameError):
        return f"NameError: {error}. An answer's cells are run alone: other cells' variables are not there"[:TEXT]
    numbers = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "answer":
            numbers.append(trace.tb_lineno)
        trace = trace.tb_next
    where = f" (line {numbers[-1]} of the answer's cell)" if numbers else ""
    return f"{type(error).__name__}: {str(error)[:TEXT]}{where}"


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
