"""The agent: its heartbeats, its list of plugins, and git in its plugin folder."""

from __future__ import annotations

import os
import subprocess
import threading
import time

from tests.falcon.configuration import VERSIONS, Config, log
from tests.falcon.heartbeat import Hbs, HbsError, HbsFolder
from tests.falcon.plugins import Plugins


def run_git(*args: str, cwd: str) -> str:
    """Run git, its output thrown away; what Go says of its end, "" if it ended well.

    It has no timeout, and nothing ends it when whoever asked has gone.
    """
    try:
        done = subprocess.run(
            ["git", *args], cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return 'exec: "git": executable file not found in $PATH'
    return f"exit status {done.returncode}" if done.returncode else ""


class Agent:
    """A whole agent.

    Args:
        config: its cfg.json.
        records: where what it does is written.
        version: 0.2.1, 0.3 or master.
        hbs: a folder in the place of its heartbeat server, or "".
    """

    def __init__(self, config: Config, records: str, version: str, hbs: str = "") -> None:
        self.config = config
        self.words = VERSIONS[version]
        self.plugins = Plugins(config, records, version)
        self.trusted: list[str] = []
        self._last = 0
        if not config.of("heartbeat", "enabled"):
            return
        # Settled at the start, as is the decision below: a reload changes neither.
        address, timeout = config.of("heartbeat", "addr"), config.of("heartbeat", "timeout") / 1000
        self._hbs = HbsFolder(hbs) if hbs else Hbs(address, timeout)
        threading.Thread(target=self._report, daemon=True).start()
        threading.Thread(target=self._sync_others, daemon=True).start()
        if config.of("plugin", "enabled"):
            threading.Thread(target=self._sync_plugins, daemon=True).start()

    def _report(self) -> None:
        while True:
            status = {
                "Hostname": self.config.endpoint,
                "IP": str(self.config.values.get("ip") or "127.0.0.1"),
                "AgentVersion": self.words,
                "PluginVersion": self.plugin_version(),
            }
            try:
                self._hbs.report(status)
            except HbsError as error:
                log(f"call Agent.ReportStatus fail: {error}")
            time.sleep(self.config.of("heartbeat", "interval"))

    def _sync_others(self) -> None:
        while True:
            time.sleep(self.config.of("heartbeat", "interval"))
            try:
                self.trusted = self._hbs.trusted()
                self._hbs.builtin_metrics(self.config.endpoint)
            except HbsError as error:
                log(f"ERROR: {error}")

    def _sync_plugins(self) -> None:
        interval = self.config.of("heartbeat", "interval")
        while True:
            # First it sleeps, then it asks.
            time.sleep(interval)
            try:
                bound, stamp = self._hbs.plugins(self.config.endpoint)
            except HbsError as error:
                log(f"ERROR: {error}")
                continue
            if stamp <= self._last:
                continue
            self._last = stamp
            self.plugins.take(bound)

    def plugin_version(self) -> str:
        """HEAD of the plugin folder, or of a repository that happens to be above it."""
        if not self.config.of("plugin", "enabled"):
            return "plugin not enabled"
        folder = self.config.of("plugin", "dir")
        if not os.path.isdir(folder):
            return "plugin dir not existent"
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True
        )
        return f"Error:exit status {done.returncode}" if done.returncode else done.stdout.strip()

    def update(self) -> str:
        """`/plugin/update`: no lock, no timeout, no look at whose repository it is."""
        if not self.config.of("plugin", "enabled"):
            return "plugin not enabled"
        folder = self.config.of("plugin", "dir")
        if os.path.exists(folder):
            error = run_git("pull", cwd=folder)
            return f"git pull in dir:{folder} fail. error: {error}" if error else "success"
        # Go's path.Dir and path.Base: of "./plugin/" the first is "./plugin".
        parent = os.path.dirname(folder) or "."
        os.makedirs(parent, exist_ok=True)
        name = os.path.basename(folder.rstrip("/"))
        error = run_git("clone", self.config.of("plugin", "git"), name, cwd=parent)
        return f"git clone in dir:{parent} fail. error: {error}" if error else "success"

    def reset(self) -> str:
        """`/plugin/reset`: edited files go back, untracked ones stay."""
        if not self.config.of("plugin", "enabled"):
            return "plugin not enabled"
        folder = self.config.of("plugin", "dir")
        if not os.path.exists(folder):
            return "success"
        error = run_git("reset", "--hard", cwd=folder)
        return f"git reset --hard in dir:{folder} fail. error: {error}" if error else "success"
