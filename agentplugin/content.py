"""Why the kernel would not run a script, told from its first bytes and its mode (rules: execve(2),
and the Open-Falcon agent's measured answers to each)."""

from __future__ import annotations

import os
import stat

from agentplugin.problems import Problem, error, info, shown, warning
from agentplugin.shebangs import interpreter_problems, missing_interpreter, read_shebang

HEAD_BYTES = 65536
"""How much of a file is enough for every check but the CRLF one of a longer script."""

_BOM = b"\xef\xbb\xbf"
_LFS_HEAD = b"version https://git-lfs.github.com/spec/v1"
_ELF = b"\x7fELF"
_SHELLS = ("sh", "bash", "dash", "ash", "ksh", "zsh")


def is_lfs_pointer(head: bytes) -> bool:
    """Whether these bytes are a Git LFS pointer instead of the file."""
    return head.startswith(_LFS_HEAD)


def is_program(head: bytes) -> bool:
    """Whether these bytes begin a compiled program."""
    return head.startswith(_ELF)


def lfs_problem(path: str) -> Problem:
    """What to say about a Git LFS pointer."""
    return error(
        path,
        "lfs-pointer",
        "this is a Git LFS pointer, not the file: hosts would get these three lines of text",
        "store the file in git itself (git lfs untrack, git add --renormalize)",
    )


def script_problems(path: str, head: bytes, mode: int) -> list[Problem]:
    """Everything about a script's bytes and mode that keeps it from running.

    head is its content, or at least the first HEAD_BYTES of it; mode is its st_mode.
    """
    problems: list[Problem] = []
    if is_lfs_pointer(head):
        return [lfs_problem(path)]
    if not mode & 0o111:
        problems.append(
            error(
                path,
                "not-executable",
                "no execute bit: the agent logs 'permission denied' and there is never data "
                "(agent v0.2.1 dies of it)",
                f"git update-index --chmod=+x {path}",
            )
        )
    if not head:
        problems.append(
            error(
                path,
                "empty-script",
                "the file is empty: the agent logs 'exec format error' and there is never data",
                "write the script, or remove the file",
            )
        )
        return problems
    if is_program(head):
        problems.append(
            info(
                path,
                "binary-plugin",
                "this is a compiled program: it runs only on hosts of its own architecture, and "
                "nobody can review it",
                "bind it only where it fits",
            )
        )
        return problems
    problems.extend(_shebang_problems(path, head))
    return problems


def _shebang_problems(path: str, head: bytes) -> list[Problem]:
    if head.startswith(_BOM):
        return [
            error(
                path,
                "shebang-byte-order-mark",
                "a byte order mark stands before '#!': the kernel sees no '#!', so the agent logs "
                "'exec format error'",
                "save the file as UTF-8 without a byte order mark",
                line=1,
            )
        ]
    shebang = read_shebang(head)
    if shebang is None:
        return [
            error(
                path,
                "no-shebang",
                "the first line does not begin with '#!': the agent logs 'exec format error' and "
                "there is never data",
                "begin with #!/usr/bin/env python3 or #!/bin/sh",
                line=1,
            )
        ]
    first = head.split(b"\n", 1)[0]
    if first.endswith(b"\r"):
        return [
            error(
                path,
                "shebang-crlf",
                "the '#!' line ends with CR LF: the kernel looks for "
                f"{shown((shebang.argument or shebang.interpreter) + chr(13))}, which does not "
                "exist; with /usr/bin/env the agent does not even log it",
                "save the file with LF line ends",
                line=1,
            )
        ]
    problems = interpreter_problems(path, shebang, len(first))
    if b"\r\n" in head:
        line = head[: head.index(b"\r\n")].count(b"\n") + 1
        say = error if shebang.program in _SHELLS else warning
        problems.append(
            say(
                path,
                "crlf",
                "lines end with CR LF: a shell takes the CR for a part of the last word",
                "save the file with LF line ends",
                line,
            )
        )
    return problems


def ending_problem(path: str, source: bytes) -> Problem | None:
    """A script whose last line has no line end, or None; `source` is all of its content."""
    if not source or source.endswith(b"\n"):
        return None
    return info(
        path,
        "no-final-newline",
        "the last line has no line end: what is appended to the file joins it, and a loop over "
        "`read` leaves it out",
        "end the file with a line end",
        line=source.count(b"\n") + 1,
    )


def why_not_runnable(full_path: str, search_path: str | None = None) -> Problem | None:
    """Why this host cannot run the script, or None: for the answer to "why is there no data".

    search_path is the PATH of the process that runs it (default: this one's). The problem's path
    is full_path.
    """
    try:
        mode = os.stat(full_path).st_mode
        if not stat.S_ISREG(mode):
            return _unreadable(full_path, "not a regular file")
        with open(full_path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as err:
        return _unreadable(full_path, err.strerror or str(err))
    for problem in script_problems(full_path, head, mode):
        if problem.severity == "error" and problem.code != "crlf":
            return problem
    if not os.access(full_path, os.X_OK):
        return error(
            full_path,
            "not-executable",
            "the agent's user may not execute it: the execute bit is another user's, or the file "
            "system is mounted noexec",
            "chmod a+x, and keep the plugin directory on a file system that may execute",
        )
    shebang = read_shebang(head)
    if shebang is None:
        return None
    missing = missing_interpreter(shebang, search_path)
    if missing is None:
        return None
    return error(
        full_path,
        "interpreter-missing",
        f"this host has no {missing}, which the script's '#!' line names",
        "install it, or bind the plugin only to hosts that have it",
        line=1,
    )


def _unreadable(full_path: str, reason: str) -> Problem:
    return error(
        full_path,
        "script-unreadable",
        f"the script cannot be read: {reason}",
        "restore the file, and make it readable for the agent's user",
    )
