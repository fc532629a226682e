"""A script's "#!" line: what it names, and what keeps that from running (rules: execve(2), env(1),
and the Open-Falcon agent's measured answers to each)."""

from __future__ import annotations

import os
import re

from agentplugin.problems import Problem, error, info, shown, warning

MAX_SHEBANG = 127
"""Bytes of a "#!" line that every kernel in use reads (Linux before 5.1 cuts there)."""

_PYTHON2 = ("python2", "python2.7", "python2.6")
# What distributions package under such a name, whether or not a given host has it installed.
_USUAL_PROGRAM = re.compile(
    r"sh|bash|dash|ash|zsh|ksh|ksh93|mksh|busybox|env|python[23]?|python[23]\.[0-9]+|pypy3?"
    r"|perl|ruby|node|nodejs|php|lua(jit|5\.[0-9])?|[gmn]?awk|sed|tclsh(8\.[0-9])?|expect"
)
_USUAL_FOLDERS = ("/bin", "/usr/bin", "/usr/local/bin")


class Shebang:
    """A script's "#!" line.

    interpreter  what the kernel executes, e.g. "/usr/bin/env"
    argument     the rest of the line, which the kernel passes as ONE argument ("" without)
    named        what decides, as it is written: "/opt/py/bin/python3", "python3" after env
    program      the name of that: "python3" for "/usr/bin/python3" and "/usr/bin/env python3"
    """

    __slots__ = ("argument", "interpreter", "named", "program")

    def __init__(self, interpreter: str, argument: str) -> None:
        self.interpreter = interpreter
        self.argument = argument
        self.named = interpreter
        if self.via_env:
            words = argument.split()
            named = [word for word in words if not word.startswith("-") and "=" not in word]
            self.named = named[0] if named else ""
        self.program = self.named.rpartition("/")[2]

    @property
    def via_env(self) -> bool:
        return self.interpreter.rpartition("/")[2] == "env"

    @property
    def in_usual_place(self) -> bool:
        """Whether it is looked for only where distributions put their programs."""
        return _is_usual_place(self.interpreter) and _is_usual_place(self.named)

    @property
    def needed(self) -> str:
        """What a host must have: the program, or an env that is kept in an unusual place."""
        return self.named if _is_usual_place(self.interpreter) else self.interpreter


def _is_usual_place(program: str) -> bool:
    folder, slash, _ = program.rpartition("/")
    return not slash or folder in _USUAL_FOLDERS


def read_shebang(head: bytes) -> Shebang | None:
    """The "#!" line at the start of a file, or None where there is none."""
    if not head.startswith(b"#!"):
        return None
    line = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace").strip(" \t\r")
    interpreter, _, argument = line.replace("\t", " ").partition(" ")
    return Shebang(interpreter, argument.strip())


def missing_interpreter(shebang: Shebang, search_path: str | None = None) -> str | None:
    """The interpreter or program that this host lacks for a "#!" line, or None."""
    if not os.access(shebang.interpreter, os.X_OK):
        return shebang.interpreter
    if not shebang.via_env or not shebang.program:
        return None
    if "/" in shebang.named:
        return None if os.access(shebang.named, os.X_OK) else shebang.named
    folders = os.environ.get("PATH", os.defpath) if search_path is None else search_path
    for folder in folders.split(os.pathsep):
        if os.access(os.path.join(folder or ".", shebang.program), os.X_OK):
            return None
    return shebang.program


def interpreter_problems(path: str, shebang: Shebang, length: int) -> list[Problem]:
    """What is wrong with what the "#!" line of the script at `path` names; `length` in bytes."""
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
    problems = _env_problems(path, shebang)
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
    if shebang.program:
        problems += _program_problems(path, shebang)
    return problems


def _env_problems(path: str, shebang: Shebang) -> list[Problem]:
    if not shebang.via_env:
        return []
    if not shebang.program:
        return [
            error(
                path,
                "shebang-without-program",
                "the '#!' line calls env with no program: env then starts the script itself, for "
                "ever, at full load until the timeout",
                "write #!/usr/bin/env python3",
                line=1,
            )
        ]
    if " " in shebang.argument and not shebang.argument.startswith("-S"):
        return [
            error(
                path,
                "shebang-env-arguments",
                f"the kernel hands env ONE argument, so it looks for a program called "
                f"{shown(shebang.argument)}",
                "write #!/usr/bin/env -S with the words after it, or drop the extra words",
                line=1,
            )
        ]
    return []


def _program_problems(path: str, shebang: Shebang) -> list[Problem]:
    if shebang.program in _PYTHON2:
        return [
            warning(
                path,
                "interpreter-python2",
                f"{shebang.program} is on no current distribution, so most hosts have no "
                "interpreter for this",
                "port the script to python3",
                line=1,
            )
        ]
    usual_name = _USUAL_PROGRAM.fullmatch(shebang.program)
    if not usual_name or not shebang.in_usual_place:
        # A place of one's own is chosen, a name that nobody knows may be a slip.
        say = info if usual_name else warning
        return [
            say(
                path,
                "unusual-interpreter",
                f"the '#!' line needs {shown(shebang.needed)}, which hosts do not have by "
                "themselves: where it is missing there is never data",
                "install it on every host that gets the plugin, or use another interpreter",
                line=1,
            )
        ]
    if shebang.program == "python":
        return [
            warning(
                path,
                "interpreter-ambiguous",
                "'python' is Python 2, Python 3 or missing, as the host likes",
                "write python3",
                line=1,
            )
        ]
    return []
