"""Removes the things that a ledger names, in the order that leaves nothing behind.

First every process of the fleet (by cgroup, identity, marker or network namespace), then the
namespaces and groups that are empty now, last the folders. Nothing here searches by a broad name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

from . import cgroups, procs
from .procs import Process

NETNS = Path("/run/netns")
# The file in a fleet's folder that says whose it is: nothing without it is ever deleted.
SIGN = ".fleet-id"
# The environment variable that processes of a host carry where no cgroup holds them.
MARKER = "PLUGFLEET_FLEET"


def netns_members(names: list[str]) -> list[Process]:
    """The processes that live in the named network namespaces, this one excepted."""
    inodes = set()
    for name in names:
        try:
            inodes.add((NETNS / name).stat().st_ino)
        except OSError:
            continue
    result = []
    for found in procs.everyone() if inodes else []:
        try:
            inside = os.stat(f"/proc/{found.process.pid}/ns/net").st_ino in inodes
        except OSError:
            continue
        if inside and found.process.pid != os.getpid():
            result.append(found.process)
    return result


def close_sockets(folder: Path) -> None:
    """Asks the ssh masters that listen in `folder` to end; they serve this fleet's hosts only."""
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if stat.S_ISSOCK(entry.lstat().st_mode):
            command = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={entry}", "-O", "exit", "x"]
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(command, capture_output=True, timeout=5, check=False)


def _delete_netns(names: list[str]) -> None:
    there = [name for name in names if (NETNS / name).exists()]
    if there:
        batch = "".join(f"netns delete {name}\n" for name in there)
        command = ["ip", "-force", "-batch", "-"]
        subprocess.run(command, input=batch, text=True, capture_output=True, check=False)


def _delete_folder(folder: Path, owner: str) -> None:
    try:
        sign = (folder / SIGN).read_text()
    except FileNotFoundError:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()  # its owner died before it could sign it
        return
    if sign not in (owner, ""):  # empty: the owner died while it signed
        return  # the name was given to another fleet since
    end = time.monotonic() + 2
    while any(entry.name != SIGN for entry in folder.iterdir()):
        try:
            _empty(folder)
        except OSError:  # a program that was just killed wrote a last file
            if time.monotonic() > end:
                raise
    (folder / SIGN).unlink()
    # Whoever made the folder beforehand may have made it where its owner cannot remove it.
    with contextlib.suppress(PermissionError):
        folder.rmdir()


def _empty(folder: Path) -> None:
    """Removes all that is in `folder` but its sign, by which it is known until the end."""
    for inside, names, _ in os.walk(folder):
        for name in names:
            # A host may have made folders that even their owner cannot list; root passes anyway.
            path = Path(inside, name)
            if not path.is_symlink():
                path.chmod(0o700)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != SIGN:
            entry.unlink()


def remove(things: list[list[Any]], place: Path) -> list[str]:
    """Removes every `[kind, what]` that `place` records; returns in words what is still there."""
    kinds: dict[str, list[Any]] = {}
    for kind, what in things:
        kinds.setdefault(kind, []).append(what)
    groups = [Path(path) for path in kinds.get("cgroup", [])]
    roots = [Process(*pair) for pair in kinds.get("process", [])]
    owner = place.name.lstrip(".")
    names = kinds.get("netns", [])

    close_sockets(place / "cp")
    # Sessions are below the servers: see them before the servers die and their children move.
    family = procs.descendants(roots) if roots else []
    stuck = cgroups.kill([group for group in groups if group.exists()])
    stuck += procs.kill_all(lambda: family)
    stuck += procs.kill_all(lambda: procs.marked(MARKER, owner))
    stuck += procs.kill_all(lambda: netns_members(names))
    left = [f"process {process.pid} (it does not die)" for process in stuck]
    _delete_netns(names)
    left += [f"network namespace {name}" for name in names if (NETNS / name).exists()]
    left += [f"cgroup {group}" for group in groups if not cgroups.remove(group)]
    for folder in map(Path, kinds.get("folder", [])):
        try:
            _delete_folder(folder, owner)
        except OSError as error:
            left.append(f"{error.filename}: {error.strerror}")
    return left
