"""The course of a manifest plugin: from its plan over its working copy and postExtract to a run of
its process, and again (contract: graphdat/relay, as it was run).

The relay restarts a crashing plugin at once and for ever stops it after five times; here restarts
back off, and a parked plugin comes back when its configuration or code changes. A process that
exits 0 is started again one pollInterval after its last start; one that stays is left alone.
"""

from __future__ import annotations

import os
import time

from agentplugin import formats
from executor import diagnosis, manifest_launch, manifest_verdict, workcopy
from executor.manifest_jobs import REFUSED, CopyJob
from executor.manifest_output import Output
from executor.manifest_phase import AGAIN, COPYING, END, INSTALLING, NOTHING, RUNNING, Phase
from executor.manifest_process import Process
from executor.manifest_verdict import FAILURE, HOPELESS, WELL
from executor.runtime import ENDING_POLL
from executor.standing import Standing
from executor.workfiles import Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from agentplugin.planned import PlannedManifest
    from executor.manifest_launch import Install, Launch
    from executor.manifest_verdict import Verdict
    from executor.runtime import Runtime

    Code = tuple[int, int, int]


class Course:
    """Runs `planned` until `stop()`.

    code     signature of the plugin's folder when it was looked at last, None before the first
             time; `code_at` (monotonic s) says when that was
    launch   what the manifest asked for at the last start
    """

    __slots__ = (
        "_planned",
        "_progress",
        "_runtime",
        "_standing",
        "_started",
        "code",
        "code_at",
        "last_run",
        "launch",
        "output",
        "phase",
        "runs",
    )

    def __init__(self, planned: PlannedManifest, runtime: Runtime, delay: float) -> None:
        self._planned = planned
        self._runtime = runtime
        self._standing = Standing(planned.key, runtime.log)
        self.output = Output(runtime, planned, self._report)
        self.runs = self.last_run = 0
        self._progress: Callable[[], str] = str
        self.launch: Launch | None = None
        self.code: Code | None = None
        self.code_at = 0.0
        self._started = time.monotonic()
        self.phase = Phase(runtime.loop)
        self.phase.schedule(delay, self._start)

    @property
    def poll_seconds(self) -> float:
        """Between two starts of one that ends."""
        return self.launch.poll_ms / 1000.0 if self.launch is not None else 1.0

    def shown(self) -> tuple[str, str]:
        """(state, reason): what was noted last, or what has become of it since."""
        if self.phase.name == INSTALLING:
            return diagnosis.INSTALLING, self._progress()
        if self.phase.name == RUNNING and self._planned.format.runs_for_ever:
            return self._standing.while_running(self.poll_seconds, self.output.rejection)
        return self._standing.state, self._standing.reason

    def change(self, planned: PlannedManifest) -> None:
        """Another configuration or format."""
        if planned.format != self._planned.format:
            self.output = Output(self._runtime, planned, self._report)
        self._planned = planned
        self.begin_anew()

    def begin_anew(self) -> None:
        """At once, out of the parking lot too, and as if it had never failed."""
        self._standing.begin_anew()
        if not self.phase.tell(AGAIN):
            self._follow_order()

    def restart_process(self) -> None:
        """If one runs, end it and begin again, with its failures in mind."""
        if self.phase.name == RUNNING:
            self.phase.tell(AGAIN)

    def stop(self) -> None:
        """For good, when its job has ended."""
        if self.phase.tell(END):
            self._runtime.ending.add(self._planned.key)
        else:
            self._follow_order()

    def note_code(self, code: Code) -> None:
        self.code = code
        self.code_at = time.monotonic()

    def _start_in(self, delay: float) -> None:
        self.phase.schedule(delay, self._start)

    def _rest(self, state: str, reason: str, retry: float = 0.0) -> None:
        self.phase.rest()
        self._standing.note(state, reason)
        if retry:
            self._start_in(retry)

    def _start(self) -> None:
        if self._planned.key in self._runtime.ending:
            self._start_in(ENDING_POLL)
            return
        self._started = time.monotonic()
        self._guarded(self._plan)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except manifest_launch.CannotStart as trouble:
            self._rest(trouble.state, trouble.reason, trouble.retry)
        except OSError as failure:
            where = f"{failure.filename}: " if failure.filename else ""
            self._troubled(f"{where}{failure.strerror}")
        except Exception:  # whatever it is, the plugin has a next start, and the loop logs it
            self._troubled("internal error, see the executor's log")
            raise

    def _plan(self) -> None:
        launch = self.launch = manifest_launch.plan(self._runtime, self._planned)
        copy, modules = launch.copy, launch.modules
        if copy is None:
            tree = self._runtime.plugin_dir
            source = os.path.join(tree, self._planned.path)
            self.note_code(Listing(source, tree).signature())
            self._run()
        elif manifest_launch.is_ready(launch, self.code):
            self._finish()
        else:
            job = CopyJob(
                self._runtime,
                self._planned.key,
                lambda: manifest_launch.make_copy(copy, modules),
                self._copied,
            )
            self.phase.work(COPYING, job)

    def _copied(self, code: int, result: Any, said: str) -> None:
        if self._follow_order():
            return
        if code == REFUSED:
            self._rest(diagnosis.FAILED, said)
        elif code:
            self._troubled(f"its working copy: {said}")
        else:
            newest, count, total = result
            self.note_code((newest, count, total))
            self._guarded(self._finish)

    def _finish(self) -> None:
        assert self.launch is not None and self.launch.copy is not None  # `_plan` was here
        install = manifest_launch.finish(
            self._runtime, self._planned, self.launch, self.launch.copy
        )
        if install is None:
            self._run()
        else:
            self._install(install)

    def _install(self, install: Install) -> None:
        from executor.manifest_extract import Extract

        job = Extract(
            self._runtime, self._planned.key, self._planned.path, install, self._installed
        )
        self._progress = job.progress
        self.phase.work(INSTALLING, job)

    def _installed(self, trouble: bool, reason: str) -> None:
        if self._follow_order():
            return
        if trouble:
            self._troubled(reason)
        elif reason:
            self._rest(diagnosis.POSTEXTRACT_FAILED, reason)
        else:
            self._start_in(0.0)

    def _run(self) -> None:
        launch, planned = self.launch, self._planned
        assert launch is not None  # `_plan` was here
        self.last_run = int(time.time())
        self._started = time.monotonic()
        try:
            job = Process(
                self._runtime, planned.key, launch, planned.format, self.output, self._exited
            )
        except OSError as failure:
            self._follow(manifest_verdict.of_start(launch, planned.format, failure, self._path))
            return
        except ValueError as failure:
            self._failed(diagnosis.FAILED, f"cannot be started: {failure}")
            return
        self.phase.work(RUNNING, job)
        self._standing.started(had_values=self.output.samples > 0)

    def _report(self) -> None:
        """It has printed something: while it runs, its state follows that."""
        if self.phase.name == RUNNING and self.phase.told == NOTHING:
            values = self.output.run_samples
            self._standing.heard(values, runs_for_ever=self._planned.format.runs_for_ever)

    def _exited(self, code: int, why: str) -> None:
        left = self.phase.job.left_behind if isinstance(self.phase.job, Process) else 0
        self.runs += 1
        if self._follow_order():
            return
        if why:
            self._failed(diagnosis.TIMEOUT, why)
        else:
            self._guarded(lambda: self._judge(code, left))

    def _judge(self, code: int, left: int) -> None:
        assert self.launch is not None  # it ran
        self._follow(
            manifest_verdict.of_run(
                self.launch, self._planned.format, self.output, code, left, self._path
            )
        )

    @property
    def _path(self) -> str:
        """Where programs are looked for."""
        return self._runtime.env.get("PATH", os.defpath)

    def _follow(self, verdict: Verdict) -> None:
        if verdict.kind == WELL:
            self._standing.forget_failures()
            self._standing.note(verdict.state, verdict.reason)
            self._start_in(max(0.0, self.poll_seconds - (time.monotonic() - self._started)))
        elif verdict.kind == FAILURE:
            self._failed(verdict.state, verdict.reason)
        elif verdict.kind == HOPELESS:
            self._rest(verdict.state, verdict.reason)
        else:
            self._troubled(verdict.reason)

    def _follow_order(self) -> bool:
        """The job has ended: whether it was told to, and what it was told for has been done."""
        told = self.phase.over()
        if told == AGAIN:
            self._start_in(0.0)
        elif told == END:
            self._runtime.ending.discard(self._planned.key)
            self.output.finish()
            workcopy.forget_params(self._runtime.state_dir, self._planned.path)
        return told != NOTHING

    def _failed(self, state: str, reason: str) -> None:
        ran = time.monotonic() - self._started
        boundary = self._planned.format.name == formats.BOUNDARY
        pauses = self._standing.failed(state, reason, ran, may_park=boundary)
        if pauses is None:
            self.phase.rest()
            return
        # One that is expected to stay is not hurried; another runs each step.
        pause = self._runtime.config["executor.restart_pause"] * pauses
        if not self._planned.format.runs_for_ever:
            pause = 0.0
        self._start_in(max(pause, max(1.0, self.poll_seconds) - ran))

    def _troubled(self, reason: str) -> None:
        pauses = self._standing.troubled(reason)
        self._start_in(self._runtime.config["executor.restart_pause"] * pauses)
