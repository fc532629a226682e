"""What a manifest plugin prints, from pieces of its pipes to values, events and messages: bounded,
counted, and throttled where it is a flood (contract: graphdat/relay, as it was run).
"""

from __future__ import annotations

import collections
import os
import time

from agentplugin import formats
from agentplugin.measurements import MAX_LINE, Event
from executor import diagnosis
from executor.capture import LineBuffer
from executor.manifest_budget import Budget
from executor.manifest_readers import (
    NAGIOS_BYTES,
    LineReader,
    ValueReader,
    as_metrics,
    plugin_tag,
)
from executor.stderrlog import StderrLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from agentplugin.metrics import Metric
    from agentplugin.planned import PlannedManifest
    from executor.manifest_aggregate import Aggregate
    from executor.process import Child
    from executor.runtime import Runtime

LINE_BYTES = 4 * MAX_LINE
_REMEMBERED = 20
_QUARANTINED_NAMES = 50
_SHOWN = 500
_STDERR_MINUTE = 60.0


class Output:
    """Reads one plugin's runs; the counters go on over all of them.

    report      is called whenever it has printed something
    rejected    lines that gave nothing, undeclared ones among them
    quarantined  values of metrics that the manifest does not declare, by name
    events, messages  how many came; the last 20 are in `recent_events`, `recent_messages`
    """

    __slots__ = (
        "_aggregate",
        "_budget",
        "_kept",
        "_lines",
        "_planned",
        "_reader",
        "_report",
        "_runtime",
        "_stderr",
        "_stderr_began",
        "_stderr_lines",
        "events",
        "last_heard",
        "last_value",
        "messages",
        "quarantined",
        "recent_events",
        "recent_messages",
        "rejected",
        "rejection",
        "run_samples",
        "samples",
        "undeclared",
    )

    def __init__(
        self, runtime: Runtime, planned: PlannedManifest, report: Callable[[], None]
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._planned = planned
        self._stderr = StderrLog(runtime.logs, planned.path, ",".join(planned.format.args))
        self._aggregate: Aggregate | None = None
        self._budget = Budget(runtime, planned.key)
        self.samples = self.rejected = self.undeclared = 0
        self.events = self.messages = 0
        self.quarantined: dict[str, int] = {}
        self.recent_events: collections.deque[dict[str, Any]] = collections.deque(
            maxlen=_REMEMBERED
        )
        self.recent_messages: collections.deque[dict[str, Any]] = collections.deque(
            maxlen=_REMEMBERED
        )
        self.last_value: dict[str, Any] | None = None
        self.begin([], 1000)

    def begin(self, metrics: Sequence[str], poll_ms: int) -> None:
        """A new run, of a manifest that declares these metrics."""
        format_ = self._planned.format
        endpoint = self._runtime.intake.endpoint
        self._reader: LineReader | ValueReader
        tag = plugin_tag(self._planned)
        if format_.name in (formats.BOUNDARY, formats.NAGIOS):
            self._reader = LineReader(endpoint, tag, poll_ms, metrics)
        else:
            self._reader = ValueReader(endpoint, tag, format_)
        self._lines = LineBuffer(LINE_BYTES)
        self._stderr_lines = LineBuffer(LINE_BYTES)
        self._kept = b""
        self._budget.child = None
        self.run_samples = 0
        self.rejection = ""
        self.last_heard = self._stderr_began = time.monotonic()
        self._stderr.begin()

    def gather(self, kinds: dict[str, str]) -> None:
        """`executor.aggregate`: hand on one value a step, put together by metric -> avg, sum, ..."""
        from executor.manifest_aggregate import Aggregate

        self.finish()
        self._aggregate = Aggregate(self._runtime.loop, kinds, self._hand_on)

    def finish(self) -> None:
        """The plugin is stopped: nothing that it printed waits any longer."""
        if self._aggregate is not None:
            self._aggregate.flush()

    @property
    def throttled(self) -> int:
        """Lines that were thrown away because they were too many."""
        return self._budget.throttled

    def belongs_to(self, child: Child | None) -> None:
        """Whom to let wait when it prints too much."""
        self._budget.child = child

    @property
    def last_stderr(self) -> str:
        return self._stderr.last_line

    def on_stdout(self, data: bytes) -> None:
        self.last_heard = time.monotonic()
        if self._planned.format.name == formats.NAGIOS:
            self._kept += data[: NAGIOS_BYTES - len(self._kept)]
            self._budget.admit([], len(data))
            return
        before = self._lines.too_long
        lines = self._lines.add(data)
        if self._lines.too_long > before:
            self._reject(f"printed a line longer than {LINE_BYTES} bytes")
            self._report()
        self._take(self._budget.admit(lines, len(data)))

    def on_stderr(self, data: bytes) -> None:
        """Each line is a message, not a fault: plugins say ordinary things there."""
        now = time.monotonic()
        self.last_heard = now
        if now - self._stderr_began > _STDERR_MINUTE:
            self._stderr_began = now
            self._stderr.begin()
        self._stderr.write(data)
        self._say(self._budget.admit(self._stderr_lines.add(data), len(data)))

    def end(self, whole: bool) -> None:
        """The run is over. A last line without a line end counts if it is `whole`: of a program that was
        ended in the middle of it, 53 may be the beginning of 5342.
        """
        self._budget.child = None
        rest = self._lines.end()
        if rest and not whole:
            self._reject("it ended in the middle of its last line")
        elif self._planned.format.name != formats.NAGIOS:
            self._take(rest)
        self._say(self._stderr_lines.end())
        self._stderr.end()

    def take_check(self, code: int) -> str:
        """A Nagios check ended with 0 to 3: take its values; what it said."""
        from agentplugin import nagios

        name = os.path.basename(self._planned.path).partition(".")[0]
        text = self._kept.decode("utf-8", "replace")
        check = nagios.read(name, text, code, int(time.time()))
        for trouble in check.troubles:
            self._reject(trouble)
        plugin = plugin_tag(self._planned)
        endpoint = self._runtime.intake.endpoint
        self._hand_on(as_metrics(check.values, endpoint, plugin, self._planned.format.step))
        said = check.text or "printed nothing"
        return diagnosis.one_line(f"{nagios.STATES[code]}: {said}")

    def _take(self, lines: list[bytes]) -> None:
        now = time.time()
        metrics: list[Metric] = []
        for line in lines:
            found = self._reader.line(line, now)
            if isinstance(found, list):
                metrics += found
            elif isinstance(found, Event):
                self._happened(found)
            else:
                self._reject(found.reason)
                if found.undeclared:
                    self._quarantine(found.undeclared)
        if len(metrics) > len(lines):
            self._budget.charge(len(metrics) - len(lines))
        if metrics and self._aggregate is not None:
            self.run_samples += len(metrics)
            self._aggregate.add(metrics)
        elif metrics:
            self._hand_on(metrics)
        if lines:
            self._report()

    def _hand_on(self, metrics: list[Metric]) -> None:
        kept = self._runtime.intake.take(metrics)
        if len(kept) < len(metrics):
            self._reject("name and tags are longer than transfer takes")
        if kept:
            self.samples += len(kept)
            if self._aggregate is None:
                self.run_samples += len(kept)
            last = kept[-1]
            self.last_value = {
                "metric": f"{last.metric}/{last.tags}" if last.tags else last.metric,
                "value": last.value,
                "timestamp": last.timestamp,
            }

    def _reject(self, reason: str) -> None:
        self.rejected += 1
        self.rejection = diagnosis.one_line(f"a line was rejected: {reason}")

    def _quarantine(self, metric: str) -> None:
        self.undeclared += 1
        if metric in self.quarantined or len(self.quarantined) < _QUARANTINED_NAMES:
            self.quarantined[metric] = self.quarantined.get(metric, 0) + 1

    def _happened(self, event: Event) -> None:
        self.events += 1
        # The log holds weeks for people; a plugin that prints thousands must not turn it over.
        if self.events <= _REMEMBERED:
            self._runtime.log.info(
                f"plugin {self._planned.key}: event {event.kind}: "
                f"{event.title[:_SHOWN]}: {event.message[:_SHOWN]}"
            )
        entry = {
            "plugin": self._planned.key,
            "title": event.title[:_SHOWN],
            "type": event.kind,
            "message": event.message[:_SHOWN],
            "host": event.host[:_SHOWN] or self._runtime.intake.endpoint,
            "sender": event.sender[:_SHOWN],
            "tags": [tag[:_SHOWN] for tag in event.tags[:_REMEMBERED]],
            "timestamp": event.timestamp,
        }
        self.recent_events.append(entry)
        self._runtime.intake.tell("event", entry)

    def _say(self, lines: list[bytes]) -> None:
        for line in lines:
            text = line.decode("utf-8", "replace").strip()[:_SHOWN]
            if text:
                self.messages += 1
                entry = {"plugin": self._planned.key, "msg": text, "ts": int(time.time())}
                self.recent_messages.append(entry)
                self._runtime.intake.tell("message", entry)
