"""Prometheus' text exposition format 0.0.4, as scripts for node_exporter's textfile collector print
it (rules: the format's reference)."""

from __future__ import annotations

import math
import re

from agentplugin.problems import shown
from agentplugin.values import Unreadable, Value

MAX_LINE = 8192

_ONE = r'[a-zA-Z_][a-zA-Z0-9_]*[ \t]*=[ \t]*"(?:\\.|[^"\\])*"[ \t]*'
_LABELS = rf"[ \t]*\{{[ \t]*((?:{_ONE}(?:,[ \t]*{_ONE})*(?:,[ \t]*)?)?)\}}"
_SAMPLE = re.compile(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:{_LABELS})?[ \t]+(\S+)(?:[ \t]+(-?[0-9]{{1,18}}))?"
)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:\\.|[^"\\])*)"')
_TYPE = re.compile(r"#\s*TYPE\s+(\S+)\s+(\S+)")
_ESCAPE = re.compile(r"\\(.)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COUNTING = ("_bucket", "_count", "_sum")
_MAX_TYPES = 4096


class Reader:
    """Reads one program's output line by line; it remembers the `# TYPE` lines."""

    __slots__ = ("_types",)

    def __init__(self) -> None:
        self._types: dict[str, str] = {}

    def parse(self, text: str, now: float) -> list[Value]:
        """One line's value, or none for a comment. Raises Unreadable."""
        if len(text) > MAX_LINE:
            raise Unreadable(f"the line has {len(text)} characters, more than {MAX_LINE}")
        text = text.strip()
        if not text:
            return []
        if text.startswith("#"):
            about = _TYPE.fullmatch(text)
            if about is not None and len(self._types) < _MAX_TYPES:
                self._types[about.group(1)] = about.group(2)
            return []
        match = _SAMPLE.fullmatch(text)
        if match is None:
            raise Unreadable(f'{shown(text)} is not `name{{label="value"}} number`')
        name, labels, number, milliseconds = match.groups()
        value = float(number) if _NUMBER.fullmatch(number) else math.nan
        if not math.isfinite(value):
            raise Unreadable(f"{shown(name)} is {shown(number)}, which is not a finite number")
        tags = {key: _unescaped(value) for key, value in _LABEL.findall(labels or "")}
        timestamp = int(now) if milliseconds is None else int(milliseconds) // 1000
        return [Value(name, value, tags, timestamp, self._kind(name))]

    def _kind(self, name: str) -> str:
        if self._types.get(name) == "counter":
            return "COUNTER"
        for suffix in _COUNTING:
            family = self._types.get(name[: -len(suffix)]) if name.endswith(suffix) else None
            if family in ("histogram", "summary"):
                return "COUNTER"
        return "GAUGE"


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match.group(1) == "n" else match.group(1), text)
