"""What was found changed in working copies, kept for the person who asks what it was:
`<state>/manifest.kept/<name>-<ms>`, bounded in every way.
"""

from __future__ import annotations

import contextlib
import os
import time

from executor import workfiles

KEPT_ARCHIVES = 20
KEPT_FILES = 100
"""Files of one archive; the log names more."""

KEPT_FILE_BYTES = 1 << 20
KEPT_BYTES = 32 << 20
"""Bytes of one archive, and of all together."""


def keep(kept: str, plugin: str, folder: str, names: list[str]) -> None:
    """Copy those of `names` below `folder` into a new archive below `kept`, and let the oldest
    archives go.
    """
    archive = os.path.join(kept, f"{plugin}-{int(time.time() * 1000)}")
    files, room = KEPT_FILES, KEPT_BYTES
    for name in names:
        path = os.path.join(folder, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        size = os.path.getsize(path)
        if files and size <= min(KEPT_FILE_BYTES, room):
            files -= 1
            room -= size
            workfiles.copy(path, archive, name)
    _bound(kept)


def _bound(kept: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        # The name ends with the moment, so the newest is found across all plugins.
        newest_first = sorted(
            os.listdir(kept), key=lambda name: name.rpartition("-")[2], reverse=True
        )
        total = 0
        for number, name in enumerate(newest_first):
            archive = os.path.join(kept, name)
            files = [os.path.join(archive, below) for below in workfiles.below(archive)]
            total += sum(os.lstat(path).st_size for path in files)
            if number >= KEPT_ARCHIVES or total > KEPT_BYTES:
                workfiles.remove_folder(archive)
