"""Writing a file so that it is whole whenever somebody reads it, whatever is killed when."""

from __future__ import annotations

import os

from roles.plugin_sync.host import command


def read(path: str) -> str | None:
    """A file's text, byte for byte; None where there is no file."""
    try:
        # Its line ends too: what is hashed on the control node, and kept as a backup, are its bytes.
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path: str, content: bytes, mode: int, reader: str = "") -> None:
    """Put a whole file in place, in a folder that is ours; a link to it is followed.

    An existing file keeps its mode and owner. A new one belongs to us and to the reader's own group: the
    agent reads its configuration, but a plugin of its must not write it. A reader whose group others
    may be in gets the file for itself: bindings hold passwords.
    """
    path = os.path.realpath(path)
    partial = f"{path}.plugfleet-{os.getpid()}"
    try:
        old: os.stat_result | None = os.stat(path)
    except FileNotFoundError:
        old = None
    try:
        # Never through a link that somebody else put there: the folder may be the agent's.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(partial, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                if os.geteuid() == 0:
                    if old:
                        os.fchown(file.fileno(), old.st_uid, old.st_gid)
                    elif command.become(reader):
                        account = command.account(reader)
                        if _is_its_own(account.pw_gid, reader):
                            os.fchown(file.fileno(), -1, account.pw_gid)
                        else:
                            os.fchown(file.fileno(), account.pw_uid, -1)
                            mode &= 0o700
                # After the owner: changing that takes special bits away.
                os.fchmod(file.fileno(), old.st_mode & 0o7777 if old else mode)
                os.fsync(file.fileno())
        except BaseException:
            os.unlink(partial)
            raise
        os.rename(partial, path)
    except OSError as error:
        error.filename = path
        raise


def _is_its_own(gid: int, user: str) -> bool:
    """Whether a group is one user's, as useradd makes it: named as the user, and with nobody else in it."""
    import grp
    import pwd

    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    if group.gr_name != user or not set(group.gr_mem) <= {user}:
        return False
    # Those whose first group it is are not among its members.
    return all(entry.pw_name == user for entry in pwd.getpwall() if entry.pw_gid == gid)


def make_folder(path: str, user: str, mode: int = 0o755) -> bool:
    """Make a folder and those above it, owned by the user; says whether it was missing."""
    if os.path.isdir(path):
        return False
    make_folder(os.path.dirname(path), user, mode)
    os.mkdir(path, mode)
    command.give_to(path, user)
    return True
