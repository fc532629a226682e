"""How the engine of AWX waits: between looks, while AWX is away, and for jobs that are to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from controller.awx.errors import AwxAway
from controller.database.base import now
from controller.deployments.engines.base import Put
from controller.deployments.models import Status
from controller.deployments.recorder import Waiting
from controller.deployments.tracking import Stopped

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Pace:
    """How often AWX is asked, and how long it is waited for; all in seconds.

    Attributes:
        shortest, longest: between looks at the jobs; the less happens, the longer.
        again, seldom: between tries while AWX does not answer; longer and longer.
        events: that the events of a job which has ended may take to appear.
        queued: that a job may wait before the deployment says so.
        hurried: that ending jobs may take when the controller ends, or is gone: less than the lease.
        timed_out: the same, when the wave took longer than run_timeout.
        misses: answers in a row that a job is not there, until it counts as lost.
        searches: for a job whose launch was not answered, until there counts as none.
    """

    shortest: float = 1.0
    longest: float = 5.0
    again: float = 1.0
    seldom: float = 15.0
    events: float = 30.0
    queued: float = 10.0
    hurried: float = 12.0
    timed_out: float = 60.0
    misses: int = 3
    searches: int = 3


def pace_of(lease: float) -> Pace:
    """The pace of a controller with a lease of so many seconds."""
    return Pace(hurried=min(12.0, lease * 0.8))


class Patience:
    """Waits, says what for, and knows when to end.

    Args:
        run_timeout: seconds that a canceled job may take to end.

    Attributes:
        stopped: why the run is to end, once it is.
        hurry: nobody can wait for long.
    """

    def __init__(self, put: Put, pace: Pace, run_timeout: float) -> None:
        self.pace = pace
        self.stopped: Stopped | None = None
        self.hurry = False
        self._put = put
        self._run_timeout = run_timeout
        self._stopped_at = 0.0
        self._awake = threading.Event()
        self._failures = 0
        self._failing_since = now()
        self._said = ""

    def stop(self, stopped: Stopped, *, hurry: bool) -> None:
        """Let the run end; the first reason counts, and haste whenever it comes."""
        if self.stopped is None or (hurry and not self.hurry):
            self._stopped_at = time.monotonic()
            self.stopped = self.stopped or stopped
            self.hurry = hurry
            self._awake.set()

    @property
    def is_over(self) -> bool:
        """Whether what is to end was waited for long enough."""
        if self.stopped is None:
            return False
        if self.hurry:
            patience = self.pace.hurried
        elif self.stopped.status is Status.FAILED:
            patience = self.pace.timed_out
        else:
            patience = self._run_timeout
        return time.monotonic() - self._stopped_at > patience

    def patiently(self, ask: Callable[[], Answer]) -> Answer | None:
        """An answer, however long AWX is away; None where the run is to end before."""
        while self.stopped is None:
            try:
                answer = ask()
            except AwxAway as error:
                self.away(error)
            else:
                self.back()
                return answer
        return None

    def away(self, error: AwxAway) -> None:
        """Wait, each time longer; from the second time on the deployment says what for."""
        self._failures += 1
        if self._failures == 1:
            self._failing_since = now()
        else:
            self.say(f"waits for AWX since {self._failing_since:%H:%M:%S} UTC: {error.message}")
        doubled = self.pace.again * 2 ** min(self._failures - 1, 10)
        self.rest(max(error.wait, min(doubled, self.pace.seldom)))

    def back(self) -> None:
        """AWX answers."""
        if self._failures:
            self._failures = 0
            self.say("")

    def say(self, reason: str) -> None:
        """Let the deployment say what it waits for; empty is nothing."""
        if reason != self._said:
            self._said = reason
            self._put(Waiting(reason))

    def rest(self, seconds: float) -> None:
        """Wait, unless an order to end comes."""
        self._awake.wait(seconds)
        self._awake.clear()
