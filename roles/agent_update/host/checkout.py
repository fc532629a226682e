"""The agent's plugin folder: what state it is in, and healing what makes `git pull` fail for ever.

An Open-Falcon agent runs `git pull` there, and nothing else; `/plugin/reset` helps against edited
files only. Untracked files in the way, a detached HEAD, a branch with no upstream, another remote,
a diverged history or an empty folder keep it failing (all measured), so each is put right before
the agent is asked. What is replaced is kept, and named.
"""

from __future__ import annotations

import os
import time

from roles.agent_update.host import clone, edits, loopback, process
from roles.agent_update.host.state import State
from roles.plugin_sync.host import command, leftovers, mirror
from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roles.plugin_sync.host.outcome import Outcome

_GIT_SECONDS = 10  # how long a git at work is waited for; on a tree of this size it takes far less
_LOOKS = 10
_EXECUTOR = "plugfleet"


def state(plan: dict[str, Any]) -> State:
    """Look at the agent's plugin folder."""
    status, output = command.git_bytes(
        plan["agent"]["dir"],
        ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames"],
        plan["user"],
    )
    return State(b"" if status else output)


def is_executors(plan: dict[str, Any]) -> bool:
    """Whether plugfleet's executor runs in an agent's place: it replaces whole releases itself."""
    folder = plan["agent"]["dir"]
    if not (os.path.islink(folder) and ".releases/" in os.readlink(folder)):
        return False
    return _EXECUTOR in (loopback.get(plan["agent"]["listen"], "/version", 2) or _EXECUTOR)


def heal(plan: dict[str, Any], outcome: Outcome) -> None:
    """Make the folder a clean checkout of the mirror's branch, so that the agent's pull works.

    Raises:
        StepFailed: git is at work there and does not end, or the folder cannot be replaced.
    """
    folder = clone.place(plan)
    mirror.own(plan["mirror"], plan["user"])
    clone.finish_interrupted(folder)
    edits.finish_interrupted(folder)
    _remove_stale_locks(folder, plan["user"], outcome)
    seen, sound = _look_undisturbed(plan, folder)
    if not sound or not edits.keep_and_undo(plan, folder, seen, outcome):
        clone.replace(plan, outcome)


def last_pull(folder: str) -> tuple[int, ...]:
    """What tells one `git pull` in the folder from the next; () where there was none."""
    try:
        found = os.stat(os.path.join(folder, ".git", "FETCH_HEAD"))
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _look_undisturbed(plan: dict[str, Any], folder: str) -> tuple[State, bool]:
    """The state, and whether the agent's pull works from it, as no pull in its midst shows it."""
    for _ in range(_LOOKS):
        before = last_pull(folder)
        seen = state(plan)
        sound = _is_sound(plan, seen)
        if sound and not seen.changes:
            break
        if not process.git_runs_in(folder) and last_pull(folder) == before:
            break
        wait_for_git(folder)
    return seen, sound


def _is_sound(plan: dict[str, Any], seen: State) -> bool:
    """Whether the folder is a checkout whose pull fast-forwards to the mirror's branch."""
    branch = plan["branch"]
    if seen.branch != branch or seen.upstream != "origin/" + branch or seen.head == "(initial)":
        return False
    status, settings = command.git(
        plan["agent"]["dir"],
        ["config", "--get-regexp", r"^(remote\.origin\.url|core\.sparsecheckout)$"],
        plan["user"],
    )
    # A sparse checkout is clean although plugins are missing.
    if status or settings != "remote.origin.url " + plan["mirror"]:
        return False
    status, _ = command.git(
        plan["mirror"], ["merge-base", "--is-ancestor", seen.head, branch], plan["user"]
    )
    return status == 0


def wait_for_git(folder: str) -> bool:
    """Wait until no git works in the folder; False if one still does after ten seconds."""
    deadline = time.time() + _GIT_SECONDS
    while process.git_runs_in(folder):
        if time.time() > deadline:
            return False
        time.sleep(0.1)
    return True


def _remove_stale_locks(folder: str, user: str, outcome: Outcome) -> None:
    """Remove what a killed git left; the locks of one that is at work are its own."""
    git_dir = os.path.join(folder, ".git")
    if os.path.islink(git_dir) or not os.path.isdir(git_dir):
        return
    if not wait_for_git(folder):
        raise StepFailed(
            f"git has been at work in {folder} for {_GIT_SECONDS} s; run again when it has ended",
            "busy",
        )
    removed = leftovers.remove_git_locks(git_dir)
    command.as_user(user, lambda: leftovers.remove_git_garbage(git_dir))
    if removed:
        outcome.changed = True
        outcome.warnings.append("stale locks were removed: {}".format(", ".join(removed)))
