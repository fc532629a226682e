"""Having an agent read its configuration again: by a reload, or by a restart where that is needed.

An Open-Falcon agent decides once, at its start, whether it runs plugins: one that was started with
its plugin section off takes a reload, says `success` to every update, and schedules nothing for
ever (measured). What is still due stands in a marker file from before the configuration is
written, so a visit that is killed in between is made up for.
"""

from __future__ import annotations

import os
import time

from roles.agent_config.host import files
from roles.agent_update.host import loopback, process
from roles.plugin_sync.host import command
from roles.plugin_sync.host.outcome import Outcome, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RELOAD, RESTART = "reload", "restart"
_UP_SECONDS = 20


def note(marker: str, what: str) -> None:
    """Note that the agent must be reloaded or restarted; that it must be restarted stays noted."""
    if what == RESTART or not os.path.lexists(marker):
        files.write(marker, f"{what} {process.now()}\n".encode(), 0o644)


def due(marker: str) -> str:
    """RELOAD, RESTART or "": what stands in the marker."""
    return (files.read(marker) or "").split(" ")[0].strip()


def reload(agent: dict[str, Any], outcome: Outcome) -> None:
    """Have a running agent read its configuration again; what was written is known to be JSON."""
    answer = loopback.get(agent["listen"], "/config/reload")
    if answer is None:
        # Not running: it reads the new file when it starts, and `update` says that it is down.
        return
    if '"msg":"success"' in answer.replace(" ", ""):
        return
    if agent["kind"] == "falcon" and agent["restart"]:
        restart(agent)
        outcome.msg += ", agent restarted"
        return
    said = f"/config/reload said {answer.strip()[:300]!r}"
    if agent["kind"] == "falcon":
        # `no privilege` where it does not know its own address; the next restart takes the file.
        outcome.warnings.append(f"the agent did not take its configuration again: {said}")
        return
    raise StepFailed(f"the agent refuses its configuration: {said}", "configuration-refused")


def make_up(agent: dict[str, Any], marker: str, outcome: Outcome) -> None:
    """Restart the agent, unless somebody has since it was noted."""
    if not agent["restart"]:
        _expect_restarted_by_hand(agent, marker, outcome)
    else:
        restart(agent)
        outcome.changed = True
        outcome.msg += ", agent restarted"
    os.unlink(marker)


def _expect_restarted_by_hand(agent: dict[str, Any], marker: str, outcome: Outcome) -> None:
    pid = process.listener(agent["listen"])
    moment = (files.read(marker) or "").partition(" ")[2]
    if pid is not None and not process.started_since(pid, moment):
        raise StepFailed(
            "the agent must be restarted, since it was started with its plugin section off and "
            "decides that only once; set agent_config_restart_command, or restart it by hand "
            "and run again",
            "restart-needed",
        )
    if pid is None and process.answers(agent["listen"]):
        outcome.warnings.append(
            "the agent had to be restarted, and whether it was cannot be seen by this user; "
            "restart it if it lists no plugins"
        )


def restart(agent: dict[str, Any]) -> None:
    """Run the restart command and wait until a new process answers."""
    before, moment = process.listener(agent["listen"]), process.now()
    status, output = command.start_with(agent["restart"], timeout=60)
    if status:
        raise StepFailed(
            f"agent_config_restart_command {agent['restart']!r} ended with status {status}: "
            f"{output[-300:] or 'no word'}",
            "restart",
        )
    deadline = time.time() + _UP_SECONDS
    while time.time() < deadline:
        pid = process.listener(agent["listen"])
        # The old one may answer a little longer.
        renewed = pid != before or (pid is not None and process.started_since(pid, moment))
        if (renewed or before is None) and loopback.get(agent["listen"], "/health", 2) is not None:
            return
        time.sleep(0.1)
    if before is not None and process.listener(agent["listen"]) == before:
        raise StepFailed(
            f"agent_config_restart_command {agent['restart']!r} did not restart the agent: "
            f"process {before} still answers on {agent['listen']}",
            "restart",
        )
    raise StepFailed(
        f"the agent does not answer on {agent['listen']} {_UP_SECONDS} s after its restart; "
        f"look at its log. The command said: {output[-300:] or 'nothing'}",
        "agent-down",
    )
