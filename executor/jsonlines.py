"""The sink for people and collectors without Falcon: a file with one metric a line."""

from __future__ import annotations

import errno
import os

from executor.sink import Sink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executor.journal import Journal
    from executor.log import Log
    from executor.loop import Loop


class JsonLines(Sink):
    """A file with one metric a line, turned into `.1` when it is full."""

    name = "jsonl"
    __slots__ = ("_max_bytes", "_path")

    def __init__(
        self, loop: Loop, log: Log, journal: Journal, folder: str, path: str, max_bytes: int
    ) -> None:
        super().__init__(loop, log, journal, folder)
        self._path = path
        self._max_bytes = max_bytes

    def _send(self, lines: list[bytes]) -> None:
        data = b"\n".join(lines) + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            fd = os.open(self._path, flags, 0o640)
            try:
                size = os.fstat(fd).st_size
                if os.write(fd, data) < len(data):
                    os.ftruncate(fd, size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(fd)
            if size + len(data) >= self._max_bytes:
                os.replace(self._path, self._path + ".1")
        except OSError as error:
            self._not_taken(f"{self._path}: {error.strerror}", False)
            return
        self._taken()
