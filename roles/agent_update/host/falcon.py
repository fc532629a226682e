"""An Open-Falcon agent's plugin folder: healing what makes `git pull` fail for ever, then its pull.

The agent runs `git pull` there, and nothing else; `/plugin/reset` helps against edited files only.
Untracked files in the way, a detached HEAD, a branch with no upstream, another remote, a diverged
history or an empty folder keep it failing (all measured), so each is put right before the agent is
asked. What is replaced is kept, and named.
"""

from __future__ import annotations

import os
import time

from roles.agent_config.host import files, restart
from roles.agent_update.host import checkout, clone, edits, gits, loopback, process, trigger
from roles.plugin_sync.host import command, leftovers, mirror
from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roles.agent_update.host.checkout import State
    from roles.plugin_sync.host.outcome import Outcome

# What an update fails with where git fails in the folder, or does something else there.
_OF_GIT = ("git-failed", "wrong-head", "not-clean")
_LOOKS = 10
_TRIES = 10
_UNDISTURBED = 3
_EXECUTOR = "plugfleet"


def pull(plan: dict[str, Any], outcome: Outcome) -> bool:
    """Put the folder right and have the agent pull; False where the executor runs in its place.

    Asked even where HEAD is right: only its own pull proves that the agent can.

    Raises:
        StepFailed: git is at work there and does not end, the folder cannot be replaced, or the
            agent does not take the release.
    """
    if _is_executors(plan):
        return False
    _heal(plan, outcome)
    _have_pull(plan, outcome)
    return True


def _is_executors(plan: dict[str, Any]) -> bool:
    """Whether plugfleet's executor runs in an agent's place: it replaces whole releases itself."""
    folder = plan["agent"]["dir"]
    if not (os.path.islink(folder) and ".releases/" in os.readlink(folder)):
        return False
    return _EXECUTOR in (loopback.get(plan["agent"]["listen"], "/version", 2) or _EXECUTOR)


def _heal(plan: dict[str, Any], outcome: Outcome) -> None:
    """Make the folder a clean checkout of the mirror's branch, so that the agent's pull works."""
    folder = checkout.place(plan)
    mirror.own(plan["mirror"], plan["user"])
    clone.finish_interrupted(folder)
    edits.finish_interrupted(folder)
    _end_hanging_gits(plan, folder, outcome)
    _remove_stale_locks(folder, plan["user"], outcome)
    seen, sound = _look_undisturbed(plan, folder)
    if sound and _uncover(plan, outcome):
        seen = checkout.state(plan)
    if not sound or not edits.keep_and_undo(plan, folder, seen, outcome):
        clone.replace(plan, outcome)


def _uncover(plan: dict[str, Any], outcome: Outcome) -> bool:
    marked = checkout.uncover(plan)
    if marked:
        outcome.changed = True
        outcome.warnings.append(
            f"git was told to overlook edits of {edits.listed(marked)}, which it no longer is"
        )
    return bool(marked)


def _have_pull(plan: dict[str, Any], outcome: Outcome) -> None:
    """Have an Open-Falcon agent pull; put right once more what keeps it from doing so."""
    agent = plan["agent"]
    problem = _pull(plan)
    if problem and problem.code == "agent-down" and _is_startable(agent):
        # A plugin may have killed it: the release that mends that must come before its next cycle.
        restart.restart(plan, outcome)
        outcome.changed = True
        outcome.warnings.append("the agent did not run, and was started")
        problem = _pull(plan)
    if (
        problem
        and problem.code in ("not-enabled", "elsewhere")
        and _predates_configuration(agent)
        and restart.known(agent)
    ):
        # It runs with another configuration than the one that stands on the disk, which is right.
        restart.restart(plan, outcome)
        outcome.changed = True
        outcome.warnings.append(f"the agent was restarted, since {problem}")
        problem = _pull(plan)
    if problem and problem.code in _OF_GIT:
        problem = _have_pull_in_clone(plan, problem, outcome)
    if problem:
        raise problem
    if os.path.lexists(_note(plan)):
        os.unlink(_note(plan))


def _have_pull_in_clone(
    plan: dict[str, Any], problem: StepFailed, outcome: Outcome
) -> StepFailed | None:
    """Have it pull in a fresh clone, unless that has not helped before.

    Nothing that can be seen is wrong with the checkout, and yet git fails in it: objects of another
    user, a damaged pack, settings of its own. A fresh clone has none of that.
    """
    seen = checkout.state(plan)
    if files.read(_note(plan)) == _noted(seen, problem):
        return problem
    clone.replace(plan, outcome, keep=_has_something_of_its_own(plan, seen))
    outcome.warnings.append(f"a fresh clone took the place of the plugin folder, since {problem}")
    still = _pull(plan)
    if still and still.code in _OF_GIT:
        files.write(_note(plan), _noted(checkout.state(plan), still).encode(), 0o644)
    return still


def _note(plan: dict[str, Any]) -> str:
    """The file that says in which state not even a fresh clone has helped."""
    return os.path.join(plan["root"], ".pull-failed")


def _noted(seen: State, problem: StepFailed) -> str:
    return f"{seen.head} {problem.code}\n"


def _has_something_of_its_own(plan: dict[str, Any], seen: State) -> bool:
    """Whether a folder has anything that is not in the mirror too."""
    if seen.changes or seen.others or not _is_sound(plan, seen):
        return True
    status, refs = command.git(
        plan["agent"]["dir"], ["for-each-ref", "--format=%(refname)"], plan["user"]
    )
    branch = plan["branch"]
    known = {f"refs/heads/{branch}", f"refs/remotes/origin/{branch}", "refs/remotes/origin/HEAD"}
    # Other branches, and what was stashed.
    return bool(status) or not set(refs.split()) <= known


def _is_startable(agent: dict[str, Any]) -> bool:
    return loopback.get(agent["listen"], "/health", 2) is None and restart.known(agent)


def restart_idle(plan: dict[str, Any], outcome: Outcome) -> bool:
    """Restart an agent that lists nothing, if it may have been started with its plugin section off.

    Somebody switched plugins on and had it reload: it says `success` ever after and never asks for
    its list (measured). Nothing is lost by a restart, since it runs no plugin; and it happens once, for
    then the process is younger than its configuration.
    """
    agent = plan["agent"]
    if agent["listed"] or agent["settled"] <= agent["patience"] or not restart.known(agent):
        return False
    if not _predates_configuration(agent):
        return False
    restart.restart(plan, outcome)
    outcome.changed = True
    outcome.warnings.append(
        "the agent was restarted, since it listed nothing and its configuration was changed after "
        "its start: it lists what is bound a heartbeat from now"
    )
    return True


def _predates_configuration(agent: dict[str, Any]) -> bool:
    """Whether the agent is older than its configuration file; a restart changes nothing otherwise."""
    pid = process.listener(agent["listen"])
    try:
        found = os.stat(agent["cfg"])
    except OSError:
        return False
    # Anybody can set the one, also to a time to come, and nobody the other.
    written = time.time() - min(found.st_mtime, found.st_ctime)
    return pid is not None and 0 <= written <= process.age(pid)


def _pull(plan: dict[str, Any]) -> StepFailed | None:
    """Ask the agent; returns what is wrong once nobody else's update can be the reason."""
    problem: StepFailed | None = None
    undisturbed = 0
    for attempt in range(_TRIES):
        try:
            trigger.ask(plan, proof=True)
            return None
        except StepFailed as error:
            problem = error
        if problem.code not in _OF_GIT:
            break
        # The agent locks nothing: of several updates at a time only one succeeds (measured).
        if gits.run_in(checkout.place(plan)):
            if checkout.state(plan).as_wanted(plan["release"]["commit"]):
                return None  # one that somebody else asked for: the agent's own all the same
        else:
            undisturbed += 1
            if undisturbed == _UNDISTURBED:
                break
        time.sleep(0.1 * (attempt + 1))
    return problem


def _look_undisturbed(plan: dict[str, Any], folder: str) -> tuple[State, bool]:
    """The state, and whether the agent's pull works from it, as no pull in its midst shows it."""
    for _ in range(_LOOKS):
        before = checkout.last_pull(folder)
        seen = checkout.state(plan)
        sound = _is_sound(plan, seen)
        if sound and not seen.changes:
            break
        if not gits.run_in(folder) and checkout.last_pull(folder) == before:
            break
        gits.wait(folder)
    return seen, sound


def _is_sound(plan: dict[str, Any], seen: State) -> bool:
    """Whether the folder is a checkout whose pull fast-forwards to the mirror's branch."""
    branch = plan["branch"]
    if seen.branch != branch or seen.upstream != "origin/" + branch or seen.head == "(initial)":
        return False
    if not checkout.is_whole(checkout.place(plan)):
        return False
    status, settings = command.git(
        plan["agent"]["dir"],
        ["config", "--local", "--get-regexp", checkout.SETTINGS],
        plan["user"],
    )
    if status or settings != "remote.origin.url " + plan["mirror"]:
        return False
    status, _ = command.git(
        plan["mirror"], ["merge-base", "--is-ancestor", seen.head, branch], plan["user"]
    )
    return status == 0


def _end_hanging_gits(plan: dict[str, Any], folder: str, outcome: Outcome) -> None:
    """See that no git is at work there, the agent's own to another server that hangs included."""
    if gits.wait(folder):
        return
    ended = gits.end_hanging(folder, plan["agent"]["listen"])
    if ended:
        outcome.changed = True
        outcome.warnings.append("a git that hung was ended: {}".format(", ".join(ended)))
    if gits.run_in(folder) and not gits.wait(folder):
        raise StepFailed(
            f"somebody's git is at work in {folder} and does not end; run again when it has", "busy"
        )


def _remove_stale_locks(folder: str, user: str, outcome: Outcome) -> None:
    """Remove what a killed git left; the locks of one that is at work are its own."""
    if not checkout.is_whole(folder):
        return
    git_dir = os.path.join(folder, ".git")
    removed = leftovers.remove_git_locks(git_dir)
    command.as_user(user, lambda: leftovers.remove_git_garbage(git_dir))
    if removed:
        outcome.changed = True
        outcome.warnings.append("stale locks were removed: {}".format(", ".join(removed)))
