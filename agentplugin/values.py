"""What the readers of other programs' formats have in common: one value with its tags."""

from __future__ import annotations


class Value:
    """One value: `kind` is Falcon's counterType, `timestamp` epoch s."""

    __slots__ = ("kind", "metric", "tags", "timestamp", "value")

    def __init__(
        self,
        metric: str,
        value: float,
        tags: dict[str, str],
        timestamp: int,
        kind: str = "GAUGE",
    ) -> None:
        self.metric = metric
        self.value = value
        self.tags = tags
        self.timestamp = timestamp
        self.kind = kind

    def __repr__(self) -> str:
        return f"Value({self.metric}, {self.value!r}, {self.tags!r}, {self.timestamp}, {self.kind})"


class Unreadable(ValueError):
    """A line that gives nothing; the text names the piece at fault in one line."""
