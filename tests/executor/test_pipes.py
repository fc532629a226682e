"""Pipes of many children are read in one go, a moment after they were written to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.log import Log
from executor.loop import Loop
from executor.pipes import GATHER_SECONDS, Pipes


class Reader:
    """Notes what it reads of its pipe, and when the loop asked it to."""

    def __init__(self, size: int = 65536, then: Callable[[], None] = lambda: None) -> None:
        self.fd, self.write_to = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pieces: list[bytes] = []
        self._size = size
        self._then = then

    def __call__(self) -> bool:
        self.pieces.append(os.read(self.fd, self._size))
        self._then()
        return len(self.pieces[-1]) == self._size

    def say(self, text: bytes) -> None:
        os.write(self.write_to, text)


MakeReader = Callable[..., Reader]


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return Loop(Log(str(tmp_path / "log")))


@pytest.fixture
def reader() -> Iterator[MakeReader]:
    made: list[Reader] = []

    def make(**how: Any) -> Reader:
        made.append(Reader(**how))
        return made[-1]

    yield make
    for one in made:
        os.close(one.fd)
        os.close(one.write_to)


def watched(loop: Loop, *readers: Reader) -> Pipes:
    pipes = Pipes(loop)
    for reader in readers:
        pipes.watch(reader.fd, reader)
    return pipes


def run(loop: Loop, seconds: float = 3 * GATHER_SECONDS) -> None:
    loop.call_later(seconds, loop.stop)
    loop.run()


def test_lines_that_come_one_by_one_are_read_together(loop: Loop, reader: MakeReader) -> None:
    one = reader()
    watched(loop, one)
    for number in range(4):
        loop.call_later(number * GATHER_SECONDS / 8, one.say, b"line %d\n" % number)
    run(loop)
    assert one.pieces == [b"line 0\nline 1\nline 2\nline 3\n"]
    one.say(b"later\n")
    run(loop)
    assert one.pieces[1:] == [b"later\n"]


def test_what_fills_a_piece_is_followed_by_the_next_at_once(loop: Loop, reader: MakeReader) -> None:
    one = reader(size=10)
    watched(loop, one)
    one.say(b"x" * 95)
    run(loop, 1.5 * GATHER_SECONDS)
    assert [len(piece) for piece in one.pieces] == [10] * 9 + [5]


def test_one_that_is_ended_while_others_are_read_is_not_read(
    loop: Loop, reader: MakeReader
) -> None:
    def end_the_others() -> None:
        for one in both:
            if not one.pieces:
                pipes.unwatch(one.fd)

    both = [reader(then=end_the_others), reader(then=end_the_others)]
    pipes = watched(loop, *both)
    for one in both:
        one.say(b"x")
    run(loop)
    assert sorted(one.pieces for one in both) == [[], [b"x"]]


def test_a_reader_that_raises_keeps_no_other_from_its_turn(loop: Loop, reader: MakeReader) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    broken, sound = reader(then=fault), reader()
    watched(loop, broken, sound)
    for piece in (b"x", b"y"):
        for one in (broken, sound):
            one.say(piece)
        run(loop)
    assert sound.pieces == broken.pieces == [b"x", b"y"]
