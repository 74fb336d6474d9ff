"""One locked-up process a question: no network, no files but the libraries, no other processes, limited in all.

There are two walls. The outer one is bubblewrap's: every file and folder read-only, and only those of Python and the
libraries; no network; system calls refused that no answer needs (`seccomp`). Behind it one process imports torch, since
that takes longer than all answers of a submission, and forks. The inner wall is each fork's own (`apart`), one a
submission: namespaces for processes, network, users and files, no rights, no way to make further namespaces. Nothing of
other submissions or of the expected values is in there. In it each question has a process of its own (`child`), gets
that question's inputs on a pipe, and all that comes back is bytes. Without a working sandbox there is no grading.
"""

import os
import secrets
import select
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from packaging.requirements import Requirement

import course_lib
from course_lib.errors import unknown
from course_lib.grading import apart, cgroup, child, define, plain, seccomp

START = 300.0  # seconds that loading the libraries may take, on a busy machine, too
GRACE = 15.0  # seconds beside a question's own, for the way there and back
WATCH = 0.1  # seconds between two looks at the memory of all its processes together
TOGETHER = child.MEMORY * 5 // 4  # bytes that the kernel lets them have between two looks, where it keeps such limits
PACKAGE = Path(course_lib.__file__).parent
INSIDE = child.PACKAGES
CREDENTIALS = struct.Struct("3i")  # of <sys/socket.h>: process, user, group


class NoSandbox(RuntimeError):
    """There is no working sandbox here, so nothing can be graded."""


class Ended(Exception):
    """The sandbox is gone: it was killed, broke its limits, or sent what is no answer."""


# ---------------------------------------------------------------- what is shown in there


def _libraries(names: Sequence[str]) -> set[str]:
    """The top-level names, in site-packages, of distributions and of all that they require."""
    todo, seen, found = list(names), set(), set()
    while todo:
        name = todo.pop().lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # required under a condition that does not hold here
        for file in distribution.files or ():
            if file.parts[0] not in ("..", "__pycache__") and not file.parts[0].endswith(".pth"):
                found.add(str(Path(str(distribution.locate_file(file.parts[0])))))
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return found


def _modules(names: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files of course_lib that these modules need, and the distributions, found by importing them elsewhere."""
    for name in names:
        if not ((PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()):
            rooms = [*PACKAGE.glob("*.py"), *(file.parent for file in PACKAGE.glob("*/__init__.py"))]
            raise unknown("module", name, sorted(room.stem for room in rooms if room.stem != "__init__"))
    if not names:
        return [], []
    listing = (
        f"import sys, {', '.join(f'course_lib.{name}' for name in names)};"
        "print(*(f'{name} {module.__file__}' for name, module in sys.modules.items()"
        " if getattr(module, '__file__', None)), sep='\\n')"
    )
    run = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    found = [line.split(" ", 1) for line in run.stdout.splitlines()]
    files = [Path(file) for name, file in found if name.split(".")[0] == PACKAGE.name]
    owners = metadata.packages_distributions()
    tops = {name.split(".")[0] for name, _ in found} - {PACKAGE.name}
    distributions = sorted({owner for top in tops for owner in owners.get(top, ())})
    return files + ([PACKAGE / "weights"] if "models" in names else []), distributions


def _system() -> Iterator[str]:
    """bwrap's arguments that show the Python and the system's libraries, read-only, without installed packages."""
    for path in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/sys/devices/system/cpu"):
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        elif os.path.exists(path):
            yield from ("--ro-bind", path, path)
    library = str(Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix})).parent)
    if not library.startswith("/usr/lib"):
        yield from ("--ro-bind", library, library)
    yield from ("--ro-bind", os.path.realpath(sys.executable), _python())
    for parent in {library, "/usr/lib"}:
        for packages in (*Path(parent).glob("python3*/site-packages"), *Path(parent).glob("python3*/dist-packages")):
            yield from ("--tmpfs", str(packages), "--remount-ro", str(packages))


def _python() -> str:
    """Where the interpreter lies in the sandbox: where its prefix expects it."""
    return f"{sys.base_prefix}/bin/{Path(os.path.realpath(sys.executable)).name}"


@cache
def _mounts(modules: tuple[str, ...], libraries: tuple[str, ...]) -> tuple[str, ...]:
    """bwrap's arguments that make the sandbox's files: what is shown in there, and where."""
    made = ["--perms", "1777", "--dir", "/tmp"]  # nothing can be written: even empty files fill a machine's memory
    made += ["--perms", "0755", "--dir", "/dev", "--perms", "0755", "--dir", INSIDE]
    # A folder that bwrap has to make on the way to another one would be closed to other users.
    bound = [*_system(), "--proc", "/proc"]
    for device in ("null", "zero", "urandom", "random"):
        bound += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    files, needed = _modules(modules)
    for path in sorted(_libraries(("torch", "numpy", *libraries, *needed))):
        bound += ["--ro-bind", path, f"{INSIDE}/{Path(path).name}"]
    for module in files:
        bound += ["--ro-bind", str(module), f"{INSIDE}/course_lib/{module.relative_to(PACKAGE)}"]
    for file in (child.__file__, apart.__file__, define.__file__, plain.__file__):
        bound += ["--ro-bind", file, f"{INSIDE}/{Path(file).name}"]
    targets = [bound[i + 2] for i, word in enumerate(bound) if word in ("--ro-bind", "--dev-bind")]
    for folder in sorted({str(parent) for target in targets for parent in Path(target).parents}):
        if folder not in ("/", "/dev", "/tmp", INSIDE) and not folder.startswith(("/usr/lib", "/lib")):
            made += ["--perms", "0755", "--dir", folder]
    return (*made, *bound, "--remount-ro", "/")


def command(modules: tuple[str, ...] = (), libraries: tuple[str, ...] = (), seccomp: int | None = None) -> list[str]:
    """The command line that starts `child` behind the outer wall.

    As root the first process keeps the rights that its forks need to become users without a name, a different one each
    time; as an ordinary user it has none.

    Args:
        modules: Rooms of course_lib that an answer may import, with all that they import.
        libraries: Distributions that an answer may import beside torch and numpy.
        seccomp: An open file that holds `seccomp.program`; None filters no system calls.

    Returns:
        The words of the command line.

    Raises:
        ValueError: course_lib has no such room; the rooms are listed.
    """
    apart = ["--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    apart += ["--die-with-parent", "--new-session", "--clearenv", "--chdir", "/"]
    apart += [] if seccomp is None else ["--seccomp", str(seccomp)]
    for name, value in {"OMP_NUM_THREADS": "1", "HOME": "/", "LANG": "C.UTF-8", "CUDA_VISIBLE_DEVICES": ""}.items():
        apart += ["--setenv", name, value]
    rights = ("KILL", "SYS_ADMIN", "SETUID", "SETGID", "SETPCAP")
    user = ["--unshare-user"]
    if os.geteuid() == 0:
        user = ["--cap-drop", "ALL", *(word for name in rights for word in ("--cap-add", f"CAP_{name}"))]
    run = [_python(), "-I", "-S", f"{INSIDE}/{Path(child.__file__).name}"]
    return ["bwrap", *user, *apart, *_mounts(modules, libraries), "--", *run]


# ---------------------------------------------------------------- requests and answers


class _Server:
    """The process that has loaded the libraries, and forks for each submission."""

    def __init__(self, modules: tuple[str, ...], libraries: tuple[str, ...]):
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None
        filtered = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _hold
        filtered.write(seccomp.program())
        filtered.seek(0)
        number = filtered.fileno() if seccomp.program() else None
        words = command(modules, libraries, number)
        threading.Thread(target=self._hold, args=(words, filtered, theirs), daemon=True).start()
        self._door.settimeout(START)
        try:
            ready = self._door.recv(100) == b"ready"
        except OSError:
            ready = False
        if not ready:
            said = self.complaints
            self.close()
            raise NoSandbox(f"the sandbox does not start: {said or 'it did not answer in time'}")

    def _hold(self, words: list[str], filtered: IO[bytes], theirs: socket.socket) -> None:
        """Start it, and wait for its end: it dies with the thread that has started it."""
        with filtered, theirs:
            self._process = subprocess.Popen(
                words,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=[filtered.fileno()],
            )
        self._process.wait()

    @property
    def gone(self) -> bool:
        """Has it ended?"""
        return self._process is not None and self._process.poll() is not None

    @property
    def complaints(self) -> str:
        """What it wrote to standard error; "" as long as all is well."""
        if self._complaints.closed:
            return ""
        size = os.fstat(self._complaints.fileno()).st_size
        return os.pread(self._complaints.fileno(), 2000, max(0, size - 2000)).decode(errors="replace").strip()

    def fork(self, files: Sequence[int]) -> None:
        """Ask for a sandbox with these files: the way in, the way out, the guard's socket."""
        user = os.geteuid() or 20_000 + secrets.randbelow(40_000)  # none counts against another one's limits
        socket.send_fds(self._door, [str(user).encode()], files)

    def close(self) -> None:
        """End it, and all that came of it."""
        self._door.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._complaints.close()


_servers: dict[tuple[tuple[str, ...], tuple[str, ...]], _Server] = {}
_starting = threading.Lock()


def _server(modules: tuple[str, ...], libraries: tuple[str, ...]) -> _Server:
    """The one that has loaded the libraries for these, or a new one."""
    with _starting:
        found = _servers.get((modules, libraries))
        if found is None or found.gone:
            if found:
                found.close()
            found = _servers[modules, libraries] = _Server(modules, libraries)
        return found


def end() -> None:
    """End all sandboxes of this process; the next one starts anew."""
    with _starting:
        while _servers:
            _servers.popitem()[1].close()


class Sandbox:
    """A process behind both walls, which answers one question at a time; a context manager.

    Args:
        modules: Rooms of course_lib that an answer may import, with all that they import.
        libraries: Distributions that an answer may import beside torch and numpy.

    Raises:
        NoSandbox: It does not start; holds its own complaint.
        ValueError: course_lib has no such room; the rooms are listed.
    """

    def __init__(self, modules: tuple[str, ...] = (), libraries: tuple[str, ...] = ()):
        self._allowed = {"modules": list(modules), "libraries": list(libraries)}
        self._server = _server(modules, libraries)
        self._life, guards = socket.socketpair()
        self._life.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._life.settimeout(START)
        theirs_in, self._in = os.pipe()
        self._out, theirs_out = os.pipe()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._pid = 0
        self._group: cgroup.Group | None = None
        self._idle: int | None = None
        self._waited: dict[int, float] = {}
        try:
            try:
                self._server.fork([theirs_in, theirs_out, guards.fileno()])
            finally:
                os.close(theirs_in)
                os.close(theirs_out)
                guards.close()
            self._pid = self._guard()
            self._receive(time.monotonic() + START, 1000)
            self._idle = max(memory(self._pid).values(), default=None)
            if group := cgroup.group(TOGETHER):
                self._group = group
                group.add(processes(self._pid)[1:])
        except (Ended, OSError) as error:
            said = self._server.complaints or str(error)
            self.close()
            raise NoSandbox(f"the sandbox does not start: {said}") from None

    def _guard(self) -> int:
        """The number of the guard's process on this machine, as the kernel says."""
        byte, about, _, _ = self._life.recvmsg(1, socket.CMSG_SPACE(CREDENTIALS.size))
        for level, kind, data in about:
            if byte and (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid: int = CREDENTIALS.unpack(data)[0]
                return pid
        raise Ended("it was killed")

    def answer(self, request: dict[str, Any], seconds: float) -> bytes:
        """Have one question answered by the student's code.

        Args:
            request: "cells", (text, whether it is the answer's) of each; "function", its name; "calls", the arguments
                of each call, as plain data.
            seconds: Limit of processor time for all calls together.

        Returns:
            Bytes that the student's code may have made; `frames.unpack` reads them strictly.

        Raises:
            Ended: The sandbox is gone, or took too long to answer.
            NoSandbox: The process that all sandboxes come from is gone, which is no answer's fault.
        """
        self._waited.clear()
        deadline = time.monotonic() + child.PATIENCE * seconds + GRACE
        message = plain.encode({**request, **self._allowed, "seconds": float(seconds)})
        try:
            self._send(len(message).to_bytes(8, "big") + message, deadline)
            return self._receive(deadline, child.room(len(request["calls"])) + 1000)
        except Ended:
            if self._server.gone:
                raise NoSandbox("the sandboxes were killed: is this machine short of memory?") from None
            raise

    def _send(self, data: bytes, deadline: float) -> None:
        """Write all of it, or raise Ended."""
        view = memoryview(data)
        while view:
            if not select.select([], [self._in], [], max(0.0, deadline - time.monotonic()))[1]:
                raise Ended("it took no questions")
            try:
                view = view[os.write(self._in, view) :]
            except BrokenPipeError:
                raise Ended("it was killed") from None

    def _receive(self, deadline: float, most: int) -> bytes:
        """One frame of at most so many bytes, or raise Ended."""
        length = int.from_bytes(self._exactly(8, deadline), "big")
        if length > most:
            raise Ended("it sent too much")
        return self._exactly(length, deadline)

    def _exactly(self, n: int, deadline: float) -> bytes:
        """n bytes, or raise Ended."""
        data = bytearray()
        while len(data) < n:
            if not select.select([self._out], [], [], max(0.0, min(WATCH, deadline - time.monotonic())))[0]:
                if time.monotonic() > deadline + self._starved():
                    raise Ended("it did not answer in time")
                self._watch()
                continue
            chunk = os.read(self._out, n - len(data))
            if not chunk:
                raise Ended("it was killed")
            data += chunk
        return bytes(data)

    def _starved(self) -> float:
        """Seconds for which the machine was busy with something else while this sandbox could have worked.

        What an answer's process waited still counts when it is gone, for the one that reports it waits, too.
        """
        for pid in processes(self._pid):
            self._waited[pid] = max(self._waited.get(pid, 0.0), child.starved(pid))
        waited = list(self._waited.values())
        return sum(waited[:2]) + max(waited[2:], default=0.0)  # the guard and the first in there; then the answer's

    def _watch(self) -> None:
        """Raise Ended if all processes together use more than one may beside the libraries."""
        if self._idle is not None:
            used = sum(max(0, taken - self._idle) for taken in memory(self._pid).values())
            if used > child.MEMORY:
                raise Ended(f"its processes together used more than {child.MEMORY / 1e9:g} GB of memory")

    def close(self) -> None:
        """End the sandbox and whatever runs in it."""
        with suppress(OSError):
            self._life.shutdown(socket.SHUT_WR)
            self._life.settimeout(GRACE)
            while self._life.recv(1):  # until the guard has buried them all
                pass
        for file in (self._in, self._out):
            os.close(file)
        self._life.close()
        if self._group:
            self._group.close()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, of: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def processes(pid: int) -> list[int]:
    """A process and all that come from it.

    Args:
        pid: The first process.

    Returns:
        Their numbers on this machine, the first one's first.
    """
    found = [pid]
    for one in found:
        with suppress(OSError):  # it is gone
            for thread in os.listdir(f"/proc/{one}/task"):
                found += map(int, Path(f"/proc/{one}/task/{thread}/children").read_text().split())
    return found


def memory(pid: int) -> dict[int, int]:
    """The memory of a process and of all that come from it, as this machine counts it.

    Args:
        pid: The first process.

    Returns:
        For each of them, by number, the bytes that are no file's: its own, and those that it shares with others.
    """
    found = {}
    for one in processes(pid):
        with suppress(OSError):
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
            rows = [line.split() for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
            found[one] = 1024 * sum(int(row[1]) for row in rows)
    return found


@cache
def probe() -> None:
    """Try the sandbox, once in the life of this process.

    Raises:
        NoSandbox: There is none; says what to install or to change.
    """
    if sys.platform != "linux":
        raise NoSandbox(f"the sandbox needs Linux (on {sys.platform}: a virtual machine, or WSL 2)")
    if shutil.which("bwrap") is None:
        raise NoSandbox("nothing is graded without a sandbox; install bubblewrap")
    interpreter = Path(os.path.realpath(sys.executable))
    try:
        with Sandbox():
            pass
    except NoSandbox as error:
        raise NoSandbox(
            f"{error}\nNothing is graded without a sandbox. Three common causes: this user may not enter the folder of "
            f"the Python, {interpreter} (install one under /usr or /opt); bubblewrap is older than 0.5; this container "
            "or kernel forbids user namespaces (run on the host, or allow them; kernel 5.14 or newer)."
        ) from None
