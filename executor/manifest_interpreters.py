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
_VERSION_BYTES = 4096

# How Python 3 ends on Python 2 code: the last line of its traceback begins so.
_PYTHON2_SYNTAX = (
    "SyntaxError: Missing parentheses in call to",
    "SyntaxError: multiple exception types must be parenthesized",
    "SyntaxError: leading zeros in decimal integer literals",
    "SyntaxError: invalid decimal literal",
    "TabError: inconsistent use of tabs and spaces",
    "AttributeError: 'dict' object has no attribute 'has_key'",
    "AttributeError: 'dict' object has no attribute 'iter",
    "AttributeError: module 'urllib' has no attribute '",
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
    unchosen = ""
    for folder in search_path.split(":"):
        full = os.path.join(folder or ".", program)
        if not os.access(full, os.X_OK) or os.path.isdir(full):
            continue
        root, last = os.path.split(folder.rstrip("/"))
        if last != "shims" or not os.path.isdir(os.path.join(root, "versions")):
            return full
        chosen, other = _behind_shim(root, program)
        if chosen:
            return chosen
        unchosen = unchosen or other
    return unchosen


def _behind_shim(root: str, program: str) -> tuple[str, str]:
    """What a shim of pyenv, nodenv or rbenv stands for: of the versions that are chosen, and of any
    ("" without one). There is a shim for what any version has, and it answers 127 where none that is
    chosen has it: then e.g. python2.7 is on this host, and its shim is not the way to it.
    """
    homes = os.path.join(root, "versions")
    try:
        with open(os.path.join(root, "version"), encoding="utf-8") as stream:
            chosen = stream.read(_VERSION_BYTES).split()
    except (OSError, ValueError):
        chosen = []
    try:
        installed = sorted(os.listdir(homes), reverse=True)
    except OSError:
        installed = []
    for version in chosen:
        behind = os.path.join(homes, version, "bin", program)
        if os.access(behind, os.X_OK):
            return behind, ""
        if version != "system" and not os.path.isdir(os.path.join(homes, version)):
            # A prefix such as 3.11: the shim knows what it means.
            return os.path.join(root, "shims", program), ""
    for version in installed:
        behind = os.path.join(homes, version, "bin", program)
        if os.access(behind, os.X_OK):
            return "", behind
    return "", ""


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
