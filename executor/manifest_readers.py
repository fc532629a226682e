"""From one line, or one whole output, of a program to Falcon values, by the binding's format.
Readers of formats are loaded when the first plugin asks for them.
"""

from __future__ import annotations

from agentplugin import formats
from agentplugin.measurements import Event, LineParser, Measurement
from agentplugin.metrics import Metric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Union

    from agentplugin.formats import Format
    from agentplugin.measurements import Rejected
    from agentplugin.values import Value

    Found = Union[list[Metric], Event, Rejected]

MIN_STEP = 60
"""Seconds. A manifest's pollInterval has no uniform unit, so it cannot promise a step below this;
transfer averages within one.
"""

NAGIOS_BYTES = 64 * 1024
"""What is kept of a check's output: the guidelines' programs print a few hundred bytes."""

_UNSAFE_TAG = str.maketrans({",": "_", "=": "_", " ": "_", "\t": "_", "\n": "_", "\r": "_"})


def safe_tag(text: str) -> str:
    """A text as it can stand in a Falcon tag, which knows no quotes."""
    return text.translate(_UNSAFE_TAG)


class LineReader:
    """Reads lines. `line` gives the metrics of one, an Event, or a Rejected."""

    __slots__ = ("_endpoint", "_parser", "_plugin", "_step")

    def __init__(self, endpoint: str, plugin: str, poll_ms: int, declared: Sequence[str]) -> None:
        self._endpoint = endpoint
        self._plugin = f"plugin={safe_tag(plugin)}"
        self._step = max(MIN_STEP, -(-poll_ms // 1000))
        self._parser = LineParser(declared)

    def line(self, line: bytes, now: float) -> Found:
        found = self._parser.parse(line, now)
        if not isinstance(found, Measurement):
            return found
        source = found.source
        tags = self._plugin
        if source and source != self._endpoint:
            tags = f"source={source.translate(_UNSAFE_TAG)},{tags}"
        return [
            Metric(
                self._endpoint, found.metric, found.value, self._step, "GAUGE", tags,
                found.timestamp,
            )
        ]  # fmt: skip


class ValueReader:
    """Reads the lines of Telegraf's and Prometheus' formats."""

    __slots__ = ("_endpoint", "_parse", "_plugin", "_step")

    def __init__(self, endpoint: str, plugin: str, format_: Format) -> None:
        self._endpoint = endpoint
        self._plugin = safe_tag(plugin)
        self._step = format_.step
        if format_.name == formats.PROMETHEUS:
            from agentplugin import promtext

            self._parse = promtext.Reader().parse
        else:
            from agentplugin import influxline

            self._parse = influxline.parse

    def line(self, line: bytes, now: float) -> Found:
        from agentplugin.measurements import Rejected
        from agentplugin.values import Unreadable

        try:
            values = self._parse(line.decode("utf-8", "replace"), now)
        except Unreadable as trouble:
            return Rejected(str(trouble))
        return as_metrics(values, self._endpoint, self._plugin, self._step)


def as_metrics(values: list[Value], endpoint: str, plugin: str, step: int) -> list[Metric]:
    """Values of other formats as Falcon's, with the plugin's name as one more tag."""
    found = []
    for value in values:
        pairs = {safe_tag(key): safe_tag(text) for key, text in value.tags.items()}
        pairs["plugin"] = plugin
        tags = ",".join(f"{key}={text}" for key, text in pairs.items())
        found.append(
            Metric(endpoint, value.metric, value.value, step, value.kind, tags, value.timestamp)
        )
    return found
