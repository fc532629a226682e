"""A manifest plugin's working copy: releases stay read-only, and param.json (with its secrets)
stays out of them. What the copy's files should be is kept by git's blob hashes, as the plugins'
first manager did (graphdat/relay, verifyPlugin).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib

from executor.blobs import blob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PARAM_JSON = "param.json"
KEPT_ARCHIVES = 20
KEPT_FILE_BYTES = 1 << 20
_LONGEST_NAME = 200


def signature(folder: str) -> tuple[int, int, int]:
    """(newest mtime in s, files, checksum over names, sizes, mtimes and modes): differs when the
    code may differ.
    """
    newest = count = total = 0
    for path in _files(folder):
        try:
            found = os.lstat(path)
        except OSError:
            continue
        newest = max(newest, int(found.st_mtime))
        count += 1
        about = f"{path} {found.st_size} {found.st_mtime_ns} {found.st_mode}"
        total ^= zlib.crc32(about.encode("utf-8", "surrogateescape"))
    return newest, count, total


class WorkCopy:
    """One plugin's copy in `<state>/manifest/<name>`, and the record of what it should hold in
    `<state>/manifest.records/<name>`, out of the plugin's sight.

    ignores  whether a path below the folder is no part of the code (Manifest.ignores)
    """

    __slots__ = ("_ignores", "_kept", "_record", "folder", "name")

    def __init__(self, state_dir: str, path: str, ignores: Callable[[str], bool]) -> None:
        self.name = _flat(path)
        self.folder = os.path.join(state_dir, "manifest", self.name)
        self._record = os.path.join(state_dir, "manifest.records", self.name)
        self._kept = os.path.join(state_dir, "manifest.kept")
        self._ignores = ignores

    def refresh(self, source: str, code: tuple[int, int, int]) -> None:
        """Make the folder a copy of `source`, unless it is one of that `code` already. OSError
        when the disk says no.

        Files that the plugin itself wrote stay, so that it keeps what it remembers between two
        releases.
        """
        record = self._read()
        wanted = [*code, source]
        if record.get("code") == wanted and os.path.isdir(self.folder):
            return
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        for old in record.get("files", {}):
            _remove(os.path.join(self.folder, old))
        files = {}
        for path in _files(source):
            name = os.path.relpath(path, source)
            if name.lower() == PARAM_JSON:
                continue
            target = os.path.join(self.folder, name)
            _copy(path, target, self.folder)
            # An ignored file is the plugin's to change: copied, never compared.
            files[name] = ["", 0] if self._ignores(name) else [blob(target), _changed(target)]
        self._write({"code": wanted, "extracted": None, "files": files})

    @property
    def extracted(self) -> str | None:
        """The postExtract command that this copy has been through, or None."""
        found = self._read().get("extracted")
        return found if isinstance(found, str) else None

    def set_extracted(self, command: str) -> list[str]:
        """postExtract went well: what it made of the files is right from now on; the names of
        those that it changed.
        """
        record = self._read()
        changed = []
        for name, entry in record.get("files", {}).items():
            if entry[0]:
                path = os.path.join(self.folder, name)
                found = blob(path)
                if found != entry[0]:
                    changed.append(name)
                record["files"][name] = [found, _changed(path)]
        record["extracted"] = command
        self._write(record)
        return changed

    def drift(self, source: str) -> list[str]:
        """Files that are not what they should be any more, each as "changed: x" or "missing: x".

        They are kept aside and installed anew; postExtract counts as not run then. OSError when
        the disk says no. A file whose change time is as it was is not read again.
        """
        record = self._read()
        found = []
        touched = False
        for name, entry in record.get("files", {}).items():
            path = os.path.join(self.folder, name)
            wanted, changed = entry
            if not wanted or _changed(path) == changed:
                continue
            touched = True
            if blob(path) == wanted:
                entry[1] = _changed(path)
            else:
                found.append(name)
        if found:
            said = [
                ("changed: " if os.path.lexists(os.path.join(self.folder, name)) else "missing: ")
                + name
                for name in found
            ]
            self._keep_aside(found)
            for name in found:
                path = os.path.join(self.folder, name)
                _copy(os.path.join(source, name), path, self.folder)
                record["files"][name] = [blob(path), _changed(path)]
            record["extracted"] = None
            self._write(record)
            return said
        if touched:
            self._write(record)
        return []

    def added(self) -> list[str]:
        """Files that neither the release has nor `ignore` names: the plugin's own, or a guest's."""
        known = self._read().get("files", {})
        names = [os.path.relpath(path, self.folder) for path in _files(self.folder)]
        return [name for name in names if name not in known and not self._ignores(name)]

    def write_params(self, text: str) -> None:
        """param.json, readable for this user only."""
        write_secret(os.path.join(self.folder, PARAM_JSON), text)

    def forget_params(self) -> None:
        """The plugin does not run here any more: its secrets go."""
        _remove(os.path.join(self.folder, PARAM_JSON))

    def seed(self, modules: str) -> None:
        """Copy the modules that stand ready in a folder into node_modules, where none of that name
        is: npm then finds what its registry has no more.
        """
        for name in sorted(os.listdir(modules)):
            target = os.path.join(self.folder, "node_modules", name)
            if os.path.isdir(os.path.join(modules, name)) and not os.path.lexists(target):
                import shutil  # 1 MB with what it imports, for those who seed modules

                shutil.copytree(os.path.join(modules, name), target, symlinks=True)

    def _keep_aside(self, names: list[str]) -> None:
        folder = os.path.join(self._kept, f"{self.name}-{int(time.time() * 1000)}")
        for name in names:
            path = os.path.join(self.folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            if os.path.getsize(path) <= KEPT_FILE_BYTES:
                _copy(path, os.path.join(folder, name), folder)
        with contextlib.suppress(FileNotFoundError):
            # The name ends with the moment, so the oldest is found across all plugins.
            archives = sorted(os.listdir(self._kept), key=lambda name: name.rpartition("-")[2])
            for old in archives[:-KEPT_ARCHIVES]:
                _remove_folder(os.path.join(self._kept, old))

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._record, encoding="utf-8", errors="surrogateescape") as stream:
                found = json.load(stream)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, record: dict[str, Any]) -> None:
        os.makedirs(os.path.dirname(self._record), mode=0o700, exist_ok=True)
        write_secret(self._record, json.dumps(record))


def write_secret(path: str, text: str) -> None:
    """Write a file that only this user may read, whole or not at all."""
    temporary = path + ".tmp"
    _remove(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
    os.replace(temporary, path)


def which(program: str, search_path: str) -> str:
    """The first executable `program` on `search_path`, or ""."""
    for folder in search_path.split(":"):
        full = os.path.join(folder or ".", program)
        if os.access(full, os.X_OK) and not os.path.isdir(full):
            return full
    return ""


def _flat(path: str) -> str:
    """One folder name for a path: a plugin inside another's folder gets a copy of its own."""
    name = path.replace("%", "%25").replace("/", "%2F")
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        return name
    cut = os.fsencode(name)[: _LONGEST_NAME - 10].decode("utf-8", "ignore")
    return f"{cut}~{zlib.crc32(os.fsencode(name)):08x}"


def _files(folder: str) -> list[str]:
    found: list[str] = []
    for top, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        found.extend(os.path.join(top, name) for name in sorted([*names, *links]))
    return found


def _changed(path: str) -> int:
    """A number that no program can set back; 0 where there is nothing."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0
    return found.st_ctime_ns


def _copy(source: str, target: str, inside: str) -> None:
    """Copy a file or a link; a link or file that stands where a folder of the path should be goes."""
    folder = inside
    for part in os.path.relpath(os.path.dirname(target), inside).split(os.sep):
        folder = os.path.join(folder, part)
        if os.path.islink(folder) or os.path.isfile(folder):
            os.unlink(folder)
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    if os.path.isdir(target) and not os.path.islink(target):
        _remove_folder(target)
    _remove(target)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    mode = 0o700 if os.stat(source).st_mode & 0o100 else 0o600
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(source, "rb") as reader, os.fdopen(fd, "wb") as writer:
        while True:
            piece = reader.read(65536)
            if not piece:
                return
            writer.write(piece)


def _remove_folder(folder: str) -> None:
    for top, folders, names in os.walk(folder, topdown=False):
        for name in names:
            _remove(os.path.join(top, name))
        for name in folders:
            path = os.path.join(top, name)
            if os.path.islink(path):
                _remove(path)
            else:
                os.rmdir(path)
    os.rmdir(folder)


def _remove(path: str) -> None:
    # Not there, or a directory: then writing the file says so.
    with contextlib.suppress(OSError):
        os.unlink(path)
