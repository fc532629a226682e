"""The controller's end of a wave's run: the process, and the pipe that it lives by."""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading

from controller.auth.vault import Vault
from controller.database.engine import Database
from controller.deployments.cleaning import cleaner_of
from controller.deployments.models import HostResult, Wave
from controller.deployments.processes import SURE, end_marked, mark
from controller.deployments.rundir import RunDir
from controller.deployments.spawner import UNSEEN, Copy, Spawner, environment
from controller.deployments.waves import Left
from controller.settings import Settings


class RunProcesses:
    """Starts the runs of one controller."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spawner = Spawner()
        self._running: list[WaveProcess] = []
        self._sure = math.inf
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Be ready to start one; does not wait for that."""
        self._spawner.prepare()

    def start(self, wave_id: int, settle: str = "") -> WaveProcess:
        """Start the run of a wave.

        Args:
            settle: what became of the one before: its jobs are ended and read, and none is begun.

        Raises:
            OSError: the machine has no room for a process.
        """
        started = WaveProcess(self._spawner.start(), self._settings, wave_id, self._sure, settle)
        with self._lock:
            self._running.append(started)
        return started

    def assure(self, sure: float) -> None:
        """Tell the runs the moment (`time.monotonic()`) for which the lease was proven last; never waits."""
        with self._lock:
            self._sure = sure
            self._running = [process for process in self._running if process.listens]
            for process in self._running:
                process.assure(sure)

    def close(self) -> None:
        """Start none any more; those that were let go may go on."""
        self._spawner.close()


class WaveProcess:
    """The process that carries out a wave: `controller.deployments.run`.

    Attributes:
        pid: of the process.
    """

    def __init__(
        self,
        process: Copy,
        settings: Settings,
        wave_id: int,
        sure: float,
        settle: str,
    ) -> None:
        self._mark = mark(wave_id, settings.database)
        self._process = process
        self._pipe = process.orders
        self.pid = process.pid
        given = {
            "wave": wave_id,
            "settings": settings.model_dump(mode="json"),
            "sure": sure,
            "settle": settle,
            "environment": environment(),
        }
        self.say(json.dumps(given).encode())
        # Whoever tells it later must not wait for a process that is stopped.
        if self.listens:
            os.set_blocking(self._pipe.fileno(), False)

    def say(self, line: bytes) -> None:
        """Tell the process a line; one that has ended already does not mind."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._pipe.write(line + b"\n")

    def assure(self, sure: float) -> None:
        """Tell the process how long it may go on; see `RunProcesses.assure`."""
        self.say(b"%s %r" % (SURE, sure))

    @property
    def listens(self) -> bool:
        """Whether it can still be told something."""
        return not self._pipe.closed

    def wait(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal; None if it does not end in this time."""
        status = self._process.wait(seconds)
        if status is not None:
            self._process.close()
        return status

    def kill(self) -> None:
        """End it and all that it started, at once."""
        self._process.kill()
        end_marked(self._mark, patience=0)

    def end_playbook(self, patience: float) -> None:
        """See to it that nothing of the run touches a host any more; the process itself may go on."""
        end_marked(self._mark, patience=patience, spare={self.pid})

    def let_go(self) -> None:
        """Close the pipe, which says that this controller follows the run no longer."""
        self._process.close()


def what_is_left(settings: Settings, database: Database, vault: Vault, wave_id: int) -> Left:
    """What the run of a wave left behind on this machine."""
    with database.read() as session:
        wave = session.get_one(Wave, wave_id)
        hosts = session.scalars(
            HostResult.__table__.select()
            .with_only_columns(HostResult.host)
            .where(HostResult.deployment_id == wave.deployment_id, HostResult.wave == wave.number)
        ).all()
        cleaner = cleaner_of(session, vault, hosts)
    folder = RunDir(mark(wave_id, settings.database), settings.data_dir / "runs")
    return Left(folder, cleaner)


def describe_end(status: int) -> str:
    """How a process ended that should not have."""
    if status == UNSEEN:
        return "the run's process ended, and nobody saw how"
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"the run's process {how}"
