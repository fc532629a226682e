"""Having an agent read its configuration again: by a reload, or by a restart where that is needed.

An Open-Falcon agent decides once, at its start, whether it runs plugins: one that was started with
its plugin section off takes a reload, says `success` to every update, and schedules nothing for
ever (measured). Its heartbeat server and where it listens are settled at its start too. What is
still due stands in a marker file from before the configuration is written, so a visit that is
killed in between is made up for.
"""

from __future__ import annotations

import json
import os
import time

from roles.agent_config.host import files
from roles.agent_update.host import loopback, process
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


def reload(plan: dict[str, Any], outcome: Outcome) -> None:
    """Have a running agent read its configuration again, which is held to be JSON first.

    Raises:
        StepFailed: the agent refuses its configuration, or ended itself over it.
    """
    agent = plan["agent"]
    _expect_json(agent["cfg"])
    ran = loopback.get(agent["listen"], "/health", 2) is not None
    answer = loopback.get(agent["listen"], "/config/reload")
    if answer is None:
        if ran and loopback.get(agent["listen"], "/health", 2) is None:
            raise StepFailed("the agent ended itself when it read its configuration", "agent-down")
        # Not running: it reads the new file when it starts, and `update` says that it is down.
        return
    if '"msg":"success"' in answer.replace(" ", ""):
        return
    said = f"/config/reload said {answer.strip()[:300]!r}"
    if agent["kind"] != "falcon":
        raise StepFailed(f"the agent refuses its configuration: {said}", "configuration-refused")
    if known(agent):
        restart(plan, outcome)
        outcome.msg += ", agent restarted"
        return
    # `no privilege` where it does not know its own address; the next restart takes the file.
    outcome.warnings.append(f"the agent did not take its configuration again: {said}")


def _expect_json(path: str) -> None:
    """An agent that is told to reload a file that is none ends itself (measured)."""
    text = files.read(path)
    if text is None:
        return
    try:
        json.loads(text)
    except ValueError as error:
        raise StepFailed(
            f"{path} is not valid JSON ({error}), so the agent was not told to read it; correct it "
            "and run again",
            "changed-meanwhile",
        ) from None


def make_up(plan: dict[str, Any], outcome: Outcome) -> None:
    """Restart the agent, unless somebody has since it was noted."""
    if known(plan["agent"]):
        restart(plan, outcome)
        outcome.changed = True
        outcome.msg += ", agent restarted"
    else:
        _expect_restarted_by_hand(plan["agent"], plan["marker"], outcome)
    os.unlink(plan["marker"])


def known(agent: dict[str, Any]) -> bool:
    """Whether it is known how the agent is started."""
    # Sent to the hosts that have an Open-Falcon agent alone, which is when this is called.
    from roles.agent_config.host import starting

    return starting.way(agent) is not None


def _expect_restarted_by_hand(agent: dict[str, Any], marker: str, outcome: Outcome) -> None:
    pid = process.listener(agent["listen"])
    moment = (files.read(marker) or "").partition(" ")[2]
    if pid is not None and not process.started_since(pid, moment):
        raise StepFailed(
            "the agent must be restarted, since it reads plugin.enabled, heartbeat and http only at "
            "its start, and how it is started was not found: set agent_config_started_by, or set "
            "agent_config_restart_command, or restart it by hand and run again",
            "restart-needed",
        )
    if pid is None and process.answers(agent["listen"]):
        outcome.warnings.append(
            "the agent had to be restarted, and whether it was cannot be seen by this user; "
            "restart it if it lists no plugins"
        )


def _hostname(path: str) -> object:
    """The name in an agent's configuration, which goes before that in its environment."""
    try:
        return json.loads(files.read(path) or "{}").get("hostname")
    except (ValueError, AttributeError):
        return None


def restart(plan: dict[str, Any], outcome: Outcome) -> None:
    """Restart the agent in the way that it is started, and wait until a new process answers."""
    from roles.agent_config.host import starting

    agent, log = plan["agent"], os.path.join(plan["root"], "restart.log")
    before, moment = process.listener(agent["listen"]), process.now()
    way, output = starting.start(agent, plan["user"], log)
    deadline = time.time() + _UP_SECONDS
    while time.time() < deadline:
        pid = process.listener(agent["listen"])
        # The old one may answer a little longer.
        renewed = pid != before or (pid is not None and process.started_since(pid, moment))
        if (renewed or before is None) and loopback.get(agent["listen"], "/health", 2) is not None:
            pid = process.listener(agent["listen"])
            if pid is not None and process.writes_to(pid, log):
                outcome.warnings.append(
                    f"the agent writes its log to {log}, since {way} does not say where else"
                )
            if before is None and way.keeps_environment and not _hostname(agent["cfg"]):
                outcome.warnings.append(
                    "the agent did not run, so the environment that it had is not known: if "
                    "FALCON_ENDPOINT named this host, set agent_config_settings={'hostname': ...}, or "
                    f"start it by hand with {way}"
                )
            return
        time.sleep(0.1)
    if before is not None and process.listener(agent["listen"]) == before:
        raise StepFailed(
            f"{way} did not restart the agent: process {before} still answers on {agent['listen']}",
            "restart",
        )
    raise StepFailed(
        f"the agent does not answer on {agent['listen']} {_UP_SECONDS} s after its restart; "
        f"look at its log. {way} said: {output[-300:] or 'nothing'}",
        "agent-down",
    )
