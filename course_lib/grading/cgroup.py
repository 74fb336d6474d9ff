"""A limit of memory that the kernel keeps for all processes of a submission together, where groups can be made.

Source: cgroups(7); the kernel's documentation, "Control Group v2" and "Memory Resource Controller" (version 1).
"""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


class Group:
    """Some processes that may have so much memory together, and not a byte more.

    Args:
        parent: A group in which others can be made.
        limit: The name of its file for the limit.
        most: Bytes; memory that a process had before it came does not count.

    Raises:
        OSError: This user may make no group there.
    """

    def __init__(self, parent: Path, limit: str, most: int):
        self.folder = parent / f"grader-{os.getpid()}-{secrets.token_hex(4)}"
        self.folder.mkdir()
        try:
            (self.folder / limit).write_text(str(most))
        except OSError:
            self.close()
            raise
        with suppress(OSError):  # a machine without swap has no such file
            (self.folder / "memory.swap.max").write_text("0")

    def add(self, pids: Iterable[int]) -> None:
        """Take processes in; what they fork comes with them.

        Args:
            pids: Their numbers on this machine.
        """
        for pid in pids:
            with suppress(ProcessLookupError):
                (self.folder / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Remove the group, whose processes are gone."""
        with suppress(OSError):
            self.folder.rmdir()


def place(own: Path = OWN, root: Path = ROOT) -> tuple[Path, str] | None:
    """Where groups with a limit of memory can be made.

    Args:
        own: The file that says which groups this process is in.
        root: Where the groups lie.

    Returns:
        A group and the name of its file for the limit; None where there is none.
    """
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if "memory" in controllers.split(","):  # version 1
                return root / "memory" / name.lstrip("/"), "memory.limit_in_bytes"
            here = root / name.lstrip("/")
            while not controllers and here.is_relative_to(root):  # version 2: only some groups hand the limit on
                handed_on = here / "cgroup.subtree_control"
                if handed_on.exists() and "memory" in handed_on.read_text().split():
                    return here, "memory.max"
                here = here.parent
    return None


def group(most: int) -> Group | None:
    """A new group.

    Args:
        most: Bytes that all of its processes may have together.

    Returns:
        The group; None where this user can make none.
    """
    found = place()
    if found is None or not found[0].is_dir():
        return None
    try:
        return Group(*found, most)
    except OSError:
        return None


def available() -> bool:
    """Whether this user can make such groups here, by making one."""
    made = group(2**30)
    if made is not None:
        made.close()
    return made is not None
