"""One job of AWX, from its launch to the moment when nothing is left to learn of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from controller.awx.client import Awx, JobState
from controller.awx.errors import (
    AwxAway,
    AwxBarred,
    AwxBegan,
    AwxError,
    AwxMissing,
    as_away,
    sentence,
)
from controller.awx.following import Follower, why_silent
from controller.awx.template import carries, switches
from controller.database.base import now
from controller.deployments.engines.base import Put
from controller.deployments.engines.jobs import VARIABLE, JobRow, JobRows
from controller.deployments.engines.patience import Patience
from controller.deployments.events import Event
from controller.deployments.tracking import JobOver

_PAGES = 5  # of the template's newest jobs, in which one is looked for by its marker
_EXIT_STATUS = {"successful": 0, "failed": 2}

log = structlog.get_logger(__name__)


class AwxJob:
    """Launches one job and follows it.

    Args:
        rows: the wave's jobs, of which `row` is one.
        keep: writes them.
        doubtful: it may have been launched with nobody knowing its id.

    Attributes:
        exit_status: of its playbook as far as AWX tells: 0, 2 where hosts failed, else 1.
    """

    def __init__(
        self,
        awx: Awx,
        patience: Patience,
        put: Put,
        rows: JobRows,
        row: JobRow,
        keep: Callable[[], None],
        *,
        doubtful: bool = False,
    ) -> None:
        self.row = row
        self.exit_status = 0
        self._awx = awx
        self._patience = patience
        self._pace = patience.pace
        self._put = put
        self._rows = rows
        self._keep = keep
        self._doubtful = doubtful
        self._follower: Follower | None = Follower(awx, row.id) if row.id is not None else None
        self._status = ""
        self._searched = 0
        self._missed = 0
        self._told_to_end = False
        self._refused = ""  # why it must not go on
        self._goes_on = ""  # why it cannot be canceled
        self._queued = (now(), time.monotonic())
        self._ended_at: float | None = None

    @property
    def has_more(self) -> bool:
        """Whether another look finds something at once."""
        return self._follower is not None and self._follower.more and not self.row.over

    def launch(self, fields: Mapping[str, Any]) -> None:
        """Begin it, however long AWX is away; unless the run is to end before."""
        patience = self._patience
        while patience.stopped is None and self.row.id is None:
            try:
                launched = self._awx.launch(self._rows.template, fields)
            except AwxAway as error:
                self._doubtful = self._doubtful or error.doubtful
                patience.away(error)
                while self._doubtful and self.row.id is None and self._search():
                    patience.rest(self._pace.shortest)
            except AwxError as error:
                blind = isinstance(error, AwxBegan)
                self._over(JobOver(0, self.row.hosts, trouble=sentence(error), blind=blind))
                return
            else:
                patience.back()
                self.row.id = launched.id
                if launched.ignored:
                    self._refused = (
                        "the job template does not heed what a deployment says; switch on 'Prompt on "
                        f"launch' for: {switches(launched.ignored)}"
                    )
        if self.row.id is not None:
            self._found(self.row.id)
        elif not self._doubtful:
            self._over(JobOver(0, self.row.hosts, patience.stopped))

    def look(self) -> bool:
        """Look at it once; returns whether there was something new.

        Raises:
            AwxAway: nothing is known now.
        """
        number, follower = self.row.id, self._follower
        if number is None or follower is None:
            return self._find()
        try:
            if (self._patience.stopped or self._refused) and not self._told_to_end:
                self._cancel(number)
            state = self._awx.job(number)
            events = follower.read()
        except (AwxAway, AwxBarred) as error:
            raise as_away(error) from None
        except AwxError as error:
            self._missed += 1
            if not isinstance(error, AwxMissing) or self._missed >= self._pace.misses:
                self._lost(error)
            return True
        self._missed = 0
        for event in events:
            self._put(event)
        changed = self._note(state)
        if state.ended and not follower.more:
            self._end(state, follower, news=bool(events))
        return bool(events) or changed

    def give_up(self) -> None:
        """Nobody can wait any longer for its end."""
        assert self._patience.stopped is not None
        what = f"its job {self.row.id}" if self.row.id else "a job of it"
        trouble = f"{self._patience.stopped.reason}; AWX does not say that {what} has ended: it may still run"
        self._over(JobOver(self.row.id or 0, self.row.hosts, trouble=trouble, blind=True))

    def break_off(self, trouble: str) -> None:
        """It cannot be followed."""
        blind = self.row.id is not None or self._doubtful
        self._over(JobOver(self.row.id or 0, self.row.hosts, trouble=trouble, blind=blind))

    def end_strays(self) -> None:
        """Where a launch that was not answered took place after all, and late, two jobs do the same."""
        if not self._doubtful:
            return
        told = {"marker": self.row.marker}
        try:
            strays = set(self._marked()) - {self.row.id}
        except AwxError as error:
            log.warning("AWX may run a job twice", **told, error=error.message)
            return
        for stray in strays:
            try:
                self._awx.cancel(stray)
            except AwxError as error:
                log.warning("AWX may run a job twice", **told, job=stray, error=error.message)

    def _cancel(self, number: int) -> None:
        try:
            self._awx.cancel(number)
        except AwxBarred as error:
            self._goes_on = f"waits for AWX's job {number} to end by itself: {sentence(error)}"
        else:
            self._told_to_end, self._goes_on = True, ""

    def _find(self) -> bool:
        """Look for a job that nobody knows the id of, if there is one."""
        again = self._search()
        if self.row.id is not None:
            self._found(self.row.id)
        elif not again:
            self._over(JobOver(0, self.row.hosts, self._patience.stopped))
        return True

    def _search(self) -> bool:
        """Look for a job whose launch was not answered; returns whether to look again."""
        try:
            found = self._marked()
        except AwxError as error:
            self._patience.away(as_away(error))
            return not self._patience.is_over
        self._patience.back()
        self._searched += 1
        if found:
            self.row.id = found[0]
        return not found and self._searched % self._pace.searches != 0

    def _marked(self) -> list[int]:
        """Ids of the jobs that were launched as this one."""
        for page in range(1, _PAGES + 1):
            jobs = self._awx.newest_jobs(self._rows.template, page)
            if found := [int(j["id"]) for j in jobs if carries(j, VARIABLE, self.row.marker)]:
                return sorted(found)
            if not jobs:
                break
        return []

    def _found(self, number: int) -> None:
        self._follower = Follower(self._awx, number)
        self._queued = (now(), time.monotonic())
        self._keep()

    def _note(self, state: JobState) -> bool:
        """Tell of a new status, and of one that it waits in for long; returns whether it is new."""
        changed = state.status != self._status
        if changed:
            self._status = state.status
            told = {
                "job": state.id,
                "status": state.status,
                "hosts": len(self.row.hosts),
                "url": self._rows.address(state.id),
            }
            self._put(Event("wave.job", told))
        if self._goes_on:
            self._patience.say(self._goes_on)
        elif state.status in ("new", "pending", "waiting"):
            moment, since = self._queued
            if time.monotonic() - since > self._pace.queued:
                why = f": {state.explanation}" if state.explanation else ""
                self._patience.say(
                    f"waits for AWX: its job {state.id} has been {state.status} since "
                    f"{moment:%H:%M:%S} UTC{why}"
                )
        elif changed:
            self._patience.say("")
        return changed

    def _end(self, state: JobState, follower: Follower, *, news: bool) -> None:
        """End it, once all of its events are there or will not come."""
        missing = not state.processed or bool(follower.holes)
        if self._ended_at is None or news:
            self._ended_at = time.monotonic()
        if missing and time.monotonic() - self._ended_at < self._pace.events:
            return
        trouble, stopped = self._refused, None
        if state.status == "canceled" and not trouble:
            if self._told_to_end:
                stopped = self._patience.stopped
            else:
                trouble = f"AWX's job {state.id} was canceled in AWX"
        elif state.status == "error" and not trouble:
            trouble = f"AWX's job {state.id} broke: {state.explanation or 'it does not say why'}"
        elif state.status == "failed" and state.explanation and not (trouble or follower.through):
            # Its time was over, its process was lost (`reap_job` in awx/main/dispatch/reaper.py; nobody counts its
            # events then, so that AWX never calls them complete), or what it needs could not be fetched.
            trouble = f"AWX ended its job {state.id} early: {state.explanation}"
        if missing:
            lost = _missing(state, follower)
            self._put(Event("wave.events_missing", {"job": state.id, "reason": lost}))
            trouble = trouble or lost
        silent = [host for host in self.row.hosts if host not in follower.heard]
        ask = silent and not trouble and not stopped
        reasons = why_silent(self._awx, self._rows.inventory, silent) if ask else {}
        over = JobOver(
            state.id,
            self.row.hosts,
            stopped,
            trouble,
            said=state.explanation,
            reasons=reasons,
            blind=missing,
        )
        self._over(over, _EXIT_STATUS.get(state.status, 1))

    def _lost(self, error: AwxError) -> None:
        with contextlib.suppress(AwxError):
            self._awx.cancel(self.row.id or 0)
        if isinstance(error, AwxMissing):
            trouble = f"AWX has lost its job {self.row.id}"
        else:
            trouble = f"{sentence(error)}; AWX's job {self.row.id} may still run"
        self._over(JobOver(self.row.id or 0, self.row.hosts, trouble=trouble, blind=True))

    def _over(self, over: JobOver, exit_status: int = 1) -> None:
        self.row.over = True
        self.exit_status = exit_status
        self._put(over)
        self._keep()


def _missing(state: JobState, follower: Follower) -> str:
    kept = follower.highest - len(follower.holes)
    of = f" of {follower.highest}" if follower.holes else ""
    return f"AWX did not keep all events of its job {state.id} ({kept}{of} were there)"
