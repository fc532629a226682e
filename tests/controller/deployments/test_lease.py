"""A lease that nobody can prove is lost in time, and be it that the proof itself hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from controller.deployments.lease import Lease
from controller.deployments.presence import Lost
from controller.errors import Unavailable

_SECONDS = 0.4


class Shown:
    """A presence that does as it is told: `fails`, or hangs while `answers` is not set."""

    id = 1

    def __init__(self) -> None:
        self.sure = time.monotonic()
        self.answers = threading.Event()
        self.answers.set()
        self.fails: Exception | None = None
        self.closed = False

    def check(self) -> None:
        asked = time.monotonic()
        self.answers.wait()
        if self.fails:
            raise self.fails
        self.sure = asked

    def dead(self) -> list[int]:
        return []

    @contextmanager
    def taking_over(self, dead: int) -> Iterator[bool]:
        yield True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def shown() -> Iterator[Shown]:
    made = Shown()
    yield made
    made.answers.set()


def test_a_lease_goes_on_as_long_as_it_is_proven_and_runs_are_told(shown: Shown) -> None:
    told: list[float] = []
    lease = Lease(shown, _SECONDS, told.append)
    time.sleep(_SECONDS * 1.5)
    lease.require()
    assert told == sorted(told) and told[-1] > told[0] + _SECONDS
    lease.end()
    assert shown.closed


def test_a_check_that_hangs_loses_the_lease_before_it_is_over(shown: Shown) -> None:
    lease = Lease(shown, _SECONDS, lambda _: None)
    shown.answers.clear()
    time.sleep(_SECONDS * 0.8)
    with pytest.raises(Lost, match="silent"):
        lease.require()
    lease.drop()


def test_a_database_that_does_not_answer_just_now_is_waited_for(shown: Shown) -> None:
    lease = Lease(shown, 2.0, lambda _: None)
    shown.fails = Unavailable("the connection broke")
    time.sleep(0.4)
    with pytest.raises(Unavailable, match="broke"):
        lease.require()
    shown.fails = None
    time.sleep(0.4)
    lease.require()
    shown.fails = Lost("another controller took this one's work over")
    time.sleep(0.4)
    with pytest.raises(Lost, match="took"):
        lease.require()
    lease.drop()
