"""Putting a fresh clone in the place of the agent's plugin folder, in one step.

    plugin                             the folder
    plugin.plugfleet-new               a clone being made; a leftover where no visit runs
    plugin.before-plugfleet-<UTC>      what was there before, whole; the first, and the newest ones

The two change places by one call of the kernel, so no moment is without plugins.
"""

from __future__ import annotations

import os
import re
import time

from roles.agent_config.host import files
from roles.agent_update.host import checkout
from roles.plugin_sync.host import command, leftovers
from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roles.plugin_sync.host.outcome import Outcome

_KEPT_AS = ".before-plugfleet-"
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
# In the .git of a clone until it has its place: tells it from what it replaces after a kill.
_FRESH = "plugfleet-fresh"
# Python writes there whenever a plugin imports another file. No agent runs what is in it.
_IGNORED = "__pycache__/\n"
# A whole copy each: a host whose folder is spoilt again and again must not run full of them.
_FOLDERS, _ROOM, _AT_LEAST = 20, 200 << 20, 5


def finish_interrupted(folder: str) -> None:
    """Remove clones that a killed visit had not put in place."""
    parent, name = os.path.split(folder)
    leftovers.remove_folder(f"{folder}.plugfleet-new")
    if os.path.isdir(parent):
        for entry in os.listdir(parent):
            path = os.path.join(parent, entry)
            if entry.startswith(name + _KEPT_AS) and os.path.exists(_mark(path)):
                leftovers.remove_folder(path)
    if os.path.exists(_mark(folder)):
        os.unlink(_mark(folder))


def replace(plan: dict[str, Any], outcome: Outcome, keep: bool = True) -> None:
    """Put a fresh clone of the mirror in the folder's place; what was there is kept and named.

    Files that are the same keep their time: an agent restarts the schedule of a plugin whose mtime
    changed.

    Args:
        keep: whether the former folder may have anything that the mirror has not.
    """
    # plugfleet's own link to a release is not followed: what it points to belongs to the executor.
    named = plan["agent"]["dir"]
    link = os.path.islink(named) and ".releases/" in os.readlink(named)
    folder = named if link else checkout.place(plan)
    if os.path.ismount(folder):
        raise StepFailed(
            f"{folder} is a mount point, which cannot be replaced; set agent_config_plugin_dir to "
            "a folder inside it",
            "mount-point",
        )
    _refuse_more_than_plugins(plan, folder)
    fresh = _clone(plan, folder)
    if os.path.isdir(folder):
        _copy_times(folder, fresh)
        command.git(fresh, ["update-index", "-q", "--refresh"], plan["user"])
    command.write_as(plan["user"], _mark(fresh), b"")
    if not os.path.lexists(folder) or _is_empty(folder):
        os.rename(fresh, folder)
    else:
        kept = _free_name(folder)
        os.rename(fresh, kept)
        _exchange(kept, folder)
        if keep:
            outcome.warnings.append(f"the former {folder} was kept as {kept}")
        else:
            leftovers.remove_folder(kept)
    os.unlink(_mark(folder))
    _drop_old(folder, outcome)
    outcome.changed = True


def _refuse_more_than_plugins(plan: dict[str, Any], folder: str) -> None:
    """Refuse a folder that has the agent or what is ours in it, by whatever names that goes.

    Raises:
        StepFailed: names what is inside.
    """
    agent = plan["agent"]
    for name in (agent["home"], agent["cfg"], plan["root"], plan["mirror"]):
        inside = os.path.realpath(name) if name else ""
        if inside == folder or inside.startswith(folder.rstrip("/") + "/"):
            raise StepFailed(
                f"the agent's plugin folder {folder} has {name} in it, so it was not replaced; set "
                "agent_config_plugin_dir to a folder of its own",
                "not-its-own",
            )


def _drop_old(folder: str, outcome: Outcome) -> None:
    parent, name = os.path.split(folder)
    ours = re.compile(re.escape(name) + _KEPT_AS + r"([0-9]{8}T[0-9]{6}Z)(?:\.([0-9]+))?")
    kept = sorted(
        (found.group(1), int(found.group(2) or 1), os.path.join(parent, found.group()))
        for found in map(ours.fullmatch, os.listdir(parent))
        if found
    )
    sizes = {path: _size(path) for _, _, path in kept}
    dropped = []
    while len(sizes) > _FOLDERS or (len(sizes) > _AT_LEAST and sum(sizes.values()) > _ROOM):
        # The first is from before plugfleet.
        path = list(sizes)[1]
        leftovers.remove_folder(path)
        dropped.append(path)
        del sizes[path]
    if dropped:
        outcome.warnings.append(
            f"of the former folders only the first and the newest ones are kept, {_FOLDERS} and "
            f"{_ROOM >> 20} MB at the most; dropped: {', '.join(dropped)}"
        )


def _size(folder: str) -> int:
    """Bytes of a folder's files, as far as they are there."""
    return sum(
        os.lstat(path).st_size
        for base, _, names in os.walk(folder)
        for path in (os.path.join(base, name) for name in names)
        if os.path.lexists(path)
    )


def _clone(plan: dict[str, Any], folder: str) -> str:
    fresh, user = f"{folder}.plugfleet-new", plan["user"]
    leftovers.remove_folder(fresh)
    files.make_folder(os.path.dirname(folder), user)
    os.makedirs(fresh)
    command.give_to(fresh, user)
    status, output = command.git(
        fresh,
        ["clone", "--quiet", "--template=", "--origin", "origin", "--branch", plan["branch"],
         plan["mirror"], "."],
        user,
    )  # fmt: skip
    if status:
        raise StepFailed(f"cloning {plan['mirror']} to {fresh}: {output}", "clone")
    info = os.path.join(fresh, ".git", "info")
    command.as_user(user, lambda: os.makedirs(info, exist_ok=True))
    command.write_as(user, os.path.join(info, "exclude"), _IGNORED.encode())
    return fresh


def _mark(folder: str) -> str:
    return os.path.join(folder, ".git", _FRESH)


def _is_empty(folder: str) -> bool:
    return os.path.isdir(folder) and not os.path.islink(folder) and not os.listdir(folder)


def _free_name(folder: str) -> str:
    name = folder + _KEPT_AS + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 1
    kept = name
    while os.path.lexists(kept):
        number += 1
        kept = f"{name}.{number}"
    return kept


def _exchange(one: str, other: str) -> None:
    """Let two paths change places; in two steps where the kernel or the file system cannot."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd = -100
    if hasattr(libc, "renameat2") and not libc.renameat2(
        at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), _EXCHANGE
    ):
        return
    aside = f"{one}.swap"
    os.rename(other, aside)
    os.rename(one, other)
    os.rename(aside, one)


def _copy_times(old: str, new: str) -> None:
    for base, names, entries in os.walk(new):
        if ".git" in names:
            names.remove(".git")
        for name in entries:
            path = os.path.join(base, name)
            before = os.path.join(old, os.path.relpath(path, new))
            if _is_file(before) and _is_file(path) and _same(before, path):
                stat = os.stat(before)
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _is_file(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


def _same(one: str, other: str) -> bool:
    if os.path.getsize(one) != os.path.getsize(other):
        return False
    try:
        with open(one, "rb") as a, open(other, "rb") as b:
            return a.read() == b.read()
    except PermissionError:
        return False
