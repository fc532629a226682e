"""A manifest plugin's working copy: releases stay read-only, and param.json (with its secrets)
stays out of them.
"""

from __future__ import annotations

import contextlib
import os
import zlib

_STAMP = ".plugfleet-code"


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


def refresh(source: str, folder: str, code: tuple[int, int, int]) -> None:
    """Make `folder` a copy of `source`, unless it is one of that `code` already. OSError when the
    disk says no.

    Files that the plugin itself wrote stay, so that it keeps what it remembers between two
    releases.
    """
    stamp = os.path.join(folder, _STAMP)
    wanted = f"{code} {source}"
    present = _text(stamp).split("\n")
    if present[0] == wanted:
        return
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for old in present[1:]:
        _remove(os.path.join(folder, old))
    names = []
    for path in _files(source):
        name = os.path.relpath(path, source)
        if name != "param.json":
            _copy(path, os.path.join(folder, name))
            names.append(name)
    write_secret(stamp, "\n".join([wanted, *names]))


def write_secret(path: str, text: str) -> None:
    """Write a file that only this user may read, whole or not at all."""
    temporary = path + ".tmp"
    _remove(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(temporary, path)


def which(program: str, search_path: str) -> str:
    """The first executable `program` on `search_path`, or ""."""
    for folder in search_path.split(":"):
        full = os.path.join(folder or ".", program)
        if os.access(full, os.X_OK) and not os.path.isdir(full):
            return full
    return ""


def _files(folder: str) -> list[str]:
    found: list[str] = []
    for top, folders, names in os.walk(folder):
        folders.sort()
        found.extend(os.path.join(top, name) for name in sorted(names))
    return found


def _copy(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
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


def _remove(path: str) -> None:
    # Not there, or a directory: then writing the file says so.
    with contextlib.suppress(OSError):
        os.unlink(path)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
