"""The walls that a submission has of its own: who is behind them, who is not, and what happens when they fall."""

import contextlib
import os
import platform
import signal
import threading
import time

import pytest

from course_lib.grading import __main__ as command
from course_lib.grading import apart, cgroup, frames, grade, judge, question, sandbox

pytestmark = pytest.mark.usefixtures("sandboxed")

SECRET = "the words of somebody else's answer 4711"


def ask(box, text, *, seconds=10.0):
    """What a function in a sandbox returns, or its error."""
    cells = [[f"import ctypes, gc, os, resource, time\n{text}", True]]
    (made,) = frames.unpack(box.answer({"cells": cells, "function": "f", "calls": [{}]}, seconds), 1)[1]
    return made.get("answer", made.get("error"))


STATUS = """
def f():
    lines = open("/proc/self/status").read().splitlines()
    return dict(line.split(":\\t", 1) for line in lines)
"""


def test_an_answer_has_no_rights_and_gets_none():
    with sandbox.Sandbox() as box:
        status = ask(box, STATUS)
    assert {status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


KINDS = ("user", "mnt", "pid", "net", "ipc", "uts")
NAMES = f"""
def f():
    return [os.getuid(), *(os.readlink(f"/proc/self/ns/{{kind}}") for kind in {KINDS})]
"""


def test_each_submission_has_its_own_user_and_namespaces():
    """Two at the same time, of one server, and this process."""
    with sandbox.Sandbox() as one, sandbox.Sandbox() as two:
        assert one._server is two._server
        first, second = ask(one, NAMES), ask(two, NAMES)
    own = [os.getuid(), *(os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS)]
    assert all(len({a, b, c}) == 3 for a, b, c in zip(first[1:], second[1:], own[1:], strict=True))
    if os.geteuid() == 0:
        assert len({first[0], second[0], 0}) == 3


MEMORY = f"""
def f():
    texts = [one for one in gc.get_objects() if type(one) in (dict, list, tuple)]
    inner = [x for one in texts for x in (one.values() if type(one) is dict else one) if type(x) in (str, bytes)]
    words = "".join([{SECRET[:20]!r}, {SECRET[20:]!r}])
    return sum(words in (x if type(x) is str else x.decode("latin-1")) for x in inner if len(x) < 10_000)
"""


def test_nothing_of_one_submission_is_in_the_memory_of_the_next():
    """The process that both come from never sees a word of either."""
    with sandbox.Sandbox() as one:
        ask(one, f"kept = {{'x': [{SECRET!r}]}}\ndef f():\n    return kept['x'][0]")
        with sandbox.Sandbox() as two:
            assert ask(two, MEMORY) == 0
            assert ask(two, f"kept = [{SECRET!r}]\n{MEMORY}") > 0  # it would be seen


def test_a_namespace_ends_with_its_guard_and_nobody_else_does():
    with sandbox.Sandbox() as one, sandbox.Sandbox() as two:
        os.kill(one._pid, signal.SIGKILL)
        with pytest.raises(sandbox.Ended, match="was killed"):
            ask(one, "def f():\n    time.sleep(60)", seconds=60.0)
        assert ask(two, "def f():\n    return 3") == 3


def test_closing_ends_what_runs_in_there():
    with sandbox.Sandbox() as box:
        text = "if os.fork() == 0:\n    time.sleep(600)\ndef f():\n    return 1"
        assert ask(box, text) == 1
        mine = sandbox.processes(box._pid)
        assert len(mine) >= 2
    for _ in range(100):
        alive = [pid for pid in mine if os.path.exists(f"/proc/{pid}") and _state(pid) not in "ZX"]
        if not alive:
            return
        time.sleep(0.1)
    pytest.fail(f"still there: {alive}")


def _state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(") ", 1)[1][0]
    except OSError:
        return "X"


def test_when_the_server_is_killed_nobody_loses_points_and_the_next_sandbox_has_another():
    asked = question.question("a2.overlap")
    box = sandbox.Sandbox()
    server = box._server
    server._process.kill()
    with pytest.raises(sandbox.NoSandbox, match="short of memory"):
        ask(box, "def f():\n    return 1")
    box.close()
    result = judge._broken_off(asked, sandbox.NoSandbox("the sandboxes were killed"))
    assert result.status == "pending"
    with sandbox.Sandbox() as another:
        assert another._server is not server
        assert ask(another, "def f():\n    return 1") == 1


def test_when_the_grader_is_gone_so_is_everything():
    """The server's door closes with the process that holds it."""
    with sandbox.Sandbox() as box:
        child = box._server._process
        box._server._door.close()
        for _ in range(200):
            if child.poll() is not None:
                break
            time.sleep(0.1)
        assert child.poll() is not None
    sandbox.end()


def test_waiting_for_a_busy_machine_counts_when_the_one_that_waited_is_gone(monkeypatch):
    """An answer's process waited for a minute and ended; the one that reports it is still to come."""
    waited = {1: 0.5, 2: 1.0, 3: 60.0, 4: 2.0}
    with sandbox.Sandbox() as box:
        there = [1, 2, 3, 4]
        monkeypatch.setattr(sandbox, "processes", lambda pid: there)
        monkeypatch.setattr(sandbox.child, "starved", waited.__getitem__)
        box._waited.clear()
        assert box._starved() == 61.5
        there = [1, 2]
        assert box._starved() == 61.5
        box._waited.clear()
        assert box._starved() == 1.5


def test_a_step_that_the_kernel_refuses_is_named():
    with pytest.raises(OSError, match="mount"):
        apart._call(apart._system.mount, b"x", b"/nowhere", b"no-such-system", 0, None)


def test_what_is_left_running_holds_nobody_up():
    """The process that was left has the way out open, sleeps, and is gone with the question."""
    with sandbox.Sandbox() as box:
        began = time.monotonic()
        assert ask(box, "if os.fork() == 0:\n    time.sleep(600)\ndef f():\n    return 1", seconds=60.0) == 1
        assert time.monotonic() - began < 30  # the limit is three minutes
        assert ask(box, "def f():\n    return [one for one in os.listdir('/proc') if one.isdigit()][2:]") == []


def test_who_writes_on_after_the_answer_has_ended_is_cut_off():
    text = "def f():\n    if os.fork():\n        return 1\n    while True:\n        os.write(5, bytes(1000))"
    with sandbox.Sandbox() as box, pytest.raises(ValueError, match="not what|early|cut short|more answers|too long"):
        ask(box, text, seconds=60.0)


ROOM = """
import mmap
def held():
    found = []
    try:
        while len(found) < 60:
            found.append(mmap.mmap(-1, 10**8, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except OSError:
        return len(found) / 10
def f():
    system, freed = ctypes.CDLL(None), 0
    before = held()
    for line in list(open("/proc/self/maps")):
        start, end = (int(side, 16) for side in line.split()[0].split("-"))
        if any(name in line for name in ("libcu", "libnv", "libtorch_cuda")):  # none, where torch has no GPU
            system.munmap(ctypes.c_void_p(start), ctypes.c_size_t(end - start))
            freed += end - start
    return [before, held(), freed / 1e9]
"""


def test_who_lets_go_of_the_libraries_gets_little_more_memory():
    with sandbox.Sandbox() as box:
        before, after, freed = ask(box, ROOM)
    assert before <= 1.0
    assert after <= 1.5, f"{after} GB, after {freed:.1f} GB of libraries were let go"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the machine code is that of x86_64")
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("53 b81a000000 31db 31c9 31d2 31f6 cd80 5b c3", "32 bits: ptrace by int 0x80"),
        ("b865000040 31ff 31f6 31d2 0f05 c3", "x32: ptrace with its bit"),
    ],
)
def test_other_doors_to_the_same_calls_are_closed(code, kind):
    """The same processor knows two other sets of numbers; the filter knows the set, and not the number alone."""
    text = f"""
import mmap
def f():
    room = mmap.mmap(-1, 4096, prot=7)
    room.write(bytes.fromhex({code!r}))
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(room)))()
"""
    with sandbox.Sandbox() as box:
        assert ask(box, text) == -1, kind  # EPERM, where ptrace itself would say 0, ESRCH or ENOSYS


LISTEN = """
import fcntl, socket
door = socket.socket(socket.AF_UNIX)
door.bind("\\0door")
door.listen()
port = socket.socket()
port.bind(("127.0.0.1", 4711))
port.listen()
file = open("/sandbox/plain.py")
fcntl.flock(file, fcntl.LOCK_EX)
def f():
    time.sleep(8)
"""
KNOCK = """
import socket
def f():
    said = []
    for family, address in ((socket.AF_UNIX, "\\0door"), (socket.AF_INET, ("127.0.0.1", 4711))):
        try:
            socket.socket(family).connect(address)
            said.append("in")
        except OSError as error:
            said.append(error.strerror)
    return said
"""


def test_two_submissions_cannot_talk_and_a_lock_of_one_stops_nobody():
    with sandbox.Sandbox() as one, sandbox.Sandbox() as two:
        first = threading.Thread(target=ask, args=(one, LISTEN))
        first.start()
        time.sleep(2)
        assert all("in" != said for said in ask(two, KNOCK))
        with sandbox.Sandbox() as three:
            assert ask(three, "def f():\n    return 3") == 3
        assert first.is_alive()  # it was there all the while
        first.join()


def test_every_file_that_an_answer_has_open_is_its_own():
    text = """
def f():
    files = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(file) for file in files if os.path.islink(file))
"""
    with sandbox.Sandbox() as box:
        *quiet, pipe = ask(box, text)
    assert quiet == ["/dev/null"] * 3
    assert pipe.startswith("pipe:")


def test_the_kernel_ends_an_answer_before_the_grader():
    with sandbox.Sandbox() as box:
        assert ask(box, "def f():\n    return open('/proc/self/oom_score_adj').read()").strip() == apart.ENDED_FIRST
    with open("/proc/self/oom_score_adj") as own:
        assert int(own.read()) < int(apart.ENDED_FIRST)


@pytest.fixture
def groups(tmp_path):
    """The files of a machine with groups of version 2, where the second of three hands the limit on."""
    inner = tmp_path / "user.slice" / "session.scope"
    inner.mkdir(parents=True)
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (inner.parent / "cgroup.subtree_control").write_text("cpu\n")
    (inner / "cgroup.subtree_control").write_text("\n")
    return tmp_path


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("0::/user.slice/session.scope\n", ("", "memory.max")),
        ("5:cpu,cpuacct:/\n4:memory:/here\n0::/\n", ("memory/here", "memory.limit_in_bytes")),
        ("5:cpu:/\n0::/nowhere\n", ("", "memory.max")),
        ("5:cpu:/\n", None),
        ("no such form", None),
    ],
)
def test_a_group_is_made_where_the_limit_is_handed_on(groups, lines, found):
    own = groups / "own"
    own.write_text(lines)
    assert cgroup.place(own, groups) == (found and (groups / found[0], found[1]))
    assert cgroup.place(groups / "none", groups) is None


def test_a_group_has_its_limit_and_its_processes(groups):
    group = cgroup.Group(groups, "memory.max", 1000)
    assert (group.folder / "memory.max").read_text() == "1000"
    group.add([7])
    assert (group.folder / "cgroup.procs").read_text() == "7"


def test_where_no_group_can_be_made_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroup, "place", lambda: (tmp_path / "nowhere", "memory.max"))
    assert cgroup.group(1000) is None


@pytest.mark.parametrize("possible", [True, False])
def test_a_run_says_where_no_group_of_processes_can_be_made(possible, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cgroup, "available", lambda: possible)
    monkeypatch.setattr(grade, "grade", lambda *_, **__: pytest.fail("graded"))
    with pytest.raises(pytest.fail.Exception):
        command.main(["grade", str(tmp_path), "--out", str(tmp_path / "out")])
    assert ("no group of processes with a limit of memory" in capsys.readouterr().out) != possible


HANDS = """
def f():
    for _ in range(2):
        if os.fork() == 0:
            break
    data = bytearray(800_000_000)
    data[::4096] = b"1" * len(data[::4096])
    time.sleep(6)
"""


def test_the_kernel_keeps_the_memory_of_all_processes_together(monkeypatch):
    monkeypatch.setattr(sandbox, "WATCH", 5.0)  # who looks from outside comes too late
    with sandbox.Sandbox() as box:
        if box._group is None:
            pytest.skip("this user can make no group with a limit of memory on this machine")
        with contextlib.suppress(sandbox.Ended, ValueError):  # whichever of the three the kernel has ended
            ask(box, HANDS, seconds=20.0)
        names = ("memory.peak", "memory.max_usage_in_bytes")  # of version 2, from Linux 5.19, and of version 1
        peaks = [int((box._group.folder / name).read_text()) for name in names if (box._group.folder / name).exists()]
        assert all(5e8 < peak <= sandbox.TOGETHER for peak in peaks)
    assert not box._group.folder.exists()
