"""What transfer does with each value of a batch that the agent could decode: it drops bad ones and
names none (source: Open-Falcon, transfer/receiver/rpc/rpc_transfer.go, common/utils/tags.go)."""

from __future__ import annotations

import math
import re

from agentplugin import falconjson
from agentplugin.batches import Batch, Defaults, Metric
from agentplugin.problems import ERROR, INFO, WARNING, shown

COUNTER_TYPES = ("GAUGE", "COUNTER", "DERIVE")

MAX_NAME_AND_TAGS = 510
"""Bytes of metric plus tags above which transfer drops a value."""

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NON_FINITE = ("nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Transfer:
    """What transfer does with each item of a batch that the agent could decode."""

    __slots__ = ("_batch", "_completed", "_defaults", "_now", "_sound")

    def __init__(self, batch: Batch, now: int, defaults: Defaults | None) -> None:
        self._batch = batch
        self._now = now
        self._defaults = defaults
        self._completed: set[str] = set()
        self._sound = True

    def take(self, items: falconjson.Items) -> None:
        batch = self._batch
        for index, fields in enumerate(items):
            metric = None if fields is None else self._metric(index, fields)
            if fields is None:
                batch.say(
                    index,
                    ERROR,
                    "null-item",
                    "null is no value: transfer drops it, and an agent with default_tags dies of "
                    "it",
                    "leave it out of the list",
                )
            if metric is None:
                batch.dropped += 1
            else:
                batch.metrics.append(metric)
        if self._completed:
            lost = self._completed - {"timestamp"}
            batch.say(
                None,
                WARNING if lost else INFO,
                "filled",
                f"{', '.join(sorted(self._completed))} filled in for {batch.filled} values"
                + ("; a Falcon agent fills in nothing and loses them" if lost else ""),
                "print every field: endpoint, metric, value, step, counterType, tags, timestamp",
            )

    def _drop(self, index: int, code: str, message: str, hint: str) -> None:
        self._sound = False
        self._batch.say(index, ERROR, code, f"{message}: transfer drops the value", hint)

    def _metric(self, index: int, fields: falconjson.Fields) -> Metric | None:
        """The item as transfer passes it on, or None where it drops it."""
        self._sound = True
        completed: list[str] = []
        name = self._name(index, fields)
        result = Metric(
            self._endpoint(index, fields, completed),
            name,
            self._value(index, fields, name),
            self._step(index, fields, completed),
            self._counter_type(index, fields, completed),
            self._tags(index, fields, name),
            self._timestamp(index, fields, completed),
        )
        if not self._sound:
            return None
        if completed:
            self._completed.update(completed)
            self._batch.filled += 1
        return result

    def _name(self, index: int, fields: falconjson.Fields) -> str:
        name = _clean(fields.get("metric", ""))
        if not name:
            self._drop(index, "metric-missing", "metric is missing or empty", "name the metric")
        elif name == "kernel.hostname":
            self._drop(
                index,
                "metric-forbidden",
                "transfer refuses the metric kernel.hostname by name",
                "choose another name",
            )
        return name

    def _endpoint(self, index: int, fields: falconjson.Fields, completed: list[str]) -> str:
        endpoint = _clean(fields.get("endpoint", ""))
        if endpoint:
            return endpoint
        if self._defaults is not None:
            completed.append("endpoint")
            return self._defaults.endpoint
        self._drop(
            index,
            "endpoint-missing",
            "endpoint is missing or empty, and the agent fills in nothing",
            "print the host name that the agent reports",
        )
        return ""

    def _step(self, index: int, fields: falconjson.Fields, completed: list[str]) -> int:
        step: int = fields.get("step", 0)
        if step > 0:
            return step
        if step < 0:
            self._drop(
                index,
                "step-negative",
                f"step {step} is below 0",
                "print the seconds between two values",
            )
        elif self._defaults is not None:
            completed.append("step")
            return self._defaults.step
        else:
            self._drop(
                index,
                "step-missing",
                "step is missing or 0, and the agent fills in nothing",
                "print the seconds between two values, as in the script's name",
            )
        return step

    def _counter_type(self, index: int, fields: falconjson.Fields, completed: list[str]) -> str:
        kind = _clean(fields.get("counterType", ""))
        if kind in COUNTER_TYPES:
            return kind
        if kind:
            self._drop(
                index,
                "counter-type-unknown",
                f"counterType {shown(kind)} is not exactly one of {', '.join(COUNTER_TYPES)}",
                f"write {kind.upper() if kind.upper() in COUNTER_TYPES else 'GAUGE'}",
            )
        elif self._defaults is not None:
            completed.append("counterType")
            return COUNTER_TYPES[0]
        else:
            self._drop(
                index,
                "counter-type-missing",
                "counterType is missing or empty, and the agent fills in nothing",
                "write GAUGE for a value, COUNTER for a count that grows",
            )
        return kind

    def _value(self, index: int, fields: falconjson.Fields, name: str) -> float:
        value = fields.get("value")
        if value is None or value == "":
            self._drop(
                index,
                "value-missing",
                f"{_named(name)}value is missing, null or empty",
                "print a number",
            )
        elif isinstance(value, str):
            return self._text_value(index, value, name)
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            self._drop(
                index,
                "value-type",
                f"{_named(name)}value is {falconjson.kind(value)}",
                "print a number, 1 for true and 0 for false",
            )
        else:
            try:
                return float(value)
            except OverflowError:
                self._drop(
                    index, "value-not-finite", f"{_named(name)}value is out of range", "print less"
                )
        return 0.0

    def _text_value(self, index: int, text: str, name: str) -> float:
        if not _DECIMAL.fullmatch(text):
            if text.lower() in _NON_FINITE:
                self._drop(
                    index,
                    "value-not-finite",
                    f"{_named(name)}value {shown(text)} is no number that can be stored",
                    "leave the value out when it makes no sense",
                )
            else:
                self._drop(
                    index,
                    "value-not-a-number",
                    f"{_named(name)}value {shown(text)} is not a plain number",
                    "print a number without unit, space or thousands separator",
                )
            return 0.0
        number = float(text)
        if math.isinf(number):
            self._drop(
                index,
                "value-not-finite",
                f"{_named(name)}value {shown(text)} is beyond what a double holds",
                "leave the value out when it makes no sense",
            )
            return 0.0
        self._batch.say(
            index,
            INFO,
            "value-is-text",
            f"{_named(name)}value {shown(text)} is text: transfer reads it, other receivers may "
            "not",
            "print a number, without quotes",
        )
        return number

    def _tags(self, index: int, fields: falconjson.Fields, name: str) -> str:
        tags = _clean(fields.get("tags", ""))
        size = len(name.encode("utf-8")) + len(tags.encode("utf-8"))
        if size > MAX_NAME_AND_TAGS:
            self._drop(
                index,
                "too-long",
                f"metric and tags have {size} bytes together, more than {MAX_NAME_AND_TAGS}",
                "shorten the tags",
            )
        trouble = _tag_trouble(tags)
        if trouble:
            self._batch.say(
                index,
                WARNING,
                "tags-malformed",
                f"{_named(name)}tags {shown(tags)}: {trouble}",
                'write "key=value,key=value" without spaces',
            )
        return tags

    def _timestamp(self, index: int, fields: falconjson.Fields, completed: list[str]) -> int:
        timestamp: int = fields.get("timestamp", 0)
        if 0 < timestamp <= 2 * self._now:
            return timestamp
        if timestamp:
            self._batch.say(
                index,
                WARNING,
                "timestamp-replaced",
                f"timestamp {timestamp} is not in seconds since 1970: transfer puts its own "
                "clock's time",
                "print int(time.time())",
            )
        elif self._defaults is not None:
            completed.append("timestamp")
        else:
            self._batch.say(
                index,
                WARNING,
                "timestamp-missing",
                "timestamp is missing or 0: transfer puts its own clock's time",
                "print int(time.time())",
            )
        return self._now


def _tag_trouble(tags: str) -> str:
    """What transfer would silently change in a tags text, "" for nothing."""
    if " " in tags:
        return "transfer removes the spaces"
    keys: set[str] = set()
    for part in tags.split(","):
        key, equals, value = part.partition("=")
        if not part:
            continue
        if not equals:
            return f"transfer drops {shown(part)}, it has no '='"
        if not key or not value:
            return f"{shown(part)} has no {'value' if key else 'name'}"
        if key in keys:
            return f"{shown(key)} stands there twice, the last one counts"
        keys.add(key)
    return ""


def _clean(text: str) -> str:
    """Text as Go holds it: half of a Unicode pair becomes U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _named(name: str) -> str:
    return f"{shown(name)}: " if name else ""
