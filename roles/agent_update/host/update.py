"""Step `update`: make the agent take the release from its mirror, and believe only what is seen.

`/plugin/update` answers HTTP 200 for every failure, so the body is read; then HEAD, the clean
work tree and `/plugins` are held against the plan.
"""

from __future__ import annotations

import json
import os
import time

from roles.agent_update.host import checkout, loopback
from roles.plugin_sync.host.outcome import Outcome, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What the agent's answer means, by what stands in it (its own words, measured).
_MEANINGS = (
    (
        "plugin not enabled",
        "its plugin section is off in the configuration that it has read; restart the agent",
    ),
    (
        "executable file not found",
        "git is not on the PATH of the agent; install git, or start the agent with a full PATH",
    ),
    (
        "exit status 128",
        "git refuses the agent's plugin folder: wrong owner, no repository, or another history",
    ),
    ("exit status 1", "git could not bring its checkout forward: local changes are in the way"),
)


def update(plan: dict[str, Any], blobs: dict[str, bytes]) -> Outcome:
    """Trigger the update and verify it."""
    agent, release = plan["agent"], plan["release"]
    outcome = Outcome()
    started = time.time()
    if agent["kind"] == "falcon":
        checkout.heal(plan, outcome)
    if checkout.state(plan).as_wanted(release["commit"]):
        outcome.msg = f"the agent has release {release['number']}"
    else:
        _trigger(agent, outcome)
        _check_checkout(plan)
        outcome.changed = True
        outcome.msg = f"the agent took release {release['number']}"
    listed = _check_listed(plan, outcome)
    if listed is not None:
        outcome.msg += f", {listed} plugin{'' if listed == 1 else 's'} listed"
    _mention_stderr(agent["logs"], started, outcome)
    return outcome


def _trigger(agent: dict[str, Any], outcome: Outcome) -> None:
    body = loopback.get(agent["listen"], "/plugin/update", agent["timeout"])
    if body is None:
        raise StepFailed(
            "no agent answers on {}: it is not running, or listens elsewhere "
            "(agent_update_listen)".format(agent["listen"])
            if loopback.get(agent["listen"], "/health", 2) is None
            else "/plugin/update gave no answer within {:g} s".format(agent["timeout"]),
            "agent-down",
        )
    body = body.strip()
    if body == "success":
        return
    meaning = next((text for sign, text in _MEANINGS if sign in body), "")
    raise StepFailed(
        "/plugin/update said {!r}{}".format(body[:300], ": " + meaning if meaning else ""),
        "update-refused",
    )


def _check_checkout(plan: dict[str, Any]) -> None:
    """Hold the agent's plugin folder against the release: `success` alone proves nothing."""
    seen, wanted = checkout.state(plan), plan["release"]["commit"]
    folder = plan["agent"]["dir"]
    if seen.head != wanted:
        raise StepFailed(
            "the agent said success, but {} is at {} instead of {}: it pulls from elsewhere "
            "(plugin.git, plugin.dir of its configuration)".format(
                folder, seen.head[:12] or "no commit", wanted[:12]
            ),
            "wrong-head",
        )
    if seen.changes:
        raise StepFailed(
            "the agent said success, but {} differs from the release in {}".format(
                folder, ", ".join(seen.changes[:5])
            ),
            "not-clean",
        )


def _check_listed(plan: dict[str, Any], outcome: Outcome) -> int | None:
    """Wait until `/plugins` shows what is bound; returns how many it shows."""
    agent = plan["agent"]
    expected = set(agent["expected"])
    deadline = time.time() + agent["wait"]
    while True:
        data = _plugins(agent["listen"])
        missing = sorted(expected - set(data)) if data is not None else sorted(expected)
        if not missing or time.time() > deadline:
            break
        time.sleep(0.2)
    if data is None:
        raise StepFailed(
            "/plugins of the agent on {} gave no list; is something else listening there?".format(
                agent["listen"]
            ),
            "no-list",
        )
    if missing and agent["kind"] == "falcon":
        # It asks its heartbeat server for the list, up to a minute from now or more.
        outcome.warnings.append(
            "not listed yet: {}; the agent lists what its heartbeat server binds to this host, "
            "at its next heartbeat".format(", ".join(missing[:5]))
        )
    elif missing:
        raise StepFailed(
            "bound, but not in /plugins after {:g} s: {}".format(
                agent["wait"], ", ".join(missing[:5])
            ),
            "not-listed",
        )
    for key in sorted(expected & set(data)):
        reason = data[key].get("Reason")
        if reason and data[key].get("State") not in ("waiting", "running", "ok"):
            outcome.warnings.append(f"{key}: {reason}")
    return len(data)


def _plugins(listen: str) -> dict[str, Any] | None:
    body = loopback.get(listen, "/plugins")
    try:
        data = json.loads(body or "")["data"]
    except (ValueError, KeyError, TypeError):
        return None
    return data if isinstance(data, dict) else {}


def _mention_stderr(logs: str, since: float, outcome: Outcome) -> None:
    """Name the plugins that wrote errors since the update began."""
    fresh: list[str] = []
    for folder, _, names in os.walk(logs):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".stderr.log") and os.stat(path).st_mtime >= since:
                fresh.append(os.path.relpath(path, logs)[: -len(".stderr.log")])
    if fresh:
        outcome.warnings.append("wrote to stderr: {}".format(", ".join(sorted(fresh)[:5])))
