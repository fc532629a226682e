"""Why the kernel would not run a script, told from its first bytes and its mode (rules: execve(2),
and the Open-Falcon agent's measured answers to each)."""

from __future__ import annotations

import os
import stat

from agentplugin.problems import Problem, error, info, shown, warning

HEAD_BYTES = 65536
"""How much of a file is enough for every check but the CRLF one of a longer script."""

MAX_SHEBANG = 127
"""Bytes of a "#!" line that every kernel in use reads (Linux before 5.1 cuts there)."""

_BOM = b"\xef\xbb\xbf"
_LFS_HEAD = b"version https://git-lfs.github.com/spec/v1"
_ELF = b"\x7fELF"
_PYTHON2 = ("python2", "python2.7", "python2.6")
_SHELLS = ("sh", "bash", "dash", "ash", "ksh", "zsh")


class Shebang:
    """A script's "#!" line.

    interpreter  what the kernel executes, e.g. "/usr/bin/env"
    argument     the rest of the line, which the kernel passes as ONE argument ("" without)
    program      the name that decides: "python3" for "/usr/bin/python3" and "/usr/bin/env python3"
    """

    __slots__ = ("argument", "interpreter", "program")

    def __init__(self, interpreter: str, argument: str) -> None:
        self.interpreter = interpreter
        self.argument = argument
        words = argument.split()
        if self.via_env:
            named = [word for word in words if not word.startswith("-") and "=" not in word]
            self.program = named[0].rpartition("/")[2] if named else ""
        else:
            self.program = interpreter.rpartition("/")[2]

    @property
    def via_env(self) -> bool:
        return self.interpreter.rpartition("/")[2] == "env"


def read_shebang(head: bytes) -> Shebang | None:
    """The "#!" line at the start of a file, or None where there is none."""
    if not head.startswith(b"#!"):
        return None
    line = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace").strip(" \t\r")
    interpreter, _, argument = line.replace("\t", " ").partition(" ")
    return Shebang(interpreter, argument.strip())


def is_lfs_pointer(head: bytes) -> bool:
    """Whether these bytes are a Git LFS pointer instead of the file."""
    return head.startswith(_LFS_HEAD)


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
    if head.startswith(_ELF):
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
    problems = _interpreter_problems(path, shebang, len(first))
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


def _interpreter_problems(path: str, shebang: Shebang, length: int) -> list[Problem]:
    if not shebang.interpreter.startswith("/"):
        name = shebang.interpreter or "nothing"
        return [
            error(
                path,
                "shebang-not-absolute",
                f"the '#!' line names {shown(name)}: the kernel takes it relative to the agent's "
                "folder, "
                "so the agent logs 'no such file or directory'",
                "begin with #!/usr/bin/env python3 or #!/bin/sh",
                line=1,
            )
        ]
    problems: list[Problem] = []
    if shebang.via_env and not shebang.program:
        problems.append(
            error(
                path,
                "shebang-without-program",
                "the '#!' line calls env with no program: env then starts the script itself, for "
                "ever, at full load until the timeout",
                "write #!/usr/bin/env python3",
                line=1,
            )
        )
    elif shebang.via_env and " " in shebang.argument and not shebang.argument.startswith("-S"):
        problems.append(
            error(
                path,
                "shebang-env-arguments",
                f"the kernel hands env ONE argument, so it looks for a program called "
                f"{shown(shebang.argument)}",
                "write #!/usr/bin/env -S with the words after it, or drop the extra words",
                line=1,
            )
        )
    if length > MAX_SHEBANG:
        problems.append(
            warning(
                path,
                "shebang-too-long",
                f"the '#!' line has {length} bytes: kernels before 5.1 cut it at {MAX_SHEBANG}",
                "shorten the interpreter's path",
                line=1,
            )
        )
    if shebang.program in _PYTHON2:
        problems.append(
            warning(
                path,
                "interpreter-python2",
                f"{shebang.program} is on no current distribution, so most hosts have no "
                "interpreter for this",
                "port the script to python3",
                line=1,
            )
        )
    elif shebang.program == "python":
        problems.append(
            warning(
                path,
                "interpreter-ambiguous",
                "'python' is Python 2, Python 3 or missing, as the host likes",
                "write python3",
                line=1,
            )
        )
    return problems


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


def missing_interpreter(shebang: Shebang, search_path: str | None = None) -> str | None:
    """The interpreter or program that this host lacks for a "#!" line, or None."""
    if not os.access(shebang.interpreter, os.X_OK):
        return shebang.interpreter
    if not shebang.via_env or not shebang.program:
        return None
    folders = os.environ.get("PATH", os.defpath) if search_path is None else search_path
    for folder in folders.split(os.pathsep):
        if os.access(os.path.join(folder or ".", shebang.program), os.X_OK):
            return None
    return shebang.program


def _unreadable(full_path: str, reason: str) -> Problem:
    return error(
        full_path,
        "script-unreadable",
        f"the script cannot be read: {reason}",
        "restore the file, and make it readable for the agent's user",
    )
