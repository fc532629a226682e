"""From a plugin's stdout to the sinks: agentplugin reads it, this adds default_tags and hands the
values on.
"""

from __future__ import annotations

import math
import time

from agentplugin.metrics import MAX_NAME_AND_TAGS, Batch, Defaults, Metric, parse_batch
from executor.sinks import Sinks, as_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executor.config import Config
    from executor.prometheus import Table

_MAX_LINE = 16384


class Intake:
    """What every value goes through, whichever way it came in. Counters are since the start."""

    __slots__ = (
        "_endpoint",
        "_prometheus",
        "_sinks",
        "_table",
        "_tags",
        "dropped",
        "filled",
        "taken",
    )

    def __init__(self, config: Config, sinks: Sinks, table: Table) -> None:
        self._sinks = sinks
        self._table = table
        self.taken = 0
        self.dropped = 0
        self.filled = 0
        self.configure(config)

    def configure(self, config: Config) -> None:
        self._endpoint = config.hostname()
        self._prometheus = config["executor.prometheus"]
        tags = config["default_tags"]
        self._tags = ",".join(f"{key}={value}" for key, value in sorted(tags.items()))

    def take_batch(self, stdout: bytes, step: int) -> Batch:
        """A step script's whole stdout; `step` in seconds fills in where the script gives none."""
        batch = parse_batch(stdout, now=time.time(), defaults=Defaults(self._endpoint, step))
        self.dropped += batch.dropped
        self.filled += batch.filled
        batch.metrics = self.take(batch.metrics, batch)
        return batch

    def take(self, metrics: list[Metric], batch: Batch | None = None) -> list[Metric]:
        """Hand values on; the ones that default_tags make too long for transfer are left out, and
        said.
        """
        now = time.monotonic()
        lines = []
        kept = []
        for metric in metrics:
            if self._tags:
                metric.tags = f"{metric.tags},{self._tags}" if metric.tags else self._tags
            size = _size(metric.metric) + _size(metric.tags)
            # What is refused anyway need not be encoded: a line of InfluxDB can hold a thousand such.
            line = as_line(metric) if size <= MAX_NAME_AND_TAGS else b""
            if not math.isfinite(metric.value):
                # JSON has no word for it, and a sum of two large ones may come to it.
                self.dropped += 1
                if batch is not None:
                    batch.dropped += 1
                continue
            if size > MAX_NAME_AND_TAGS or len(line) > _MAX_LINE:
                self.dropped += 1
                if batch is not None:
                    batch.dropped += 1
                    batch.say(
                        None,
                        "error",
                        "too-long",
                        f"{metric.metric[:60]}: name and tags with default_tags have {size} bytes, "
                        f"transfer drops more than {MAX_NAME_AND_TAGS}",
                        "shorten the tags or default_tags",
                    )
                continue
            lines.append(line)
            kept.append(metric)
            if self._prometheus:
                self._table.put(metric, now)
        self.taken += len(kept)
        self._sinks.put(lines)
        return kept

    def tell(self, kind: str, entry: dict[str, Any]) -> None:
        """An "event" or a "message" of a plugin, for sinks that can forward such."""
        self._sinks.tell(kind, entry)

    def describe(self, metric: str, text: str) -> None:
        """What a metric means, for those who read `/metrics`."""
        if self._prometheus:
            self._table.describe(metric, text)

    @property
    def endpoint(self) -> str:
        return self._endpoint


def _size(text: str) -> int:
    """Bytes as transfer counts them."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
