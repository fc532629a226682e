"""The program of a visit and its data, as one stream for the standard input of a host's Python.

Only the modules of the wanted steps are sent: a host compiles them at each visit, which for all of
them costs it 16 ms, and for a new release half of that (measured).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roles.plugin_sync.host.program import STEPS

_CHECKOUT = Path(__file__).resolve().parents[3]
_PROGRAM = "roles.plugin_sync.host.program"
# What a host with an Open-Falcon agent needs besides, and imports when it does.
_FALCON = {
    "configure": ["roles.agent_config.host.starting"],
    "update": ["roles.agent_config.host.starting", "roles.agent_update.host.falcon"],
}

# Not by ast, which takes twenty times as long.
_IMPORT = re.compile(r"^from (roles\.[\w.]+) import ([\w, ]+)$", re.MULTILINE)

# Reads the header line, makes its sources importable under the names that they have here, and hands
# the rest of the stream over. All of standard input is read before anything is done: a program that
# ends before would break the sender's pipe.
_BOOT = """\
import json, sys, types
stream = sys.stdin.buffer
head = json.loads(stream.readline())
blobs = {name: stream.read(size) for name, size in head["blobs"]}
def module(name):
    if name not in sys.modules:
        made = sys.modules[name] = types.ModuleType(name)
        made.__path__ = []
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(module(parent), last, made)
    return sys.modules[name]
for name, source in head["modules"]:
    last = module(name)
    exec(compile(source, name, "exec"), last.__dict__)
last.run(head["plan"], blobs)
"""

BOOT_COMMAND = ["-E", "-s", "-S", "-c", f"exec({_BOOT!r})"]


class Payload:
    """Builds the streams of one deployment; the modules are read once."""

    def __init__(self) -> None:
        entries = {_PROGRAM, *_FALCON["update"], *(module for module, _ in STEPS.values())}
        self._sources: dict[str, str] = {}
        self._needed = {entry: self._with_imports(entry) for entry in sorted(entries)}

    def stream(self, plan: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bytes:
        """The bytes for a host: a header line with modules and plan, then the blobs."""
        header = {
            "modules": [[name, self._sources[name]] for name in self._modules(plan)],
            "plan": plan,
            "blobs": [[name, len(data)] for name, data in blobs.items()],
        }
        return json.dumps(header).encode() + b"\n" + b"".join(blobs.values())

    def _modules(self, plan: Mapping[str, Any]) -> list[str]:
        """The modules that the plan's steps need, each after those that it imports."""
        entries = [STEPS[step][0] for step in plan["steps"]]
        if plan["agent"]["kind"] == "falcon":
            entries += [entry for step in plan["steps"] for entry in _FALCON.get(step, [])]
        # The program last: its `run` is what the boot code calls.
        entries.append(_PROGRAM)
        return list(dict.fromkeys(name for entry in entries for name in self._needed[entry]))

    def _with_imports(self, name: str) -> list[str]:
        """A module after those of ours that it imports when it is loaded."""
        if name not in self._sources:
            self._sources[name] = _path(name).read_text()
        found: dict[str, None] = {}
        for package, names in _IMPORT.findall(self._sources[name]):
            for imported in names.split(", "):
                module = f"{package}.{imported}"
                needed = self._with_imports(module if _path(module).exists() else package)
                found.update(dict.fromkeys(needed))
        return [*found, name]


def _path(name: str) -> Path:
    return _CHECKOUT / f"{name.replace('.', '/')}.py"
