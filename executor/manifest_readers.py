"""From one line, or one whole output, of a program to Falcon values, by the binding's format.
Readers of formats are loaded when the first plugin asks for them.
"""

from __future__ import annotations

import zlib

from agentplugin import formats
from agentplugin.measurements import Event, LineParser, Measurement
from agentplugin.metrics import Metric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Union

    from agentplugin.formats import Format
    from agentplugin.measurements import Rejected
    from agentplugin.planned import PlannedManifest
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


def plugin_tag(planned: PlannedManifest) -> str:
    """The value of the tag `plugin`: the path, and for a program with arguments a digest of those,
    because they may be long, or hold a password.
    """
    path = safe_tag(planned.path)
    if planned.key == planned.path or not planned.format.args:
        return path
    return f"{path}~{zlib.crc32(chr(0).join(planned.format.args).encode('utf-8', 'replace')):08x}"


class LineReader:
    """Reads lines. `line` gives the metrics of one, an Event, or a Rejected; `tag` of `plugin_tag`."""

    __slots__ = ("_endpoint", "_parser", "_plugin", "_step")

    def __init__(self, endpoint: str, tag: str, poll_ms: int, declared: Sequence[str]) -> None:
        self._endpoint = endpoint
        self._plugin = f"plugin={tag}"
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
    """Reads the lines of Telegraf's and Prometheus' formats; `tag` of `plugin_tag`."""

    __slots__ = ("_endpoint", "_parse", "_plugin", "_step")

    def __init__(self, endpoint: str, tag: str, format_: Format) -> None:
        self._endpoint = endpoint
        self._plugin = tag
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
    """Values of other formats as Falcon's, with `plugin` as one more tag; see `plugin_tag`."""
    found = []
    known: dict[str, str] | None = None
    tags = ""
    for value in values:
        if value.tags is not known:
            known = value.tags
            pairs = {safe_tag(key): safe_tag(text) for key, text in known.items()}
            if "plugin" in pairs:
                # The series' own stays apart, as Prometheus does with labels of its own (honor_labels).
                pairs["exported_plugin"] = pairs.pop("plugin")
            pairs["plugin"] = plugin
            tags = ",".join(f"{key}={text}" for key, text in pairs.items())
        found.append(
            Metric(endpoint, value.metric, value.value, step, value.kind, tags, value.timestamp)
        )
    return found
