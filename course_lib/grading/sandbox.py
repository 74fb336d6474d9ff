"""One locked-up process a question: no network, no files but the libraries, no other processes, limited in all.

The lock is bubblewrap: namespaces of its own for processes, network, users and files; every file and folder
read-only; no way to make further namespaces; system calls refused that no answer needs (`seccomp`). Nothing of
the submission, of other submissions or of the expected values is in there. The process gets one question's inputs at a
time on a pipe, and all that comes back is bytes.

One sandbox serves one submission, since importing torch takes longer than all its answers; in it each question has a
process of its own (see `child`). Without a working sandbox there is no grading.
"""

import os
import secrets
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from packaging.requirements import Requirement

import course_lib
from course_lib.errors import unknown
from course_lib.grading import child, define, plain, seccomp

START = 120.0  # seconds that loading the libraries may take, on a busy machine, too
GRACE = 15.0  # seconds beside a question's own, for the way there and back
PROCESSES = 4  # the one that waits, the answer's, and two to spare
FILE = 65_536  # bytes of one file; and of what the libraries complain about at the start
WATCH = 0.1  # seconds between two looks at the memory of all its processes together
PACKAGE = Path(course_lib.__file__).parent
INSIDE = child.PACKAGES


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
    for tool in ("bwrap", "prlimit", "setpriv"):
        if found := shutil.which(tool):
            yield from ("--ro-bind", os.path.realpath(found), f"/tools/{tool}")
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
    for file in (child.__file__, define.__file__, plain.__file__):
        bound += ["--ro-bind", file, f"{INSIDE}/{Path(file).name}"]
    targets = [bound[i + 2] for i, word in enumerate(bound) if word in ("--ro-bind", "--dev-bind")]
    for folder in sorted({str(parent) for target in targets for parent in Path(target).parents}):
        if folder not in ("/", "/dev", "/tmp", INSIDE) and not folder.startswith(("/usr/lib", "/lib")):
            made += ["--perms", "0755", "--dir", folder]
    return (*made, *bound, "--remount-ro", "/")


def command(modules: tuple[str, ...] = (), libraries: tuple[str, ...] = (), seccomp: int | None = None) -> list[str]:
    """The command line that starts `child` in a sandbox.

    As root: one bwrap shows the files, even those in a home that only root may enter; then the process becomes a user
    without a name and without rights, a different one each time; then a second bwrap takes away the making of
    namespaces. As an ordinary user one bwrap does it all.

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
    for name, value in {"OMP_NUM_THREADS": "1", "HOME": "/", "LANG": "C.UTF-8", "CUDA_VISIBLE_DEVICES": ""}.items():
        apart += ["--setenv", name, value]
    no_more = ["--unshare-user", "--disable-userns", *([] if seccomp is None else ["--seccomp", str(seccomp)])]
    mounts = _mounts(modules, libraries)
    limits = ["/tools/prlimit", f"--nproc={PROCESSES}", f"--fsize={FILE}", "--nofile=64", "--core=0", "--"]
    run = [*limits, _python(), "-I", "-S", f"{INSIDE}/{Path(child.__file__).name}"]
    if os.geteuid() != 0:
        return ["bwrap", *no_more, *apart, *mounts, "--", *run]
    user = str(20_000 + secrets.randbelow(40_000))  # so that no sandbox counts against another one's limits
    caps = [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
    drop = ["/tools/setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
    drop += ["--inh-caps=-all", "--bounding-set=-all"]
    return ["bwrap", *apart, *caps, *mounts, "--", *drop, "/tools/bwrap", *no_more, "--dev-bind", "/", "/", "--", *run]


# ---------------------------------------------------------------- requests and answers


class Sandbox:
    """A running `child`, which answers one question at a time; a context manager.

    Args:
        modules: Rooms of course_lib that an answer may import, with all that they import.
        libraries: Distributions that an answer may import beside torch and numpy.

    Raises:
        NoSandbox: It does not start; holds its own complaint.
        ValueError: course_lib has no such room; the rooms are listed.
    """

    def __init__(self, modules: tuple[str, ...] = (), libraries: tuple[str, ...] = ()):
        self._allowed = {"modules": list(modules), "libraries": list(libraries)}
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        with tempfile.TemporaryFile() as refused:
            refused.write(seccomp.program())
            refused.seek(0)
            filtered = refused.fileno() if seccomp.program() else None
            self._process = subprocess.Popen(
                command(modules, libraries, filtered),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                pass_fds=() if filtered is None else (filtered,),
            )
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._idle: int | None = None
        try:
            self._receive(time.monotonic() + START, 1000)
            self._idle = max(memory(self._process.pid).values(), default=None)
        except Ended as error:
            self._process.kill()
            self._process.wait()
            said = self.complaints or str(error)
            self.close()
            raise NoSandbox(f"the sandbox does not start: {said}") from None

    @property
    def complaints(self) -> str:
        """What the sandbox wrote to standard error; "" as long as all is well."""
        self._complaints.seek(0)
        return self._complaints.read(2000).decode(errors="replace").strip()

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
        """
        deadline = time.monotonic() + child.PATIENCE * seconds + GRACE
        message = plain.encode({**request, **self._allowed, "seconds": float(seconds)})
        self._send(len(message).to_bytes(8, "big") + message, deadline)
        return self._receive(deadline, child.room(len(request["calls"])) + 1000)

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
        """Seconds for which the machine was busy with something else, as the most patient of the processes counts."""
        return max((child.starved(pid) for pid in processes(self._process.pid)), default=0.0)

    def _watch(self) -> None:
        """Raise Ended if all processes together use more than one may beside the libraries."""
        if self._idle is not None:
            used = sum(max(0, taken - self._idle) for taken in memory(self._process.pid).values())
            if used > child.MEMORY:
                raise Ended(f"its processes together used more than {child.MEMORY / 1e9:g} GB of memory")

    def close(self) -> None:
        """End the sandbox and whatever runs in it."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

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
    tools = {"bwrap": "bubblewrap", "prlimit": "util-linux"} | ({"setpriv": "util-linux"} if not os.geteuid() else {})
    missing = {package for tool, package in tools.items() if shutil.which(tool) is None}
    if missing:
        raise NoSandbox(f"nothing is graded without a sandbox; install {' and '.join(sorted(missing))}")
    interpreter = Path(os.path.realpath(sys.executable))
    try:
        with Sandbox():
            pass
    except NoSandbox as error:
        raise NoSandbox(
            f"{error}\nNothing is graded without a sandbox. Three common causes: this user may not enter the folder of "
            f"the Python, {interpreter} (install one under /usr or /opt); bubblewrap is older than 0.8; this container "
            "or kernel forbids user namespaces (run on the host, or allow them; kernel 5.14 or newer)."
        ) from None
