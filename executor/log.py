"""The executor's own log: one line an event on stderr, where systemd or `--supervise` picks it up.

The `logging` package is left out on purpose: it costs 2 MB of resident memory (measured).
"""

from __future__ import annotations

import os
import time

_STDERR = 2
_MAX_LINE = 4096
_ROTATE_BYTES = 1 << 20


class Log:
    """Writes `2026-01-31T12:00:00Z LEVEL text` lines; never raises, whatever the disk does.

    With a `path` the log keeps a file of its own (and one older one, `path.1`) of at most 1 MiB
    each.
    """

    __slots__ = ("_fd", "_path", "_size", "debug_enabled")

    def __init__(self, path: str = "", debug: bool = False) -> None:
        self._path = path
        self._fd = _STDERR
        self._size = 0
        self.debug_enabled = debug
        if path:
            self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size

    def debug(self, text: str) -> None:
        if self.debug_enabled:
            self._write("DEBUG", text)

    def info(self, text: str) -> None:
        self._write("INFO", text)

    def warning(self, text: str) -> None:
        self._write("WARNING", text)

    def error(self, text: str) -> None:
        self._write("ERROR", text)

    def _write(self, level: str, text: str) -> None:
        # A plugin's words end up here: one event stays one line, whatever they hold.
        flat = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = f"{stamp} {level} {flat}\n"[:_MAX_LINE].rstrip("\n") + "\n"
        data = line.encode("utf-8", "backslashreplace")
        try:
            if self._path and self._size + len(data) > _ROTATE_BYTES:
                self._rotate()
            os.write(self._fd, data)
            self._size += len(data)
        except OSError:
            pass  # a full disk or a closed terminal must not stop the plugins

    def _rotate(self) -> None:
        os.replace(self._path, self._path + ".1")
        os.close(self._fd)
        self._fd = _STDERR
        self._open()
