"""What an Open-Falcon agent's cfg.json must be like for the agent to live with it.

The agent (Go, falcon-plus modules/agent/g/cfg.go) has no defaults: a section that is missing is a
nil pointer at its next start, and a value of another type ends it at its next reload.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any

from roles.agent_config.control.merge import ConfigRefused

# Section -> setting -> its type in the agent.
_SHAPE: Mapping[str, Mapping[str, str]] = {
    "plugin": {"enabled": "bool", "dir": "text", "git": "text", "logs": "text"},
    "heartbeat": {"enabled": "bool", "addr": "text", "interval": "number", "timeout": "number"},
    "transfer": {"enabled": "bool", "addrs": "texts", "interval": "number", "timeout": "number"},
    "http": {"enabled": "bool", "listen": "text", "backdoor": "bool"},
    "collector": {"ifacePrefix": "texts", "mountPoint": "texts"},
}
_PLAIN = {
    "debug": "bool",
    "hostname": "text",
    "ip": "text",
    "default_tags": "tags",
    "ignore": "flags",
}
_WORDS = {
    "bool": "true or false",
    "text": "a text in quotes",
    "number": "a whole number",
    "texts": "a list of texts",
    "tags": "a section of texts",
    "flags": "a section of true or false",
}


def check(config: Mapping[str, Any], path: str) -> None:
    """Hold a whole configuration against what the agent reads.

    Raises:
        ConfigRefused: names the setting that would end the agent.
    """
    wrong = [_told(name, kind) for name, kind in _PLAIN.items() if not _fits(config, name, kind)]
    for section, settings in _SHAPE.items():
        found = config.get(section)
        if not isinstance(found, Mapping):
            wrong.append(f"it has no section {section!r}")
            continue
        wrong += [
            _told(f"{section}.{name}", kind)
            for name, kind in settings.items()
            if not _fits(found, name, kind)
        ]
    if wrong:
        raise ConfigRefused(
            f"{path} would end the agent at its next start: {'; '.join(wrong)}. Correct the file or "
            "agent_config_settings; nothing was written"
        )


def patience(text: str) -> int:
    """Seconds after which an agent must list what is bound: two of its heartbeats, and some."""
    try:
        interval = json.loads(text)["heartbeat"]["interval"]
    except (ValueError, KeyError, TypeError):
        interval = None
    return 30 + 2 * (interval if isinstance(interval, int) else 60)


def folder(config: Mapping[str, Any], name: str, home: str) -> str:
    """A folder of the plugin section as an absolute path; "" where none can be told.

    Args:
        name: "dir" or "logs".
        home: the agent's working directory, which it resolves such paths against; may be "".

    Raises:
        ConfigRefused: the file has something else than a text there.
    """
    section = config.get("plugin")
    value = section.get(name) if isinstance(section, Mapping) else None
    if value is None:
        value = {"dir": "./plugin", "logs": "./logs"}[name]
    if not isinstance(value, str):
        raise ConfigRefused(
            f"{_told(f'plugin.{name}', 'text')} in the agent's cfg.json; correct it"
        )
    if not value:
        return ""
    path = posixpath.join(home, value)
    return posixpath.normpath(path) if path.startswith("/") else ""


def _fits(section: Mapping[str, Any], name: str, kind: str) -> bool:
    value = section.get(name)
    if value is None:
        # A setting that is missing, or null, is the type's zero.
        return True
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "text":
        return isinstance(value, str)
    if kind in ("tags", "flags"):
        each = str if kind == "tags" else bool
        return isinstance(value, dict) and all(isinstance(item, each) for item in value.values())
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _told(name: str, kind: str) -> str:
    return f"{json.dumps(name)} must be {_WORDS[kind]}"
