"""Local changes to the agent's checkout: kept as a patch for `git apply`, then taken back."""

from __future__ import annotations

import os
import re
import time
import zlib

from roles.agent_config.host import files
from roles.agent_update.host import checkout
from roles.plugin_sync.host import command, leftovers
from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roles.agent_update.host.checkout import State
    from roles.plugin_sync.host.outcome import Outcome

_BIG_FILE = 1 << 20
_NAMED = 5
_PATCHES = 20  # as many as plugfleet's executor keeps
_IGNORED = 500  # files that are named on one command line
_TRIES = 10


def keep_and_undo(plan: dict[str, Any], folder: str, seen: State, outcome: Outcome) -> bool:
    """Save what was changed by hand as a patch, then put the commit's files back.

    Returns:
        False where a patch cannot hold it: big files, repositories in the folder, files that the
        agent's user may not read. Nothing was undone then, and the folder must be kept as it is.
    """
    if not seen.changes:
        return True
    if len(seen.ignored) > _IGNORED:
        return False
    if not all(_fits(os.path.join(folder, path)) for path in seen.changes):
        return False
    found = _patch(plan, folder, seen.ignored)
    if found is None:
        return False
    edited, text = found
    if edited:
        kept = _keep(plan, seen.head, text)
        outcome.warnings.append(
            f"local changes to {listed(edited)} were kept as {kept} and replaced"
        )
        if dropped := _drop_old(os.path.dirname(kept)):
            outcome.warnings.append(
                f"only {_PATCHES} patches are kept; older ones of the same files were dropped: "
                f"{', '.join(dropped)}"
            )
    else:
        outcome.warnings.append(
            f"an update that was cut short was undone: {listed(seen.changes)} had only what "
            "a release has"
        )
    _undo(folder, plan["user"], seen.ignored)
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


def _patch(plan: dict[str, Any], folder: str, ignored: list[str]) -> tuple[list[str], bytes] | None:
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
        "GIT_LITERAL_PATHSPECS": "1",
    }
    names = ["diff", "--cached", "--name-only", "--no-renames", "-z"]
    output = os.path.join(scratch, "patch")
    try:
        adding = [["add", "--all", "."]] + [["add", "--force", "--", *ignored]] * bool(ignored)
        for args in [["read-tree", "HEAD"], *adding]:
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
        # Whatever settings say, as `git apply` takes it.
        diff = ["diff", "--cached", "--binary", "--full-index", "--no-ext-diff", "--no-textconv",
                "--no-renames", "--no-color", "--unified=3", "--src-prefix=a/", "--dst-prefix=b/",
                "--output=" + output, "HEAD", "--"]  # fmt: skip
        some = edited if len(edited) < 1000 else []
        if command.git(folder, diff + some, user, env=env)[0]:
            return None
        with open(os.open(output, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return edited, file.read()
    finally:
        leftovers.remove_folder(scratch)


def _keep(plan: dict[str, Any], head: str, text: bytes) -> str:
    """Write a patch, unless the very same is kept; returns its path."""
    folder = os.path.join(plan["root"], "kept")
    files.make_folder(folder, "", 0o700)
    kind = _kind(text)
    for same in _kept(folder):
        if _kind_of_name(same) == kind and _has(same, text):
            os.utime(same)
            return same
    name = "{}-{}".format(head[:12], time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    path = os.path.join(folder, f"{name}-{kind}.patch")
    number = 1
    while os.path.lexists(path):
        number += 1
        path = os.path.join(folder, f"{name}.{number}-{kind}.patch")
    files.write(path, text, 0o600)
    return path


def _kind(patch: bytes) -> str:
    """The same for patches of the same files; of one that was added and is no plugin, its folder counts.

    A plugin that keeps its state in its folder makes another patch at each visit.
    """
    changed = set()
    for names, added in re.findall(rb"^diff --git (.*)\n(new file)?", patch, re.MULTILINE):
        name = os.fsdecode(names[: len(names) // 2])  # "a/path b/path", both quoted or none
        is_state = added and not checkout.is_run(name)
        changed.add(os.path.dirname(name) + "/" if is_state else name)
    return f"{zlib.crc32(os.fsencode(' '.join(sorted(changed)))):08x}"


def _kind_of_name(path: str) -> str:
    found = re.search(r"-([0-9a-f]{8})\.patch$", path)
    return found.group(1) if found else path


def _has(path: str, content: bytes) -> bool:
    if os.path.getsize(path) != len(content):
        return False
    with open(path, "rb") as file:
        return file.read() == content


def _kept(folder: str) -> list[str]:
    """The patches that are kept, the oldest first."""
    paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".patch")]
    return sorted(paths, key=os.path.getmtime)


def _drop_old(folder: str) -> list[str]:
    """Remove patches beyond the bound, of files that have the most; returns their paths.

    So those of files that change all the time never push out what a person did once; of each
    kind, the first stays longest.
    """
    dropped = []
    patches = _kept(folder)
    while len(patches) > _PATCHES:
        kinds: dict[str, list[str]] = {}
        for path in patches:
            kinds.setdefault(_kind_of_name(path), []).append(path)
        most = max(kinds.values(), key=len)
        old = most[1 if len(most) > 1 else 0]
        os.unlink(old)
        patches.remove(old)
        dropped.append(old)
    return dropped


def _undo(folder: str, user: str, ignored: list[str]) -> None:
    said = ""
    for _ in range(_TRIES):
        # Somebody else's update may hold the index for a moment.
        status, said = command.git(folder, ["reset", "--hard", "--quiet"], user)
        if not status:
            status, said = command.git(folder, ["clean", "-ffdq"], user)
        if not status and ignored:
            args = ["clean", "-ffdqx", "--", *ignored]
            status, said = command.git(folder, args, user, env={"GIT_LITERAL_PATHSPECS": "1"})
        if not status:
            return
        time.sleep(0.3)
    raise StepFailed(
        f"the local changes in {folder} are kept, but could not be taken back: {said[-300:]}",
        "undo-changes",
    )


def listed(paths: list[str]) -> str:
    """Some paths by name, and how many more there are."""
    more = len(paths) - _NAMED
    # A name may hold bytes that no message can.
    text = ", ".join(paths[:_NAMED]).encode("utf-8", "replace").decode()
    return f"{text} and {more} more" if more > 0 else text
