"""Step `sync`: the release goes into the host's own bare repository, which its agent pulls from.

The branch moves by git's own ref update, after every object is there: whoever looks, and whatever
is killed when, sees the release before or the new one.
"""

from __future__ import annotations

import os
import time

from roles.plugin_sync.host import command, leftovers
from roles.plugin_sync.host.outcome import Outcome, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Each delta is a pack of its own; git slows down with many.
_MANY_PACKS = 40


def sync(plan: dict[str, Any], blobs: dict[str, bytes]) -> Outcome:
    """Bring the mirror's branch to the plan's release."""
    mirror, user = plan["mirror"], plan["user"]
    commit, number = plan["release"]["commit"], plan["release"]["number"]
    kept = _make(mirror, user, plan["branch"], replace=plan.get("replace_mirror", False))
    outcome = Outcome()
    if kept:
        outcome.warnings.append(f"the damaged mirror was kept as {kept}")
    # Nobody else writes here while we hold the visit's lock: whatever is half done is a leftover.
    command.as_user(user, lambda: leftovers.remove_git_locks(mirror))
    command.as_user(user, lambda: leftovers.remove_git_garbage(mirror))
    ref = "refs/heads/" + plan["branch"]
    if _head(mirror, user, ref) == commit:
        outcome.msg = f"release {number} is in the mirror"
        outcome.changed = bool(kept)
        return outcome
    pack = blobs.get("pack", b"")
    if pack:
        _git(mirror, user, ["index-pack", "--stdin", "--fix-thin"], pack)
    _tidy(mirror, user)
    _git(mirror, user, ["update-ref", ref, commit])
    outcome.changed = True
    outcome.msg = f"release {number} synced ({(len(pack) + 1023) // 1024} kB)"
    return outcome


def _make(mirror: str, user: str, branch: str, replace: bool) -> str:
    """Make the mirror where there is none; with `replace`, put the present one aside first."""
    kept, fresh = "", f"{mirror}.plugfleet-new"
    leftovers.remove_folder(fresh)
    if replace and os.path.lexists(mirror):
        kept = "{}.damaged-{}".format(mirror, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        os.rename(mirror, kept)
    if os.path.lexists(mirror) and not _is_empty(mirror):
        own(mirror, user)
        return kept
    # Complete before it gets its name: half a repository would be taken for a damaged one.
    os.makedirs(fresh)
    command.give_to(fresh, user)
    status, output = command.git(fresh, ["init", "--quiet", "--bare", "--template="], user)
    if status:
        raise StepFailed(_why(fresh, output), "sync")
    # --initial-branch is not known to git before 2.28.
    _git(fresh, user, ["symbolic-ref", "HEAD", f"refs/heads/{branch}"])
    os.rename(fresh, mirror)
    return kept


def _is_empty(folder: str) -> bool:
    return os.path.isdir(folder) and not os.listdir(folder)


def own(mirror: str, user: str) -> None:
    """Give the mirror to the agent's user where it belongs to another: git refuses it otherwise."""
    if os.geteuid() != 0:
        return
    wanted = command.account(user or "root")
    if os.lstat(mirror).st_uid == wanted.pw_uid:
        return
    for folder, _, names in os.walk(mirror):
        for path in [os.path.join(folder, name) for name in names] + [folder]:
            os.chown(path, wanted.pw_uid, wanted.pw_gid, follow_symlinks=False)


def _git(mirror: str, user: str, args: list[str], data: bytes | None = None) -> None:
    status, output = command.git(mirror, args, user, data)
    if status:
        raise StepFailed(_why(mirror, output), "mirror-damaged" if _damaged(output) else "sync")


def _head(mirror: str, user: str, ref: str) -> str:
    status, output = command.git(
        mirror, ["rev-parse", "--verify", "--quiet", ref + "^{commit}"], user
    )
    return "" if status else output


def _tidy(mirror: str, user: str) -> None:
    """Put many small packs together; before the branch moves, so that a kill is made up for."""
    packs = os.path.join(mirror, "objects", "pack")
    if sum(name.endswith(".pack") for name in os.listdir(packs)) > _MANY_PACKS:
        command.git(mirror, ["repack", "-a", "-d", "-k", "-q"], user)


def _damaged(output: str) -> bool:
    """Whether objects that the mirror should have are missing or broken, or it is no repository."""
    signs = (
        "unresolved delta",
        "missing",
        "corrupt",
        "bad object",
        "not a valid",
        "nonexistent",
        "not a git repository",
    )
    return any(sign in output for sign in signs)


def _why(mirror: str, output: str) -> str:
    message = "git in the mirror {}: {}".format(mirror, output or "failed without a word")
    if "No space left" in output:
        stat = os.statvfs(mirror)
        free = stat.f_bavail * stat.f_frsize // 1024
        message += f"; {free} kB are free there, free some more"
    elif "Read-only file system" in output:
        message += "; mount it read-write, or set plugin_sync_root to a folder that is"
    elif "ermission denied" in output:
        message += "; its owner must be plugin_sync_user"
    return message
