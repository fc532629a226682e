"""The endpoints of `:1988`: an Open-Falcon agent's paths and bodies (agent/http/*.go), and a few
of our own.
"""

from __future__ import annotations

import json
import os
import time

from executor import __version__, prometheus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executor.daemon import Daemon
    from executor.httpconnection import Request

_JSON = "application/json; charset=utf-8"


class Routes:
    """Answers requests about `daemon`."""

    __slots__ = ("_daemon", "_table")

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._table: dict[str, Callable[[Request], None]] = {
            "/health": self._health,
            "/health/detail": self._health_detail,
            "/version": self._version,
            "/workdir": self._workdir,
            "/plugins": self._plugins,
            "/plugins/detail": self._plugins_detail,
            "/plugin/update": self._plugin_update,
            "/plugin/reset": self._plugin_reset,
            "/plugin/status": self._plugin_status,
            "/config/reload": self._config_reload,
            "/v1/push": self._push,
            "/metrics": self._metrics,
            "/sinks": self._sinks,
        }

    def __call__(self, request: Request) -> None:
        handler = self._table.get(request.path.rstrip("/") or "/")
        if handler is None:
            request.respond("404 page not found\n", 404)
        elif request.method not in ("GET", "POST"):
            request.respond("use GET or POST\n", 405)
        else:
            handler(request)

    def _health(self, request: Request) -> None:
        request.respond("ok")

    def _health_detail(self, request: Request) -> None:
        _json(request, self._daemon.detail())

    def _version(self, request: Request) -> None:
        request.respond(f"plugfleet-{__version__}")

    def _workdir(self, request: Request) -> None:
        _json(request, os.getcwd())

    def _plugins(self, request: Request) -> None:
        _json(request, self._daemon.plugins.view())

    def _plugins_detail(self, request: Request) -> None:
        name, _, value = request.query.partition("=")
        wanted = _unquoted(value) if name == "plugin" else ""
        _json(request, self._daemon.plugins.detail(wanted))

    def _plugin_update(self, request: Request) -> None:
        if not self._daemon.config["plugin.enabled"]:
            request.respond("plugin not enabled")
        else:
            self._daemon.updater.request("update", request.respond)

    def _plugin_reset(self, request: Request) -> None:
        if not self._daemon.config["plugin.enabled"]:
            request.respond("plugin not enabled")
        else:
            self._daemon.updater.request("reset", request.respond)

    def _plugin_status(self, request: Request) -> None:
        def respond(text: str) -> None:
            request.respond(text, 200, _JSON)

        self._daemon.updater.request("status", respond)

    def _config_reload(self, request: Request) -> None:
        if not request.from_loopback:
            request.respond("no privilege")
            return
        error = self._daemon.reload()
        if error:
            _answer(request, {"msg": f"config refused, the old one stays: {error}"}, 400)
        else:
            _json(request, self._daemon.config.shown())

    def _push(self, request: Request) -> None:
        if not request.body.strip():
            request.respond("body is blank", 400)
            return
        batch = self._daemon.runtime.intake.take_batch(request.body, 60)
        if batch.lost:
            # The agent's word, spelling and all: programs look for it.
            request.respond(f"connot decode body: {batch.reason()}", 400)
        else:
            request.respond("success")

    def _metrics(self, request: Request) -> None:
        if not self._daemon.config["executor.prometheus"]:
            request.respond("prometheus is switched off in cfg.json\n", 404)
            return
        text = self._daemon.own_metrics() + self._daemon.table.text(time.monotonic())
        request.respond(text, 200, prometheus.CONTENT_TYPE)

    def _sinks(self, request: Request) -> None:
        _json(request, self._daemon.sinks.view())


def _unquoted(text: str) -> str:
    """A query's value; `urllib` would cost memory."""
    parts = text.replace("+", " ").encode("utf-8", "replace").split(b"%")
    found = parts[0]
    for part in parts[1:]:
        try:
            found += bytes([int(part[:2], 16)]) + part[2:]
        except ValueError:
            found += b"%" + part
    return found.decode("utf-8", "replace")


def _json(request: Request, data: Any) -> None:
    _answer(request, {"msg": "success", "data": data}, 200)


def _answer(request: Request, content: dict[str, Any], status: int) -> None:
    request.respond(json.dumps(content), status, _JSON)
