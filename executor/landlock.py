"""Landlock: the kernel refuses this process and all that it starts to write outside given folders,
with no privilege needed (Linux 5.13 and newer; numbers from linux/landlock.h). Loaded only in the
short-lived process that runs a postExtract: ctypes costs memory.
"""

from __future__ import annotations

import ctypes
import os

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_WRITE_FILE = 1 << 1
# Remove and make: directories, files, devices, sockets, pipes, links. All of ABI 1.
_CHANGE = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_TRUNCATE_ABI = 3


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """The version of Landlock that the kernel has, 0 for none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


def protection(version: int) -> str:
    """What `restrict_writes` keeps from happening outside the folders, and what it does not."""
    if version < 1:
        return "this kernel has no Landlock: only the unit's sandbox holds it"
    refused, not_refused = (
        "writing, making and removing files",
        "truncating files and changing modes",
    )
    if version >= _TRUNCATE_ABI:
        refused, not_refused = "writing, truncating, making and removing files", "changing modes"
    return (
        f"Landlock ABI {version} refuses {refused} outside its copy; {not_refused} there is held by "
        "the unit's sandbox alone"
    )


def restrict_writes(folders: list[str], files: list[str]) -> None:
    """Allow writing below `folders` and into `files` only, from now on, where the kernel has
    Landlock. OSError when it refuses.
    """
    version = abi()
    if version < 1:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    rights = (
        _CHANGE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= _TRUNCATE_ABI else 0)
    )
    handled = ctypes.c_uint64(rights)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), 0))
    into_files = rights & (_WRITE_FILE | _TRUNCATE)
    wanted = [(path, rights) for path in folders] + [(path, into_files) for path in files]
    for path, allowed in wanted:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = _PathBeneath(allowed, fd)
        _checked(libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0))
        os.close(fd)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
