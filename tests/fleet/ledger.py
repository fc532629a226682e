"""What a fleet makes is written down first, and so removed by name, also after a kill -9.

Every owner has a folder in one registry of its user, with who it is (`owner.json`) and what it
made (`made.jsonl`). Closing a fleet and sweeping up after a dead owner are the same act: `sweep`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import removal
from .errors import FleetError
from .procs import Process, alive, identify

# A record without an owner's name is being written now, or never will be.
DRAFT_SECONDS = 60.0


def registry() -> Path:
    """The user's registry. Its path is short: control sockets live below it and fit 108 bytes."""
    folder = Path(f"/tmp/plugfleet-fleets-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise FleetError(f"{folder}: is not a private folder of this user; remove it and try again")
    return folder


def boot_id() -> str:
    """Names this boot of the machine: processes of another one are gone, whatever their pids."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Ledger:
    """The record of one owner: `made()` before a thing is made, `close()` removes all of it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.id = secrets.token_hex(6)
        self.kind = kind
        self.place = registry() / self.id
        owner = identify(os.getpid())
        assert owner is not None
        text = {
            "pid": owner.pid,
            "start": owner.start,
            "boot": boot_id(),
            "kind": kind,
            "folder": str(folder),
            "command": sys.argv[0],
        }
        # A folder without an owner is nobody's to judge, so it appears with one.
        draft = registry() / f".{self.id}"
        draft.mkdir(mode=0o700)
        (draft / "owner.json").write_text(json.dumps(text))
        (draft / "made.jsonl").touch()
        draft.rename(self.place)

    @property
    def sockets(self) -> Path:
        """Where ssh clients keep their control sockets to this fleet's hosts."""
        folder = self.place / "cp"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    @property
    def environment(self) -> dict[str, str]:
        """For programs that help to make things: marked, they are ended with the rest.

        Else one that outlives its killed owner would go on making what was just removed.
        """
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "LC_ALL": "C", removal.MARKER: self.id}

    def made(self, kind: str, what: str | list[int]) -> None:
        """Records one thing, before it is made: cgroup, netns or folder (after: process)."""
        with (self.place / "made.jsonl").open("a") as file:
            file.write(json.dumps([kind, what]) + "\n")

    def folder(self, path: Path) -> Path:
        """Makes and signs the one folder that holds the owner's files; it must not hold others."""
        if path.exists() and any(path.iterdir()):
            raise FleetError(f"{path}: is not empty; give a fleet a folder of its own")
        self.made("folder", str(path))
        path.mkdir(parents=True, exist_ok=True)
        (path / removal.SIGN).write_text(self.id)
        return path

    def process(self, pid: int) -> Process:
        """Records a process that was just started and returns its identity."""
        found = identify(pid)
        if found is None:
            raise FleetError(f"process {pid} ended at once")
        self.made("process", list(found))
        return found

    def close(self) -> None:
        """Removes all that was made. Raises FleetError naming what would not go."""
        with _locked(self.place, wait=True) as mine:
            if mine:
                _remove(self.place)


@contextmanager
def _locked(place: Path, *, wait: bool) -> Iterator[bool]:
    """The right to remove what `place` records; False when it is gone or another has that right."""
    try:
        file = (place / "owner.json").open("r+")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield (place / "owner.json").exists()


def _remove(place: Path) -> None:
    lines = (place / "made.jsonl").read_text().splitlines(keepends=True)
    # A line that a kill -9 cut short names a thing that was not made yet.
    things = [json.loads(line) for line in lines if line.endswith("\n")]
    left = removal.remove(things, place)
    if left:
        raise FleetError(f"{place.name}: could not remove {'; '.join(left)}")
    shutil.rmtree(place)


def owner_of(place: Path) -> dict[str, Any] | None:
    """Who owns the record at `place`; None when it is gone or was never finished."""
    try:
        found: dict[str, Any] = json.loads((place / "owner.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def owner_lives(owner: dict[str, Any]) -> bool:
    """Whether the process that owns a record still runs."""
    return owner["boot"] == boot_id() and alive(Process(owner["pid"], owner["start"]))


def _drop_draft(place: Path) -> None:
    """Removes a record whose owner was killed while it wrote its name: it had made nothing yet."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - place.stat().st_mtime > DRAFT_SECONDS:
            shutil.rmtree(place)


def sweep() -> list[str]:
    """Removes what dead owners left behind and returns their ids. A living owner is not touched.

    What cannot be removed is said on stderr and tried again the next time.
    """
    swept = []
    for place in sorted(registry().iterdir()):
        owner = owner_of(place)
        if owner is None and place.name.startswith("."):
            _drop_draft(place)
        if owner is None or owner_lives(owner):
            continue
        with _locked(place, wait=False) as mine:
            if mine:
                try:
                    _remove(place)
                except FleetError as error:  # no reason to keep a new fleet from starting
                    print(f"tests.fleet: left by a dead owner: {error}", file=sys.stderr)
                else:
                    swept.append(place.name.lstrip("."))
    return swept
