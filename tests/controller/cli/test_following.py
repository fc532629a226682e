"""Following a deployment: a broken stream is taken up again, each host counts once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from controller.cli import follow
from controller.cli.exits import CommandError, Exit


class Clock:
    """Time that passes only where somebody sleeps."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


class Scripted:
    """A controller whose stream breaks as the script says."""

    def __init__(self, *streams: list[str] | CommandError) -> None:
        self._streams = list(streams)
        self.asked: list[str] = []

    def get(self, path: str) -> dict[str, Any]:
        ended = not self._streams
        wave = {"number": 1, "status": "running", "hosts": {"running": 2}}
        return {"id": 1, "ended": "2027-01-01T00:00:00Z" if ended else None, "waves": [wave]}

    @contextmanager
    def events(self, path: str, last: str) -> Iterator[Iterator[tuple[str, str, str]]]:
        self.asked.append(last)
        stream = self._streams.pop(0)
        if isinstance(stream, CommandError):
            raise stream
        yield ((number, "host.ended", _ended(number)) for number in stream)


def _ended(number: str) -> str:
    event = {"wave": 1, "kind": "host.ended", "host": f"h{number}", "data": {"status": "ok"}}
    return json.dumps(event)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(follow, "time", found)
    return found


def gone() -> CommandError:
    return CommandError("it is gone", exit_code=Exit.NOT_REACHABLE)


def test_a_broken_stream_goes_on_after_the_last_event(clock: Clock) -> None:
    client = Scripted(["1", "2"], gone(), ["3"], [])
    follow.follow(client, 1, follow.Board(None))  # type: ignore[arg-type]  # what it uses of a Client
    assert client.asked == ["", "2", "2", "3"]


def test_nobody_waits_for_ever(clock: Clock) -> None:
    class Gone(Scripted):
        def get(self, path: str) -> dict[str, Any]:
            raise gone()

    with pytest.raises(CommandError, match="it is gone"):
        follow.follow(Gone(), 1, follow.Board(None))  # type: ignore[arg-type]  # as above
    assert 60 <= clock.now < 70


def test_other_problems_end_it_at_once(clock: Clock) -> None:
    refused = CommandError("the token was revoked", exit_code=Exit.NOT_ALLOWED)
    with pytest.raises(CommandError, match="revoked"):
        follow.follow(Scripted(refused), 1, follow.Board(None))  # type: ignore[arg-type]  # as above
    assert clock.now == 0


def test_a_host_whose_event_comes_twice_counts_once() -> None:
    from rich.progress import Progress

    with Progress(disable=True) as progress:
        board = follow.Board(progress)
        wave = {"number": 1, "status": "running", "hosts": {"ok": 1, "running": 2}}
        board.show({"waves": [wave]})
        for number in ("1", "1", "2"):
            board.event("host.ended", json.loads(_ended(number)))
        assert progress.tasks[0].completed == 2 and progress.tasks[0].total == 3
