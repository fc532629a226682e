"""Asking the agent for `/plugin/update`, and believing only what is seen.

It answers HTTP 200 for every failure, so the body is read; then HEAD and the clean work tree are
held against the release.
"""

from __future__ import annotations

import os
import re

from roles.agent_update.host import checkout, loopback, process
from roles.plugin_sync.host.outcome import StepFailed

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


def ask(plan: dict[str, Any], *, proof: bool) -> None:
    """One `/plugin/update`.

    Args:
        proof: a git pull is expected, which leaves its FETCH_HEAD in the folder where it was run.
    """
    agent = plan["agent"]
    folder = checkout.place(plan)
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
        # A relative one counts from the agent's own folder.
        there = os.path.realpath(os.path.join(agent["home"], named.group(1))) if named else ""
        if named and there != checkout.place(plan):
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
