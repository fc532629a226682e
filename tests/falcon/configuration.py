"""An agent's cfg.json (falcon-plus modules/agent/g/cfg.go): nothing has a default, and what is odd kills."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

# Each version's own words at /version; heartbeats carry the same.
VERSIONS = {"0.2.1": "5.1.2", "0.3": "5.1.2", "master": "0.3.x@9349180"}

_SECTIONS = ("plugin", "heartbeat", "transfer", "http", "collector")
# What is unmarshalled into another type than it has ends the agent.
_TYPES: dict[str, Any] = {
    "enabled": bool, "backdoor": bool, "dir": str, "git": str, "logs": str, "addr": str,
    "listen": str, "interval": int, "timeout": int, "addrs": list, "ifacePrefix": list,
}  # fmt: skip


def panic(why: str) -> None:
    """End the whole process, as a panic in any goroutine does."""
    sys.stderr.write(f"panic: {why}\n")
    sys.stderr.flush()
    os._exit(2)


def panic_at_nil() -> None:
    """What a missing section, or a null among the metrics, comes to."""
    panic("runtime error: invalid memory address or nil pointer dereference")


def log(text: str) -> None:
    """A line of the agent's log."""
    sys.stderr.write(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {text}\n")
    sys.stderr.flush()


class Config:
    """cfg.json, read at the start and by /config/reload."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.read()
        for section in _SECTIONS:
            if not isinstance(self.values.get(section), dict):
                panic_at_nil()

    def read(self) -> None:
        """Read the file again; a broken one ends the agent."""
        try:
            with open(self.path) as file:
                values = json.load(file)
            for section in _SECTIONS:
                for key, value in (values.get(section) or {}).items():
                    wanted = _TYPES.get(key, object)
                    if value is not None and (
                        not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))
                    ):
                        raise ValueError(f"cannot unmarshal into Go struct field {section}.{key}")
        except (OSError, ValueError, AttributeError) as error:
            log(f"parse config file: {self.path} fail: {error}")
            os._exit(1)
        self.values = values

    def of(self, section: str, key: str) -> Any:
        """A setting, or its type's zero; a missing section is a nil pointer."""
        if not isinstance(self.values.get(section), dict):
            panic_at_nil()
        value = self.values[section].get(key)
        return _TYPES.get(key, str)() if value is None else value

    @property
    def endpoint(self) -> str:
        """The name that it reports: the file's, the environment's, the host's."""
        return str(
            self.values.get("hostname") or os.environ.get("FALCON_ENDPOINT") or os.uname().nodename
        )
