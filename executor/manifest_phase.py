"""Where a manifest plugin stands: always in one phase, with a job in the three in the middle alone.

    SCHEDULED -> COPYING -> INSTALLING -> RUNNING -> SCHEDULED (a timer runs) or RESTING (none does)

A job ends by itself, or is told to; then comes what it was told for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Union

    from executor.loop import Loop, Timer
    from executor.manifest_extract import Extract
    from executor.manifest_jobs import CopyJob
    from executor.manifest_process import Process

    Job = Union[CopyJob, Extract, Process]

SCHEDULED, COPYING, INSTALLING, RUNNING, RESTING = (
    "scheduled", "copying", "installing", "running", "resting",
)  # fmt: skip

NOTHING, AGAIN, END = "nothing", "again", "end"


class Phase:
    """`name` is one of the five; `job` what goes on in it; `told` what comes after it, one of
    NOTHING (the job's own outcome counts), AGAIN and END.
    """

    __slots__ = ("_loop", "_timer", "job", "name", "told")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._timer: Timer | None = None
        self.name = RESTING
        self.job: Job | None = None
        self.told = NOTHING

    @property
    def next_start(self) -> float | None:
        """Monotonic seconds of the start that is scheduled."""
        return self._timer.when if self._timer is not None else None

    def schedule(self, delay: float, start: Callable[[], None]) -> None:
        """SCHEDULED: `start()` is called in `delay` seconds."""
        self.rest()
        self.name = SCHEDULED
        self._timer = self._loop.call_later(delay, start)

    def rest(self) -> None:
        """RESTING: nothing comes by itself."""
        self.name = RESTING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def work(self, name: str, job: Job) -> None:
        """COPYING, INSTALLING or RUNNING, with its job."""
        self.rest()
        self.name = name
        self.job = job

    def tell(self, what: str) -> bool:
        """Stop the job for AGAIN or END; False when there is none. END is the last word."""
        if self.told != END:
            self.told = what
        if self.job is None:
            return False
        self.job.stop()
        return True

    def over(self) -> str:
        """The job has ended, or there is none: what was told."""
        self.job = None
        self.rest()
        told = self.told
        if told == AGAIN:
            self.told = NOTHING
        return told
