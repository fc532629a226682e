"""One manifest plugin: a supervised process that prints measurement lines (contract:
graphdat/relay, as it was run).

The relay restarts a crashing plugin at once and for ever stops it after five times; here restarts
back off, and a parked plugin comes back when its configuration or code changes. A process that
exits 0 is started again one pollInterval after its last start; one that stays is left alone.
"""

from __future__ import annotations

import os
import signal
import time

from agentplugin.measurements import MAX_LINE, Event, LineParser, Measurement
from agentplugin.metrics import Metric
from executor import diagnosis, manifest_launch, workcopy
from executor.capture import LineBuffer
from executor.runtime import ENDING_POLL
from executor.schedule import spread
from executor.stderrlog import StderrLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.plans import PlannedManifest
    from executor.loop import Timer
    from executor.process import Child
    from executor.runtime import Runtime

MAX_FAILURES = 5
STOP_GRACE = 2.0
SOUND_AFTER = 600.0
"""Seconds of running after which earlier crashes are forgotten."""

LINES_PER_MINUTE = 30000
LINE_BYTES = 4 * MAX_LINE
MIN_STEP = 60
"""A manifest's pollInterval has no uniform unit, so it cannot promise a step: transfer averages
within this one.
"""

_UNSAFE_TAG = str.maketrans({",": "_", "=": "_", " ": "_", "\t": "_"})


class ManifestPlugin:
    """Runs a planned manifest plugin until `stop()`."""

    __slots__ = (
        "_child",
        "_code",
        "_failures",
        "_ignore_errors",
        "_lines",
        "_lines_left",
        "_minute",
        "_parser",
        "_planned",
        "_poll_ms",
        "_restart",
        "_run_samples",
        "_runtime",
        "_started",
        "_stderr",
        "_stopped",
        "_timer",
        "events",
        "last_run",
        "last_value",
        "missed",
        "reason",
        "rejected",
        "runs",
        "samples",
        "state",
    )

    kind = "manifest"

    def __init__(self, planned: PlannedManifest, runtime: Runtime) -> None:
        self._planned = planned
        self._runtime = runtime
        self.state = diagnosis.WAITING
        self.reason = ""
        self.runs = self.samples = self.rejected = self.events = self.missed = 0
        self.last_run = 0
        self.last_value: dict[str, Any] | None = None
        self._child: Child | None = None
        self._parser = LineParser()
        self._lines = LineBuffer(LINE_BYTES)
        self._minute = 0
        self._lines_left = LINES_PER_MINUTE
        self._poll_ms = 1000
        self._run_samples = 0
        self._failures = 0
        self._ignore_errors = False
        self._restart = False
        self._stopped = False
        self._started = time.monotonic()
        self._stderr = StderrLog(runtime.logs, planned.path, "")
        self._code = workcopy.signature(self._source())
        delay = spread(runtime.intake.endpoint, planned.key, runtime.first_run_within)
        self._timer: Timer | None = runtime.loop.call_later(delay, self._start)

    @property
    def key(self) -> str:
        return self._planned.key

    @property
    def running(self) -> bool:
        return self._child is not None

    def update(self, planned: PlannedManifest) -> None:
        """New configuration or new code: begin anew, also out of the parking lot."""
        code = workcopy.signature(self._source())
        if planned.config == self._planned.config and code == self._code:
            return
        self._planned = planned
        self._code = code
        self._failures = 0
        if self._child is not None:
            self._restart = True
            self._terminate()
        else:
            self._start_in(0.0)

    def stop(self) -> None:
        self._stopped = True
        self._cancel_timer()
        if self._child is not None:
            self._runtime.ending.add(self.key)
            self._terminate()

    def kill(self) -> None:
        if self._child is not None:
            self._child.signal_group(signal.SIGKILL)

    def view(self) -> dict[str, Any]:
        """The entry of `/plugins`: the agent's four fields first, then ours."""
        waits = self._timer is not None and not self.running
        delay = self._timer.when - time.monotonic() if waits and self._timer is not None else 0.0
        return {
            "FilePath": self._planned.path,
            "MTime": int(self._code[0]),
            "Cycle": max(1, self._poll_ms // 1000),
            "Args": "",
            "Kind": self.kind,
            "State": self.state,
            "Reason": self.reason,
            "Running": self.running,
            "LastRun": self.last_run,
            "NextRun": int(time.time() + delay) if waits else 0,
            "Runs": self.runs,
            "Missed": self.missed,
            "Samples": self.samples,
            "LastValue": self.last_value,
            "Rejected": self.rejected,
            "Events": self.events,
        }

    def _source(self) -> str:
        return os.path.join(self._runtime.plugin_dir, self._planned.path)

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
        self.last_run = int(time.time())
        self._lines = LineBuffer(LINE_BYTES)
        self._run_samples = 0
        self._stderr.begin()
        try:
            launch = manifest_launch.prepare(self._runtime, self._planned, self._code)
            self._poll_ms = launch.poll_ms
            self._ignore_errors = launch.ignore_errors
            self._parser = LineParser(launch.metrics)
            self._child = self._runtime.children.spawn(
                launch.argv,
                self._runtime.env,
                self._on_stdout,
                self._on_stderr,
                self._on_exit,
                cwd=launch.folder,
            )
        except manifest_launch.CannotStart as trouble:
            self._note(trouble.state, trouble.reason)
            return
        except (OSError, ValueError) as failure:
            self._failed(f"cannot be started: {failure}")
            return
        if not self.samples or self.state != diagnosis.OK:
            self._note(diagnosis.RUNNING, "")

    def _on_stdout(self, data: bytes) -> None:
        before = self._lines.too_long
        lines = self._lines.add(data)
        if self._lines.too_long > before:
            self._reject(f"printed a line longer than {LINE_BYTES} bytes")
        self._take(lines)

    def _take(self, lines: list[bytes]) -> None:
        now = time.time()
        metrics = []
        for line in lines:
            if not self._may_print(now):
                continue
            found = self._parser.parse(line, now)
            if isinstance(found, Measurement):
                metrics.append(self._as_metric(found))
            elif isinstance(found, Event):
                self.events += 1
                self._runtime.log.info(
                    f"plugin {self.key}: event {found.kind}: {found.title}: {found.message}"
                )
            else:
                self._reject(found.reason)
        kept = self._runtime.intake.take(metrics)
        if kept:
            self.samples += len(kept)
            self._run_samples += len(kept)
            last = kept[-1]
            self.last_value = {
                "metric": f"{last.metric}/{last.tags}" if last.tags else last.metric,
                "value": last.value,
                "timestamp": last.timestamp,
            }
            self._note(diagnosis.OK, "")

    def _may_print(self, now: float) -> bool:
        minute = int(now // 60)
        if minute != self._minute:
            self._minute = minute
            self._lines_left = LINES_PER_MINUTE
            self._stderr.begin()
        self._lines_left -= 1
        if self._lines_left < 0:
            self._reject(f"printed more than {LINES_PER_MINUTE} lines in a minute")
        return self._lines_left >= 0

    def _reject(self, reason: str) -> None:
        self.rejected += 1
        if self.state != diagnosis.OK:
            self.reason = diagnosis.one_line(f"a line was rejected: {reason}")

    def _as_metric(self, found: Measurement) -> Metric:
        endpoint = self._runtime.intake.endpoint
        source = found.source.translate(_UNSAFE_TAG)
        tags = f"source={source}" if source and found.source != endpoint else ""
        step = max(MIN_STEP, -(-self._poll_ms // 1000))
        return Metric(endpoint, found.metric, found.value, step, "GAUGE", tags, found.timestamp)

    def _on_stderr(self, data: bytes) -> None:
        self._stderr.write(data)

    def _terminate(self) -> None:
        assert self._child is not None  # callers looked
        self._child.signal_group(signal.SIGTERM)
        self._cancel_timer()
        self._timer = self._runtime.loop.call_later(STOP_GRACE, self.kill)

    def _on_exit(self, child: Child) -> None:
        self._cancel_timer()
        self._child = None
        self._stderr.end()
        self.runs += 1
        if self._stopped:
            self._runtime.ending.discard(self.key)
            return
        self._take(self._lines.end())
        if self._restart:
            self._restart = False
            self._start_in(0.0)
        elif child.code and not self._ignore_errors:
            self._failed(diagnosis.ending(child.code, self._stderr.last_line))
        else:
            self._failures = 0
            if not self._run_samples:
                why = self.reason or "ended without printing a measurement"
                self._note(diagnosis.NO_DATA, why)
            self._start_in(max(0.0, self._started + self._poll_ms / 1000.0 - time.monotonic()))

    def _failed(self, reason: str) -> None:
        ran = time.monotonic() - self._started
        self._failures = 1 if ran > SOUND_AFTER else self._failures + 1
        if self._failures >= MAX_FAILURES:
            self._note(
                diagnosis.PARKED,
                f"failed {self._failures} times, the last time: {reason}; "
                "it starts again when its configuration or code changes",
            )
            return
        self._note(diagnosis.FAILED, reason)
        pause = self._runtime.config["executor.restart_pause"] * 2.0 ** (self._failures - 1)
        self._start_in(max(pause, self._poll_ms / 1000.0 - ran))

    def _note(self, state: str, reason: str) -> None:
        if (state, reason) != (self.state, self.reason) and state not in (
            diagnosis.OK,
            diagnosis.RUNNING,
        ):
            self._runtime.log.warning(f"plugin {self.key}: {state}: {reason}")
        self.state = state
        self.reason = reason
