"""Manifest plugins' stdout, line by line: measurements and events (rules: graphdat/relay as it was
run, the later meter's documentation), with five deliberate departures: timestamps in seconds are
understood, a CR at the end goes, infinity is refused, a value may stand alone, and two spaces before
a time are an empty source."""

from __future__ import annotations

import math
import re

from agentplugin.problems import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LINE = 8192
"""Longest line in characters that is looked at."""

EVENT_PREFIX = "_bevent:"
EVENT_TYPES = ("info", "warn", "error", "critical")

_EVENT_FIELDS = ("m", "t", "h", "s", "d", "tags", "at", "ad")
_REMEMBERED = 4096
_EARLIEST = 1_000_000_000
_FIRST_MILLISECOND = 100_000_000_000
_LAST_MILLISECOND = 100_000_000_000_000
# Bytes of metric and source that can still be sent: transfer takes 510 of name and tags. What is longer
# must not be remembered either, 4,096 times 8 KiB.
_LONGEST_NAME = 510
_PLAIN_LINE = 400
_PARSE_FLOAT = re.compile(r"[+-]?(?:Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_TOKEN = re.compile(r""" *(?:"([^"]*)"?|'([^']*)'?|([^ ]+))""")
_BAR = re.compile(r"(?<!\\)\|")
_WHOLE_NUMBER = re.compile(r"[0-9]{10,15}(?:\.[0-9]+)?")


class Measurement:
    """One value: `metric` in upper case, `source` "" for the host itself, `timestamp` epoch s."""

    __slots__ = ("metric", "source", "timestamp", "value")

    def __init__(self, metric: str, value: float, source: str, timestamp: int) -> None:
        self.metric = metric
        self.value = value
        self.source = source
        self.timestamp = timestamp

    def __repr__(self) -> str:
        return f"Measurement({self.metric}, {self.value!r}, {self.source!r}, {self.timestamp})"


class Event:
    """One event: `kind` is one of EVENT_TYPES, `timestamp` epoch s, texts "" where not given."""

    __slots__ = (
        "data",
        "event_type",
        "host",
        "kind",
        "message",
        "sender",
        "tags",
        "timestamp",
        "title",
    )

    def __init__(self, title: str, timestamp: int) -> None:
        self.title = title
        self.timestamp = timestamp
        self.kind = "info"
        self.message = ""
        self.host = ""
        self.sender = ""
        self.event_type = ""
        self.data = ""
        self.tags: list[str] = []

    def __repr__(self) -> str:
        return f"Event({self.kind}, {self.title!r})"


class Rejected:
    """A line that gives nothing, and why: `reason` is one line and names the piece at fault.

    undeclared  the metric that is quarantined because the manifest does not declare it, else ""
    """

    __slots__ = ("reason", "undeclared")

    def __init__(self, reason: str, undeclared: str = "") -> None:
        self.reason = reason
        self.undeclared = undeclared

    def __repr__(self) -> str:
        return f"Rejected({self.reason!r})"


class LineParser:
    """Reads one plugin's lines; it keeps what it needs to drop a second value of the same second.

    declared  the manifest's `metrics`; with none, every metric is let through
    """

    __slots__ = ("_declared", "_default", "_last", "_seen")

    def __init__(self, declared: Sequence[str] = ()) -> None:
        self._declared = frozenset(name.upper() for name in declared)
        self._default = declared[0].upper() if declared else ""
        self._last: dict[tuple[str, str], int] = {}
        # As printed -> in upper case, of names that the rules below let through once.
        self._seen: dict[str, str] = {}

    def parse(self, line: bytes | str, now: float) -> Measurement | Event | Rejected:
        """One line, with or without its line end; `now` in epoch s is used where it has no time."""
        return self._plain(line, now) or self._by_the_rules(line, now)

    def _plain(self, line: bytes | str, now: float) -> Measurement | None:
        """A line in the forms that nearly all have, four times as fast; None for any other."""
        try:
            words = (line.decode("ascii") if isinstance(line, bytes) else line).split(" ")
            metric = self._seen[words[0]]
            number = words[1]
            value = float(number)
            source = words[2] if len(words) > 2 else ""
            timestamp = _plain_time(words[3]) if len(words) == 4 else int(now)
        except (UnicodeDecodeError, KeyError, IndexError, ValueError):
            return None
        # What float() reads beyond the rules is left to them, and so is what they refuse.
        if value - value != 0.0 or "_" in number or not number.isascii() or len(line) > _PLAIN_LINE:
            return None
        if len(words) > 2 and (len(words) > 4 or not source or source[0] in "\"'"):
            return None
        if words[-1][-1:] in ("", "\r", "\n") or len(self._last) >= _REMEMBERED:
            return None
        if self._last.get((source, metric)) == timestamp:
            return None
        self._last[source, metric] = timestamp
        return Measurement(metric, value, source, timestamp)

    def _by_the_rules(self, line: bytes | str, now: float) -> Measurement | Event | Rejected:
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        text = text.rstrip("\r\n")
        if len(text) > MAX_LINE:
            return Rejected(f"the line has {len(text)} characters, more than {MAX_LINE}")
        if text.startswith(EVENT_PREFIX):
            return parse_event(text, now)
        if text.startswith("_bmetric:"):
            return Rejected("'_bmetric:' belongs into a JSON-RPC call, not onto stdout")
        return self._measurement(text, now)

    def _measurement(self, text: str, now: float) -> Measurement | Event | Rejected:
        parts = _tokens(text)
        if not parts:
            return Rejected("the line is blank")
        if parts[0].upper() not in self._declared and parse_float(parts[0]) is not None:
            if not self._default:
                return Rejected(
                    f"{shown(text)} names no metric and the manifest declares none to take"
                )
            parts.insert(0, self._default)
            printed = ""
        else:
            printed = parts[0]
        metric = parts[0].upper()
        if len(parts) < 2:
            return Rejected(f"{shown(text)} has no value: write METRIC value source timestamp")
        value = parse_float(parts[1])
        if value is None:
            hint = "; separate by spaces, not commas" if metric.endswith(",") else ""
            return Rejected(f"{shown(metric)}: {shown(parts[1])} is no number{hint}")
        if not math.isfinite(value):
            return Rejected(f"{shown(metric)}: {shown(parts[1])} is not a finite number")
        if self._declared and metric not in self._declared:
            return Rejected(
                f"{shown(metric)} is not among the manifest's metrics", metric[:_LONGEST_NAME]
            )
        rest = parts[2:]
        if len(rest) == 1 and text.rstrip(" ").endswith(f"  {rest[0]}") and _timestamp(rest[0]):
            # No source, as the original Python SDK prints it; else each second would be one.
            rest.insert(0, "")
        source, timestamp = _source_and_time(rest, now)
        if len(metric) + len(source) > _LONGEST_NAME:
            return Rejected(
                f"{shown(metric)}: metric and source are longer than {_LONGEST_NAME} characters"
            )
        if self._last.get((source, metric)) == timestamp:
            return Rejected(f"{shown(metric)}: a second value for the same source and second")
        if len(self._last) >= _REMEMBERED:
            self._last.clear()
        self._last[source, metric] = timestamp
        if printed and printed[0] not in "\"'" and len(self._seen) < _REMEMBERED:
            self._seen[printed] = metric
        return Measurement(metric, value, source, timestamp)


def parse_float(text: str) -> float | None:
    """JavaScript's parseFloat: the number that `text` begins with ("12%" is 12), or None."""
    match = _PARSE_FLOAT.match(text.lstrip())
    return float(match.group()) if match else None


def parse_event(text: str, now: float) -> Event | Rejected:
    """One `_bevent:` line; all fields but the title are optional and may come in any order."""
    title, *fields = _split_fields(text[len(EVENT_PREFIX) :])
    if not title.strip():
        return Rejected("the event has no title after '_bevent:'")
    event = Event(title.strip(), int(now))
    for field in fields:
        key, colon, value = field.partition(":")
        key = key.strip()
        if not colon or key not in _EVENT_FIELDS:
            return Rejected(
                f"the event's field {shown(field)} is not one of {', '.join(_EVENT_FIELDS)}"
            )
        trouble = _set_field(event, key, value)
        if trouble:
            return Rejected(trouble)
    return event


def _set_field(event: Event, key: str, value: str) -> str:
    """Stores one event field; answers what is wrong with it, "" for nothing."""
    if key == "t":
        kind = value.strip().lower()
        if kind not in EVENT_TYPES:
            return f"the event's type {shown(value)} is not one of {', '.join(EVENT_TYPES)}"
        event.kind = kind
    elif key == "d":
        timestamp = _timestamp(value.strip())
        if timestamp is None:
            return f"the event's time {shown(value)} is not in seconds since 1970"
        event.timestamp = timestamp
    elif key == "tags":
        event.tags = [tag.strip() for tag in value.split(",") if tag.strip()]
    else:
        names = {"m": "message", "h": "host", "s": "sender", "at": "event_type", "ad": "data"}
        setattr(event, names[key], value)
    return ""


def _split_fields(text: str) -> list[str]:
    """Splits at "|", not at "\\|", which stands for the character itself."""
    return [part.replace("\\|", "|") for part in _BAR.split(text)]


def _tokens(text: str) -> list[str]:
    """Words between spaces; quotes at a word's start keep spaces. A tab separates nothing."""
    return [double or single or plain for double, single, plain in _TOKEN.findall(text.rstrip(" "))]


def _source_and_time(words: list[str], now: float) -> tuple[str, int]:
    """The first word is always the source; the last of several is the time if it can be one."""
    timestamp = _timestamp(words[-1]) if len(words) > 1 else None
    if timestamp is None:
        return "-".join(words), int(now)
    return "-".join(words[:-1]), timestamp


def _plain_time(word: str) -> int:
    """Epoch seconds of exactly ten or thirteen digits. Raises ValueError for any other word."""
    if len(word) == 10:
        divisor = 1
    elif len(word) == 13:
        divisor = 1000
    else:
        raise ValueError
    if word[0] == "0" or not (word.isdigit() and word.isascii()):
        raise ValueError
    return int(word) // divisor


def _timestamp(word: str) -> int | None:
    """Epoch seconds from seconds or milliseconds, or None where the word is neither."""
    if not _WHOLE_NUMBER.fullmatch(word):
        return None
    number = float(word)
    if _EARLIEST <= number < _FIRST_MILLISECOND:
        return int(number)
    if _FIRST_MILLISECOND <= number < _LAST_MILLISECOND:
        return int(number / 1000)
    return None
