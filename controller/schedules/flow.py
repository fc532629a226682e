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
            Unavailable: the database does not answer.
        """
        with self._database.read() as session:
            misled, waiting = turns.misled(session, moment), turns.due(session, moment)
        for one in misled:
            with self._database.write() as session:
                turns.lead_back(session, one, moment)
        for one in waiting:
            self._take(one, moment)

    def _take(self, one: Due, moment: datetime) -> None:
        try:
            with self._database.write() as session:
                taken = turns.take(session, self._vault, one, moment)
        except Unavailable:
            raise
        except Exception:
            # What nobody thought of must not come again every second, nor keep others' turns.
            log.exception("a schedule's turn broke")
            why = "the controller failed at it, which its log tells more of; please report it"
            with self._database.write() as session:
                turns.give_up(session, one, moment, why)
            return
        if taken is not None:
            SCHEDULE_TURNS.labels(taken.turn_outcome).inc()
            log.info("turn", schedule=taken.name, outcome=taken.turn_outcome, why=taken.turn_reason)
            self._tell()


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
