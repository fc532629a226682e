"""What every plugin run needs, in one place, and the traces by which a killed executor's runs are
found again.
"""

from __future__ import annotations

import os
import signal

from executor.capture import Budget
from executor.process import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executor.config import Config
    from executor.intake import Intake
    from executor.log import Log
    from executor.loop import Loop
    from executor.process import Children

MARKER = "PLUGFLEET_EXECUTOR"
"""Variable in every plugin's environment: `<session id>:<state folder>` of the executor that
started it.
"""


ENDING_POLL = 0.1
"""Seconds between two looks whether the last run of a plugin of before is over."""


class Runtime:
    """Shared by all plugins; `configure` takes over a new configuration between two runs."""

    __slots__ = (
        "children",
        "config",
        "ending",
        "env",
        "first_run_within",
        "intake",
        "log",
        "logs",
        "loop",
        "plugin_dir",
        "state_dir",
        "stdout",
    )

    def __init__(
        self, loop: Loop, children: Children, log: Log, intake: Intake, config: Config
    ) -> None:
        self.loop = loop
        self.children = children
        self.log = log
        self.intake = intake
        self.stdout = Budget()
        # Keys of plugins that were stopped and whose last run is not over yet: no second one
        # beside it.
        self.ending: set[str] = set()
        self.configure(config)

    def configure(self, config: Config) -> None:
        self.config = config
        self.plugin_dir: str = config["plugin.dir"]
        self.logs: str = config["plugin.logs"]
        self.state_dir: str = config["executor.state"]
        self.first_run_within: float = config["executor.first_run_within"]
        self.env = dict(os.environ)
        # So that a plugin that prints an endpoint of its own says the same as the executor.
        self.env["FALCON_ENDPOINT"] = config.hostname()
        self.env["PYTHONUNBUFFERED"] = "1"
        # A release is read-only, and __pycache__ in one would count as tampering where it is not
        # (root).
        self.env["PYTHONDONTWRITEBYTECODE"] = "1"
        self.env[MARKER] = f"{os.getsid(0)}:{self.state_dir}"


def kill_leftovers(state_dir: str, log: Log) -> int:
    """Kill what an executor that was killed itself left running, so that no plugin runs twice; how
    many.

    A process is one of those if it carries this state folder's marker and is still in the session
    in which that executor was: a service that a plugin restarted on purpose left that session, and
    lives on. Nothing is written per run for this: the kernel keeps the environment.
    """
    killed = 0
    suffix = f":{state_dir}".encode()
    for pid, name, _group, session in processes():
        marker = _marker_of(pid)
        if pid != os.getpid() and marker == b"%d" % session + suffix:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
            killed += 1
            log.info(f"killed {name} (pid {pid}), left running by an executor that was killed")
    return killed


def _marker_of(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            environment = stream.read()
    except OSError:
        return b""
    prefix = MARKER.encode("ascii") + b"="
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :]
    return b""
