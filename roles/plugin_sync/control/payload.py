"""The program of a visit and its data, as one stream for the standard input of a host's Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ROLES = Path(__file__).resolve().parents[2]

# Modules before those that import them.
_MODULES = (
    "plugin_sync/host/outcome.py",
    "plugin_sync/host/command.py",
    "plugin_sync/host/mirror.py",
    "agent_update/host/loopback.py",
    "agent_config/host/files.py",
    "agent_config/host/agent_config.py",
    "agent_update/host/checkout.py",
    "agent_update/host/agent_update.py",
    "executor/host/executor.py",
    "plugin_sync/host/program.py",
)

# Reads the header line, makes its sources importable, and hands the rest of the stream over. Whole
# standard input is read first: a program that ends before would break the sender's pipe.
_BOOT = """\
import json, sys, types
stream = sys.stdin.buffer
head = json.loads(stream.readline())
blobs = {name: stream.read(size) for name, size in head["blobs"]}
for name, source in head["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
module.run(head["plan"], blobs)
"""

BOOT_COMMAND = ["-E", "-s", "-S", "-c", f"exec({_BOOT!r})"]


class Payload:
    """Builds the streams of one deployment; the modules are read once."""

    def __init__(self) -> None:
        self._modules = [[Path(path).stem, (_ROLES / path).read_text()] for path in _MODULES]

    def stream(self, plan: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bytes:
        """The bytes for a host: a header line with modules and plan, then the blobs."""
        header = {
            "modules": self._modules,
            "plan": plan,
            "blobs": [[name, len(data)] for name, data in blobs.items()],
        }
        return json.dumps(header).encode() + b"\n" + b"".join(blobs.values())
