"""Step `sync`: the release goes into the host's own bare repository, which its agent pulls from.

The branch moves by git's own ref update, after every object is there: whoever looks, and whatever
is killed when, sees the release before or the new one.
"""

from __future__ import annotations

import os
import time

from roles.plugin_sync.host import command
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
    ref = "refs/heads/" + plan["branch"]
    if _head(mirror, user, ref) == commit:
        outcome.msg = f"release {number} is in the mirror"
        outcome.changed = bool(kept)
        return outcome
    _remove_stale_locks(mirror)
    pack = blobs.get("pack", b"")
    if pack:
        status, output = command.git(
            mirror, ["index-pack", "--stdin", "--fix-thin", "--strict"], user, pack
        )
        if status:
            raise StepFailed(_why(mirror, output), "mirror-damaged" if _damaged(output) else "sync")
    status, output = command.git(mirror, ["update-ref", ref, commit], user)
    if status:
        raise StepFailed(_why(mirror, output), "mirror-damaged" if _damaged(output) else "sync")
    outcome.changed = True
    outcome.msg = f"release {number} synced ({(len(pack) + 1023) // 1024} kB)"
    _tidy(mirror, user)
    return outcome


def _make(mirror: str, user: str, branch: str, replace: bool) -> str:
    """Make the mirror where there is none; with `replace`, put the present one aside first."""
    kept = ""
    if replace and os.path.lexists(mirror):
        kept = "{}.damaged-{}".format(mirror, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        os.rename(mirror, kept)
    # Without a HEAD it is no repository: an init that was killed, or a folder somebody made.
    if os.path.isfile(os.path.join(mirror, "HEAD")):
        return kept
    parent = os.path.dirname(mirror)
    os.makedirs(parent, exist_ok=True)
    os.makedirs(mirror, exist_ok=True)
    change = command.become(user)
    if change:
        entry = command.account(user)
        os.chown(mirror, entry.pw_uid, entry.pw_gid)
    status, output = command.run(
        ["git", "init", "--quiet", "--bare", "--template=", "--initial-branch=" + branch, mirror],
        user,
    )
    if status:
        raise StepFailed(_why(mirror, output), "sync")
    return kept


def _head(mirror: str, user: str, ref: str) -> str:
    status, output = command.git(
        mirror, ["rev-parse", "--verify", "--quiet", ref + "^{commit}"], user
    )
    return "" if status else output


def _remove_stale_locks(mirror: str) -> None:
    """Remove what a killed git left: nobody else writes here while we hold the visit's lock."""
    for folder, _, names in os.walk(mirror):
        if os.path.basename(folder) == "objects":
            continue
        for name in names:
            if name.endswith(".lock"):
                os.unlink(os.path.join(folder, name))


def _tidy(mirror: str, user: str) -> None:
    packs = os.path.join(mirror, "objects", "pack")
    if sum(name.endswith(".pack") for name in os.listdir(packs)) > _MANY_PACKS:
        command.git(mirror, ["repack", "-a", "-d", "-q"], user)


def _damaged(output: str) -> bool:
    """Whether objects that the mirror should have are missing or broken."""
    signs = ("unresolved delta", "missing", "corrupt", "bad object", "not a valid", "nonexistent")
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
