"""The dispatcher: claims queued deployments, drives them, ends those of dead controllers.

What it decides is a row before it is an act, so that a controller may be killed at any moment.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import structlog
from sqlalchemy import delete, select

from controller.auth.vault import Vault
from controller.database.base import now
from controller.database.engine import Database
from controller.deployments import events, locks, service
from controller.deployments.drive import Drive, Order
from controller.deployments.events import Event
from controller.deployments.lease import Lease
from controller.deployments.liveness import register
from controller.deployments.models import ControllerRow, Deployment, Status
from controller.deployments.presence import CHECK, Lost, Presence
from controller.deployments.pruning import prune
from controller.deployments.recovery import left_by_the_ended, recover
from controller.deployments.waveprocess import RunProcesses
from controller.errors import Unavailable
from controller.settings import Settings
from controller.web.models import IdempotentAnswer

_TICK = 0.5  # seconds between looks for work that other controllers were given
_IDLE = 3.0  # seconds without work before a process is made ready for the next run
_UPKEEP = 3600.0  # seconds between looks for what is old
_KEEP_ANSWERS = timedelta(days=2)  # a client that repeats a request does so within minutes
_LOOKED_AT = 100  # queued deployments in one look; the next look goes on behind them

log = structlog.get_logger(__name__)


class Dispatcher:
    """One controller's part in the deployments of its database."""

    def __init__(self, settings: Settings, database: Database, vault: Vault) -> None:
        self._settings = settings
        self._database = database
        self._vault = vault
        self._runs = RunProcesses(settings)
        self._drives: dict[int, Drive] = {}
        self._idle_since = time.monotonic()
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._lease: Lease | None = None
        self._next_recovery = 0.0
        self._next_upkeep = 0.0
        self._looked_to = 0
        self._thread = threading.Thread(target=self._work, name="dispatcher")

    def start(self) -> None:
        """Enter this controller and begin.

        Raises:
            Conflict: another controller works on this SQLite database.
            Unavailable: the database does not answer.
        """
        self._lease = self._enter()
        self._thread.start()

    def _enter(self) -> Lease:
        presence = register(self._settings, self._database)
        return Lease(presence, self._settings.lease, self._runs.assure)

    def wake(self) -> None:
        """Look for work now."""
        self._awake.set()

    def stop(self) -> None:
        """End what runs here, which is then `interrupted`; what is queued stays queued."""
        self._stopping.set()
        self._awake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                self._tick()
            except Unavailable as error:
                log.warning("waiting for the database", error=str(error))
            except Lost as error:
                self._let_go(str(error))
            except Exception:
                log.exception("the dispatcher failed; it goes on")
            self._awake.wait(_TICK)
        for drive in self._drives.values():
            drive.order(Order.STOP)
        for drive in self._drives.values():
            drive.join()
        self._runs.close()
        try:
            if self._lease is not None:
                self._lease.end()
        except Unavailable as error:
            log.warning("could not say goodbye", error=str(error))

    def _tick(self) -> None:
        if self._lease is None:
            self._lease = self._enter()
        self._lease.require()
        self._drives = {key: drive for key, drive in self._drives.items() if not drive.over}
        if time.monotonic() >= self._next_recovery:
            self._recover(self._lease.presence)
            self._next_recovery = time.monotonic() + self._settings.lease * CHECK
        self._claim(self._lease.presence.id)
        self._pass_on_cancels()
        if self._drives:
            # Where there was one, the next often follows soon.
            self._idle_since = time.monotonic() - _IDLE + _TICK
        elif time.monotonic() - self._idle_since > _IDLE:
            self._runs.prepare()
        if time.monotonic() >= self._next_upkeep:
            self._upkeep()
            self._next_upkeep = time.monotonic() + _UPKEEP

    def _recover(self, presence: Presence) -> None:
        for dead in [*presence.dead(), *left_by_the_ended(self._database, presence.id)]:
            with presence.taking_over(dead) as mine:
                if mine:
                    recover(self._settings, self._database, self._vault, dead, self._adopt)

    def _adopt(self, deployment_id: int, why: str) -> None:
        """Take over a dead controller's deployment, to settle what AWX does of it."""
        assert self._lease is not None
        if deployment_id in self._drives and not self._drives[deployment_id].over:
            return
        with self._database.write() as session:
            session.get_one(Deployment, deployment_id).claimed_by = self._lease.presence.id
        drive = Drive(
            self._settings, self._database, self._vault, self._runs, deployment_id, left=why
        )
        self._drives[deployment_id] = drive
        drive.start()

    def _let_go(self, why: str) -> None:
        """End the own runs before anybody else may touch their hosts, and begin anew."""
        log.error("this controller may have been taken for dead", reason=why)
        for drive in self._drives.values():
            drive.order(Order.LET_GO)
        for drive in self._drives.values():
            drive.join()
        self._drives = {}
        if self._lease is not None:
            self._lease.drop()
            self._lease = None

    def _claim(self, own: int) -> None:
        room = self._settings.concurrent_runs - len(self._drives)
        if room <= 0:
            return
        for deployment_id in self._free()[:room]:
            if self._take(own, deployment_id):
                drive = Drive(
                    self._settings, self._database, self._vault, self._runs, deployment_id
                )
                self._drives[deployment_id] = drive
                drive.start()

    def _free(self) -> list[int]:
        """Ids of queued deployments that nobody keeps from their hosts, the oldest first.

        However many wait for hosts, those behind them get their turn: where none of these can begin,
        the next look takes the ones after them.
        """
        with self._database.read() as session:
            queued = session.execute(
                select(Deployment.id, Deployment.check)
                .where(Deployment.status == Status.QUEUED.value, Deployment.id > self._looked_to)
                .order_by(Deployment.id)
                .limit(_LOOKED_AT)
            ).all()
            free = [
                deployment_id
                for deployment_id, check in queued
                if check or not locks.holders(session, deployment_id)
            ]
        more = len(queued) == _LOOKED_AT and not free
        self._looked_to = queued[-1].id if more else 0
        return free

    def _take(self, own: int, deployment_id: int) -> bool:
        """Claim a deployment and its hosts; False where another controller was faster.

        Raises:
            Lost: another controller has taken over from this one.
        """
        with self._database.write() as session:
            # Whoever takes over writes this row: it waits for this transaction, or this one for it.
            entered = select(ControllerRow.ended).where(ControllerRow.id == own)
            if session.scalar(entered.with_for_update(read=True)) is not None:
                raise Lost("another controller took this one's work over")
            deployment = session.scalar(
                select(Deployment)
                .where(Deployment.id == deployment_id, Deployment.status == Status.QUEUED.value)
                .with_for_update(skip_locked=True)
            )
            if deployment is None:
                return False
            if not deployment.check and (holders := locks.take(session, deployment_id)):
                deployment.reason = service.waits_for(holders)
                return False
            deployment.status = Status.RUNNING.value
            deployment.reason = ""
            deployment.claimed_by = own
            deployment.started = now()
            events.append(session, deployment_id, 0, [Event("deployment.started")])
        return True

    def _pass_on_cancels(self) -> None:
        if not self._drives:
            return
        with self._database.read() as session:
            wanted = session.scalars(
                select(Deployment.id).where(
                    Deployment.status == Status.CANCELING.value,
                    Deployment.id.in_(list(self._drives)),
                )
            ).all()
        for deployment_id in wanted:
            self._drives[deployment_id].order(Order.CANCEL)

    def _upkeep(self) -> None:
        """Remove what is old, a part at a time."""
        removed = -1
        while removed and not self._stopping.is_set():
            with self._database.write() as session:
                removed = prune(session, self._settings.keep_events_days)
        with self._database.write() as session:
            old = IdempotentAnswer.created < now() - _KEEP_ANSWERS
            session.execute(delete(IdempotentAnswer).where(old))
