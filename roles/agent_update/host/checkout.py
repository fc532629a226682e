"""The agent's plugin folder: what state it is in, and healing what makes `git pull` fail for ever.

An Open-Falcon agent runs `git pull` there, and nothing else; `/plugin/reset` helps against edited
files only. Untracked files in the way, a detached HEAD, a branch with no upstream, another remote,
a diverged history or an empty folder keep it failing (all measured), so each is put right before
the agent is asked. What is replaced is kept, and named.
"""

from __future__ import annotations

import os
import shutil
import time

from roles.agent_config.host import files
from roles.plugin_sync.host import command
from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roles.plugin_sync.host.outcome import Outcome

_LOCK_AGE = 30  # seconds; git holds its locks for far less on a tree of this size


class State:
    """What git says of a checkout.

    head      its commit, "" where it is no checkout of its own
    branch    "(detached)" or the branch's name
    upstream  "origin/deploy" or ""
    changes   paths that differ from HEAD
    """

    __slots__ = ("branch", "changes", "head", "upstream")

    def __init__(self, porcelain: str) -> None:
        self.head = self.branch = self.upstream = ""
        self.changes: list[str] = []
        for line in porcelain.splitlines():
            if line.startswith("# branch.oid "):
                self.head = line[13:]
            elif line.startswith("# branch.head "):
                self.branch = line[14:]
            elif line.startswith("# branch.upstream "):
                self.upstream = line[18:]
            elif line[:1] in "12u?" and line:
                # "1 XY sub mH mI mW hH hI path", "? path"
                fields = {"1": 8, "2": 9, "u": 10, "?": 1}[line[0]]
                self.changes.append(line.split(" ", fields)[-1].split("\t")[0])

    def as_wanted(self, commit: str) -> bool:
        """Whether the checkout is the commit, unmodified."""
        return self.head == commit and not self.changes


def state(plan: dict[str, Any]) -> State:
    """Look at the agent's plugin folder."""
    folder = plan["agent"]["dir"]
    # A folder inside some other repository must not be taken for a checkout.
    if not os.path.lexists(os.path.join(folder, ".git")):
        return State("")
    status, output = command.git(
        folder, ["status", "--porcelain=v2", "--branch", "--untracked-files=all"], plan["user"]
    )
    return State("" if status else output)


def heal(plan: dict[str, Any], outcome: Outcome) -> None:
    """Make the folder a clean checkout of the mirror's branch, so that the agent's pull works."""
    folder, user, branch = plan["agent"]["dir"], plan["user"], plan["branch"]
    if os.path.islink(folder) and ".releases/" in os.readlink(folder):
        # plugfleet's own executor in an agent's place: it replaces whole releases itself.
        return
    _remove_stale_lock(folder, outcome)
    seen = state(plan)
    if seen.changes:
        _keep_changes(plan, seen, outcome)
        seen = state(plan)
    upstream = "origin/" + branch
    _, url = command.git(folder, ["config", "remote.origin.url"], user) if seen.head else (1, "")
    sound = seen.branch == branch and seen.upstream == upstream and url == plan["mirror"]
    if sound and not seen.changes and _is_ancestor(plan, seen.head):
        return
    _clone_again(plan, outcome)


def _is_ancestor(plan: dict[str, Any], head: str) -> bool:
    """Whether a pull can fast-forward from here."""
    if head == "(initial)":
        return False
    status, _ = command.git(
        plan["mirror"], ["merge-base", "--is-ancestor", head, plan["branch"]], plan["user"]
    )
    return status == 0


def _remove_stale_lock(folder: str, outcome: Outcome) -> None:
    """Remove the index.lock of a git that was killed; a young one may be the agent's own."""
    lock = os.path.join(folder, ".git", "index.lock")
    try:
        for _ in range(20):
            if time.time() - os.stat(lock).st_mtime > _LOCK_AGE or not _git_runs_in(folder):
                os.unlink(lock)
                outcome.warnings.append(f"a stale {lock} was removed")
                return
            time.sleep(0.5)
    except (FileNotFoundError, NotADirectoryError):
        return
    raise StepFailed(f"git is at work in {folder}; run again when it has ended", "busy")


def _git_runs_in(folder: str) -> bool:
    """Whether a git process works in the folder."""
    real = os.path.realpath(folder)
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read().startswith("git") and os.readlink(f"/proc/{pid}/cwd") == real:
                    return True
        except OSError:
            continue
    return False


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _keep_changes(plan: dict[str, Any], seen: State, outcome: Outcome) -> None:
    """Save what was changed by hand as a patch, then put the release's files back."""
    folder, user = plan["agent"]["dir"], plan["user"]
    kept = os.path.join(plan["root"], "kept")
    files.make_folder(kept, "", 0o700)
    patch = os.path.join(kept, f"{seen.head[:12]}-{_stamp()}.patch")
    # Into a scratch index, so that new files are in the patch too.
    index = os.path.join(folder, ".git", "plugfleet-index")
    env = {"GIT_INDEX_FILE": index}
    base = ["git", *command.GIT_INERT, "-C", folder]
    command.run([*base, "read-tree", "HEAD"], user, env=env)
    command.run([*base, "add", "--all", "--force", "."], user, env=env)
    status, text = command.run(
        [*base, "diff", "--cached", "--binary", "--full-index", "--no-ext-diff", "HEAD"],
        user,
        env=env,
    )
    if os.path.exists(index):
        os.unlink(index)
    if status:
        raise StepFailed(
            f"the local changes in {folder} could not be saved, so nothing was replaced: {text}",
            "keep-changes",
        )
    files.write(patch, (text + "\n").encode("utf-8", "surrogateescape"), 0o600)
    command.git(folder, ["reset", "--hard", "--quiet"], user)
    command.git(folder, ["clean", "-ffdxq"], user)
    outcome.changed = True
    outcome.warnings.append(
        "local changes to {} were kept as {} and replaced".format(
            ", ".join(seen.changes[:5]), patch
        )
    )


def _clone_again(plan: dict[str, Any], outcome: Outcome) -> None:
    """Put a fresh clone in the folder's place; files that are the same keep their time.

    Keeping it matters: an agent restarts the schedule of a plugin whose mtime changed.
    """
    folder, user = plan["agent"]["dir"], plan["user"]
    fresh = f"{folder}.plugfleet-new"
    shutil.rmtree(fresh, ignore_errors=True)
    parent = os.path.dirname(folder)
    files.make_folder(parent, user)
    change = command.become(user)
    os.makedirs(fresh)
    if change:
        entry = command.account(user)
        os.chown(fresh, entry.pw_uid, entry.pw_gid)
    status, output = command.run(
        ["git", *command.GIT_INERT, "clone", "--quiet", "--template=", "--branch", plan["branch"],
         plan["mirror"], fresh],
        user,
    )  # fmt: skip
    if status:
        raise StepFailed("cloning {} to {}: {}".format(plan["mirror"], fresh, output), "clone")
    if os.path.isdir(folder):
        _copy_times(folder, fresh)
        command.git(fresh, ["update-index", "-q", "--refresh"], user)
    if os.path.lexists(folder):
        if os.path.isdir(folder) and not os.path.islink(folder) and not os.listdir(folder):
            os.rmdir(folder)
        else:
            kept = f"{folder}.before-plugfleet-{_stamp()}"
            os.rename(folder, kept)
            outcome.warnings.append(f"the former {folder} was kept as {kept}")
    os.rename(fresh, folder)
    outcome.changed = True


def _copy_times(old: str, new: str) -> None:
    for base, names, entries in os.walk(new):
        if ".git" in names:
            names.remove(".git")
        for name in entries:
            path = os.path.join(base, name)
            before = os.path.join(old, os.path.relpath(path, new))
            if os.path.isfile(before) and not os.path.islink(path) and _same(before, path):
                stat = os.stat(before)
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _same(one: str, other: str) -> bool:
    with open(one, "rb") as a, open(other, "rb") as b:
        return a.read() == b.read()
