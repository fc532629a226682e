"""The threads that take turns and keep AWX's schedules in step, beside requests.

Each look is at the database alone: nothing is remembered from one to the next, so that it does not matter how
many controllers look, or which of them is killed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from controller.auth.vault import Vault
from controller.database.base import now
from controller.database.engine import Database
from controller.errors import PlugfleetError, Unavailable
from controller.operations.metrics import SCHEDULE_TURNS
from controller.schedules import turns
from controller.schedules.keeper import Keeper
from controller.schedules.models import Schedule
from controller.schedules.turns import Due
from controller.settings import Settings

_LOOK = 1.0  # seconds between looks for turns that are due
_KEEP = 30.0  # seconds between looks at AWX, which a change does not wait for
_PATIENCE = 5.0  # seconds that AWX may take to answer when this controller ends

log = structlog.get_logger(__name__)


class Turner:
    """Takes the turns that are due.

    Args:
        tell: called when a deployment was queued.
    """

    def __init__(self, database: Database, vault: Vault, tell: Callable[[], None]) -> None:
        self._database = database
        self._vault = vault
        self._tell = tell

    def look(self, moment: datetime) -> None:
        """Take every turn that is due at a moment.

        Raises:
            Unavailable: the database did not answer for some of them, whose turns are still to be taken.
        """
        with self._database.read() as session:
            misled, waiting = turns.misled(session, moment), turns.due(session, moment)
        away: Unavailable | None = None
        for one in misled:
            away = self._deal_with(one, moment, self._lead_back) or away
        for one in waiting:
            away = self._deal_with(one, moment, self._take) or away
        if away:
            raise away

    def _deal_with(
        self, one: Due, moment: datetime, work: Callable[[Due, datetime], None]
    ) -> Unavailable | None:
        """Do something about one schedule; whatever comes of it must not keep the turns of those behind."""
        try:
            try:
                work(one, moment)
            except Unavailable:
                raise
            except Exception:
                # What nobody thought of must not come again every second.
                log.exception("a schedule's turn broke", schedule=one.id)
                self._give_up(one, moment)
        except Unavailable as error:
            return error
        except Exception:
            log.exception("a schedule's turn cannot be given up", schedule=one.id)
        return None

    def _lead_back(self, one: Due, moment: datetime) -> None:
        with self._database.write() as session:
            turns.lead_back(session, one, moment)

    def _take(self, one: Due, moment: datetime) -> None:
        turn = turns.work_out(one, moment)
        with self._database.write() as session:
            taken = turns.take(session, self._vault, one, turn, moment)
        if taken is not None:
            _count(taken)
            self._tell()

    def _give_up(self, one: Due, moment: datetime) -> None:
        why = "the controller failed at it, which its log tells more of; please report it"
        with self._database.write() as session:
            given_up = turns.give_up(session, one, moment, why)
        if given_up is not None:
            _count(given_up)


def _count(row: Schedule) -> None:
    SCHEDULE_TURNS.labels(row.turn_outcome).inc()
    log.info("turn", schedule=row.name, outcome=row.turn_outcome, why=row.turn_reason)


class Scheduler:
    """The threads of schedules, from `start` to `stop`."""

    def __init__(
        self, settings: Settings, database: Database, vault: Vault, tell: Callable[[], None]
    ) -> None:
        self._turner = Turner(database, vault, tell)
        self._keeper = Keeper(settings, database)
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._threads = [
            threading.Thread(target=self._take_turns, name="schedules", daemon=True),
            threading.Thread(target=self._keep, name="schedules-awx", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Bring AWX in step now."""
        self._changed.set()

    def stop(self) -> None:
        """End; a request that AWX does not answer is left behind."""
        self._stopping.set()
        self._changed.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_PATIENCE)

    def _take_turns(self) -> None:
        while not self._stopping.wait(_LOOK):
            self._guarded("turns are not taken", lambda: self._turner.look(now()))

    def _keep(self) -> None:
        while True:
            self._changed.clear()
            if self._stopping.is_set():
                return
            self._guarded("AWX's schedules are not kept", lambda: self._keeper.keep(now()))
            self._changed.wait(_KEEP)

    def _guarded(self, failed: str, work: Callable[[], None]) -> None:
        """Do something; the thread must outlive a surprise, or schedules would stand still in silence."""
        try:
            work()
        except PlugfleetError as error:
            log.warning(failed, error=str(error))
        except Exception:
            if not self._stopping.is_set():
                log.exception(failed)
