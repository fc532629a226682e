"""Driving one deployment: its waves one after the other, each as a run of its own."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.principal import CONTROLLER
from controller.auth.vault import Vault
from controller.database.engine import Database
from controller.deployments import service
from controller.deployments.engines.base import ENDS_WITHIN, canceled_within
from controller.deployments.models import Deployment, HostStatus, Status, Wave
from controller.deployments.presence import ENDING
from controller.deployments.processes import CANCEL, LEFT, STOP
from controller.deployments.recovery import end_deployment, end_run, is_unsettled
from controller.deployments.results import lost
from controller.deployments.spawner import UNSEEN
from controller.deployments.waveprocess import RunProcesses, describe_end, what_is_left
from controller.deployments.waves import begin_wave, close_wave
from controller.errors import Unavailable
from controller.operations.metrics import RUN_SECONDS
from controller.settings import Settings

_LOOK = 0.1  # seconds between looks whether the run has ended
_PATIENCE_STOPPED = 15.0  # seconds that a stopped controller waits for a database that is away
_BROKEN = (Status.FAILED.value, Status.INTERRUPTED.value)
_RETRY = 1.0  # seconds before a database that did not answer is asked again

log = structlog.get_logger(__name__)
Result = TypeVar("Result")


class Order(enum.Enum):
    """Why a deployment is to end before it is through."""

    CANCEL = "canceled"
    STOP = "the controller was stopped"
    LET_GO = "another controller may have taken over"


class _LetGo(Exception):
    """Nothing may be written about the deployment any more."""


class Drive:
    """Carries one claimed deployment to its end, in a thread of its own.

    Args:
        left: what became of the controller that drove it before, where one did: nothing more is begun, and
            what AWX does of it is ended and read.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        vault: Vault,
        runs: RunProcesses,
        deployment_id: int,
        left: str = "",
    ) -> None:
        self.deployment_id = deployment_id
        self._runs = runs
        self._settings = settings
        self._database = database
        self._vault = vault
        self._left = left
        # Another controller may take over: see controller.deployments.presence.
        self._patience_lost = settings.lease * ENDING
        self._order: Order | None = None
        self._patient_until = float("inf")
        self._thread = threading.Thread(target=self._carry_out, name=f"deploy-{deployment_id}")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def order(self, order: Order) -> None:
        """End it before it is through; having to let go counts above all."""
        if self._order is None or order is Order.LET_GO:
            self._order = order
        if order is Order.STOP:
            self._patient_until = time.monotonic() + _PATIENCE_STOPPED

    @property
    def over(self) -> bool:
        """Whether nothing of it runs here any more."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait until it is over."""
        self._thread.join()

    def _carry_out(self) -> None:
        with structlog.contextvars.bound_contextvars(deployment=self.deployment_id):
            try:
                if self._left:
                    self._settle(self._left)
                else:
                    self._insist(self._finish(self._waves()))
            except _LetGo:
                log.warning("let go of a deployment")
            except Exception:
                log.exception("a deployment broke")
                self._break_off()

    def _settle(self, why: str) -> None:
        """End what a dead controller left, once AWX does nothing more of it."""
        waves = select(Wave).where(Wave.deployment_id == self.deployment_id).order_by(Wave.number)
        found = self._insist(lambda s: [(w.id, w.pid) for w in s.scalars(waves) if is_unsettled(w)])
        for wave_id, pid in found:
            end_run(self._settings, wave_id, pid)
            self._run(wave_id, settle=why)
        self._until_it_answers(
            lambda: end_deployment(
                self._settings, self._database, self._vault, self.deployment_id, why
            )
        )

    def _break_off(self) -> None:
        """End it after something that nobody thought of, so that it does not look alive for ever."""
        why = "the controller failed at it, which its log tells more of; please report it"
        try:
            end_deployment(
                self._settings, self._database, self._vault, self.deployment_id, why, patience=0
            )
        except Exception:
            log.exception("a broken deployment could not be ended; the next start will")

    def _waves(self) -> str:
        """Run the waves; returns why later ones are not run, if so."""
        with_waves = select(Wave.id).where(Wave.deployment_id == self.deployment_id)
        ids = self._insist(lambda s: list(s.scalars(with_waves.order_by(Wave.number))))
        for position, wave_id in enumerate(ids):
            if self._order is not None:
                return ""
            if not self._insist(partial(self._begin, wave_id)):
                return ""
            self._run(wave_id)
            if position + 1 < len(ids) and (reason := self._insist(self._too_many_lost)):
                return reason
        return ""

    def _begin(self, wave_id: int, session: Session) -> bool:
        deployment = session.get_one(Deployment, self.deployment_id, with_for_update=True)
        if deployment.status != Status.RUNNING.value:
            return False
        begin_wave(session, session.get_one(Wave, wave_id))
        return True

    def _run(self, wave_id: int, settle: str = "") -> None:
        """Run a wave, or settle what another run left of it."""
        process = self._runs.start(wave_id, settle)
        began = time.monotonic()
        log.info("wave started", wave=wave_id, pid=process.pid)
        try:
            self._insist(lambda s: self._note_pid(s, wave_id, process.pid))
        except _LetGo:
            process.end_playbook(self._patience_lost)
            process.let_go()
            raise
        told: Order | None = None
        deadline = float("inf")
        while (status := process.wait(_LOOK)) is None:
            if self._order is not told:
                told = self._order
                process.say(CANCEL if told is Order.CANCEL else STOP)
                canceled = told is Order.CANCEL
                patience = canceled_within(self._settings) if canceled else ENDS_WITHIN
                deadline = time.monotonic() + patience
            if told is Order.LET_GO:
                process.end_playbook(self._patience_lost)
                # What it has still to write may be written late: see results.record_results.
                process.let_go()
                raise _LetGo
            if time.monotonic() > deadline:
                process.kill()
        process.end_playbook(0)
        RUN_SECONDS.observe(time.monotonic() - began)
        log.info("wave ended", wave=wave_id, status=status)
        if self._insist(lambda s: is_unsettled(s.get_one(Wave, wave_id))):
            if self._order in (Order.STOP, Order.LET_GO):
                raise _LetGo  # for whoever comes next
            if status in (LEFT, UNSEEN) or not settle:
                self._run(wave_id, settle=settle or describe_end(status))
                return
        left = self._insist(
            lambda _: what_is_left(self._settings, self._database, self._vault, wave_id)
        )
        self._insist(
            lambda s: close_wave(
                s, s.get_one(Wave, wave_id), Status.FAILED, describe_end(status), left
            )
        )
        left.folder.remove()

    @staticmethod
    def _note_pid(session: Session, wave_id: int, pid: int) -> None:
        session.get_one(Wave, wave_id).pid = pid

    def _too_many_lost(self, session: Session) -> str:
        interrupted = select(Wave.reason).where(
            Wave.deployment_id == self.deployment_id, Wave.status == Status.INTERRUPTED.value
        )
        if reason := session.scalar(interrupted.limit(1)):
            return reason
        deployment = session.get_one(Deployment, self.deployment_id)
        allowed = int(deployment.request.get("max_lost", 0))
        totals = self._totals(session)
        number = sum(totals.get(status, 0) for status in service.LOST)
        if number <= allowed:
            return ""
        return f"{number} hosts were lost, more than max_lost ({allowed}) allows"

    def _totals(self, session: Session) -> dict[HostStatus, int]:
        counted = service.totals(session, CONTROLLER, [self.deployment_id])
        return counted.get(self.deployment_id, {})

    def _finish(self, reason: str) -> Callable[[Session], None]:
        """What writes how the deployment ended."""

        def write(session: Session) -> None:
            deployment = session.get_one(Deployment, self.deployment_id, with_for_update=True)
            if Status(deployment.status).ended:
                return
            status, why = self._verdict(session, deployment, reason)
            service.give_up(session, deployment, f"{why}; this host was not visited")
            service.end(session, deployment, status, why)

        return write

    def _verdict(self, session: Session, deployment: Deployment, reason: str) -> tuple[Status, str]:
        totals = self._totals(session)
        unfinished = totals.get(HostStatus.WAITING, 0) or totals.get(HostStatus.CANCELED, 0)
        unfinished = unfinished or totals.get(HostStatus.INTERRUPTED, 0)
        if self._order is Order.STOP and unfinished:
            return Status.INTERRUPTED, Order.STOP.value
        if deployment.status == Status.CANCELING.value and unfinished:
            return Status.CANCELED, f"canceled by {deployment.cancel_requested_by}"
        told = lost(status for status, number in totals.items() for _ in range(number))
        waves = session.scalars(select(Wave).where(Wave.deployment_id == self.deployment_id))
        broken = next((w.reason for w in waves if w.status in _BROKEN), "")
        why = "; ".join(dict.fromkeys(part for part in (told or broken, reason) if part))
        return (Status.FAILED if why else Status.SUCCEEDED), why

    def _insist(self, work: Callable[[Session], Result]) -> Result:
        """Do something in a transaction, however long the database is away.

        Raises:
            _LetGo: the next start, or another controller, ends the deployment.
        """

        def in_transaction() -> Result:
            with self._database.write() as session:
                return work(session)

        return self._until_it_answers(in_transaction)

    def _until_it_answers(self, work: Callable[[], Result]) -> Result:
        while True:
            if self._order is Order.LET_GO:
                raise _LetGo
            try:
                return work()
            except Unavailable as error:
                log.warning("a deployment waits for the database", error=str(error))
                if time.monotonic() > self._patient_until:
                    raise _LetGo from error
                time.sleep(_RETRY)
