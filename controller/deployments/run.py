"""The process of one wave: `python -m controller.deployments.run`.

Runs ansible-playbook by ansible-runner in its main thread and writes what comes of it. Its standard
input is a pipe that the controller holds: the first line names the wave and gives the controller's
settings (an argument or a variable could be read by others), later lines are orders, and its end
means that the controller is gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ansible_runner  # type: ignore[import-untyped]  # it has no types
import structlog

from controller.database.engine import Database
from controller.deployments.job import Job, holds_key, load
from controller.deployments.journal import JournalReader
from controller.deployments.models import Status, Wave
from controller.deployments.presence import ENDING, SILENCE
from controller.deployments.processes import (
    CANCEL,
    STOP,
    SURE,
    carry,
    children,
    end_marked,
    end_playbook,
    mark,
)
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
_WATCH = 0.1  # seconds between looks at the journal and for orders
_PATIENCE = 3.0  # seconds that ansible-playbook may take to end by itself
_DATABASE_PATIENCE = 1800.0  # seconds that finished work waits for a database that is away
_DATABASE_PATIENCE_ALONE = 120.0  # the same, once the controller is gone
_START_PATIENCE = 60.0  # seconds that a run waits for the database before it begins
_LOOK = LookAtJournal()

log = structlog.get_logger(__name__)


class Run:
    """One run of ansible-playbook."""

    def __init__(self, settings: Settings, database: Database, job: Job, sure: float) -> None:
        self._settings = settings
        self._job = job
        self._mark = mark(job.wave_id, settings.database)
        self._folder = RunDir(self._mark, settings.data_dir / "runs")
        self._order: Stopped | None = None  # set by signals and the reader of standard input
        self._sure = sure
        self._over = threading.Event()
        self._alone_since: float | None = None
        self._over_since: float | None = None
        self._recorder = Recorder(
            database,
            deployment_id=job.deployment_id,
            wave_id=job.wave_id,
            wave=job.wave,
            release=job.release,
            read=Tracker(job.plans, job.cleaner, JournalReader(self._folder.journal)).read,
            give_up=self._gives_up,
        )

    def order(self, stopped: Stopped) -> None:
        """End the run; the first order counts."""
        if stopped is _ABANDONED and self._alone_since is None:
            self._alone_since = time.monotonic()
        if self._order is None:
            self._order = stopped

    def assure(self, sure: float) -> None:
        """Let it go on for a while after this moment, until which the controller counts as alive."""
        self._sure = sure

    def carry_out(self) -> bool:
        """Run it to its end and write everything; returns whether all of it could be written."""
        watch = threading.Thread(target=self._watch, name="watch")
        exit_status: int | None = None
        try:
            self._folder.make(self._job.inventory)
            watch.start()
            exit_status = self._play()
        except Exception as error:
            log.exception("the run broke")
            self._recorder.put({"event": "error", "stdout": f"the run broke: {error}"})
            exit_status = -1
        finally:
            self._over.set()
            if watch.ident is not None:
                watch.join()
            end_marked(self._mark, patience=0, spare={os.getpid()})
        self._over_since = time.monotonic()
        self._recorder.put(Over(self._order, exit_status))
        written = self._recorder.finish()
        self._folder.remove()
        return written

    def _play(self) -> int | None:
        """Run the playbook; returns its exit status, or None where it was killed."""
        job, folder = self._job, self._folder
        runner = ansible_runner.run(
            private_data_dir=str(folder.path),
            project_dir=str(self._settings.project_dir),
            playbook="deploy-plugins.yml",
            inventory=str(folder.inventory),
            ident="run",
            forks=self._settings.forks,
            cmdline="--check --diff" if job.check else None,
            # The journal has told it all, at the cost of a line instead of a process for each host.
            skip_tags="report",
            fact_cache_type="memory",
            envvars=self._environment(),
            suppress_env_files=True,
            quiet=True,
            event_handler=self._on_event,
            status_handler=self._on_status,
            # Without one, ansible-runner replaces this process's signal handlers; with one that says
            # yes, it kills one process group, which leaves workers behind.
            cancel_callback=lambda: False,
        )
        status: int | None = runner.rc
        return status

    def _environment(self) -> dict[str, str]:
        folder, project = self._folder, self._settings.project_dir
        variables = {
            # Explicit, as Ansible leaves out an ansible.cfg of a folder that others may write to.
            "ANSIBLE_CONFIG": str(project / "ansible.cfg"),
            # ansible-runner would turn it off, whatever ansible.cfg says.
            "ANSIBLE_HOST_KEY_CHECKING": os.environ.get("ANSIBLE_HOST_KEY_CHECKING", "True"),
            # The service's account may have no home that it can write to.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder.sockets),
            "ANSIBLE_LOCAL_TEMP": str(folder.temporary),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
            "PLUGFLEET_JOURNAL": str(folder.journal),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        }
        if holds_key(self._job):
            variables["ANSIBLE_SSH_AGENT"] = "auto"
        return variables

    def _on_event(self, event: dict[str, Any]) -> bool:
        """Keep an event for the recorder; no file is written for it. Never raises, never waits."""
        with contextlib.suppress(Exception):
            self._recorder.put(event)
        return False

    def _on_status(self, status: dict[str, Any], runner_config: Any) -> None:
        # It holds the whole environment. Nothing secret is in there; but nobody needs it either.
        with contextlib.suppress(OSError):
            Path(runner_config.artifact_dir, "command").unlink()

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
                patience = min(_PATIENCE, self._settings.lease * ENDING)
                for pid in children(self._mark):
                    end_playbook(pid, self._mark, patience=patience)

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
        return 0  # it was kept ready, and is not needed
    given_job = json.loads(line)
    wave_id, settings = int(given_job["wave"]), Settings.model_validate(given_job["settings"])
    carry(mark(wave_id, settings.database))
    configure(settings.log_format, settings.log_level)
    structlog.contextvars.bind_contextvars(wave=wave_id)
    database = Database(settings.database, pool_size=2)
    try:
        try:
            job = _load(settings, database, wave_id)
        except Unavailable as error:
            # The controller finds that this process has ended without a word, and writes that.
            log.error("the run could not begin", error=str(error))
            return 1
        except PlugfleetError as error:
            log.error("the run could not begin", error=str(error))
            with database.write() as session:
                close_wave(session, session.get_one(Wave, wave_id), Status.FAILED, str(error))
            return 1
        run = Run(settings, database, job, float(given_job["sure"]))
        signal.signal(signal.SIGTERM, lambda *_: run.order(_STOPPED))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_obey, args=(run,), name="orders", daemon=True).start()
        return 0 if run.carry_out() else 1
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


if __name__ == "__main__":
    ended = main()
    # Every thread that writes is through; taking the interpreter down would cost a tenth of a second.
    logging.shutdown()
    os._exit(ended)
