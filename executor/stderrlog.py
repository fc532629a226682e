"""What plugins print on stderr, one file a plugin: `<logs>/<path>(<args>).stderr.log`, as the
agent names it.

The agent truncates the file at each run (plugins/scheduler.go); here it is appended to, and kept
below two times 256 KiB by turning the full one into `.1`.
"""

from __future__ import annotations

import os
import re
import time
import zlib

# What comes after the line that tells an error: the indented lines of a trace, node's version as its
# last word, and npm's advice.
_TRACE = re.compile(
    rb"[ \t\]}]|- |\.\.\. |Node\.js v|Require stack:|npm notice"
    rb"|npm (?:error|ERR!)(?: [0-9E]\w*)?\s*(?:$|A complete log|Note that you|tarball, |/)"
)

ROTATE_BYTES = 256 * 1024
RUN_BYTES = 64 * 1024
_LINE_BYTES = 500
_TRACE_LINES = 60
_NAME_BYTES = 255 - len(".1")


class StderrLog:
    """One plugin's file. Never raises: a full disk costs the text, not the metrics (with the agent
    it costs both).
    """

    __slots__ = ("_last", "_left", "_skipped", "_unended", "path")

    def __init__(self, folder: str, plugin_path: str, args: str) -> None:
        self.path = os.path.join(
            folder, os.path.dirname(plugin_path), _file_name(plugin_path, args)
        )
        self._last = b""
        self._unended = b""
        self._left = RUN_BYTES
        self._skipped = 0

    @property
    def last_line(self) -> str:
        """The last thing that the run said: of a trace its error, "" where it said nothing."""
        line = _telling([self._last, self._unended])
        return line.decode("utf-8", "replace").strip()

    def begin(self) -> None:
        """A new run: it may print RUN_BYTES again."""
        self._last = b""
        self._unended = b""
        self._left = RUN_BYTES
        self._skipped = 0

    def write(self, data: bytes) -> None:
        """Append a piece of a run's stderr; what goes beyond RUN_BYTES is only counted."""
        # An unbuffered Python writes one line in several pieces.
        ended, _, unended = (self._unended + data).rpartition(b"\n")
        self._unended = unended[-_LINE_BYTES:]
        if ended:
            self._last = _telling([self._last, *ended.rsplit(b"\n", _TRACE_LINES)[-_TRACE_LINES:]])
        kept = data[: self._left]
        self._skipped += len(data) - len(kept)
        if not kept:
            return
        if self._left == RUN_BYTES:
            stamp = time.strftime("--- %Y-%m-%dT%H:%M:%SZ\n", time.gmtime())
            kept = stamp.encode("ascii") + kept
        self._left -= len(data[: self._left])
        self._append(kept)

    def end(self) -> None:
        """The run is over: say what was left out."""
        if self._skipped:
            self._append(b"\n[%d more bytes of this run were not kept]\n" % self._skipped)

    def _append(self, data: bytes) -> None:
        try:
            self._rotate(len(data))
            os.makedirs(os.path.dirname(self.path), mode=0o750, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self.path, flags, 0o640)
        except OSError:
            return
        try:
            os.write(fd, data)
        except OSError:
            pass
        finally:
            os.close(fd)

    def _rotate(self, coming: int) -> None:
        try:
            size = os.stat(self.path).st_size
        except OSError:
            return
        if size + coming > ROTATE_BYTES:
            os.replace(self.path, self.path + ".1")


def _telling(lines: list[bytes]) -> bytes:
    """The last of `lines` that is no part of a trace; where all are, the last that is not blank."""
    said = [line for line in lines if line.strip()]
    for line in reversed(said):
        if not _TRACE.match(line):
            return line[-_LINE_BYTES:]
    return said[-1][-_LINE_BYTES:] if said else b""


def _file_name(plugin_path: str, args: str) -> str:
    # Arguments may hold a "/" (a URL, a mount point): the agent then fails to write, and drops the
    # metrics.
    name = f"{os.path.basename(plugin_path)}({args.replace('/', '_')}).stderr.log"
    if len(os.fsencode(name)) <= _NAME_BYTES:
        return name
    cut = os.fsencode(name)[: _NAME_BYTES - 32].decode("utf-8", "ignore")
    return f"{cut}~{zlib.crc32(os.fsencode(name)):08x}.stderr.log"
