"""The queue on disk: what goes in comes out once, in order, through restarts, damage and a full
disk.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.journal import Cursor, Journal
from executor.log import Log


class Silent(Log):
    def _write(self, level: str, text: str) -> None:
        pass


def put(journal: Journal, *lines: bytes) -> None:
    journal.append(b"".join(line + b"\n" for line in lines), len(lines))


def drain(journal: Journal, cursor: Cursor) -> tuple[list[bytes], int]:
    """(lines read, lines lost on the way)."""
    got: list[bytes] = []
    lost = 0
    while True:
        lines, start = journal.read(cursor, 4096)
        lost += start.line - cursor.line
        if not lines:
            return got, lost
        got += lines
        cursor = journal.after(start, lines)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "spool")


def test_lines_survive_a_restart_without_a_close(folder: str) -> None:
    put(Journal(folder, 1 << 20, Silent()), b"one", b"two")
    second = Journal(folder, 1 << 20, Silent())
    put(second, b"three")
    assert drain(second, Cursor(0, 0)) == ([b"one", b"two", b"three"], 0)
    third = Journal(folder, 1 << 20, Silent())
    assert (third.end.offset, third.end.line) == (14, 3)


def test_half_a_line_after_a_crash_is_left_out(folder: str) -> None:
    journal = Journal(folder, 1 << 20, Silent())
    put(journal, b"one", b"two")
    segment = next(Path(folder).glob("*.jsonl"))
    with segment.open("ab") as stream:
        stream.write(b'{"half')
    again = Journal(folder, 1 << 20, Silent())
    put(again, b"three")
    assert drain(again, Cursor(0, 0)) == ([b"one", b"two", b"three"], 0)


def test_zeros_after_a_power_cut_do_not_hold_the_reader(folder: str) -> None:
    journal = Journal(folder, 1 << 20, Silent())
    put(journal, b"one")
    segment = next(Path(folder).glob("*.jsonl"))
    segment.write_bytes(b"\0" * 9000 + b"\n")
    again = Journal(folder, 1 << 20, Silent())
    put(again, b"two")
    assert drain(again, Cursor(0, 0))[0][-1] == b"two"


def test_a_segment_that_was_removed_by_hand_is_stepped_over(folder: str) -> None:
    journal = Journal(folder, 65536, Silent())
    for number in range(200):
        put(journal, b"%0100d" % number)
    segments = sorted(Path(folder).glob("*.jsonl"))
    assert len(segments) > 3
    segments[1].unlink()
    got, _lost = drain(journal, Cursor(0, 0))
    assert got[-1] == b"%0100d" % 199
    assert len(got) < 200


def test_released_segments_are_removed_and_the_count_goes_on(folder: str) -> None:
    journal = Journal(folder, 65536, Silent())
    for number in range(200):
        put(journal, b"%0100d" % number)
    journal.release(journal.end.offset)
    assert list(Path(folder).glob("*.jsonl")) == []
    put(journal, b"after")
    assert drain(journal, Cursor(journal.end.offset - 6, 200)) == ([b"after"], 0)


@settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=40))
def test_delivered_and_dropped_always_add_up(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]]
) -> None:
    journal = Journal(str(tmp_path_factory.mktemp("spool")), 65536, Silent())
    cursor, number, seen, lost = Cursor(0, 0), 0, [], 0
    for count, read in steps:
        for _ in range(count):
            put(journal, b"%0900d" % number)
            number += 1
        if read:
            lines, start = journal.read(cursor, 8192)
            lost += start.line - cursor.line
            seen += [int(line) for line in lines]
            cursor = journal.after(start, lines)
            journal.release(cursor.offset)
    rest, last = drain(journal, cursor)
    seen += [int(line) for line in rest]
    assert len(seen) + lost + last == number
    assert seen == sorted(set(seen))
    assert journal.size() <= 65536 + 30 * 901
    journal.close()


class FullDisk:
    """Lets `os.write` fail as a full disk does: some bytes go, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self._write = os.write
        monkeypatch.setattr("executor.journal.os.write", self)
        monkeypatch.setattr("executor.journal.RETRY_SECONDS", 0.0)

    def __call__(self, fd: int, data: bytes) -> int:
        if not self.full:
            return self._write(fd, data)
        if len(data) > 3:
            return self._write(fd, data[:3])
        raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_lines_in_memory_and_in_order(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    journal = Journal(folder, 1 << 20, Silent())
    put(journal, b"one")
    disk.full = True
    put(journal, b"two")
    put(journal, b"three")
    assert drain(journal, Cursor(0, 0)) == ([b"one", b"two", b"three"], 0)
    disk.full = False
    put(journal, b"four")
    assert drain(journal, Cursor(0, 0)) == ([b"one", b"two", b"three", b"four"], 0)
    again = Journal(folder, 1 << 20, Silent())
    assert drain(again, Cursor(0, 0)) == ([b"one", b"two", b"three", b"four"], 0)


def test_memory_is_bounded_when_the_disk_stays_full(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    journal = Journal(folder, 1 << 20, Silent())
    disk.full = True
    for number in range(1500):
        put(journal, b"%01000d" % number)
    assert journal.size() <= 1 << 20
    got, lost = drain(journal, Cursor(0, 0))
    assert int(got[-1]) == 1499
    assert len(got) + lost == 1500


def test_a_reader_behind_both_disk_and_memory_loses_nothing_counted_twice(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    journal = Journal(folder, 1 << 20, Silent())
    put(journal, *[b"%d" % number for number in range(10)])
    disk.full = True
    put(journal, *[b"%d" % number for number in range(10, 20)])
    journal.release(5)
    got, lost = drain(journal, Cursor(0, 0))
    assert ([int(line) for line in got], lost) == (list(range(20)), 0)


def test_any_bytes_in_the_folder_are_survived(folder: str) -> None:
    os.makedirs(folder)
    names: list[Any] = ["x.jsonl", "000000000000000-000000000000000.jsonl", "cursor.jsonl"]
    for name in names:
        Path(folder, name).write_bytes(b"\xff\x00 no line end")
    journal = Journal(folder, 1 << 20, Silent())
    put(journal, b"one")
    assert drain(journal, Cursor(0, 0)) == ([b"one"], 0)
