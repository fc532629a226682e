"""What is wrong with the Python files that a manifest's commands start, and with the files of the
plugin that those import (rules: the executor's interpreters: `python` is Python 2.7 where a host has
it, else Python 3)."""

from __future__ import annotations

import os

from agentplugin.commandline import split_words
from agentplugin.problems import Problem, error, shown, warning
from agentplugin.python2 import MODULES, imported, uses_python2
from agentplugin.pythonsyntax import syntax_problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentplugin.manifest import Manifest

_MAX_FILES = 30
_MAX_BYTES = 1 << 20


def own_file(folder: str, word: str) -> str | None:
    """The file of a plugin's folder that a word of its manifest means, or None."""
    top = os.path.realpath(folder)
    try:
        full = os.path.realpath(os.path.join(top, word))
    except ValueError:
        # A NUL, or half of a character: no file has such a name.
        return None
    return full if full.startswith(top.rstrip("/") + "/") and os.path.isfile(full) else None


def python_problems(manifest: Manifest, folder: str) -> list[Problem]:
    """Findings on the Python code of a plugin; each names the file that it is about."""
    problems: list[Problem] = []
    done: set[str] = set()
    for command in (manifest.effective_command, manifest.post_extract):
        program, *words = split_words(command.strip())
        program = program.rpartition("/")[2]
        if not program.startswith("python") or manifest.needs_meter:
            continue
        if program.startswith("python2"):
            problems.append(_only_python2(manifest, command, program))
            continue
        script = next((word for word in words if word.endswith(".py")), None)
        if script is None:
            continue
        own = {
            name
            for name in MODULES
            if own_file(folder, os.path.join(os.path.dirname(script), f"{name}.py"))
        }
        for name, source in _files(folder, script):
            path = os.path.join(os.path.dirname(manifest.path), name)
            if path not in done:
                found = _file_problem(path, source, program, own)
                problems += [] if found is None else [found]
            done.add(path)
    return problems


def _only_python2(manifest: Manifest, command: str, program: str) -> Problem:
    field = "postExtract" if command == manifest.post_extract else "command"
    return warning(
        manifest.path,
        "manifest-python2",
        f"the {field} starts {shown(program)}, which no current distribution has: hosts without it "
        "show unsupported-runtime",
        "port it to python3, or bind it only where python2.7 is",
        pointer=f"/{field}",
    )


def _file_problem(path: str, source: bytes, program: str, own: set[str]) -> Problem | None:
    """The one finding on a file: that it is Python 2, or does not compile."""
    fault = syntax_problem(path, source, program)
    if fault is not None and program.startswith("python3"):
        return fault
    if fault is not None:
        return warning(
            path,
            "manifest-python2",
            f"{fault.message}. If that is Python 2, the plugin runs only where python2.7 is: hosts "
            "without it show unsupported-runtime",
            "port it to Python 3 (2to3 does most of it), or bind it only where python2.7 is",
            fault.line,
        )
    used = uses_python2(source, own)
    if used is None:
        return None
    what, line = used
    if program.startswith("python3"):
        return error(
            path,
            "manifest-python2",
            f"{shown(what)} is Python 2, and the command starts {program}: every run fails there",
            "port the file to Python 3",
            line,
        )
    return warning(
        path,
        "manifest-python2",
        f"{shown(what)} is Python 2, so the plugin runs only where python2.7 is: hosts without it "
        "show unsupported-runtime",
        "port it to Python 3 (2to3 does most of it), or bind it only where python2.7 is",
        line,
    )


def _files(folder: str, script: str) -> Iterator[tuple[str, bytes]]:
    """The script and the plugin's own files that it imports, as path in the folder and content."""
    beside = os.path.dirname(script)
    waiting, seen = [script], {script}
    while waiting and len(seen) <= _MAX_FILES:
        name = waiting.pop(0)
        full = own_file(folder, name)
        if full is None or os.path.getsize(full) > _MAX_BYTES:
            continue
        try:
            with open(full, "rb") as file:
                source = file.read()
        except OSError:
            # The unreadable file has its finding already.
            continue
        yield os.path.normpath(name), source
        for module in imported(source):
            for found in (f"{module}.py", f"{module}/__init__.py"):
                path = os.path.join(beside, found)
                if path not in seen:
                    seen.add(path)
                    waiting.append(path)
