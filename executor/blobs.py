"""Git's name of a file's content, `sha1("blob <size>\\0" + content)`: what a release is compared by."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PIECE = 1 << 20


def sha1(start: bytes) -> Any:
    """A SHA-1 that has taken `start`, as of hashlib."""
    # hashlib would load OpenSSL, 3 MB that stay; the interpreter has a SHA-1 of its own.
    try:
        from _sha1 import sha1 as made  # type: ignore[import-not-found]  # typeshed leaves it out
    except ImportError:
        from hashlib import sha1 as made
    return made(start)


def blob(path: str) -> str:
    """The blob name of a file, or of a symbolic link's target; "" where neither is there."""
    try:
        about = os.lstat(path)
        if stat.S_ISLNK(about.st_mode):
            target = os.fsencode(os.readlink(path))
            found = sha1(b"blob %d\0" % len(target))
            found.update(target)
        elif stat.S_ISREG(about.st_mode):
            found = sha1(b"blob %d\0" % about.st_size)
            with open(path, "rb", buffering=0) as stream:
                while True:
                    piece = stream.read(_PIECE)
                    if not piece:
                        break
                    found.update(piece)
        else:
            return ""
    except OSError:
        return ""
    return str(found.hexdigest())
