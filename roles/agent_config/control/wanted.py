"""What a host's cfg.json must say, from its variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roles.agent_config.control.merge import load


def wanted(settings: Mapping[str, Any], present: str | None) -> dict[str, Any]:
    """The settings that a host's cfg.json must have.

    Args:
        settings: the host's role variables.
        present: the file's text, or None where there is none.

    Raises:
        ConfigRefused: the file is not a JSON object.
    """
    path = settings["agent_config_path"]
    config: dict[str, Any] = {
        "plugin": {
            "enabled": True,
            "dir": settings["agent_config_plugin_dir"],
            "git": settings["plugin_sync_mirror"],
        }
    }
    if settings["agent_config_kind"] == "executor":
        config["plugin"]["logs"] = settings["agent_config_logs"]
        config["http"] = {"enabled": True, "listen": settings["agent_update_listen"]}
        config["executor"] = {
            "bindings": settings["agent_config_bindings_path"],
            "state": settings["executor_state"],
        }
    elif present is not None and not _has_logs(load(present, path)):
        # An agent has no default: it would write them into its working directory.
        config["plugin"]["logs"] = settings["agent_config_logs"] or "./logs"
    for section, value in settings["agent_config_settings"].items():
        if isinstance(value, Mapping) and isinstance(config.get(section), dict):
            config[section] = {**config[section], **value}
        else:
            config[section] = value
    return config


def _has_logs(config: Mapping[str, Any]) -> bool:
    """Whether a cfg.json says where the agent keeps what plugins write to stderr."""
    section = config.get("plugin")
    return isinstance(section, Mapping) and bool(section.get("logs"))
