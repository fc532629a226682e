"""The agent's two calls to hbs, each heartbeat: who we are (`ReportStatus`), and what to run
(`MinePlugins`).

The agent takes a list only if its `Timestamp` went forward, forgets it at a restart, and waits one
interval before it asks at all (cron/plugin.go). Here the last list is kept on disk with its
`Timestamp`, one that is no younger counts too, and the first call is at once. An older list, as
the second of two hbs may have it, is taken only where no other comes: a clock that was set back, or
a database that was restored, must not freeze a host.
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
_OLDER_TAKEN = 3
"""Answers in a row with an older list, after which it is taken."""


class Heartbeat:
    """Talks to hbs until `stop()`. `last_error` is "" while it answers."""

    __slots__ = (
        "_client",
        "_config",
        "_interval",
        "_log",
        "_loop",
        "_older",
        "_on_plugins",
        "_plugin_version",
        "_saved",
        "_stamp",
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
        self._stamp = _load(self._saved)[1]
        self._older = 0
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
        stamp = _stamp(result.get("Timestamp"))
        if stamp < self._stamp and self._older < _OLDER_TAKEN - 1:
            self._older += 1
            self._note("Agent.MinePlugins: the list is older than the one of before")
            return
        self._older = 0
        if self.last_error:
            self._log.info("hbs answers again")
            self.last_error = ""
        self._save(plugins, stamp)
        self._on_plugins(plugins)

    def _note(self, error: str) -> None:
        if error != self.last_error:
            self._log.warning(f"hbs: {error}; the list of before stays")
        self.last_error = error

    def _save(self, plugins: list[str], stamp: int) -> None:
        self._stamp = stamp
        saved, _ = _load(self._saved)
        # Where only the stamp moved, as hbs' does by the second, what is on disk is as good.
        if plugins == saved:
            return
        temporary = self._saved + ".tmp"
        try:
            with open(temporary, "w", encoding="utf-8") as stream:
                json.dump({"plugins": plugins, "timestamp": stamp}, stream)
            os.replace(temporary, self._saved)
        except OSError as error:
            self._log.error(f"{self._saved}: {error.strerror}; a restart will wait for hbs")


def saved_list_path(config: Config) -> str:
    return os.path.join(config["executor.state"], "hbs-plugins.json")


def load_list(path: str) -> list[str]:
    """The list that hbs gave last; [] if it never did, or if the file is damaged."""
    return _load(path)[0]


def _load(path: str) -> tuple[list[str], int]:
    """The list, and its `Timestamp`, which an executor of before did not keep."""
    try:
        with open(path, encoding="utf-8") as stream:
            saved = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return [], 0
    if isinstance(saved, list):
        saved = {"plugins": saved}
    plugins = saved.get("plugins") if isinstance(saved, dict) else None
    if isinstance(plugins, list) and all(isinstance(item, str) for item in plugins):
        return plugins, _stamp(saved.get("timestamp"))
    return [], 0


def _stamp(value: Any) -> int:
    """A `Timestamp`; as in Go, one that is not there is 0."""
    return value if isinstance(value, int) else 0
