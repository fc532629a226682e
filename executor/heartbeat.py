"""The agent's two calls to hbs, each heartbeat: who we are (`ReportStatus`), and what to run
(`MinePlugins`).

The agent takes a list only if hbs' clock went forward, forgets it at a restart, and waits one
interval before it asks at all (cron/plugin.go). Here any answer counts, the last one is kept on
disk, and the first call is at once.
"""

from __future__ import annotations

import json
import os

from executor import __version__
from executor.config import split_address
from executor.jsonrpc import JsonRpcClient
from executor.schedule import spread
from executor.tls import wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executor.config import Config
    from executor.jsonrpc import RpcError
    from executor.log import Log
    from executor.loop import Loop, Timer

AGENT_VERSION = f"pf-{__version__}"
"""The portal's column holds 16 characters."""

_FIRST_WITHIN = 2.0


class Heartbeat:
    """Talks to hbs until `stop()`. `last_error` is "" while it answers."""

    __slots__ = (
        "_client",
        "_config",
        "_interval",
        "_log",
        "_loop",
        "_on_plugins",
        "_plugin_version",
        "_saved",
        "_timer",
        "last_error",
    )

    def __init__(
        self,
        loop: Loop,
        log: Log,
        config: Config,
        plugin_version: Callable[[], str],
        on_plugins: Callable[[list[str]], None],
    ) -> None:
        self._loop = loop
        self._log = log
        self._config = config
        self._plugin_version = plugin_version
        self._on_plugins = on_plugins
        self._interval = config["heartbeat.interval"]
        self._saved = saved_list_path(config)
        self.last_error = ""
        self._client = JsonRpcClient(
            loop,
            split_address(config["heartbeat.addr"]),
            config["heartbeat.timeout"] / 1000.0,
            wrapper(config),
        )
        first = spread(config.hostname(), "heartbeat", min(_FIRST_WITHIN, self._interval))
        self._timer: Timer = loop.call_later(first, self._beat)

    def stop(self) -> None:
        self._timer.cancel()
        self._client.close()

    def _beat(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._beat)
        if self._client.busy:
            return
        status = {
            "Hostname": self._config.hostname(),
            "IP": self._config["ip"] or self._client.local_ip,
            "AgentVersion": AGENT_VERSION,
            "PluginVersion": self._plugin_version(),
        }
        self._client.call("Agent.ReportStatus", json.dumps(status).encode(), self._reported)

    def _reported(self, _result: Any, error: RpcError | None) -> None:
        if error is not None:
            self._note(f"Agent.ReportStatus: {error}")
            if not error.answered:
                return
        if not self._config["plugin.enabled"]:
            return
        question = {"Hostname": self._config.hostname(), "Checksum": ""}
        self._client.call("Agent.MinePlugins", json.dumps(question).encode(), self._listed)

    def _listed(self, result: Any, error: RpcError | None) -> None:
        if error is not None:
            self._note(f"Agent.MinePlugins: {error}")
            return
        plugins = result.get("Plugins") if isinstance(result, dict) else None
        if not isinstance(plugins, list) or not all(isinstance(item, str) for item in plugins):
            # hbs answers null to an empty host name: no list, so none is taken for "nothing to
            # run".
            self._note("Agent.MinePlugins: the answer holds no list of plugins")
            return
        if self.last_error:
            self._log.info("hbs answers again")
            self.last_error = ""
        self._save(plugins)
        self._on_plugins(plugins)

    def _note(self, error: str) -> None:
        if error != self.last_error:
            self._log.warning(f"hbs: {error}; the list of before stays")
        self.last_error = error

    def _save(self, plugins: list[str]) -> None:
        if plugins == load_list(self._saved):
            return
        temporary = self._saved + ".tmp"
        try:
            with open(temporary, "w", encoding="utf-8") as stream:
                json.dump(plugins, stream)
            os.replace(temporary, self._saved)
        except OSError as error:
            self._log.error(f"{self._saved}: {error.strerror}; a restart will wait for hbs")


def saved_list_path(config: Config) -> str:
    return os.path.join(config["executor.state"], "hbs-plugins.json")


def load_list(path: str) -> list[str]:
    """The list that hbs gave last; [] if it never did, or if the file is damaged."""
    try:
        with open(path, encoding="utf-8") as stream:
            plugins = json.load(stream)
    except (OSError, ValueError):
        return []
    if isinstance(plugins, list) and all(isinstance(item, str) for item in plugins):
        return plugins
    return []
