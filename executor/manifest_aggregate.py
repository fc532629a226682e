"""One value a step out of the many that a looping plugin prints, put together as its metrics.json says
(`defaultAggregate`): the data store keeps one value of a step, and takes whichever comes.
"""

from __future__ import annotations

import time

from agentplugin.metrics import Metric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.loop import Loop, Timer

MAX_SERIES = 10000
_GRACE_SECONDS = 1.0


class _Bucket:
    """The values of one series in one step."""

    __slots__ = ("count", "largest", "last", "smallest", "total")

    def __init__(self, first: Metric) -> None:
        self.last = first
        self.count = 1
        self.total = self.smallest = self.largest = first.value

    def add(self, metric: Metric) -> None:
        self.last = metric
        self.count += 1
        self.total += metric.value
        self.smallest = min(self.smallest, metric.value)
        self.largest = max(self.largest, metric.value)


class Aggregate:
    """Gathers values and hands on one for each series and step, a second after the step is over.

    kinds  metric -> avg, min, max or sum; avg for what is not in it
    """

    __slots__ = ("_buckets", "_hand_on", "_kinds", "_loop", "_timer")

    def __init__(
        self, loop: Loop, kinds: dict[str, str], hand_on: Callable[[list[Metric]], None]
    ) -> None:
        self._loop = loop
        self._kinds = kinds
        self._hand_on = hand_on
        self._buckets: dict[tuple[str, str, int], _Bucket] = {}
        self._timer: Timer | None = None

    def add(self, metrics: list[Metric]) -> None:
        for metric in metrics:
            key = (metric.metric, metric.tags, metric.timestamp // metric.step)
            bucket = self._buckets.get(key)
            if bucket is not None:
                bucket.add(metric)
                continue
            if len(self._buckets) >= MAX_SERIES:
                self.flush()
            self._buckets[key] = _Bucket(metric)
            if self._timer is None:
                self._wait(metric.step)

    def flush(self) -> None:
        """Hand on everything, steps that are not over too: the plugin stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._give(list(self._buckets))

    def _wait(self, step: int) -> None:
        left = step - time.time() % step + _GRACE_SECONDS
        self._timer = self._loop.call_later(left, self._step_is_over)

    def _step_is_over(self) -> None:
        self._timer = None
        now = time.time()
        steps = [bucket.last.step for bucket in self._buckets.values()]
        self._give(
            [key for key, bucket in self._buckets.items() if key[2] != int(now) // bucket.last.step]
        )
        if self._buckets:
            self._wait(min(steps))

    def _give(self, keys: list[tuple[str, str, int]]) -> None:
        metrics = []
        for key in keys:
            bucket = self._buckets.pop(key)
            metric = bucket.last
            kind = self._kinds.get(metric.metric, "avg")
            values = {
                "avg": bucket.total / bucket.count,
                "sum": bucket.total,
                "min": bucket.smallest,
                "max": bucket.largest,
            }
            metric.value = values[kind]
            metrics.append(metric)
        if metrics:
            self._hand_on(metrics)
