"""One manifest plugin: a supervised process that prints measurement lines, or another format that
its binding names (contract: graphdat/relay, as it was run).

The relay restarts a crashing plugin at once and for ever stops it after five times; here restarts
back off, and a parked plugin comes back when its configuration or code changes. A process that
exits 0 is started again one pollInterval after its last start; one that stays is left alone.
"""

from __future__ import annotations

import os
import time

from agentplugin import formats
from executor import diagnosis, manifest_launch, manifest_view, workcopy
from executor.manifest_interpreters import python2_reason
from executor.manifest_output import Output
from executor.manifest_process import Process
from executor.runtime import ENDING_POLL
from executor.schedule import spread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.plans import PlannedManifest
    from executor.loop import Timer
    from executor.manifest_extract import Extract
    from executor.manifest_launch import Launch
    from executor.runtime import Runtime

MAX_FAILURES = 5
SOUND_AFTER = 600.0
"""Seconds of running after which earlier crashes are forgotten."""

_MOST_DOUBLINGS = 6
_QUIET_STATES = (diagnosis.OK, diagnosis.RUNNING, diagnosis.INSTALLING)


class ManifestPlugin:
    """Runs a planned manifest plugin until `stop()`."""

    __slots__ = (
        "_code",
        "_extract",
        "_failures",
        "_launch",
        "_planned",
        "_process",
        "_restart",
        "_runtime",
        "_started",
        "_stopped",
        "_timer",
        "drift",
        "drifts",
        "last_run",
        "missed",
        "output",
        "reason",
        "runs",
        "state",
    )

    kind = "manifest"

    def __init__(self, planned: PlannedManifest, runtime: Runtime) -> None:
        self._planned = planned
        self._runtime = runtime
        self.state = diagnosis.WAITING
        self.reason = ""
        self.runs = self.missed = self.drifts = 0
        self.last_run = 0
        self.drift: list[str] = []
        self.output = Output(runtime, planned, self._report)
        self._process: Process | None = None
        self._extract: Extract | None = None
        self._launch: Launch | None = None
        self._failures = 0
        self._restart = False
        self._stopped = False
        self._started = time.monotonic()
        self._code = workcopy.signature(self.source)
        self._describe()
        delay = spread(runtime.intake.endpoint, planned.key, runtime.first_run_within)
        self._timer: Timer | None = runtime.loop.call_later(delay, self._start)

    @property
    def key(self) -> str:
        return self._planned.key

    @property
    def path(self) -> str:
        return self._planned.path

    @property
    def args(self) -> list[str]:
        return self._planned.format.args

    @property
    def format(self) -> str:
        return self._planned.format.name

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def code_time(self) -> int:
        """Newest mtime of its code, epoch s."""
        return self._code[0]

    @property
    def cycle(self) -> int:
        """Seconds between two starts of one that ends."""
        return max(1, (self._launch.poll_ms if self._launch is not None else 1000) // 1000)

    @property
    def source(self) -> str:
        """Its folder in the release, or the program that is bound by itself."""
        return os.path.join(self._runtime.plugin_dir, self._planned.path)

    def update(self, planned: PlannedManifest) -> None:
        """New configuration or new code: begin anew, also out of the parking lot. Nothing new: see
        whether the copy is still what it should be.
        """
        code = workcopy.signature(self.source)
        same = (planned.config, planned.format) == (self._planned.config, self._planned.format)
        if same and code == self._code:
            if not self._mend():
                return
        elif planned.format != self._planned.format:
            self.output = Output(self._runtime, planned, self._report)
        self._planned = planned
        self._code = code
        self._failures = 0
        self._describe()
        if self._process is not None:
            self._restart = True
            self._process.terminate("")
        elif self._extract is not None:
            self._restart = True
            self._extract.stop()
        else:
            self._start_in(0.0)

    def stop(self) -> None:
        self._stopped = True
        self._cancel_timer()
        if self._process is not None:
            self._runtime.ending.add(self.key)
            self._process.terminate("")
        elif self._extract is not None:
            self._runtime.ending.add(self.key)
            self._extract.stop()
        else:
            self.output.finish()
            self._forget_secrets()

    def view(self) -> dict[str, Any]:
        """The entry of `/plugins`."""
        return manifest_view.entry(self)

    def next_run(self) -> int:
        """Epoch s of the next start that is planned, 0 for none."""
        if self._timer is None or self.running:
            return 0
        return int(time.time() + self._timer.when - time.monotonic())

    def _describe(self) -> None:
        known = manifest_view.described(self.source)
        for definition in known.values():
            self._runtime.intake.describe(definition.name, manifest_view.help_text(definition))
        if self._runtime.config["executor.aggregate"] and self.format == formats.BOUNDARY:
            self.output.gather({name: known[name].aggregate for name in known})

    def _mend(self) -> bool:
        """Whether the working copy had drifted; then it is what it should be again."""
        copy = self._launch.copy if self._launch is not None else None
        if copy is None or self._extract is not None:
            return False
        try:
            found = copy.drift(self.source)
        except OSError as failure:
            self._runtime.log.warning(f"plugin {self.key}: its copy cannot be mended: {failure}")
            return False
        if not found:
            return False
        self.drifts += 1
        self.drift = found
        self._runtime.log.warning(
            f"plugin {self.key}: its copy had drifted, {diagnosis.one_line(', '.join(found))}: "
            "kept aside, installed anew, restarted"
        )
        return True

    def _start_in(self, delay: float) -> None:
        self._cancel_timer()
        self._timer = self._runtime.loop.call_later(delay, self._start)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        self._timer = None
        if self.key in self._runtime.ending:
            self._start_in(ENDING_POLL)
            return
        self._started = time.monotonic()
        try:
            launch = manifest_launch.prepare(self._runtime, self._planned, self._code)
            self._launch = launch
            if launch.extract:
                self._run_extract(launch)
                return
            self.last_run = int(time.time())
            self._process = Process(
                self._runtime, launch, self._planned.format, self.output, self._exited
            )
        except manifest_launch.CannotStart as trouble:
            self._note(trouble.state, trouble.reason)
        except (OSError, ValueError) as failure:
            self._failed(f"cannot be started: {failure}")
        else:
            if not self.output.samples or self.state != diagnosis.OK:
                self._note(diagnosis.RUNNING, "")

    def _run_extract(self, launch: Launch) -> None:
        from executor.manifest_extract import Extract

        self._note(diagnosis.INSTALLING, f"runs its postExtract {launch.extract_command!r}")
        self._extract = Extract(self._runtime, self.path, launch, self._extracted)

    def _extracted(self, reason: str) -> None:
        self._extract = None
        if self._stopped:
            self._runtime.ending.discard(self.key)
            self._forget_secrets()
        elif self._restart:
            self._restart = False
            self._start_in(0.0)
        elif reason:
            self._note(diagnosis.POSTEXTRACT_FAILED, reason)
        else:
            assert self._launch is not None and self._launch.copy is not None  # it made one
            changed = self._launch.copy.set_extracted(self._launch.extract_command)
            if changed:
                self._runtime.log.info(
                    f"plugin {self.key}: postExtract changed {', '.join(changed)}"
                )
            self._start_in(0.0)

    def _report(self) -> None:
        """It has printed something: while it runs, its state follows that."""
        if self._process is None or self._process.ending:
            return
        if self.output.run_samples and self._planned.format.runs_for_ever:
            self._note(diagnosis.OK, "")
        elif self.state != diagnosis.OK:
            self.reason = self.output.rejection

    def _exited(self, code: int, why: str) -> None:
        self._process = None
        self.runs += 1
        if self._stopped:
            self._runtime.ending.discard(self.key)
            self.output.finish()
            self._forget_secrets()
        elif self._restart:
            self._restart = False
            self._start_in(0.0)
        elif why:
            self._failed(why, diagnosis.TIMEOUT)
        else:
            self._ended(code)

    def _ended(self, code: int) -> None:
        assert self._launch is not None  # it ran
        if self.format == formats.NAGIOS and 0 <= code <= 3:
            self._failures = 0
            self._note(diagnosis.OK, self.output.take_check(code))
        elif code and not self._launch.ignore_errors:
            outdated = python2_reason(self._launch.argv, self.output.last_stderr)
            if outdated:
                self._note(diagnosis.UNSUPPORTED_RUNTIME, diagnosis.one_line(outdated))
            else:
                self._failed(diagnosis.ending(code, self.output.last_stderr))
            return
        else:
            self._failures = 0
            if self.output.run_samples:
                self._note(diagnosis.OK, "")
            else:
                why = self.output.rejection or "ended without printing a measurement"
                self._note(diagnosis.NO_DATA, why)
        ran = time.monotonic() - self._started
        self._start_in(max(0.0, self._launch.poll_ms / 1000.0 - ran))

    def _failed(self, reason: str, state: str = diagnosis.FAILED) -> None:
        ran = time.monotonic() - self._started
        self._failures = 1 if ran > SOUND_AFTER else self._failures + 1
        if self._failures >= MAX_FAILURES and self.format == formats.BOUNDARY:
            self._note(
                diagnosis.PARKED,
                f"failed {self._failures} times, the last time: {reason}; "
                "it starts again when its configuration or code changes",
            )
            return
        self._note(state, reason)
        # A check of another format runs each step, as those who wrote it expect; a long-running
        # one is not hurried either.
        pause = self._runtime.config["executor.restart_pause"] * 2.0 ** min(
            self._failures - 1, _MOST_DOUBLINGS
        )
        if not self._planned.format.runs_for_ever:
            pause = 0.0
        self._start_in(max(pause, self.cycle - ran))

    def _forget_secrets(self) -> None:
        workcopy.WorkCopy(self._runtime.state_dir, self.path, bool).forget_params()

    def _note(self, state: str, reason: str) -> None:
        if (state, reason) != (self.state, self.reason) and state not in _QUIET_STATES:
            self._runtime.log.warning(f"plugin {self.key}: {state}: {reason}")
        self.state = state
        self.reason = reason
