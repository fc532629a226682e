"""Step `update`: make the agent take the release from its mirror, and see that it has.

HEAD, the clean work tree and `/plugins` are held against the plan.
"""

from __future__ import annotations

import json
import os
import time

from roles.agent_update.host import loopback, trigger
from roles.plugin_sync.host.outcome import Outcome, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def update(plan: dict[str, Any], blobs: dict[str, bytes]) -> Outcome:
    """Trigger the update and verify it."""
    agent, release = plan["agent"], plan["release"]
    outcome = Outcome()
    started = time.time()
    if not (agent["kind"] == "falcon" and _falcon_pulled(plan, outcome)):
        _have_executor_update(plan, outcome)
    if outcome.changed or agent["head"] != release["commit"]:
        outcome.changed = True
        outcome.msg = f"the agent took release {release['number']}"
    else:
        outcome.msg = f"the agent has release {release['number']}"
    listed = _check_listed(plan, outcome)
    if listed is not None:
        outcome.msg += f", {listed} plugin{'' if listed == 1 else 's'} listed"
    _mention_stderr(agent["logs"], started, outcome)
    return outcome


def _falcon_pulled(plan: dict[str, Any], outcome: Outcome) -> bool:
    """Have an Open-Falcon agent pull; False where plugfleet's executor runs in its place."""
    # Sent to the hosts that have such an agent alone: a host compiles what it is sent, each visit.
    from roles.agent_update.host import falcon

    return falcon.pull(plan, outcome)


def _falcon_restarted(plan: dict[str, Any], outcome: Outcome) -> bool:
    from roles.agent_update.host import falcon

    return falcon.restart_idle(plan, outcome)


def _have_executor_update(plan: dict[str, Any], outcome: Outcome) -> None:
    """Have the executor take the release, where the look found another one or edits."""
    agent, edits = plan["agent"], plan["agent"]["changes"]
    if agent["head"] == plan["release"]["commit"] and not edits:
        return
    # Each asking has the executor look at every file, so it is asked only where edits are.
    kept = _kept_by_executor(agent) if edits else []
    trigger.ask(plan, proof=False)
    if edits:
        outcome.changed = True
        outcome.warnings += [
            f"local changes to {', '.join(edits[:5])} were kept as {path} and replaced"
            for path in _kept_by_executor(agent)
            if path not in kept
        ]


def _kept_by_executor(agent: dict[str, Any]) -> list[str]:
    """The patches that an executor has kept of edited releases."""
    try:
        data = json.loads(loopback.get(agent["listen"], "/plugin/status") or "")["data"]
        return [str(path) for path in data["kept"]]
    except (ValueError, KeyError, TypeError):
        return []


def _check_listed(plan: dict[str, Any], outcome: Outcome) -> int | None:
    """Wait until `/plugins` shows what is bound; returns how many it shows."""
    agent = plan["agent"]
    expected = set(agent["expected"])
    # An Open-Falcon agent's list comes from its heartbeat server, whenever that may be.
    deadline = time.time() + (0 if agent["kind"] == "falcon" else agent["wait"])
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
        if not data and _falcon_restarted(plan, outcome):
            return 0
        outcome.warnings.append(
            "not listed yet: {}; the agent lists what its heartbeat server binds to this host, "
            "a heartbeat after its start, and never if it was started with its plugin section "
            "off".format(", ".join(missing[:5]))
        )
    elif missing:
        raise StepFailed(
            "bound, but not in /plugins after {:g} s: {}".format(
                agent["wait"], ", ".join(missing[:5])
            ),
            "not-listed",
        )
    outcome.listed = {
        key: {name: data[key].get(name) for name in ("State", "Reason")}
        for key in sorted(expected & set(data))
    }
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


def _written(path: str) -> float:
    """When a file was written to; 0 if it has just gone, as rotated logs do."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0


def _mention_stderr(logs: str, since: float, outcome: Outcome) -> None:
    """Name the plugins that wrote errors since the update began."""
    fresh: list[str] = []
    for folder, _, names in os.walk(logs):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".stderr.log") and _written(path) >= since:
                # Newer agents put a script's arguments, or "()", after its name.
                name = os.path.relpath(path, logs)[: -len(".stderr.log")]
                fresh.append(name[:-2] if name.endswith("()") else name)
    if fresh:
        outcome.warnings.append("wrote to stderr: {}".format(", ".join(sorted(fresh)[:5])))
