"""Which program of this host a manifest's first word means. Manifests of 2014 to 2018 say `python`
and mean Python 2, and `node`; the host's own map (`executor.interpreters`) comes first.
"""

from __future__ import annotations

import os

from agentplugin import python2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# First one that is there; a name that is not here means itself.
_DEFAULTS = {
    "python": ("python2.7", "python2", "python", "python3"),
    "node": ("node", "nodejs"),
    "powershell": ("powershell", "pwsh"),
}

_HEAD_BYTES = 128

# How Python 3 ends on Python 2 code: the last line of its traceback begins, or ends, so.
_PYTHON2_SYNTAX = (
    "SyntaxError: Missing parentheses in call to",
    "SyntaxError: multiple exception types must be parenthesized",
    "SyntaxError: leading zeros in decimal integer literals",
    "SyntaxError: invalid decimal literal",
)


def resolved(argv: list[str], mapped: dict[str, Any], folder: str, search_path: str) -> list[str]:
    """The command line with a program that is really here, or [] where none is.

    mapped  executor.interpreters: a first word -> a path, or a list of words
    """
    own = mapped.get(argv[0])
    if own:
        argv = [*(own if isinstance(own, list) else [own]), *argv[1:]]
    program = argv[0]
    if "/" in program:
        full = os.path.join(folder, program)
        return [full, *argv[1:]] if os.path.exists(full) else []
    names = (program,) if own else _DEFAULTS.get(program, (program,))
    found = next(filter(None, (which(name, search_path) for name in names)), "")
    return [found, *argv[1:]] if found else []


def which(program: str, search_path: str) -> str:
    """The first executable `program` on `search_path`, or ""."""
    for folder in search_path.split(":"):
        full = os.path.join(folder or ".", program)
        if os.access(full, os.X_OK) and not os.path.isdir(full):
            return full
    return ""


def by_shell(argv: list[str]) -> list[str]:
    """The command line for a program that the kernel knows no format of (ENOEXEC): a text without
    "#!" is for /bin/sh, by the rule of execvp(3) that node's spawn follows; [] for anything else.
    """
    try:
        with open(argv[0], "rb") as stream:
            first_line = stream.read(_HEAD_BYTES).partition(b"\n")[0]
    except OSError:
        return []
    return [] if b"\0" in first_line else ["/bin/sh", *argv]


def python2_reason(argv: list[str], last_stderr: str) -> str:
    """Why a plugin that failed cannot run here, if its last words say that it is Python 2 code under
    Python 3; "" else.
    """
    if not os.path.basename(os.path.realpath(argv[0])).startswith("python3"):
        return ""
    if not (
        last_stderr.startswith(_PYTHON2_SYNTAX)
        or any(last_stderr == f"ModuleNotFoundError: No module named '{name}'"
               for name in python2.MODULES)
        or any(last_stderr.startswith(f"NameError: name '{name}' is not defined")
               for name in python2.NAMES)
    ):  # fmt: skip
        return ""
    return (
        f"is Python 2 code and this host runs it with {argv[0]} ({last_stderr}): install python2.7, "
        'or name one in executor.interpreters as "python"'
    )
