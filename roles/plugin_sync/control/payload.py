"""The program of a visit and its data, as one stream for the standard input of a host's Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).resolve().parents[3]

# Modules before those that import them.
_MODULES = (
    "roles.plugin_sync.host.outcome",
    "roles.plugin_sync.host.command",
    "roles.plugin_sync.host.leftovers",
    "roles.plugin_sync.host.mirror",
    "roles.agent_update.host.loopback",
    "roles.agent_update.host.process",
    "roles.agent_config.host.files",
    "roles.agent_config.host.restart",
    "roles.agent_config.host.configure",
    "roles.agent_update.host.state",
    "roles.agent_update.host.clone",
    "roles.agent_update.host.edits",
    "roles.agent_update.host.checkout",
    "roles.agent_update.host.update",
    "roles.executor.host.service",
    "roles.plugin_sync.host.program",
)

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
        self._modules = [
            [name, (_CHECKOUT / f"{name.replace('.', '/')}.py").read_text()] for name in _MODULES
        ]

    def stream(self, plan: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bytes:
        """The bytes for a host: a header line with modules and plan, then the blobs."""
        header = {
            "modules": self._modules,
            "plan": plan,
            "blobs": [[name, len(data)] for name, data in blobs.items()],
        }
        return json.dumps(header).encode() + b"\n" + b"".join(blobs.values())
