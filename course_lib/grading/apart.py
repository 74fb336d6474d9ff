"""Walls of its own for a process that is already running: namespaces, a user without rights, limits.

Bubblewrap locks a program in before it starts, and loading torch takes longer than all answers of a submission. So one
process loads it once behind bubblewrap's walls (see `sandbox`), and each of its forks, one a submission, builds these
inside of them (see `child`). This module is also loaded inside the sandbox, so it needs Python's own modules and
nothing else.

Source: namespaces(7), user_namespaces(7), capabilities(7); the order of the steps is bubblewrap's own.
"""

import ctypes
import errno
import os
import resource
import signal
import struct
from pathlib import Path

PROCESSES = 4  # the one that waits, the answer's, and two to spare
FILE = 65_536  # bytes of one file
FILES = 64  # that a process may have open
SIGNALS = 64  # that wait, timers among them
ENDED_FIRST = "1000"  # of 1000: where the machine runs short of memory, the kernel ends an answer, and not the grader
# of <linux/sched.h>
NEW_MOUNTS, NEW_CGROUP, NEW_NAMES, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USERS, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = NEW_MOUNTS | NEW_CGROUP | NEW_NAMES | NEW_IPC | NEW_PROCESSES | NEW_NETWORK
# of <linux/mount.h>
READ_ONLY, NO_SUID, NO_DEVICES, NO_PROGRAMS, REMOUNT, BIND = 1, 2, 4, 8, 32, 4096
RECURSIVE, PRIVATE = 16384, 1 << 18
# of <linux/prctl.h>
DIE_WITH_PARENT, DUMPABLE, DROP_BOUND, NO_NEW_RIGHTS, AMBIENT, CLEAR_ALL = 1, 4, 24, 38, 47, 4
CAPABILITIES = struct.pack("=Ii", 0x20080522, 0)  # of <linux/capability.h>: version 3, of this process

_system = ctypes.CDLL(None, use_errno=True)


def enter(user: int) -> int:
    """Fork, and build the walls around the new process: it sees no process but its own, and has no rights at all.

    Args:
        user: Who it becomes, a number that nobody else has; an ordinary user can become nobody else.

    Returns:
        The number of the new process; 0 in there. It is the first of its namespace: when it ends, so do all others in
        there, and when this process ends, so does it.

    Raises:
        OSError: The kernel refuses a step.
    """
    root = os.getuid() != user
    group = user if root else os.getgid()
    _call(_system.unshare, NAMESPACES if root else NAMESPACES | NEW_USERS)
    if not root:
        _stay(user, group)
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    _call(_system.mount, None, b"/", None, RECURSIVE | PRIVATE, None)
    closed = NO_SUID | NO_DEVICES | NO_PROGRAMS
    _call(_system.mount, b"proc", b"/proc", b"proc", closed, None)
    if root:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
        _call(_system.unshare, NEW_USERS | NEW_MOUNTS)
        _stay(user, group)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    Path("/proc/self/oom_score_adj").write_text(ENDED_FIRST)
    _call(_system.mount, None, b"/proc", None, REMOUNT | BIND | READ_ONLY | closed, None)
    _without_rights()
    for which, most in (
        (resource.RLIMIT_NPROC, PROCESSES),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_SIGPENDING, SIGNALS),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(which, (most, most))
    _call(_system.prctl, DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)  # a change of the user would undo it
    return 0


def _stay(user: int, group: int) -> None:
    """In a new namespace of users, stay who one is."""
    _call(_system.prctl, DUMPABLE, 1, 0, 0, 0)  # else the files below belong to root
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")


def _without_rights() -> None:
    """Give all capabilities away, so that none comes back."""
    _call(_system.prctl, NO_NEW_RIGHTS, 1, 0, 0, 0)
    _call(_system.prctl, AMBIENT, CLEAR_ALL, 0, 0, 0)
    for capability in range(64):
        try:
            _call(_system.prctl, DROP_BOUND, capability, 0, 0, 0)
        except OSError as error:
            if error.errno != errno.EINVAL:  # this kernel has no more of them
                raise
            break
    _call(_system.capset, CAPABILITIES, bytes(24))


def _call(function: "ctypes._NamedFuncPointer", *arguments: bytes | int | None) -> None:
    """Call the system, or raise OSError."""
    given = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    if function(*given):
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")
