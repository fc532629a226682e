"""What a host said of its Open-Falcon agent, made the roles' variables that nobody has set.

What is found: its working directory, cfg.json, plugin folder, logs and user (find_agent.sh). What
cannot be told apart is a failure that names the variable to set, never a guess.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roles.agent_config.control import falconcfg
from roles.agent_config.control.merge import ConfigRefused, load

SCRIPT = Path(__file__).with_name("find_agent.sh").read_text()

# What find_agent.sh calls it -> the variable.
VARIABLES = {
    "home": "agent_config_home",
    "cfg": "agent_config_path",
    "dir": "agent_config_plugin_dir",
    "logs": "agent_config_logs",
    "user": "plugin_sync_user",
}


@dataclass(frozen=True)
class Found:
    """What find_agent.sh printed.

    Attributes:
        pids: the processes that may be the agent.
        root: the root directory of the only one, as the kernel names it.
        places: configuration files in the usual places, where no process was found.
        values: home, cfg, dir, logs and user: what was told, else what was found, else "".
    """

    pids: Sequence[str]
    root: str
    places: Sequence[str]
    values: Mapping[str, str]


def read(text: str) -> Found:
    """Read what find_agent.sh printed."""
    values: dict[str, str] = {}
    places = []
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "place":
            places.append(value)
        else:
            values[name] = value
    return Found(
        pids=values.get("pids", "").split(),
        root=values.get("root", ""),
        places=places,
        values={name: values.get(name, "") for name in VARIABLES},
    )


def plain(path: str) -> str:
    """An absolute path without what says nothing: `.`, `//`, a slash at its end.

    `..` stays: after a link, only the host knows what that is.
    """
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def is_needed(settings: Mapping[str, Any]) -> bool:
    """Whether something of a host's agent is to be found."""
    asked = [name for key, name in VARIABLES.items() if key != "home"]
    return settings["agent_config_kind"] == "falcon" and not all(settings[n] for n in asked)


def complete(
    settings: Mapping[str, Any], found: Found, config: str | None, *, as_root: bool
) -> dict[str, Any]:
    """The variables, with what was found for those that were empty.

    Args:
        config: the text of the configuration file that was found, or None.
        as_root: the visit is root's, so the agent's user must be known.

    Raises:
        ConfigRefused: the agent cannot be told, and which variable to set.
    """
    told = {key: str(settings[name]) for key, name in VARIABLES.items()}
    _refuse_unclear(found, told, str(settings["agent_update_listen"]))
    values = {key: told[key] or value for key, value in found.values.items()}
    if config is None:
        raise missing(values["cfg"])
    present = load(config, values["cfg"])
    for key in ("dir", "logs"):
        values[key] = told[key] or falconcfg.folder(present, key, values["home"])
    if not values["dir"]:
        raise ConfigRefused(
            f"{values['cfg']} has no plugin.dir that can be resolved, since the agent's working "
            "directory is not known; set agent_config_plugin_dir, or agent_config_home"
        )
    if not values["user"] and as_root:
        raise ConfigRefused(
            "the user that the agent runs as is not known, since no process of it was found; set "
            "plugin_sync_user"
        )
    return {**settings, **{name: values[key] for key, name in VARIABLES.items()}}


def missing(path: str) -> ConfigRefused:
    """That there is no configuration file.

    An agent reads no defaults: it does not run with a file that holds our keys alone.
    """
    return ConfigRefused(
        f"there is no {path}; set agent_config_path to the configuration file of this host's "
        "Open-Falcon agent"
    )


def refuse_folder(settings: Mapping[str, Any]) -> None:
    """Refuse a plugin folder, which is replaced as a whole, with more in it than plugins.

    Raises:
        ConfigRefused: the agent itself, its configuration, or what is kept on the host is in it.
    """
    folder = str(settings["agent_config_plugin_dir"]).rstrip("/")
    for name in (
        "agent_config_home",
        "agent_config_path",
        "plugin_sync_root",
        "plugin_sync_mirror",
    ):
        inside = str(settings[name]).rstrip("/")
        if inside and (inside == folder or inside.startswith(folder + "/")):
            raise ConfigRefused(
                f"the agent's plugin folder {folder or '/'} has {inside} in it; set "
                "agent_config_plugin_dir to a folder of its own, e.g. "
                + posixpath.join(str(settings["agent_config_home"]) or "/", "plugin")
            )


def refuse_deaf(config: Mapping[str, Any], path: str, listen: str) -> None:
    """Refuse an agent that does not answer, where its own configuration says why.

    Raises:
        ConfigRefused: it listens elsewhere, or not at all.
    """
    http = config.get("http")
    if not isinstance(http, Mapping):
        return
    if http.get("enabled") is not True:
        raise ConfigRefused(
            f"http.enabled is not true in {path}, so the agent takes no update; set "
            "agent_config_settings={'http': {'enabled': true}}"
        )
    port = str(http.get("listen")).rpartition(":")[2]
    if port != listen.rpartition(":")[2]:
        raise ConfigRefused(
            f"no agent answers on {listen}, and {path} has it listen on {http.get('listen')}; set "
            f"agent_update_listen to 127.0.0.1:{port}"
        )


def _refuse_unclear(found: Found, told: Mapping[str, str], listen: str) -> None:
    if len(found.pids) > 1:
        raise ConfigRefused(
            f"{len(found.pids)} processes may be this host's Open-Falcon agent (process ids "
            f"{', '.join(found.pids)}); set agent_config_home to the working directory of the one "
            "that is meant"
        )
    if found.pids and found.root not in ("", "/"):
        raise ConfigRefused(
            f"the Open-Falcon agent (process {found.pids[0]}) has {found.root} as its root directory; "
            "set agent_config_path and agent_config_plugin_dir as they are called on the host"
        )
    if found.values["cfg"]:
        return
    if found.pids:
        raise ConfigRefused(
            f"the working directory of the Open-Falcon agent (process {found.pids[0]}) may not be seen "
            "by this user; set agent_config_path and agent_config_home, or become root"
        )
    if len(found.places) > 1:
        raise ConfigRefused(
            f"no Open-Falcon agent runs, and there are several configurations of one "
            f"({', '.join(found.places)}); set agent_config_path"
        )
    where = f" below {told['home']}" if told["home"] else ", and none is in a usual place"
    raise ConfigRefused(
        f"no Open-Falcon agent was found: nothing of that name runs or listens on {listen}{where}; "
        "start it, or set agent_config_path and agent_config_home (agent_config_kind=executor where "
        "the host has none)"
    )
