"""Submissions for the tests and the benchmark, made by code: right, empty, wrong in known ways, and hostile."""

import base64
import copy
import inspect
import io
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from course_lib.grading import notebook, question
from course_lib.grading.question import Mistake, Question

Book = dict[str, Any]  # a notebook as its JSON

ASSIGNMENTS = Path(__file__).resolve().parent.parent / "assignments"


@cache
def stored(key: str, name: str) -> str:
    """The text of a notebook of the assignment "a2"; "" is the one that students get.

    Args:
        key: The assignment, "a2".
        name: The file's name without its suffix; "" is the folder's own name.

    Returns:
        The notebook's JSON.
    """
    (folder,) = ASSIGNMENTS.glob(f"{key}_*")
    return (folder / f"{name or folder.name}.ipynb").read_text(encoding="utf-8")


def solution(key: str) -> Book:
    """The assignment's solution.

    Args:
        key: The assignment, "a2".

    Returns:
        A notebook of its own, to change at will.
    """
    return _book(stored(key, "solution"))


def stub(key: str) -> Book:
    """The notebook that students get, with no answers.

    Args:
        key: The assignment, "a2".

    Returns:
        A notebook of its own, to change at will.
    """
    return _book(stored(key, ""))


def _book(text: str) -> Book:
    """The notebook that this JSON holds."""
    book: Book = json.loads(text)
    return book


def handed_in(key: str, answers: Mapping[str, str], base: Callable[[str], Book] = stub) -> Book:
    """A notebook whose answer cells are replaced.

    Args:
        key: The assignment, "a2".
        answers: {question: text of its cell}.
        base: Makes the notebook that the other cells come from.

    Returns:
        A notebook.
    """
    book = copy.deepcopy(base(key))
    for cell in book["cells"]:
        found = notebook.MARKS["code"].match("".join(cell["source"])) if cell["cell_type"] == "code" else None
        if found and found.group(1) in answers:
            cell["source"] = f"# answer: {found.group(1)}\n{answers[found.group(1)]}"
    return book


def mistaken(asked: Question, mistake: Mistake) -> str:
    """A known mistake as the cell that a student would hand in.

    Args:
        asked: The question, whose function the cell defines.
        mistake: One of its known mistakes.

    Returns:
        Python text.
    """
    text = inspect.getsource(mistake.function)
    text = text.replace(f"def {mistake.function.__name__}(", f"def {asked.function}(", 1)
    return (
        f"import torch\nimport torch.nn.functional as F\nfrom torch import Tensor, nn\nfrom typing import Any\n\n{text}"
    )


def hostile(attack: str, function: str) -> str:
    """An attack as the cell that a student would hand in.

    Args:
        attack: A key of ATTACKS.
        function: The name of the function that the question asks for.

    Returns:
        Python text.
    """
    return ATTACKS[attack][0].replace("ANSWER", function)


def bytes_of(book: Book) -> bytes:
    """A notebook as the bytes of its file.

    Args:
        book: The notebook.

    Returns:
        JSON in UTF-8.
    """
    return json.dumps(book).encode()


def image(width: int, height: int) -> str:
    """A plain image as notebooks store one.

    Args:
        width: In pixels.
        height: In pixels.

    Returns:
        base64 of a PNG.
    """
    file = io.BytesIO()
    Image.new("L", (width, height), 128).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


# The attacks. ANSWER stands for the name of the function that is asked for. Beside each: what the report must say.


def forged(message: str) -> str:
    """An answer that sends a message of its own to whatever is open, and ends.

    Args:
        message: As Python writes it, with `torch` at hand.
    """
    return f"""
import os, sys, torch
data = sys.modules["plain"].encode({message})
for fd in range(64):
    try:
        os.write(fd, len(data).to_bytes(8, "big") + data)
    except OSError:
        pass
os._exit(0)
"""


ATTACKS: dict[str, tuple[str, str]] = {
    # lies about values
    "equal to everything": (
        """
import torch
class Liar(torch.Tensor):
    __eq__ = lambda self, other: True
    __float__ = lambda self: 1.0
    allclose = isclose = equal = lambda self, *a, **k: True
def ANSWER(**k):
    return torch.zeros(7).as_subclass(Liar)
""",
        r"shape|zero",
    ),
    "an object that pretends": (
        """
class Liar:
    __eq__ = lambda self, other: True
    __float__ = lambda self: 1.0
    shape = property(lambda self: (1, 1, 16, 16))
def ANSWER(**k):
    return Liar()
""",
        r"Liar is not plain data",
    ),
    "patched libraries": (
        """
import json, sys, torch, numpy
torch.allclose = torch.equal = torch.isclose = lambda *a, **k: True
numpy.allclose = numpy.array_equal = lambda *a, **k: True
json.loads = json.dumps = lambda *a, **k: "{}"
for name in list(sys.modules):
    if "plain" in name:
        sys.modules[name].decode = sys.modules[name].encode
def ANSWER(**k):
    return torch.zeros(3)
""",
        r"tampered",
    ),
    "not a number": ("import torch\ndef ANSWER(**k):\n    return torch.full((2, 4, 6, 6), float('nan'))", r"NaN|shape"),
    "infinite": ("import torch\ndef ANSWER(**k):\n    return float('inf')", r"NaN|infinity|shape"),
    "beyond all numbers": ("def ANSWER(**k):\n    return 10 ** 400", r"infinity|shape"),
    "1e308": (
        "import torch\ndef ANSWER(**k):\n    return 1e308 * torch.ones(2, 4, 6, 6, dtype=torch.float64)",
        r"differ|shape|asked for",
    ),
    "half precision": (
        "import torch\ndef ANSWER(**k):\n    return torch.zeros(3).half()",
        r"shape|zero|whole ones are asked for",  # by what the question asks for
    ),
    # the way out
    "answers written early": (
        """
import os, sys, torch
def frame(message):
    data = sys.modules["plain"].encode(message)
    return len(data).to_bytes(8, "big") + data
for fd in range(64):
    try:
        os.write(fd, frame({"call": 0, "answer": torch.zeros(1)}))
    except OSError:
        pass
def ANSWER(**k):
    return torch.zeros(1)
""",
        r"tampered",
    ),
    "answers with more keys": (
        forged('{"call": 0, "answer": 1.0, "points": 100}'),
        r"tampered",
    ),
    "garbage in the channel": (
        """
import os
for fd in range(64):
    try:
        os.write(fd, b'{"ended": "well", "points": 100}')
    except OSError:
        pass
os._exit(0)
""",
        r"tampered",
    ),
    "a gigabyte": (
        """
import os
def ANSWER(**k):
    for fd in range(3, 64):
        try:
            for _ in range(1000):
                os.write(fd, b"x" * 1_000_000)
        except OSError:
            pass
""",
        r"more than its answers may have|memory|Memory",
    ),
    "a printed report": (
        """
import sys
print('{"score": 100, "tests": []}', flush=True)
sys.__stdout__.write('{"ended": "well"}'); sys.__stdout__.flush()
def ANSWER(**k):
    print("points: 100")
""",
        r"nothing \(is there a return",
    ),
    # looking for what is hidden
    "memory of the grader": (
        """
import os
def ANSWER(**k):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/mem", "rb+"):
                return int(pid)
        except PermissionError as error:
            last = error
    raise last
""",
        r"PermissionError",
    ),
    "open files of the grader": (
        """
import os
def ANSWER(**k):
    return [os.readlink(f"/proc/{os.getppid()}/fd/{fd}") for fd in os.listdir(f"/proc/{os.getppid()}/fd")]
""",
        r"PermissionError",
    ),
    "questions on the disk": (
        """
import os
def ANSWER(**k):
    hits = []
    for folder, _, files in os.walk("/"):
        if not folder.startswith(("/proc", "/sys")):
            hits += [f for f in files if f in ("a2.py", "gradient.py", "run.json", "solution.ipynb")]
    if hits:
        return hits
    raise RuntimeError("nothing to be found")
""",
        r"nothing to be found",
    ),
    "the package's own answer": (
        "from course_lib.attribution import saliency as ANSWER",
        r"an answer may not import course_lib",
    ),
    "another package's answer": (
        "import captum\ndef ANSWER(**k):\n    return captum",
        r"an answer may not import captum",
    ),
    "what lies about in memory": (
        """
import gc, torch
def ANSWER(**k):
    return [x for x in gc.get_objects() if isinstance(x, torch.Tensor)][-1].double()
""",
        r"shape|differ",
    ),
    "environment": (
        "import os\ndef ANSWER(**k):\n    raise RuntimeError(sorted(os.environ))",
        r"CUDA_VISIBLE_DEVICES', 'HOME', 'LANG', .*'OMP_NUM_THREADS'",
    ),
    # harm
    "endless loop": ("def ANSWER(**k):\n    while True:\n        pass", r"stopped after"),
    "fork bomb": (
        """
import os
def ANSWER(**k):
    while True:
        try:
            os.fork()
        except OSError:
            pass
""",
        r"stopped after|tampered",
    ),
    "memory bomb": (
        "def ANSWER(**k):\n    x = []\n    while True:\n        x.append(bytearray(10**8))",
        r"MemoryError|stopped after|killed",
    ),
    "disk": (
        """
import os
def ANSWER(**k):
    for folder in ("/tmp", "/", "/sandbox", "/dev", "/dev/shm", os.path.expanduser("~")):
        try:
            with open(f"{folder}/x", "wb") as file:
                while True:
                    file.write(b"x" * 10**6)
        except OSError as error:
            last = error
    raise last
""",
        r"File too large|Read-only|No such file",
    ),
    "memory files": (
        """
import os
def ANSWER(**k):
    files = [os.memfd_create(str(i)) for i in range(100)]
    for file in files:
        os.write(file, b"x" * 10**8)
""",
        r"Too many open files|File too large",
    ),
    "network": (
        """
import socket
def ANSWER(**k):
    socket.create_connection(("1.1.1.1", 53), timeout=2).send(b"x")
""",
        r"unreachable",
    ),
    "names on the network": (
        "import urllib.request\ndef ANSWER(**k):\n    urllib.request.urlopen('http://example.com')",
        r"URLError",
    ),
    "a shell": (
        "import subprocess\ndef ANSWER(**k):\n    return subprocess.run(['/bin/sh', '-c', 'id'])",
        r"No such file",
    ),
    "a notebook's shell": ("!curl example.com\ndef ANSWER(**k):\n    return 1", r"shape"),
    "a notebook's magic": ("%run other.py\ndef ANSWER(**k):\n    return 1", r"shape"),
    "exit": ("import sys\ndef ANSWER(**k):\n    sys.exit(0)", r"SystemExit"),
    "exit at once": ("import os\nos._exit(0)", r"ended before it had answered"),
    "abort": ("import os\ndef ANSWER(**k):\n    os.abort()", r"ended before it had answered \(signal 6\)"),
    "null pointer": ("import ctypes\ndef ANSWER(**k):\n    ctypes.string_at(0)", r"ended before .*\(signal 11\)"),
    "kill the grader": (
        "import os, signal\ndef ANSWER(**k):\n    os.kill(os.getppid(), signal.SIGKILL)",
        r"nothing \(is there a return",  # the kernel keeps signals of its own processes from a namespace's first
    ),
    "kill everybody": ("import os, signal\ndef ANSWER(**k):\n    os.kill(-1, signal.SIGKILL)", r"ProcessLookupError"),
    "stop the grader": (
        "import os, signal\ndef ANSWER(**k):\n    os.kill(os.getppid(), signal.SIGSTOP)\n    while True: pass",
        r"seconds of computing",
    ),
    "left running": (
        """
import os, time
if os.fork() == 0:
    os.setsid()
    while True:
        time.sleep(1)
def ANSWER(**k):
    return 0.5
""",
        r"shape|differ",
    ),
    "another submission": (
        """
import os
def ANSWER(**k):
    os.chdir("/")
    for file in ("submissions/good.ipynb", "out/run.json", "../good.ipynb", "gradebook.csv"):
        open(file, "w").write("")
""",
        r"No such file|Read-only",
    ),
    "new namespaces": (
        """
import ctypes, os
def ANSWER(**k):
    system = ctypes.CDLL(None, use_errno=True)
    if system.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "out"
""",
        r"No space left|not permitted",
    ),
    "good at first": (
        """
import torch
seen = []
def ANSWER(**k):
    seen.append(1)
    if len(seen) > 3:
        return torch.zeros(1)
    raise ValueError("pretends to work")
""",
        r"pretends to work|shape",
    ),
    # what leaves the sandbox, again: types, sizes, and the rules themselves
    "a call of two numbers": (
        forged('{"call": torch.zeros(2), "answer": 1.0}'),
        r"tampered",
    ),
    "an error that is no text": (
        forged('{"call": 0, "error": [torch.zeros(2)]}'),
        r"tampered",
    ),
    "patched rules": (
        """
import sys
sys.modules["define"].said = lambda *k: "x" * 10**7
sys.modules["plain"].check = lambda *k: None
def ANSWER(**k):
    return [[]] * 20_000
""",
        r"tampered|sent more",
    ),
    "twenty thousand lists": ("def ANSWER(**k):\n    return [[]] * 20_000", r"holds more than 10000 values"),
    "two megabytes": (
        "import torch\ndef ANSWER(**k):\n    return torch.zeros(250_000).double()",
        r"2000 kB, and 100 kB is the most",
    ),
    "a key that is a novel": ("def ANSWER(**k):\n    return {'a' * 90_000: 1}", r"a dictionary"),
    "half a letter": ("def ANSWER(**k):\n    return chr(0xD800) * 9", r"is a text"),
    "a list without end": (
        """
class Endless(list):
    def __iter__(self):
        while True:
            yield 1.0
def ANSWER(**k):
    return Endless()
""",
        r"MemoryError|stopped after|killed",
    ),
    "an error with a long name": (
        "def ANSWER(**k):\n    raise type('x' * 10**6, (Exception,), {})('y')",
        r"^x{100}: y",
    ),
    "an error of a hundred megabytes": ("def ANSWER(**k):\n    raise ValueError('x' * 10**8)", r"^ValueError: x{100}"),
    # time and memory, again
    "sleep": ("import time\ndef ANSWER(**k):\n    time.sleep(10**6)", r"of which it computed for [01]\.\d: it waits"),
    "deaf to the limit": (
        """
import signal
def ANSWER(**k):
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass
""",
        r"seconds of computing",
    ),
    "many hands": (
        """
import os, time
def ANSWER(**k):
    for _ in range(2):
        if os.fork() == 0:
            data = bytearray(700_000_000)
            data[::4096] = b"1" * len(data[::4096])
            time.sleep(60)
    time.sleep(60)
""",
        r"together used more than 1 GB of memory|it waits for something",  # on a very busy machine they get nowhere
    ),
    "hands that share": (
        """
import mmap, os, time
def ANSWER(**k):
    for _ in range(2):
        if os.fork() == 0:
            data = mmap.mmap(-1, 700_000_000)
            for i in range(0, len(data), 4096):
                data[i] = 1
            time.sleep(60)
    time.sleep(60)
""",
        r"together used more than 1 GB of memory|it waits for something",  # on a very busy machine they get nowhere
    ),
    "memory that stays": (
        """
import ctypes, os
def ANSWER(**k):
    system = ctypes.CDLL(None, use_errno=True)
    if system.shmget(0, 10**9, 0o1666) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
""",
        r"not permitted",
    ),
    "a million files": (
        "def ANSWER(**k):\n    for i in range(10**6):\n        open(f'/tmp/{i}', 'w').close()",
        r"Read-only",
    ),
    "a thousand threads": (
        """
import threading, time
def ANSWER(**k):
    for _ in range(1000):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
""",
        r"can't start new thread",
    ),
    # other ways to what is hidden
    "memory of the first process": (
        """
import ctypes, os
def ANSWER(**k):
    system = ctypes.CDLL(None, use_errno=True)
    if system.ptrace(16, os.getppid(), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
""",
        r"not permitted",
    ),
    "another import": (
        """
import importlib
def ANSWER(**k):
    return importlib.import_module("course_lib.attribution")
""",
        r"an answer may not import course_lib",
    ),
    # the inner wall
    "somebody else's processes": (
        """
import os
def ANSWER(**k):
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
    if others:
        return others
    raise RuntimeError("nobody else is here")
""",
        r"nobody else is here",
    ),
    "sockets that were left open": (
        """
import os, stat
def ANSWER(**k):
    for file in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(file).st_mode):
                return file
        except OSError:
            pass
    raise RuntimeError("no sockets")
""",
        r"no sockets",
    ),
    "what lies under /proc": (
        """
import ctypes, os
def ANSWER(**k):
    system = ctypes.CDLL(None, use_errno=True)
    if system.umount2(b"/proc", 2):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return os.listdir("/proc")
""",
        r"not permitted",
    ),
    "a file system that can be written": (
        """
import ctypes, os
def ANSWER(**k):
    system = ctypes.CDLL(None, use_errno=True)
    if system.mount(None, b"/", None, ctypes.c_ulong(32 | 4096), None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    open("/x", "w").write("x")
""",
        r"not permitted",
    ),
    "the first user": (
        "import os\ndef ANSWER(**k):\n    os.setuid(0)\n    return os.getuid()",
        r"not permitted|Invalid argument",
    ),
    "another map of users": (
        "def ANSWER(**k):\n    open('/proc/self/uid_map', 'w').write('0 0 65536')",
        r"Read-only|Permission denied",
    ),
    "namespaces for its children": (
        "def ANSWER(**k):\n    open('/proc/sys/user/max_user_namespaces', 'w').write('9')",
        r"Read-only|Permission denied",
    ),
    "more memory than it has": (
        "import resource\ndef ANSWER(**k):\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        r"not allowed to raise maximum limit",
    ),
    "more processes than it has": (
        "import resource\ndef ANSWER(**k):\n    resource.prlimit(1, resource.RLIMIT_NPROC, (99, 99))",
        r"not permitted|not allowed",
    ),
    "before everybody else": ("import os\ndef ANSWER(**k):\n    os.nice(-10)", r"not permitted|Permission denied"),
    "no name": ("def ANSWER(**k):\n    raise type('', (Exception,), {})(chr(8238) + chr(0) * 9)", r"^:"),
    # a second reader's: what the walls' first version let through, or let through for a while
    "behind everybody else": ("import os\ndef ANSWER(**k):\n    return os.nice(19)", r"not permitted"),
    "only when nobody works": (
        "import os\ndef ANSWER(**k):\n    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))",
        r"not permitted",
    ),
    "a key of the kernel's": (
        """
import ctypes, os, platform
def ANSWER(**k):
    system = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 249, "aarch64": 218}[platform.machine()]
    if system.syscall(number, b"user", b"x", b"run a program outside", -2) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
""",
        r"not permitted",
    ),
    "interrupt the first process": (
        "import os, signal, time\ndef ANSWER(**k):\n    os.kill(1, signal.SIGINT)\n    time.sleep(0.2)",
        r"nothing \(is there a return",
    ),
    "limits of the first process": (
        "import resource\ndef ANSWER(**k):\n    resource.prlimit(1, resource.RLIMIT_NOFILE, (1, 1))",
        r"nothing \(is there a return|it was killed",  # its own next questions get another sandbox
    ),
    "files of the first process": (
        """
import ctypes, os
def ANSWER(**k):
    system = ctypes.CDLL(None, use_errno=True)
    if system.syscall(438, os.pidfd_open(1), 3, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
""",
        r"not permitted",
    ),
    "namespaces of the first process": (
        "import os\ndef ANSWER(**k):\n    os.open('/proc/1/ns/net', os.O_RDONLY)",
        r"Permission denied",
    ),
    "memory of other submissions": (
        """
def ANSWER(**k):
    shared = [line for line in open("/proc/self/maps") if line.split()[1] in ("rw-s", "-w-s", "rwxs")]
    if not shared:
        raise RuntimeError("nothing is shared")
    return shared
""",
        r"nothing is shared",
    ),
    "the room of the libraries": (
        """
import ctypes
def ANSWER(**k):
    system = ctypes.CDLL(None)
    for line in list(open("/proc/self/maps")):
        if "libcublas" in line or "libcudnn" in line or "libtorch_cuda" in line or "libcufft" in line:
            start, end = (int(side, 16) for side in line.split()[0].split("-"))
            system.munmap(ctypes.c_void_p(start), ctypes.c_size_t(end - start))
    held = [bytearray(10**8) for _ in range(15)]
    return len(held)
""",
        r"MemoryError|together used more|signal 11|shape",
    ),
    "a hundred thousand timers": (
        """
import ctypes, os
def ANSWER(**k):
    system, timer = ctypes.CDLL(None, use_errno=True), ctypes.c_long()
    for _ in range(100_000):
        if system.timer_create(1, None, ctypes.byref(timer)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
""",
        r"temporarily unavailable",
    ),
    "letters for the next answer": (
        """
import ctypes, os
def ANSWER(**k):
    system = ctypes.CDLL(None, use_errno=True)
    if system.mq_open(b"/letters", os.O_CREAT | os.O_RDWR, 0o600, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
""",
        r"Too many open files",
    ),
    "who is ended when memory is short": (
        """
def ANSWER(**k):
    if open("/proc/self/oom_score_adj").read().strip() == "1000":
        open("/proc/self/oom_score_adj", "w").write("-1000")
""",
        r"Read-only|Permission denied",
    ),
    "a runaway": (
        """
import os
if os.fork() == 0:
    while True:
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            pass
def ANSWER(**k):
    return 0.5
""",
        r"shape|differ|asked for",
    ),
    "pipes to the brim": (
        """
import fcntl, os
def ANSWER(**k):
    while True:
        _, end = os.pipe()
        os.set_blocking(end, False)
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 2**20)
        try:
            while True:
                os.write(end, bytes(2**16))
        except BlockingIOError:
            pass
""",
        r"Too many open files|not permitted",
    ),
    # the page
    "script": (
        "def ANSWER(**k):\n    raise ValueError('<script>alert(1)</script><img src=x onerror=alert(1)>' + chr(8238))",
        r"<script>alert\(1\)</script><img",
    ),
    "an error that cannot be said": (
        """
class Mute(Exception):
    def __str__(self):
        raise KeyboardInterrupt
def ANSWER(**k):
    raise Mute
""",
        r"ended before it had answered",
    ),
    "brackets": (
        "x = " + "(" * 5000 + ")" * 5000 + "\ndef ANSWER(**k):\n    return 1",
        r"SyntaxError|MemoryError|Recursion",
    ),
    "no end of recursion": ("def ANSWER(**k):\n    return ANSWER(**k)", r"RecursionError"),
    "lists in lists": ("def ANSWER(**k):\n    x = []\n    for i in range(99):\n        x = [x]\n    return x", r"deep"),
    "another name": ("def answer(**k):\n    return 1", r"defines no function"),
}


def attack_books(key: str) -> dict[str, tuple[dict[str, str], Book]]:
    """Every attack once, as many to a notebook as the assignment has questions.

    Args:
        key: The assignment, "a2".

    Returns:
        {name of a submission: ({question: attack}, notebook)}.
    """
    asked = question.assignment(key).questions
    names = list(ATTACKS)
    books = {}
    for start in range(0, len(names), len(asked)):
        chosen = dict(zip((one.name for one in asked), names[start : start + len(asked)], strict=False))
        answers = {one.name: hostile(chosen[one.name], one.function) for one in asked if one.name in chosen}
        books[f"attack{start // len(asked):02d}"] = (chosen, handed_in(key, answers))
    return books


def says(text: str, attack: str) -> bool:
    """Does a report say what it must about an attack?

    Args:
        text: What the report says.
        attack: A key of ATTACKS.

    Returns:
        Whether the attack's pattern is found in the text.
    """
    return re.search(ATTACKS[attack][1], text) is not None
