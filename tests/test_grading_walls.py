"""The walls that a submission has of its own: who is behind them, who is not, and what happens when they fall."""

import os
import signal
import time

import pytest

from course_lib.grading import apart, frames, judge, question, sandbox

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
