"""Local changes to the agent's checkout: kept as a patch for `git apply`, then taken back."""

from __future__ import annotations

import os
import time

from roles.agent_config.host import files
from roles.plugin_sync.host import command, leftovers
from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roles.agent_update.host.checkout import State
    from roles.plugin_sync.host.outcome import Outcome

_BIG_FILE = 1 << 20
_NAMED = 5
_PATCHES = 20  # the newest ones are kept, as plugfleet's executor keeps them
_TRIES = 10


def keep_and_undo(plan: dict[str, Any], folder: str, seen: State, outcome: Outcome) -> bool:
    """Save what was changed by hand as a patch, then put the commit's files back.

    Returns:
        False where a patch cannot hold it: big files, repositories in the folder, files that the
        agent's user may not read. Nothing was undone then, and the folder must be kept as it is.
    """
    if not seen.changes:
        return True
    if not all(_fits(os.path.join(folder, path)) for path in seen.changes):
        return False
    found = _patch(plan, folder)
    if found is None:
        return False
    edited, text = found
    if edited:
        kept = _keep(plan, seen.head, text)
        outcome.warnings.append(
            f"local changes to {_list(edited)} were kept as {kept} and replaced"
        )
    else:
        outcome.warnings.append(
            f"an update that was cut short was undone: {_list(seen.changes)} had only what "
            "a release has"
        )
    _undo(folder, plan["user"])
    outcome.changed = True
    return True


def finish_interrupted(folder: str) -> None:
    """Remove what a killed visit left; nothing of it is needed."""
    leftovers.remove_folder(_scratch(folder))


def _scratch(folder: str) -> str:
    return os.path.join(folder, ".git", "plugfleet-scratch")


def _fits(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return True  # removed by hand
    # A folder among the changes is a repository of its own.
    return found.st_size <= _BIG_FILE and not os.path.isdir(path)


def _patch(plan: dict[str, Any], folder: str) -> tuple[list[str], bytes] | None:
    """Which files were edited, and the patch; None where git cannot read one of them.

    A file that is as the wanted release has it is no edit: an agent's pull that was killed leaves
    such files.
    """
    user, scratch = plan["user"], _scratch(folder)
    os.mkdir(scratch)
    command.give_to(scratch, user)
    git_objects = os.path.join(folder, ".git", "objects")
    # An index and objects of its own: the agent may be at work with the checkout's.
    env = {
        "GIT_INDEX_FILE": os.path.join(scratch, "index"),
        "GIT_OBJECT_DIRECTORY": scratch,
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{git_objects}:{plan['mirror']}/objects",
    }
    names = ["diff", "--cached", "--name-only", "--no-renames", "-z"]
    output = os.path.join(scratch, "patch")
    try:
        for args in (["read-tree", "HEAD"], ["add", "--all", "."]):
            if command.git(folder, args, user, env=env)[0]:
                return None
        status, changed = command.git_bytes(folder, [*names, "HEAD"], user, env=env)
        missing, unlike = command.git_bytes(
            folder, [*names, plan["release"]["commit"]], user, env=env
        )
        if status:
            return None
        others = set(changed.split(b"\0") if missing else unlike.split(b"\0"))
        edited = [os.fsdecode(name) for name in changed.split(b"\0")[:-1] if name in others]
        if not edited:
            return [], b""
        diff = ["diff", "--cached", "--binary", "--full-index", "--no-ext-diff", "--no-renames",
                "--no-color", "--output=" + output, "HEAD", "--"]  # fmt: skip
        some = edited if len(edited) < 1000 else []
        if command.git(folder, diff + some, user, env=dict(env, GIT_LITERAL_PATHSPECS="1"))[0]:
            return None
        with open(os.open(output, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return edited, file.read()
    finally:
        leftovers.remove_folder(scratch)


def _keep(plan: dict[str, Any], head: str, text: bytes) -> str:
    folder = os.path.join(plan["root"], "kept")
    files.make_folder(folder, "", 0o700)
    name = "{}-{}".format(head[:12], time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    path = os.path.join(folder, name + ".patch")
    number = 1
    while os.path.lexists(path):
        number += 1
        path = os.path.join(folder, f"{name}.{number}.patch")
    files.write(path, text, 0o600)
    patches = [os.path.join(folder, name) for name in os.listdir(folder)]
    for old in sorted(patches, key=os.path.getmtime)[:-_PATCHES]:
        os.unlink(old)
    return path


def _undo(folder: str, user: str) -> None:
    said = ""
    for _ in range(_TRIES):
        # Somebody else's update may hold the index for a moment.
        status, said = command.git(folder, ["reset", "--hard", "--quiet"], user)
        if not status:
            status, said = command.git(folder, ["clean", "-ffdq"], user)
        if not status:
            return
        time.sleep(0.3)
    raise StepFailed(
        f"the local changes in {folder} are kept, but could not be taken back: {said[-300:]}",
        "undo-changes",
    )


def _list(paths: list[str]) -> str:
    more = len(paths) - _NAMED
    # A name may hold bytes that no message can.
    text = ", ".join(paths[:_NAMED]).encode("utf-8", "replace").decode()
    return f"{text} and {more} more" if more > 0 else text
