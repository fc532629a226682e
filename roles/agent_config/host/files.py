"""Writing a file so that it is whole whenever somebody reads it, whatever is killed when."""

from __future__ import annotations

import os

from roles.plugin_sync.host import command


def read(path: str) -> str | None:
    """A file's text; None where there is no file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path: str, content: bytes, mode: int, user: str = "") -> None:
    """Put a whole file in place. An existing one keeps its mode and owner; a link is followed."""
    path = os.path.realpath(path)
    partial = f"{path}.plugfleet-{os.getpid()}"
    try:
        old: os.stat_result | None = os.stat(path)
    except FileNotFoundError:
        old = None
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(partial, old.st_mode & 0o7777 if old else mode)
            if os.geteuid() == 0:
                if old:
                    os.chown(partial, old.st_uid, old.st_gid)
                elif user:
                    entry = command.account(user)
                    os.chown(partial, entry.pw_uid, entry.pw_gid)
        except BaseException:
            os.unlink(partial)
            raise
        os.rename(partial, path)
    except OSError as error:
        error.filename = path
        raise


def make_folder(path: str, user: str, mode: int = 0o755) -> bool:
    """Make a folder and those above it, owned by the user; says whether it was missing."""
    if os.path.isdir(path):
        return False
    make_folder(os.path.dirname(path), user, mode)
    os.mkdir(path, mode)
    if os.geteuid() == 0 and user:
        entry = command.account(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return True
