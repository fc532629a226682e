"""Step `update`: make the agent take the release from its mirror, and believe only what is seen.

`/plugin/update` answers HTTP 200 for every failure, so the body is read; then HEAD, the clean
work tree and `/plugins` are held against the plan.
"""

from __future__ import annotations

import json
import os
import re
import time

from roles.agent_config.host import restart
from roles.agent_update.host import checkout, clone, loopback, process
from roles.plugin_sync.host.outcome import Outcome, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What the agent's answer means, by what stands in it (its own words, measured).
_MEANINGS = (
    (
        "plugin not enabled",
        "its plugin section is off in the configuration that it has read; restart the agent",
        "not-enabled",
    ),
    (
        "executable file not found",
        "git is not on the PATH of the agent; install git, or start the agent with a full PATH",
        "no-git",
    ),
    (
        "exit status 128",
        "git refuses the agent's plugin folder: wrong owner, no repository, or another history",
        "git-failed",
    ),
    (
        "exit status 1",
        "git could not bring its checkout forward: local changes are in the way",
        "git-failed",
    ),
)
_TRIES = 10
_UNDISTURBED = 3


def update(plan: dict[str, Any], blobs: dict[str, bytes]) -> Outcome:
    """Trigger the update and verify it."""
    agent, release = plan["agent"], plan["release"]
    outcome = Outcome()
    started = time.time()
    before = checkout.state(plan)
    if agent["kind"] == "falcon" and not checkout.is_executors(plan):
        checkout.heal(plan, outcome)
        # Asked even where HEAD is right: only its own pull proves that the agent can.
        _have_falcon_pull(plan, outcome)
    elif not before.as_wanted(release["commit"]):
        # Each asking has the executor look at every file, so it is asked only where edits are.
        kept = _kept_by_executor(agent) if before.changes else []
        _ask(plan, proof=False)
        outcome.warnings += [
            f"local changes to {', '.join(before.changes[:5])} were kept as {path} and replaced"
            for path in (_kept_by_executor(agent) if before.changes else [])
            if path not in kept
        ]
    if outcome.changed or not before.as_wanted(release["commit"]):
        outcome.changed = True
        outcome.msg = f"the agent took release {release['number']}"
    else:
        outcome.msg = f"the agent has release {release['number']}"
    listed = _check_listed(plan, outcome)
    if listed is not None:
        outcome.msg += f", {listed} plugin{'' if listed == 1 else 's'} listed"
    _mention_stderr(agent["logs"], started, outcome)
    return outcome


def _kept_by_executor(agent: dict[str, Any]) -> list[str]:
    """The patches that an executor has kept of edited releases."""
    try:
        data = json.loads(loopback.get(agent["listen"], "/plugin/status") or "")["data"]
        return [str(path) for path in data["kept"]]
    except (ValueError, KeyError, TypeError):
        return []


def _have_falcon_pull(plan: dict[str, Any], outcome: Outcome) -> None:
    """Have an Open-Falcon agent pull; put right once more what keeps it from doing so."""
    agent = plan["agent"]
    problem = _pull(plan)
    if problem and problem.code in ("not-enabled", "elsewhere") and agent["restart"]:
        # It runs with another configuration than the one that stands on the disk, which is right.
        restart.restart(agent)
        outcome.changed = True
        outcome.warnings.append(f"the agent was restarted, since {problem}")
        problem = _pull(plan)
    if problem and problem.code in ("git-failed", "wrong-head", "not-clean"):
        # Nothing that can be seen is wrong with the checkout, and yet git fails in it: objects of
        # another user, a damaged pack, settings of its own. A fresh clone has none of that.
        clone.replace(plan, outcome)
        problem = _pull(plan)
    if problem:
        raise problem


def _pull(plan: dict[str, Any]) -> StepFailed | None:
    """Ask the agent; returns what is wrong once nobody else's update can be the reason."""
    problem: StepFailed | None = None
    undisturbed = 0
    for attempt in range(_TRIES):
        try:
            _ask(plan, proof=True)
            return None
        except StepFailed as error:
            problem = error
        if problem.code not in ("git-failed", "wrong-head", "not-clean"):
            break
        # The agent locks nothing: of several updates at a time only one succeeds (measured).
        if process.git_runs_in(clone.place(plan)):
            if checkout.state(plan).as_wanted(plan["release"]["commit"]):
                return None  # one that somebody else asked for: the agent's own all the same
        else:
            undisturbed += 1
            if undisturbed == _UNDISTURBED:
                break
        time.sleep(0.1 * (attempt + 1))
    return problem


def _ask(plan: dict[str, Any], *, proof: bool) -> None:
    """One `/plugin/update`.

    Args:
        proof: a git pull is expected, which leaves its FETCH_HEAD in the folder where it was run.
    """
    agent = plan["agent"]
    folder = clone.place(plan)
    before = checkout.last_pull(folder)
    _trigger(plan)
    if proof and checkout.last_pull(folder) == before:
        raise StepFailed(
            "the agent said success, but did nothing in {}: {}".format(
                agent["dir"], _other_dir("", agent)
            ),
            "elsewhere",
        )
    _check_checkout(plan)


def _trigger(plan: dict[str, Any]) -> None:
    agent = plan["agent"]
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
    meaning, code = next(
        ((text, code) for sign, text, code in _MEANINGS if sign in body), ("", "update-refused")
    )
    if code == "git-failed":
        meaning += _owners(plan)
        named = re.match(r"git pull in dir:(.*) fail\. error: ", body)
        if named and os.path.normpath(named.group(1)) != agent["dir"]:
            meaning, code = _other_dir(named.group(1), agent), "elsewhere"
    raise StepFailed(
        "/plugin/update said {!r}{}".format(body[:300], ": " + meaning if meaning else ""), code
    )


def _other_dir(named: str, agent: dict[str, Any]) -> str:
    return (
        f"the agent works with {f'the plugin.dir {named!r}' if named else 'another plugin.dir'}, not "
        f"with the one that stands in {agent['cfg']}; restart it, or correct agent_config_path"
    )


def _owners(plan: dict[str, Any]) -> str:
    """What is wrong if the agent runs as another user than its checkout was made for."""
    pid = process.listener(plan["agent"]["listen"])
    runs_as = process.user_of(pid) if pid else ""
    wanted = process.user_of(os.getpid()) if plan["user"] == "" else plan["user"]
    if runs_as in ("", wanted):
        return ""
    return f". The agent runs as {runs_as}: set plugin_sync_user to that, it is {wanted!r}"


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
