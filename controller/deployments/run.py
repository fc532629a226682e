"""The process of one wave, as `controller.deployments.spawner` starts it.

Lets an engine play the playbook in its main thread and writes what comes of it. Its standard
input is a pipe that the controller holds: the first line names the wave and gives the controller's
settings (an argument or a variable could be read by others), later lines are orders, and its end
means that the controller is gone.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import structlog

from controller.database.engine import Database
from controller.deployments.engines.base import Engine
from controller.deployments.engines.jobs import JobRows, Written, written
from controller.deployments.engines.local import LocalEngine
from controller.deployments.job import Job, load
from controller.deployments.journal import JournalReader
from controller.deployments.models import Status, Wave
from controller.deployments.presence import SILENCE
from controller.deployments.processes import CANCEL, LEFT, STOP, SURE, carry, end_marked, mark
from controller.deployments.recorder import Recorder
from controller.deployments.rundir import RunDir
from controller.deployments.tracking import LookAtJournal, Over, Stopped, Tracker
from controller.deployments.waves import close_wave
from controller.errors import PlugfleetError, Unavailable
from controller.operations.logs import configure
from controller.settings import Settings

_CANCELED = Stopped(Status.CANCELED, "the deployment was canceled")
_STOPPED = Stopped(Status.INTERRUPTED, "the controller was stopped")
_ABANDONED = Stopped(Status.INTERRUPTED, "the controller died")
_UNSURE = Stopped(Status.INTERRUPTED, "the controller lost touch with the database")
_HURRIED = (_STOPPED, _ABANDONED, _UNSURE)
_WATCH = 0.1  # seconds between looks at the journal and for orders
_RETRY = 0.5  # seconds before a database that did not answer is asked again
_DATABASE_PATIENCE = 1800.0  # seconds that finished work waits for a database that is away
_DATABASE_PATIENCE_ALONE = 120.0  # the same, once the controller is gone
_START_PATIENCE = 60.0  # seconds that a run waits for the database before it begins
_LOOK = LookAtJournal()

log = structlog.get_logger(__name__)


class Run:
    """One run of the playbook.

    Args:
        before: what a process that is gone has written of it, where there was one.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        job: Job,
        sure: float,
        before: Written | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._job = job
        self._mark = mark(job.wave_id, settings.database)
        self._folder = RunDir(self._mark, settings.data_dir / "runs")
        self._order: Stopped | None = None  # set by signals and the reader of standard input
        self._hurry = False
        self._rows: JobRows | None = None
        self._sure = sure
        self._over = threading.Event()
        self._alone_since: float | None = None
        self._over_since: float | None = None
        tracker = Tracker(
            job.plans,
            job.cleaner,
            JournalReader(self._folder.journal),
            decided=before.decided if before else {},
            kept=before.kept if before else (),
        )
        self._recorder = Recorder(
            database,
            deployment_id=job.deployment_id,
            wave_id=job.wave_id,
            wave=job.wave,
            release=job.release,
            read=tracker.read,
            give_up=self._gives_up,
        )
        self._engine = self._new_engine()

    def order(self, stopped: Stopped) -> None:
        """End the run; the first order counts."""
        if stopped is _ABANDONED and self._alone_since is None:
            self._alone_since = time.monotonic()
        if self._order is None:
            self._order = stopped
        self._hurry = self._hurry or any(stopped is one for one in _HURRIED)

    def assure(self, sure: float) -> None:
        """Let it go on for a while after this moment, until which the controller counts as alive."""
        self._sure = sure

    def carry_out(self) -> int:
        """Run it to its end and write everything.

        Returns:
            The process's exit status: 0, 1 where not all could be written, or LEFT.
        """
        watch = threading.Thread(target=self._watch, name="watch")
        exit_status: int | None = None
        try:
            self._engine.prepare()
            watch.start()
            exit_status = self._engine.play()
        except Exception as error:
            log.exception("the run broke")
            self._recorder.put({"event": "error", "stdout": f"the run broke: {error}"})
            exit_status = -1
            left = 1 if self._has_jobs() else None  # settled by another process then
        else:
            left = LEFT if self._engine.left else None
        finally:
            self._over.set()
            if watch.ident is not None:
                watch.join()
            end_marked(self._mark, patience=0, spare={os.getpid()})
        self._over_since = time.monotonic()
        if left is None:
            self._recorder.put(Over(self._order, exit_status))
        all_written = self._recorder.finish()
        self._folder.remove()
        if left is not None:
            return left
        return 0 if all_written else 1

    def _has_jobs(self) -> bool:
        return self._rows is not None and any(not row.over for row in self._rows.jobs)

    def _new_engine(self) -> Engine:
        put = self._recorder.put
        # Others than the usual one are imported where they are wanted: most runs never do.
        if self._job.jobs or self._settings.execution == "awx":
            from controller.deployments.engines.awx import AwxEngine

            return AwxEngine(self._settings, self._job, put, self._save)
        if self._settings.execution == "remote":
            from controller.deployments.engines.remote import RemoteEngine

            return RemoteEngine(
                self._settings, self._job, self._folder, self._mark, put, lambda: self._sure
            )
        return LocalEngine(self._settings, self._job, self._folder, self._mark, put)

    def _save(self, rows: JobRows) -> None:
        """Write which jobs there are, before they are."""
        self._rows = rows
        while True:
            try:
                with self._database.write() as session:
                    session.get_one(Wave, self._job.wave_id).jobs = rows.as_json()
                return
            except Unavailable as error:
                log.warning("the wave's jobs wait for the database", error=str(error))
                if self._gives_up():
                    raise
                time.sleep(_RETRY)

    def _watch(self) -> None:
        """Read the journal, and end the playbook when that is ordered or it takes too long."""
        deadline = time.monotonic() + self._settings.run_timeout
        while not self._over.wait(_WATCH):
            self._recorder.put(_LOOK)
            if time.monotonic() > deadline:
                reason = f"the run took longer than run_timeout ({self._settings.run_timeout} s)"
                self.order(Stopped(Status.FAILED, reason))
            if time.monotonic() - self._sure > self._settings.lease * SILENCE:
                self.order(_UNSURE)
            if self._order is not None:
                self._engine.stop(self._order, hurry=self._hurry)

    def _gives_up(self) -> bool:
        moment = time.monotonic()
        if self._alone_since is not None:
            return moment - self._alone_since > _DATABASE_PATIENCE_ALONE
        return self._over_since is not None and moment - self._over_since > _DATABASE_PATIENCE


def main() -> int:
    """Carry out one wave; returns the process's exit status: 0 when everything was written."""
    # Unbuffered: what follows the first line is for the reader of orders.
    with open(0, "rb", buffering=0, closefd=False) as given:
        line = given.readline()
    if not line:
        return 0  # the controller ended before it said what there is to do
    given_job = json.loads(line)
    os.environ.clear()
    os.environ.update(given_job["environment"])
    wave_id, settings = int(given_job["wave"]), Settings.model_validate(given_job["settings"])
    settle = str(given_job["settle"])
    carry(mark(wave_id, settings.database))
    configure(settings.log_format, settings.log_level)
    structlog.contextvars.bind_contextvars(wave=wave_id)
    database = Database(settings.database, pool_size=2)
    try:
        try:
            job = _load(settings, database, wave_id)
            before = written(database, wave_id) if settle else None
        except Unavailable as error:
            # The controller finds that this process has ended without a word, and writes that.
            log.error("the run could not begin", error=str(error))
            return 1
        except PlugfleetError as error:
            log.error("the run could not begin", error=str(error))
            if settle:
                return 1  # what AWX did is not known
            with database.write() as session:
                close_wave(session, session.get_one(Wave, wave_id), Status.FAILED, str(error))
            return 1
        run = Run(settings, database, job, float(given_job["sure"]), before)
        if settle:
            run.order(Stopped(Status.INTERRUPTED, settle))
        signal.signal(signal.SIGTERM, lambda *_: run.order(_STOPPED))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_obey, args=(run,), name="orders", daemon=True).start()
        return run.carry_out()
    finally:
        database.close()


def _load(settings: Settings, database: Database, wave_id: int) -> Job:
    """Read what there is to do; a database that is away is waited for, as nothing has begun."""
    deadline = time.monotonic() + _START_PATIENCE
    while True:
        try:
            return load(settings, database, wave_id)
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _obey(run: Run) -> None:
    """Pass on what the controller says, until it says nothing any more."""
    said = b""
    while more := os.read(0, 4096):
        *lines, said = (said + more).split(b"\n")
        for line in lines:
            if line == CANCEL:
                run.order(_CANCELED)
            elif line == STOP:
                run.order(_STOPPED)
            elif line.startswith(SURE):
                run.assure(float(line.split()[1]))
    run.order(_ABANDONED)
