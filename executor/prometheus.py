"""`/metrics`: the newest value of every series in Prometheus' text format 0.0.4, and the
executor's own counters.

A Falcon metric `disk.used_percent` with tags `mount=/var` becomes
`disk_used_percent{mount="/var"}`; a series is shown until three steps passed without a new value,
so a dead plugin's last value does not live for ever.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentplugin.metrics import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES = 20000

_BAD_NAME = re.compile(r"[^a-zA-Z0-9_:]")
_BAD_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_STALE_STEPS = 3
_SLACK_SECONDS = 5.0
_SWEEP_SECONDS = 60.0


class Table:
    """Newest values by (metric, tags, endpoint) as they came: bounded, and swept of what is stale
    whenever it is read. Values come all the time and readers seldom, so names are made for these.
    """

    __slots__ = ("_endpoint", "_help", "_series", "_sweep_at", "refused")

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._series: dict[tuple[str, str, str], tuple[float, str, float]] = {}
        self._help: dict[str, str] = {}
        self._sweep_at = 0.0
        self.refused = 0

    def describe(self, metric: str, text: str) -> None:
        """What a metric's HELP line says."""
        if len(self._help) < MAX_SERIES:
            self._help[metric_name(metric)] = " ".join(text.split())

    def set_endpoint(self, endpoint: str) -> None:
        """The host's own name, which is no label; another endpoint's values carry it as one."""
        self._endpoint = endpoint

    def put(self, metric: Metric, now: float) -> None:
        """Remember one value; `now` in monotonic seconds."""
        key = (metric.metric, metric.tags, metric.endpoint)
        if key not in self._series and len(self._series) >= MAX_SERIES:
            if now >= self._sweep_at:
                self._sweep_at = now + _SWEEP_SECONDS
                self._sweep(now)
            if len(self._series) >= MAX_SERIES:
                self.refused += 1
                return
        self._series[key] = (
            metric.value,
            metric.counterType,
            now + _STALE_STEPS * metric.step + _SLACK_SECONDS,
        )

    def text(self, now: float) -> str:
        """All series that are not stale, grouped by name as the format asks."""
        self._sweep(now)
        named: dict[tuple[str, str], tuple[float, str, float]] = {}
        for (metric, tags, endpoint), entry in self._series.items():
            key = (metric_name(metric), self._labels(tags, endpoint))
            # Two names may come to one here: the newer value is shown.
            if key not in named or named[key][2] <= entry[2]:
                named[key] = entry
        families: dict[str, list[tuple[str, float, str]]] = {}
        for (name, labels), (value, kind, _until) in sorted(named.items()):
            families.setdefault(name, []).append((labels, value, kind))
        lines: list[str] = []
        for name, series in families.items():
            if name in self._help:
                lines.append(f"# HELP {name} " + self._help[name].replace("\\", r"\\"))
            lines.append(f"# TYPE {name} {_family_type({kind for _, _, kind in series})}")
            lines.extend(f"{name}{labels} {value!r}" for labels, value, _ in series)
        return "\n".join(lines) + "\n" if lines else ""

    def _sweep(self, now: float) -> None:
        for key in [key for key, entry in self._series.items() if entry[2] < now]:
            del self._series[key]

    def _labels(self, tags: str, endpoint: str) -> str:
        pairs: dict[str, str] = {}
        for part in filter(None, tags.split(",")):
            name, _, value = part.partition("=")
            pairs[label_name(name.strip())] = value.strip()
        if endpoint != self._endpoint:
            pairs["endpoint"] = endpoint
        if not pairs:
            return ""
        inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(pairs.items()))
        return "{" + inner + "}"


def metric_name(name: str) -> str:
    """Any name as a Prometheus metric name: `net.if.in/bytes` -> `net_if_in_bytes`."""
    cleaned = _BAD_NAME.sub("_", name)
    return "_" + cleaned if cleaned[:1].isdigit() or not cleaned else cleaned


def label_name(name: str) -> str:
    """Any tag as a label name; those with two leading underscores belong to Prometheus."""
    cleaned = _BAD_LABEL.sub("_", name).lstrip("_") or "tag"
    return "_" + cleaned if cleaned[0].isdigit() else cleaned


def own(name: str, kind: str, help_text: str, values: list[tuple[str, float]]) -> str:
    """One family of the executor's own, `values` as (labels with braces or "", value)."""
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
    lines.extend(f"{name}{labels} {value!r}" for labels, value in values)
    return "\n".join(lines) + "\n"


def label(name: str, value: str) -> str:
    """`{name="value"}`, escaped."""
    return f'{{{name}="{_escaped(value)}"}}'


def _family_type(kinds: set[str]) -> str:
    if kinds == {"GAUGE"}:
        return "gauge"
    # Falcon's COUNTER is the raw count, its DERIVE may fall: only the first is a Prometheus
    # counter.
    return "counter" if kinds == {"COUNTER"} else "untyped"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
