"""System calls that no answer needs and a sandbox does not limit: they fail in there, by a filter of the kernel."""

import platform
import struct

EPERM = 1
LOAD, EQUAL, LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # of <linux/bpf_common.h>: ld|w|abs, jmp|jeq|k, jmp|jge|k, ret|k
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | EPERM  # of <linux/seccomp.h>: SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
NUMBER, MACHINE = 0, 4  # offsets in struct seccomp_data
X32 = 0x40000000  # from here on the numbers of another interface of x86_64, which no Python uses

# Memory that stays when a process has let go of it (System V), ways to wait for ever on a busy machine, and ways into
# the kernel that have often been holes.
CALLS = {
    "x86_64": {
        "shmget": 29, "semget": 64, "msgget": 68, "ptrace": 101, "syslog": 103, "setpriority": 141,
        "sched_setparam": 142, "sched_setscheduler": 144, "add_key": 248, "request_key": 249, "keyctl": 250,
        "perf_event_open": 298, "process_vm_readv": 310, "process_vm_writev": 311, "sched_setattr": 314, "bpf": 321,
        "userfaultfd": 323, "io_uring_setup": 425,
    },
    "aarch64": {
        "shmget": 194, "semget": 190, "msgget": 186, "ptrace": 117, "syslog": 116, "setpriority": 140,
        "sched_setparam": 118, "sched_setscheduler": 119, "add_key": 217, "request_key": 218, "keyctl": 219,
        "perf_event_open": 241, "process_vm_readv": 270, "process_vm_writev": 271, "sched_setattr": 274, "bpf": 280,
        "userfaultfd": 282, "io_uring_setup": 425,
    },
}  # fmt: skip
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # of <linux/audit.h>


def program(machine: str = "") -> bytes:
    """The filter, as bwrap's --seccomp reads it.

    Args:
        machine: "x86_64" or "aarch64"; "" takes this machine's.

    Returns:
        Instructions of classic BPF, 8 bytes each; a call for another kind of processor is refused. Empty where the
        machine is neither of the two.

    Source: the numbers are those of the kernel's asm/unistd_64.h and asm-generic/unistd.h.
    """
    machine = machine or platform.machine()
    if machine not in CALLS:
        return b""
    refused = sorted(CALLS[machine].values())
    steps = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, MACHINES[machine]), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":
        steps += [(LEAST, 0, 1, X32), (RETURN, 0, 0, REFUSE)]
    for number in refused:
        steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    steps.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
