"""InfluxDB's line protocol, which Telegraf's exec and execd inputs read (rules: the line protocol's
reference): `measurement,tag=a field=1,other=2i 1700000000000000000`."""

from __future__ import annotations

import math
import re

from agentplugin.problems import shown
from agentplugin.values import Unreadable, Value

MAX_LINE = 16384

_KEY = r"(?:\\.|[^\\,= ])+"
_NAME = r"(?:\\.|[^\\, ])+"
_STRING = r'"(?:\\.|[^"\\])*"'
_HEAD = re.compile(rf"({_NAME})((?:,{_KEY}={_KEY})*) +")
_TAG = re.compile(rf",({_KEY})=({_KEY})")
_FIELD = re.compile(rf"({_KEY})=({_STRING}|[^,\s\"]+)")
_TIME = re.compile(r" +(-?[0-9]{1,19})\s*")
_ESCAPE = re.compile(r"\\([,= \\])")
_INTEGER = re.compile(r"([+-]?[0-9]+)[iu]")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BOOLEANS = {"t": 1.0, "true": 1.0, "f": 0.0, "false": 0.0}
_NANOSECONDS = 1_000_000_000
_EARLIEST = 1_000_000_000


def parse(text: str, now: float) -> list[Value]:
    """One line's values, each `measurement.field`; texts give none, true is 1. Raises Unreadable.

    All of them have the same object as tags.
    """
    text = text.strip("\r\n ")
    if not text or text.startswith("#"):
        return []
    if len(text) > MAX_LINE:
        raise Unreadable(f"the line has {len(text)} characters, more than {MAX_LINE}")
    head = _HEAD.match(text)
    if head is None:
        raise Unreadable(f"{shown(text)} is not `measurement,tag=value field=value time`")
    tags = {_plain(key): _plain(value) for key, value in _TAG.findall(head.group(2))}
    fields, place = _fields(text, head.end())
    time = int(now)
    if place < len(text):
        match = _TIME.fullmatch(text, place)
        if match is None:
            raise Unreadable(f"{shown(text[place:].strip())} is no time in nanoseconds")
        time = int(match.group(1)) // _NANOSECONDS
        if time < _EARLIEST:
            raise Unreadable(f"the time {shown(match.group(1))} is not in nanoseconds since 1970")
    name = _plain(head.group(1))
    return [Value(f"{name}.{key}", value, tags, time) for key, value in fields]


def _fields(text: str, place: int) -> tuple[list[tuple[str, float]], int]:
    """The fields that are numbers, and where they end."""
    found: list[tuple[str, float]] = []
    while True:
        match = _FIELD.match(text, place)
        if match is None:
            raise Unreadable(f"{shown(text[place:])} is not field=value")
        key, written = match.groups()
        if not written.startswith('"'):
            found.append((_plain(key), _number(key, written)))
        place = match.end()
        if text[place : place + 1] != ",":
            return found, place
        place += 1


def _number(key: str, written: str) -> float:
    boolean = _BOOLEANS.get(written.lower())
    if boolean is not None:
        return boolean
    integer = _INTEGER.fullmatch(written)
    number = integer.group(1) if integer is not None else written
    value = float(number) if integer is not None or _FLOAT.fullmatch(written) else math.nan
    if not math.isfinite(value):
        raise Unreadable(f"the field {shown(key)} is {shown(written)}, which is no number")
    return value


def _plain(text: str) -> str:
    return _ESCAPE.sub(r"\1", text)
