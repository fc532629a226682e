"""Releases of the plugin tree on this host: each a checkout of its own, switched by one rename of
a symbolic link.

    plugin            -> plugin.releases/<commit>
    plugin.releases/  <commit>, <commit>.r2 (built again after tampering), .lock

So there is the whole old or the whole new tree, whatever is killed when. A file whose content did
not change is the same file (a hard link, its content hashed by git first), so its mtime stays.
Runs in the update's own process.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time

from executor import mirrors
from executor.errors import CheckoutError
from executor.git import Git
from executor.releases import SCRATCH, Release, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executor.config import Config

KEPT_RELEASES = 3
KEPT_PATCHES = 20

_LEFTOVER = re.compile(r"[0-9a-f]{40,64}(\.r[0-9]+)?\.tmp-.*|\.link-.*")
_RENAME_EXCHANGE = 2


class Checkout:
    """The releases of `plugin.dir`. Holds the lock from construction to `close()`; others wait."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self._dir: str = config["plugin.dir"]
        self._releases = self._dir + ".releases"
        self._state: str = config["executor.state"]
        self._scratch = os.path.join(self._state, "git")
        os.makedirs(self._releases, mode=0o755, exist_ok=True)
        os.makedirs(self._state, mode=0o750, exist_ok=True)
        self._lock = os.open(
            os.path.join(self._releases, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640
        )
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        trusted = [config["plugin.git"]] if config["plugin.git"].startswith("/") else []
        self._git = Git(self._scratch, trusted, self._lock)

    def close(self) -> None:
        os.close(self._lock)

    def update(self) -> None:
        """Bring `plugin.dir` to the head of the mirror's deploy line."""
        mirror = mirrors.find(self._git, self._config["plugin.git"], self._state)
        self._remove_leftovers()
        current = self._current()
        # Looked at before a new release too: edits would go with the old one, when that is pruned.
        if current is not None and self._is_sound(current) and current.commit == mirror.commit:
            return
        self._activate(mirror.commit, mirror, current)

    def reset(self) -> None:
        """Put the current release right if it was changed; no release is no error, as with the
        agent.
        """
        self._remove_leftovers()
        current = self._current()
        if current is None or self._is_sound(current):
            return
        mirror = mirrors.without_fetch(self._git, self._config["plugin.git"], self._state)
        self._activate(current.commit, mirror, current)

    def status(self) -> dict[str, Any]:
        """For `/plugin/status`; looks at every file."""
        current = self._current()
        noted = read_note(self._state)
        return {
            "head": current.commit if current else "",
            "branch": "deploy" if current else "",
            "dir": self._dir,
            "clean": current is not None and self._differences(current) == [],
            "updated": noted.get("updated", 0),
            "last_error": noted.get("last_error", ""),
            "kept": self._kept(),
        }

    def _activate(self, commit: str, mirror: mirrors.Mirror, current: Release | None) -> None:
        found = self._sound_release(commit, current)
        if found is None:
            self._prune(current)
            name = self._free_name(commit)
            found = build(
                self._git, mirror.path, commit, os.path.join(self._releases, name), current
            )
        self._switch(found)
        self._prune(found)
        self._say(f"plugin directory is at {commit}")

    def _current(self) -> Release | None:
        try:
            target = os.readlink(self._dir)
        except OSError:
            return None
        path = os.path.normpath(os.path.join(os.path.dirname(self._dir), target))
        if os.path.dirname(path) != self._releases or not os.path.isdir(path):
            return None
        return Release(path)

    def _sound_release(self, commit: str, current: Release | None) -> Release | None:
        """A release of `commit` that is already here, other than the current one, and unchanged."""
        for release in self._all():
            same = current is not None and release.path == current.path
            if release.commit == commit and not same and self._differences(release) == []:
                os.utime(release.path)
                return release
        return None

    def _is_sound(self, release: Release) -> bool:
        """Whether the release is as it was built. If not, the edits are kept first."""
        differences = self._differences(release)
        if differences is None:
            # Its mirror is gone or its .git damaged: nothing can be compared, so there is no patch.
            self._say(f"{release.path} cannot be compared with git: it is built anew")
            return False
        if not differences:
            return True
        patch = self._free_patch(f"{release.commit}-{_utc()}")
        release.save_edits(self._git, differences, patch, self._scratch)
        for old in sorted(self._kept(), key=os.path.getmtime)[:-KEPT_PATCHES]:
            os.unlink(old)
        self._say(f"{len(differences)} local edits in {release.path} are kept in {patch}")
        return False

    def _differences(self, release: Release) -> list[str] | None:
        try:
            return release.differences(self._git)
        except CheckoutError as error:
            self._say(f"{release.path}: {error}")
            return None

    def _switch(self, release: Release) -> None:
        parent = os.path.dirname(self._dir)
        link = os.path.join(self._releases, f".link-{os.getpid()}")
        os.symlink(os.path.relpath(release.path, parent), link)
        try:
            was_directory = stat.S_ISDIR(os.lstat(self._dir).st_mode)
        except FileNotFoundError:
            was_directory = False
        if was_directory:
            aside = f"{self._dir}.before-plugfleet-{_utc()}"
            _exchange(link, self._dir, aside)
            self._say(f"{self._dir} was a directory, left by another agent: it is now {aside}")
        else:
            os.replace(link, self._dir)
        _sync_directory(parent)
        _sync_directory(self._releases)

    def _all(self) -> list[Release]:
        """All releases, the one that was built or used last first."""
        paths = [os.path.join(self._releases, name) for name in os.listdir(self._releases)]
        found = [Release(path) for path in paths if Release.is_one(path)]
        return sorted(found, key=lambda release: os.stat(release.path).st_mtime_ns, reverse=True)

    def _prune(self, in_use: Release | None) -> None:
        others = [
            release for release in self._all() if in_use is None or release.path != in_use.path
        ]
        # Before a build one place less: links to files of a release that goes would change their
        # ctime, and with that make every later `git status` read all files again.
        keep = KEPT_RELEASES - (1 if in_use is not None else 0)
        for release in others[keep:]:
            remove_tree(release.path)

    def _free_name(self, commit: str) -> str:
        name, number = commit, 1
        while os.path.lexists(os.path.join(self._releases, name)):
            number += 1
            name = f"{commit}.r{number}"
        return name

    def _free_patch(self, name: str) -> str:
        path = os.path.join(self._state, "kept", name)
        number, patch = 1, path + ".patch"
        while os.path.lexists(patch):
            number += 1
            patch = f"{path}.{number}.patch"
        return patch

    def _remove_leftovers(self) -> None:
        for name in os.listdir(self._releases):
            if _LEFTOVER.fullmatch(name):
                remove_tree(os.path.join(self._releases, name))
        # Whose they are is dead: a git that still works for it would hold the lock.
        for name in os.listdir(self._scratch):
            if SCRATCH.fullmatch(name):
                remove_tree(os.path.join(self._scratch, name))

    def _kept(self) -> list[str]:
        folder = os.path.join(self._state, "kept")
        try:
            return sorted(os.path.join(folder, name) for name in os.listdir(folder))
        except FileNotFoundError:
            return []


def remove_tree(path: str) -> None:
    """Remove a read-only tree, or a link."""
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    import shutil  # most updates have nothing to remove, and it costs 3 ms

    for folder, folders, _files in os.walk(path):
        os.chmod(folder, 0o755)
        for name in folders:
            if not os.path.islink(os.path.join(folder, name)):
                os.chmod(os.path.join(folder, name), 0o755)
    shutil.rmtree(path)


def read_note(state: str) -> dict[str, Any]:
    """What the last update left behind: {"updated": epoch s, "last_error": text}."""
    try:
        with open(os.path.join(state, "update.json"), encoding="utf-8") as stream:
            noted = json.load(stream)
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def write_note(state: str, error: str) -> None:
    """Remember how an update ended; a disk that is full loses only this."""
    updated = read_note(state).get("updated", 0) if error else int(time.time())
    path = os.path.join(state, "update.json")
    try:
        os.makedirs(state, mode=0o750, exist_ok=True)
        with open(path + ".tmp", "w", encoding="utf-8") as stream:
            json.dump({"updated": updated, "last_error": error}, stream)
        os.replace(path + ".tmp", path)
    except OSError:
        pass


def _exchange(link: str, directory: str, aside: str) -> None:
    """Put the link in the directory's place and the directory `aside`, in one step where the
    kernel can.
    """
    import ctypes  # for this rare case alone: it costs an update 3 ms

    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd = -100
    if hasattr(libc, "renameat2"):
        code = libc.renameat2(
            at_cwd, os.fsencode(link), at_cwd, os.fsencode(directory), _RENAME_EXCHANGE
        )
        if code == 0:
            os.rename(link, aside)
            return
        if ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), directory)
    os.rename(directory, aside)
    os.rename(link, directory)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _utc() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
