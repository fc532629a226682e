"""The daemon: puts the parts together, takes over new configurations, and stops in order."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import time

from executor import __version__, config, prometheus
from executor.errors import ConfigError, ExecutorError
from executor.heartbeat import Heartbeat, load_list, saved_list_path
from executor.httpserver import HttpServer
from executor.intake import Intake
from executor.leftovers import kill_leftovers
from executor.loop import Loop
from executor.plugins import Plugins
from executor.process import Children
from executor.routes import Routes
from executor.runtime import Runtime
from executor.sinks import Sinks
from executor.updater import Updater

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executor.config import Config
    from executor.log import Log

_STOP_GRACE = 2.0
_FLUSH_SECONDS = 2.0
_PLUGIN_FIELDS = (
    "plugin.enabled",
    "plugin.dir",
    "plugin.logs",
    "hostname",
    "executor.interpreters",
    "executor.first_run_within",
    "executor.postextract",
    "executor.postextract_timeout",
    "executor.postextract_max_bytes",
    "executor.node_path",
    "executor.node_modules",
    "executor.aggregate",
    "executor.silence_limit",
    "executor.secret_arguments",
)
_HEARTBEAT_FIELDS = (
    "plugin.enabled",
    "plugin.dir",
    "hostname",
    "ip",
    "heartbeat.enabled",
    "heartbeat.addr",
    "heartbeat.interval",
    "heartbeat.timeout",
    "heartbeat.tls.authority",
    "heartbeat.tls.certificate",
    "heartbeat.tls.key",
)


class Daemon:
    """One running executor. `run()` returns after SIGTERM or SIGINT."""

    def __init__(self, configuration: Config, log: Log) -> None:
        self.config = configuration
        self.log = log
        self.config_error = ""
        self._began = time.monotonic()
        self._stopping = False
        self._lock = _lock_state(configuration["executor.state"])
        _live_beside_plugins(configuration)
        kill_leftovers(
            configuration["executor.state"], log, "left running by an executor that was killed"
        )
        self.loop = Loop(log)
        self.sinks = Sinks(self.loop, log, configuration)
        self.table = prometheus.Table(configuration.hostname())
        intake = Intake(configuration, self.sinks, self.table)
        self.runtime = Runtime(self.loop, Children(self.loop), log, intake, configuration)
        self.plugins = Plugins(self.runtime)
        self.updater = Updater(self.runtime, self.plugins.refresh)
        self.heartbeat: Heartbeat | None = None
        self.http: HttpServer | None = self._listener(configuration)
        self._start_heartbeat()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.on_signal(number, self.stop)
        self.loop.on_signal(signal.SIGHUP, self._hang_up)

    def run(self) -> None:
        """Serve until stopped."""
        where = "{}:{}".format(*self.http.address) if self.http is not None else "no port"
        self.log.info(f"plugfleet executor {__version__} as {self.config.hostname()} on {where}")
        self.plugins.start()
        self.plugins.watch()
        # What is loaded by now stays for ever: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        self.loop.run()
        # What manifest plugins put into sessions of their own, and what outran its end.
        kill_leftovers(self.config["executor.state"], self.log, "which outlived its plugin")
        self.sinks.close()
        os.close(self._lock)
        self.log.info("stopped")

    def stop(self) -> None:
        """End the plugins, send what is queued, then leave; 4 s at most."""
        if self._stopping:
            return
        self._stopping = True
        self.log.info("stopping")
        self.plugins.stop()
        if self.http is not None:
            self.http.stop_listening()
        if self.heartbeat is not None:
            self.heartbeat.stop()
        self._await_children(time.monotonic() + _STOP_GRACE)

    def reload(self) -> str:
        """Take over cfg.json anew; the reason if it is refused, and then nothing has changed."""
        try:
            new = config.load(self.config.path)
            if new["executor.state"] != self.config["executor.state"]:
                raise ConfigError(
                    new.path, "executor.state", "cannot change while it runs: restart the executor"
                )
            _live_beside_plugins(new)
            http = self.http
            if _listen_of(new) != _listen_of(self.config):
                http = self._listener(new)
        except ExecutorError as error:
            _live_beside_plugins(self.config)
            self.config_error = str(error)
            self.log.error(f"configuration refused, the old one stays: {error}")
            return str(error)
        self._apply(new, http)
        return ""

    def detail(self) -> dict[str, Any]:
        """What `/health` cannot say in one word."""
        states: dict[str, int] = {}
        for entry in self.plugins.view().values():
            states[entry["State"]] = states.get(entry["State"], 0) + 1
        return {
            "version": __version__,
            "hostname": self.config.hostname(),
            "uptime": int(time.monotonic() - self._began),
            "configError": self.config_error,
            "bindingsError": self.plugins.bindings_error,
            "hbsError": self.heartbeat.last_error if self.heartbeat is not None else "",
            "pluginVersion": plugin_version(self.config),
            "plugins": states,
            "metrics": {
                "taken": self.runtime.intake.taken,
                "dropped": self.runtime.intake.dropped,
                "filled": self.runtime.intake.filled,
            },
            "spoolBytes": self.sinks.spooled_bytes(),
            "sinks": self.sinks.view(),
        }

    def own_metrics(self) -> str:
        """The executor's own families for `/metrics`."""
        intake, plugins = self.runtime.intake, list(self.plugins)
        single = [
            ("metrics_taken_total", "Values taken from plugins and pushes", intake.taken),
            ("metrics_dropped_total", "Values that transfer would drop, left out", intake.dropped),
            ("metrics_filled_total", "Values whose missing fields were filled in", intake.filled),
            ("plugin_runs_total", "Ended runs", sum(plugin.runs for plugin in plugins)),
            ("plugin_missed_total", "Ticks without a run", sum(p.missed for p in plugins)),
        ]
        parts = [
            prometheus.own(f"plugfleet_executor_{name}", "counter", text, [("", value)])
            for name, text, value in single
        ]
        sinks = self.sinks.view()
        for field in ("delivered", "waiting", "dropped", "refused"):
            values = [(prometheus.label("sink", name), sinks[name][field]) for name in sinks]
            kind = "gauge" if field == "waiting" else "counter"
            name = f"plugfleet_executor_sink_{field}" + ("" if kind == "gauge" else "_total")
            parts.append(prometheus.own(name, kind, f"Values {field}, by sink", values))
        good = [
            (prometheus.label("plugin", plugin.key), 1.0 if plugin.state == "ok" else 0.0)
            for plugin in plugins
        ]
        parts.append(
            prometheus.own("plugfleet_plugin_ok", "gauge", "1 if the last run gave data", good)
        )
        return "".join(parts)

    def _apply(self, new: Config, http: HttpServer | None) -> None:
        old, self.config = self.config, new
        self.config_error = ""
        self.log.debug_enabled = new["debug"]
        if http is not self.http and self.http is not None:
            self.http.stop_listening()
        self.http = http
        self.sinks.configure(new)
        self.table.set_endpoint(new.hostname())
        self.runtime.intake.configure(new)
        self.runtime.configure(new)
        if _differ(old, new, _HEARTBEAT_FIELDS):
            self._start_heartbeat()
        if _differ(old, new, _PLUGIN_FIELDS):
            self.plugins.restart_all()
        self.log.info("configuration taken over")

    def _hang_up(self) -> None:
        self.reload()

    def _listener(self, configuration: Config) -> HttpServer | None:
        address = _listen_of(configuration)
        return None if address is None else HttpServer(self.loop, address, Routes(self))

    def _start_heartbeat(self) -> None:
        if self.heartbeat is not None:
            self.heartbeat.stop()
            self.heartbeat = None
        if not self.config["heartbeat.enabled"]:
            self.plugins.set_hbs_bindings([])
            return
        self.plugins.set_hbs_bindings(load_list(saved_list_path(self.config)))
        self.heartbeat = Heartbeat(
            self.loop,
            self.log,
            self.config,
            lambda: plugin_version(self.config),
            self.plugins.set_hbs_bindings,
        )

    def _await_children(self, deadline: float) -> None:
        running = self.runtime.children.running()
        if (running or self.runtime.sweeper.busy) and time.monotonic() < deadline:
            self.loop.call_later(0.02, self._await_children, deadline)
            return
        for child in running:
            child.signal_group(signal.SIGKILL)
        self.sinks.flush_now()
        self._await_sinks(time.monotonic() + _FLUSH_SECONDS)

    def _await_sinks(self, deadline: float) -> None:
        if self.sinks.busy and time.monotonic() < deadline:
            self.loop.call_later(0.02, self._await_sinks, deadline)
        else:
            self.loop.stop()


def plugin_version(configuration: Config) -> str:
    """What hbs is told: the commit, or the agent's words for why there is none (agent/g/tool.go)."""
    if not configuration["plugin.enabled"]:
        return "plugin not enabled"
    directory: str = configuration["plugin.dir"]
    if not os.path.isdir(directory):
        return "plugin dir not existent"
    try:
        name = os.path.basename(os.readlink(directory))
    except OSError:
        return "Error:not a release"
    return name.split(".")[0]


def _listen_of(configuration: Config) -> tuple[str, int] | None:
    if not configuration["http.enabled"]:
        return None
    host, port = config.split_address(configuration["http.listen"])
    return host or "0.0.0.0", port


def _differ(old: Config, new: Config, fields: tuple[str, ...]) -> bool:
    return any(old[field] != new[field] for field in fields)


def _live_beside_plugins(configuration: Config) -> None:
    """Plugins inherit our working directory: the folder that holds plugin.dir, as in the agent's
    release layout.
    """
    folder = os.path.dirname(configuration["plugin.dir"])
    try:
        os.makedirs(folder, exist_ok=True)
        os.chdir(folder)
    except OSError as error:
        raise ConfigError(
            configuration.path, "plugin.dir", f"{folder} cannot be used: {error.strerror}"
        ) from None


def _lock_state(folder: str) -> int:
    """One executor for a state folder: two would run each plugin twice. The lock file names the
    process.
    """
    path = os.path.join(folder, "lock")
    try:
        os.makedirs(folder, mode=0o750, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ExecutorError(f"executor.state {folder} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise ExecutorError(
            f"{path}: another executor (pid {holder}) uses this state folder; "
            "stop it, or give this one its own executor.state"
        ) from None
    with contextlib.suppress(OSError):  # a full disk: the lock itself holds
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd
