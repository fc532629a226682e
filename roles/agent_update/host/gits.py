"""Git processes at the agent's plugin folder: waiting for them, and ending those that hang for ever.

An agent starts `git pull` with no timeout and no lock. Where the git server hangs, it waits for ever,
also after whoever asked has gone and the agent has ended (measured), and keeps every other pull from
its lock.
"""

from __future__ import annotations

import os
import signal
import time

from roles.agent_update.host import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

# What a git at work is given, counted from its own start; on a tree of this size it takes far less.
# One that may not be seen is taken for one at work here for as long, and then for another folder's.
_GIT_SECONDS = 10
_END_SECONDS = 3


def run_in(folder: str) -> bool:
    """Whether a git process works in the folder, as far as this user may see."""
    return any(True for _ in _at_work(os.path.realpath(folder)))


def wait(folder: str) -> bool:
    """Wait until no git works in the folder; False if one still does after ten seconds of its own."""
    real, began = os.path.realpath(folder), time.time()
    while True:
        ages = [process.age(pid) if pid else time.time() - began for pid in _at_work(real)]
        if not ages:
            return True
        # Each of several may have begun just when another ended.
        if max(ages) > _GIT_SECONDS or time.time() - began > 2 * _GIT_SECONDS:
            return False
        time.sleep(0.1)


def end_hanging(folder: str, listen: str) -> list[str]:
    """End the gits that an agent started for the folder, or left behind; those of people stay.

    Args:
        listen: where the agent answers.

    Returns:
        Their command lines.
    """
    agent = process.listener(listen)
    ended = []
    for pid in list(_at_work(os.path.realpath(folder))):
        if pid is None:
            continue
        line = _of(pid, "cmdline").replace("\0", " ").strip()
        top = pid
        while _is_git(_parent(top)):
            top = _parent(top)
        # One whose agent has ended belongs to the first process; a person's belongs to a shell.
        if _parent(top) in (1, agent) and _end(pid):
            ended.append(line)
    return ended


def _at_work(folder: str) -> Iterator[int | None]:
    """Git processes that pull in the folder or clone to it; None for one that may, and may not be
    seen.
    """
    parent, name = os.path.split(folder)
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        if not _is_git(pid):
            continue
        try:
            place = os.readlink(f"/proc/{pid}/cwd")
        except PermissionError:
            if _may_work_in(pid, folder) and process.age(pid) < _GIT_SECONDS:
                yield None
            continue
        except OSError:
            continue
        arguments = _of(pid, "cmdline").rstrip("\0").split("\0")
        if place == folder or (place == parent and "clone" in arguments and arguments[-1] == name):
            yield pid


def _is_git(pid: int) -> bool:
    """Whether a process is git, or one of git's helpers; not gitea, gitlab-runner or gitstatusd."""
    name = process.name_of(pid)
    return name == "git" or name.startswith("git-")


def _may_work_in(pid: int, folder: str) -> bool:
    """Whether a process of another user is of one that can write there: the owner, or root."""
    try:
        return os.stat(f"/proc/{pid}").st_uid in (0, os.stat(folder).st_uid)
    except OSError:
        return False


def _end(pid: int) -> bool:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        deadline = time.time() + _END_SECONDS
        while time.time() < deadline:
            if process.has_ended(pid):
                return True
            time.sleep(0.05)
    return False


def _parent(pid: int) -> int:
    found = _of(pid, "stat").rpartition(")")[2].split()
    return int(found[1]) if len(found) > 1 else 0


def _of(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
