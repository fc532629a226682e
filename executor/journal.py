"""The queue on disk between plugins and sinks: one append-only journal of metric lines, a cursor
for each sink.

Each line is one metric as JSON. A line is written (not synced) before it is sent, so `kill -9`
loses none; a power cut loses what the kernel had not yet written out, about the last 30 s. Past
its bound the oldest segment goes, and each sink that had not read it counts its lines as dropped.
A disk that takes no more bytes costs nothing while the sinks are up: up to 1 MiB is then kept in
memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executor.log import Log

_SEGMENT_NAME = re.compile(r"([0-9]{15})-([0-9]{15})\.jsonl")
_SEGMENTS = 16
_MAX_SEGMENT = 1 << 20
_MEMORY_BYTES = 1 << 20
RETRY_SECONDS = 1.0
"""Between two tries to write to a disk that took nothing."""


class Cursor:
    """A place in the journal: `offset` in bytes and `line`, both counted from the journal's first
    day.
    """

    __slots__ = ("line", "offset")

    def __init__(self, offset: int, line: int) -> None:
        self.offset = offset
        self.line = line


class _Segment:
    """A file that holds the bytes from `start` on; its name carries the start, so it needs no
    header.
    """

    __slots__ = ("lines", "path", "size", "start")

    def __init__(self, path: str, start: Cursor) -> None:
        self.path = path
        self.start = start
        self.size = 0
        self.lines = 0


class Journal:
    """Appends and reads lines in `folder`, which never holds more than about `max_bytes`."""

    __slots__ = (
        "_fd",
        "_folder",
        "_log",
        "_max_bytes",
        "_memory",
        "_memory_start",
        "_retry_at",
        "_segment_bytes",
        "_segments",
        "end",
    )

    def __init__(self, folder: str, max_bytes: int, log: Log) -> None:
        self._folder = folder
        self._log = log
        self._fd = -1
        self._memory = bytearray()
        self._memory_start = Cursor(0, 0)
        self._retry_at = 0.0
        self.set_bound(max_bytes)
        os.makedirs(folder, mode=0o750, exist_ok=True)
        self._segments = self._found_segments()
        self.end = Cursor(0, 0)
        if self._segments:
            last = self._segments[-1]
            self.end = Cursor(last.start.offset + last.size, last.start.line + last.lines)

    def set_bound(self, max_bytes: int) -> None:
        """Bytes on disk; reached at the next append."""
        self._max_bytes = max_bytes
        self._segment_bytes = min(_MAX_SEGMENT, max_bytes // _SEGMENTS)

    def append(self, data: bytes, lines: int) -> None:
        """Add whole lines. Never raises: without a disk they wait in memory."""
        if self._memory and time.monotonic() >= self._retry_at:
            self._move_memory_to_disk()
        if self._memory or not self._write(data, lines):
            self._keep_in_memory(data, lines)
        self._drop_past_bound()

    def read(self, cursor: Cursor, max_bytes: int) -> tuple[list[bytes], Cursor]:
        """Some lines after `cursor` and where they begin, which is later where lines were dropped.

        The next place is that cursor moved on by what was used, see `after`.
        """
        for segment in self._segments:
            if cursor.offset < segment.start.offset + segment.size:
                start = cursor if cursor.offset >= segment.start.offset else segment.start
                skip = start.offset - segment.start.offset
                lines = _whole_lines(
                    _read_at(segment.path, skip, min(max_bytes, segment.size - skip))
                )
                if lines:
                    return lines, start
                # Unreadable, removed under our feet or zeros after a power cut: go on with the
                # next.
                cursor = Cursor(segment.start.offset + segment.size, cursor.line)
        if self._memory and cursor.offset < self.end.offset:
            start = self._memory_start
            if cursor.offset > start.offset:
                start = cursor
            skip = start.offset - self._memory_start.offset
            return _whole_lines(bytes(self._memory[skip : skip + max_bytes])), start
        return [], Cursor(self.end.offset, self.end.line)

    @staticmethod
    def after(start: Cursor, lines: list[bytes]) -> Cursor:
        """The place behind `lines` that were read at `start`."""
        return Cursor(start.offset + sum(map(len, lines)) + len(lines), start.line + len(lines))

    def release(self, offset: int) -> None:
        """Every sink has read up to `offset`: remove what lies wholly before it."""
        while self._segments:
            first = self._segments[0]
            if first.start.offset + first.size > offset:
                break
            self._remove_first()
        if self._memory and offset >= self.end.offset:
            self._memory.clear()

    def size(self) -> int:
        """Bytes held, on disk and in memory."""
        return sum(segment.size for segment in self._segments) + len(self._memory)

    def close(self) -> None:
        """Sync what was written; a restart goes on from there."""
        if self._memory:
            self._move_memory_to_disk()
        if self._fd >= 0:
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._log.warning(f"{self._segments[-1].path}: cannot be synced: {error.strerror}")
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes, lines: int) -> bool:
        try:
            segment = self._open_segment(len(data))
            written = os.write(self._fd, data)
            if written < len(data):
                raise OSError("disk full")
        except OSError:
            self._abandon_segment()
            return False
        segment.size += len(data)
        segment.lines += lines
        self.end = Cursor(self.end.offset + len(data), self.end.line + lines)
        return True

    def _open_segment(self, coming: int) -> _Segment:
        if self._fd >= 0:
            last = self._segments[-1]
            if last.size == 0 or last.size + coming <= self._segment_bytes:
                return last
            os.close(self._fd)
            self._fd = -1
        # Always a new file after a restart: the old one may end in half a line.
        path = os.path.join(self._folder, f"{self.end.offset:015d}-{self.end.line:015d}.jsonl")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o640)
        self._segments.append(_Segment(path, self.end))
        return self._segments[-1]

    def _keep_in_memory(self, data: bytes, lines: int) -> None:
        if not self._memory:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._memory_start = self.end
            self._log.error(
                f"{self._folder}: cannot be written, metrics wait in memory (1 MiB at most)"
            )
        self._memory += data
        self.end = Cursor(self.end.offset + len(data), self.end.line + lines)
        if len(self._memory) > _MEMORY_BYTES:
            cut = self._memory.index(b"\n", len(self._memory) - _MEMORY_BYTES) + 1
            start = self._memory_start
            gone = self._memory.count(b"\n", 0, cut)
            del self._memory[:cut]
            self._memory_start = Cursor(start.offset + cut, start.line + gone)

    def _move_memory_to_disk(self) -> None:
        data, start, end = bytes(self._memory), self._memory_start, self.end
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self.end = start
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._write(data, end.line - start.line):
            self._memory.clear()
            self._log.info(f"{self._folder}: can be written again")
        else:
            self.end = end

    def _abandon_segment(self) -> None:
        """A write failed, maybe half-way: nothing more goes to this file, and an empty one goes
        away.
        """
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        if self._segments[-1].size == 0:
            _unlink(self._segments.pop().path)

    def _drop_past_bound(self) -> None:
        while len(self._segments) > 1 and self.size() > self._max_bytes:
            self._remove_first()

    def _remove_first(self) -> None:
        if len(self._segments) == 1 and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        _unlink(self._segments.pop(0).path)

    def _found_segments(self) -> list[_Segment]:
        found: list[_Segment] = []
        for name in sorted(os.listdir(self._folder)):
            match = _SEGMENT_NAME.fullmatch(name)
            if match is None:
                continue
            path = os.path.join(self._folder, name)
            segment = _Segment(path, Cursor(int(match.group(1)), int(match.group(2))))
            segment.size, segment.lines = _whole_part(path)
            if not segment.size:
                _unlink(path)
                continue
            if found:
                # A write that failed half-way was written again, whole, to the file after it.
                found[-1].size = min(found[-1].size, segment.start.offset - found[-1].start.offset)
                found[-1].lines = min(found[-1].lines, segment.start.line - found[-1].start.line)
            found.append(segment)
        return found


def _read_at(path: str, offset: int, max_bytes: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as stream:
            stream.seek(offset)
            return stream.read(max_bytes)
    except OSError:
        return b""


def _whole_lines(data: bytes) -> list[bytes]:
    return data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]


def _whole_part(path: str) -> tuple[int, int]:
    """(bytes, lines) up to the last line end: a crash may have left half a line, or blocks of
    zeros.
    """
    size = lines = position = 0
    with open(path, "rb", buffering=0) as stream:
        while True:
            piece = stream.read(65536)
            if not piece:
                return size, lines
            end = piece.rfind(b"\n")
            if end >= 0:
                size = position + end + 1
                lines += piece.count(b"\n")
            position += len(piece)


def _unlink(path: str) -> None:
    # Counted by its name only; a later start tries again.
    with contextlib.suppress(OSError):
        os.unlink(path)
