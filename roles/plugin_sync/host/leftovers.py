"""What a kill leaves behind on a host, and removing it; only while nobody else can be writing."""

from __future__ import annotations

import contextlib
import os
import re

# As roles.agent_config.host.files names what is not whole yet.
_PARTIAL = re.compile(r"\.plugfleet-[0-9]+$")
_SHARD = re.compile(r"[0-9a-f]{2}$")


def remove_partial_files(folders: list[str]) -> None:
    """Remove files that a killed visit had not put in place yet."""
    for folder in folders:
        for name in _names(folder):
            if _PARTIAL.search(name):
                _remove(os.path.join(folder, name))


def remove_git_locks(git_dir: str) -> list[str]:
    """Remove every lock file of a repository where no git runs; returns their paths."""
    removed = []
    for folder, folders, names in os.walk(git_dir):
        if os.path.basename(folder) == "objects":
            # Loose objects have no locks, and there may be thousands.
            folders[:] = [name for name in folders if not _SHARD.match(name)]
        for name in names:
            if name.endswith(".lock"):
                _remove(os.path.join(folder, name))
                removed.append(os.path.join(folder, name))
    return removed


def remove_git_garbage(git_dir: str) -> None:
    """Remove packs and objects that a killed git had begun."""
    objects = os.path.join(git_dir, "objects")
    for folder in [objects, *(os.path.join(objects, name) for name in _names(objects))]:
        for name in [] if os.path.islink(folder) else _names(folder):
            if name.startswith(("tmp_", ".tmp-")):
                # It costs room, and nothing else.
                with contextlib.suppress(OSError):
                    _remove(os.path.join(folder, name))


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(path)


def remove_folder(path: str) -> None:
    """Remove a folder if it is there; what cannot be removed stays for the next visit."""
    if os.path.lexists(path):
        import shutil

        shutil.rmtree(path, ignore_errors=True)
