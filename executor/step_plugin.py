"""One step script: its schedule, its current run and what the last one came to (agent:
plugins/scheduler.go).
"""

from __future__ import annotations

import os
import signal
import time

from executor import diagnosis
from executor.capture import FLOOD_BYTES, Capture
from executor.runtime import ENDING_POLL
from executor.schedule import EARLY_RUN_SPACING, Schedule, kill_times, spread
from executor.stderrlog import StderrLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.metrics import Batch
    from agentplugin.planned import PlannedScript
    from executor.loop import Timer
    from executor.process import Child
    from executor.runtime import Runtime


class StepPlugin:
    """Runs a planned script until `stop()`."""

    __slots__ = (
        "_capture",
        "_child",
        "_early",
        "_ended_by_us",
        "_kill_timer",
        "_planned",
        "_runtime",
        "_schedule",
        "_stderr",
        "_stopped",
        "_tick_timer",
        "last_run",
        "last_started",
        "last_value",
        "missed",
        "mtime",
        "reason",
        "runs",
        "samples",
        "state",
    )

    kind = "step-script"

    def __init__(self, planned: PlannedScript, mtime: int, runtime: Runtime) -> None:
        self._planned = planned
        self._runtime = runtime
        self.mtime = mtime
        self.state = diagnosis.WAITING
        self.reason = ""
        self.runs = 0
        self.samples = 0
        self.missed = 0
        self.last_run = 0
        self.last_started = float("-inf")
        self.last_value: dict[str, Any] | None = None
        self._child: Child | None = None
        self._kill_timer: Timer | None = None
        self._early: Timer | None = None
        self._capture = Capture(runtime.stdout)
        self._ended_by_us = ""
        self._stopped = False
        self._stderr = StderrLog(runtime.logs, planned.path, self._raw_args())
        begin = time.monotonic() + spread(
            runtime.intake.endpoint, planned.key, min(runtime.first_run_within, planned.step)
        )
        self._schedule = Schedule(begin, planned.step)
        self._tick_timer = runtime.loop.call_at(begin, self._tick)

    @property
    def key(self) -> str:
        return self._planned.key

    @property
    def running(self) -> bool:
        return self._child is not None

    def same_as(self, planned: PlannedScript) -> bool:
        return (planned.step, planned.args) == (self._planned.step, self._planned.args)

    def changed(self, mtime: int) -> None:
        """The file was replaced: run it soon, so that a deployment need not wait a whole step for
        proof.
        """
        self.mtime = mtime
        now = time.monotonic()
        within = self._runtime.first_run_within
        early = max(
            now + spread(self._runtime.intake.endpoint, self.key, within),
            self.last_started + EARLY_RUN_SPACING,
        )
        if self._early is None and early < self._schedule.next - within:
            self._early = self._runtime.loop.call_at(early, self._run_early)

    def stop(self) -> None:
        """Unbound, or the executor stops: no further run, and a current one is ended."""
        self._stopped = True
        self._tick_timer.cancel()
        if self._early is not None:
            self._early.cancel()
        if self._child is not None:
            self._runtime.ending.add(self.key)
            self._end("was unbound", 2.0)

    def kill(self) -> None:
        if self._child is not None:
            self._child.signal_group(signal.SIGKILL)

    def view(self) -> dict[str, Any]:
        """The entry of `/plugins`: the agent's four fields first, then ours."""
        now = time.monotonic()
        return {
            "FilePath": self._planned.path,
            "MTime": self.mtime,
            "Cycle": self._planned.step,
            "Args": self._raw_args(),
            "Kind": self.kind,
            "State": diagnosis.RUNNING if self.running and not self.runs else self.state,
            "Reason": self.reason,
            "Running": self.running,
            "LastRun": self.last_run,
            "NextRun": int(time.time() + self._schedule.next - now),
            "Runs": self.runs,
            "Missed": self.missed,
            "Samples": self.samples,
            "LastValue": self.last_value,
        }

    def _raw_args(self) -> str:
        key, path = self._planned.key, self._planned.path
        return key[len(path) + 1 : -1] if len(key) > len(path) else ""

    def _tick(self) -> None:
        now = time.monotonic()
        self.missed += self._schedule.advance(now)
        self._tick_timer = self._runtime.loop.call_at(self._schedule.next, self._tick)
        if self._child is not None:
            self.missed += 1
        else:
            self._start()

    def _run_early(self) -> None:
        self._early = None
        if self._child is None:
            self._start()

    def _start(self) -> None:
        runtime = self._runtime
        if self.key in runtime.ending:
            if self._early is None:
                self._early = runtime.loop.call_later(ENDING_POLL, self._run_early)
            return
        path = os.path.join(runtime.plugin_dir, self._planned.path)
        self.last_run = int(time.time())
        self.last_started = time.monotonic()
        self._capture = Capture(runtime.stdout)
        self._ended_by_us = ""
        self._stderr.begin()
        try:
            self._child = runtime.children.spawn(
                [path, *self._planned.args],
                runtime.env,
                self._on_stdout,
                self._on_stderr,
                self._on_exit,
            )
        except (OSError, ValueError) as failure:
            self._ended(*self._spawn_failure(path, failure))
            return
        terminate, _kill = kill_times(self._planned.step)
        self._kill_timer = runtime.loop.call_later(terminate, self._time_is_up)

    def _spawn_failure(self, path: str, failure: Exception) -> tuple[str, str]:
        if isinstance(failure, OSError):
            return diagnosis.spawn_failure(path, failure, self._runtime.env.get("PATH", os.defpath))
        return diagnosis.FAILED, f"cannot be started: {failure}"

    def _on_stdout(self, data: bytes) -> None:
        if not self._capture.add(data) and not self._ended_by_us:
            self._end(f"printed more than {FLOOD_BYTES >> 20} MiB and was killed", 0.0)

    def _on_stderr(self, data: bytes) -> None:
        self._stderr.write(data)

    def _time_is_up(self) -> None:
        terminate, kill = kill_times(self._planned.step)
        self._end(
            f"did not end within {terminate:g} s (its step less 0.5 s) and was killed",
            kill - terminate,
        )

    def _end(self, why: str, grace: float) -> None:
        assert self._child is not None  # callers looked
        self._ended_by_us = why
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if grace > 0:
            self._child.signal_group(signal.SIGTERM)
            self._kill_timer = self._runtime.loop.call_later(grace, self.kill)
        else:
            self.kill()

    def _on_exit(self, child: Child) -> None:
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        stdout = self._capture.take()
        self._stderr.end()
        self._child = None
        if self._stopped:
            self._runtime.ending.discard(self.key)
        else:
            self._ended(*self._judged(child, stdout))

    def _judged(self, child: Child, stdout: bytes) -> tuple[str, str]:
        if self._ended_by_us:
            flooded = self._capture.printed > FLOOD_BYTES
            return diagnosis.FAILED if flooded else diagnosis.TIMEOUT, self._ended_by_us
        if self._capture.printed:
            return diagnosis.NO_DATA, self._capture.overflow()
        batch = None
        if stdout or child.code == 0:
            batch = self._runtime.intake.take_batch(stdout, self._planned.step)
            self._remember(batch)
        state, reason = self._from_batch(child, batch)
        if child.left_behind:
            names = ", ".join(sorted(set(child.left_behind)))
            left = f"left {names} running in the background, which was killed with its group"
            reason = f"{reason}; {left}" if reason else left
        return state, reason

    def _from_batch(self, child: Child, batch: Batch | None) -> tuple[str, str]:
        if child.code:
            path = os.path.join(self._runtime.plugin_dir, self._planned.path)
            search_path = self._runtime.env.get("PATH", os.defpath)
            state, reason = diagnosis.exit_failure(
                path, child.code, self._stderr.last_line, search_path
            )
            if batch is not None and batch.metrics:
                reason += "; its metrics were taken all the same"
            return state, reason
        assert batch is not None  # exit code 0 is always read
        if batch.metrics:
            return diagnosis.OK, diagnosis.one_line(batch.reason()) if batch.dropped else ""
        reason = batch.reason() or "printed an empty list"
        if self._stderr.last_line:
            reason = f"{reason}; stderr: {self._stderr.last_line}"
        return diagnosis.NO_DATA, diagnosis.one_line(reason)

    def _remember(self, batch: Batch) -> None:
        if batch.metrics:
            last = batch.metrics[-1]
            self.samples += len(batch.metrics)
            self.last_value = {
                "metric": f"{last.metric}/{last.tags}" if last.tags else last.metric,
                "value": last.value,
                "timestamp": last.timestamp,
            }

    def _ended(self, state: str, reason: str) -> None:
        self.runs += 1
        log = self._runtime.log
        if (state, reason) != (self.state, self.reason):
            if state != diagnosis.OK:
                log.warning(f"plugin {self.key}: {state}: {reason}")
            elif self.state not in (diagnosis.WAITING, diagnosis.OK):
                log.info(f"plugin {self.key}: ok again")
        log.debug(f"plugin {self.key}: run {self.runs}: {state} {reason}")
        self.state = state
        self.reason = reason
