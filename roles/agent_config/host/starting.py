"""How an Open-Falcon agent is started, and starting it anew: by systemd, `./control`, `open-falcon`
or a command of the person's.

`control` and `open-falcon` (of falcon-plus) are only asked to start it. Stopping is done here, to the
very process that answers: a pid file may be old and name a process that has nothing to do with it.
What is started has a session, an environment and open files of its own, so it outlives the visit.
"""

from __future__ import annotations

import json
import os
import signal
import time

from roles.agent_update.host import loopback, process
from roles.plugin_sync.host import command
from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TO_START = {"control": ["./control", "start"], "open-falcon": ["./open-falcon", "start", "agent"]}
_NAME = "falcon-agent"
_END_SECONDS = 10
_START_SECONDS = 60
# Where `./control` notes the agent's process; it starts nothing while one of that number runs.
_PID_FILE = "var/app.pid"


class Way:
    """One way of starting an agent.

    name     systemd, control, open-falcon or command
    what     the unit, the agent's home, or the command
    """

    __slots__ = ("name", "what")

    def __init__(self, name: str, what: str) -> None:
        self.name, self.what = name, what

    @property
    def keeps_environment(self) -> bool:
        """Whether the agent is started in the environment of its former process."""
        return self.name in _TO_START

    def __str__(self) -> str:
        if self.name == "systemd":
            return f"systemctl restart {self.what}"
        if self.name == "command":
            return f"agent_config_restart_command {self.what!r}"
        return "{} in {}".format(" ".join(_TO_START[self.name]), self.what)


def way(agent: dict[str, Any]) -> Way | None:
    """How the host's agent is started: as it was told, else as it was found; None if neither.

    Raises:
        StepFailed: what was told does not fit, or another program has the agent's port.
    """
    told = agent["started_by"]
    if agent["restart"]:
        return Way("command", agent["restart"])
    pid = _process(agent["listen"])
    home = agent["home"] or (process.folder_of(pid) if pid else "")
    if told == "systemd" or agent["unit"] or told == "auto":
        unit = agent["unit"] or (_unit_of(pid) if pid else "")
        if unit:
            return Way("systemd", unit)
        if told == "systemd":
            raise StepFailed(
                "no systemd unit has the agent as its main process; set agent_config_unit",
                "restart",
            )
    for name, line in _TO_START.items():
        if told == name and not home:
            raise StepFailed("the agent's home is not known; set agent_config_home", "restart")
        if told == name or (told == "auto" and home and _runs(os.path.join(home, line[0]))):
            return Way(name, home)
    return None


def start(agent: dict[str, Any], user: str, log: str) -> tuple[Way, str]:
    """Start the agent anew; returns how, and what was said.

    Args:
        user: the account that it runs as.
        log: the file for what a command says, and for the agent too where its command redirects
            nothing.

    Raises:
        StepFailed: there is no known way, or it failed.
    """
    chosen = way(agent)
    if chosen is None:
        raise StepFailed(
            "how the agent is started is not known: set agent_config_started_by to systemd, control "
            "or open-falcon, or agent_config_restart_command",
            "restart-needed",
        )
    if chosen.name == "command":
        status, output = command.start_with(["/bin/sh", "-c", chosen.what], _START_SECONDS, log)
    elif chosen.name == "systemd":
        status, output = command.run(["systemctl", "restart", chosen.what], timeout=_START_SECONDS)
    else:
        status, output = _start_at_home(agent, chosen, user, log)
    if status:
        raise StepFailed(
            f"{chosen} ended with status {status}: {output[-300:] or 'no word'}", "restart"
        )
    return chosen, output


def _start_at_home(agent: dict[str, Any], chosen: Way, user: str, log: str) -> tuple[int, str]:
    pid = _process(agent["listen"])
    # FALCON_ENDPOINT, which names the host, and whatever plugins rely on.
    environment = process.environment_of(pid) if pid else {}
    if pid is not None:
        _end(pid)
    pid_file = os.path.join(chosen.what, _PID_FILE)
    if chosen.name == "control":
        command.as_user(user, lambda: _forget(pid_file))
    return command.start_with(
        _TO_START[chosen.name], _START_SECONDS, log,
        user=user, folder=chosen.what, env=environment or None,
    )  # fmt: skip


def _process(listen: str) -> int | None:
    """The agent's process, which may be ended; None where none answers, or it may not be seen.

    Raises:
        StepFailed: another program has its port.
    """
    pid = process.listener(listen)
    if pid is None or process.name_of(pid) == _NAME or _lists_plugins(listen):
        return pid
    raise StepFailed(
        f"process {pid} ({process.name_of(pid)}) has {listen} and is no Open-Falcon agent, so it was "
        "not ended; end it, or set agent_update_listen to where the agent listens",
        "not-the-agent",
    )


def _lists_plugins(listen: str) -> bool:
    """Whether what listens there answers as an agent does, by whatever name it runs."""
    try:
        answer = json.loads(loopback.get(listen, "/plugins", 2) or "")
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("msg") == "success" and "data" in answer


def _forget(pid_file: str) -> None:
    if os.path.lexists(pid_file):
        os.unlink(pid_file)


def _end(pid: int) -> None:
    """End a process as its own script would, at last by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.time() + _END_SECONDS
        while time.time() < deadline:
            if process.has_ended(pid):
                return
            time.sleep(0.05)
    raise StepFailed(f"the agent's process {pid} does not end", "restart")


def _unit_of(pid: int) -> str:
    """The systemd unit whose main process it is; not one that merely started it once, as cron did."""
    if not os.path.isdir("/run/systemd/system"):
        return ""
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            groups = [line.rstrip("\n").rpartition(":")[2] for line in file]
    except OSError:
        return ""
    for name in dict.fromkeys(os.path.basename(group) for group in groups):
        if not name.endswith(".service"):
            continue
        status, output = command.run(["systemctl", "show", "-p", "MainPID", name])
        if not status and output == f"MainPID={pid}":
            return name
    return ""


def _runs(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
