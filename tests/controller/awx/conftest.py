"""An AWX with a job template that deploys, and engines that play on it with no process or database."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.deployments.cleaning import Cleaner
from controller.deployments.engines.awx import AwxEngine
from controller.deployments.engines.jobs import JobRows
from controller.deployments.engines.patience import Pace
from controller.deployments.events import Event
from controller.deployments.job import Job
from controller.deployments.journal import JournalReader
from controller.deployments.recorder import Waiting, WaveEnd
from controller.deployments.results import Delivered, HostOutcome
from controller.deployments.tracking import Over, Stopped, Tracker
from controller.settings import Settings
from tests.awx.fixtures import Awx
from tests.awx.stage import Stage

PACE = Pace(
    shortest=0.01,
    longest=0.05,
    again=0.02,
    seldom=0.05,
    events=0.4,
    queued=0.05,
    hurried=0.3,
    timed_out=0.3,
)


@dataclass
class Played:
    """What came of an engine's play.

    Attributes:
        saved: the wave's jobs at each moment when they were written.
    """

    outcomes: dict[str, HostOutcome] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    saved: list[JobRows] = field(default_factory=list)
    end: WaveEnd | None = None

    def take(self, entries: list[Any]) -> None:
        """Keep what a tracker said."""
        for entry in entries:
            if isinstance(entry, HostOutcome):
                assert entry.host not in self.outcomes, "told twice"
                self.outcomes[entry.host] = entry
            elif isinstance(entry, Waiting):
                self.waits.append(entry.reason)
            elif isinstance(entry, WaveEnd):
                self.end = entry
            else:
                self.events.append(entry)

    @property
    def statuses(self) -> dict[str, str]:
        """What came of each host."""
        return {host: outcome.status.value for host, outcome in self.outcomes.items()}

    def counters(self, job: int) -> list[int]:
        """Numbers of a job's events, as they were kept."""
        return [e.counter for e in self.events if e.counter and e.data.get("job") == job]


class Playing:
    """An engine at play, in a thread of its own."""

    def __init__(self, settings: Settings, job: Job, before: Played | None = None) -> None:
        self.played = Played()
        tracker = Tracker(
            job.plans,
            job.cleaner,
            JournalReader(settings.data_dir / "no-journal"),
            decided={h: o.status for h, o in before.outcomes.items()} if before else {},
            kept={(int(e.data["job"]), e.counter) for e in before.events if e.counter}
            if before
            else (),
        )
        self._tracker = tracker
        self._stopped: Stopped | None = None
        self._trouble: BaseException | None = None
        self.engine = AwxEngine(
            settings,
            job,
            lambda told: self.played.take(tracker.read(told)),
            lambda rows: self.played.saved.append(copy.deepcopy(rows)),
            PACE,
        )
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def stop(self, stopped: Stopped, *, hurry: bool = False) -> None:
        """Order its end."""
        self._stopped = self._stopped or stopped
        self.engine.stop(stopped, hurry=hurry)

    def end(self) -> Played:
        """What came of it."""
        self._thread.join(20)
        assert not self._thread.is_alive(), "it does not end"
        if self._trouble:
            raise self._trouble
        return self.played

    def _play(self) -> None:
        try:
            status = self.engine.play()
            if not self.engine.left:
                self.played.take(self._tracker.read(Over(self._stopped, status)))
        except BaseException as error:
            self._trouble = error


Play = Callable[..., Playing]


@pytest.fixture
def stage(awx: Awx) -> Stage:
    """An AWX that knows the hosts a to f."""
    return Stage(awx, list("abcdef"))


@pytest.fixture
def play(stage: Stage, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Begins to play a wave on the stage."""
    monkeypatch.setenv("PLUGFLEET_CONFIG", "/dev/null")

    def begin(
        hosts: str | list[str] = "abcdef",
        *,
        check: bool = False,
        jobs: Mapping[str, Any] | None = None,
        before: Played | None = None,
        stop: Stopped | None = None,
        **changes: Any,
    ) -> Playing:
        given = {
            "execution": "awx",
            "awx_url": stage.awx.url,
            "awx_token": stage.awx.token,
            "awx_job_template": stage.name,
            "data_dir": tmp_path,
            "forks": 20,
        }
        job = Job(
            wave_id=1,
            wave=1,
            deployment_id=7,
            check=check,
            release=Delivered(3, "c" * 40),
            inventory={},
            plans={host: "plan" for host in hosts},
            cleaner=Cleaner([]),
            jobs=dict(jobs) if jobs else None,
        )
        return Playing(Settings(**{**given, **changes}), job, before)

    return begin
