"""What reading one plugin run gives: the values that arrive and what was wrong (field names:
Open-Falcon, common/model/metric.go)."""

from __future__ import annotations

from agentplugin.problems import ERROR, INFO, WARNING, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_PROBLEMS = 100
"""Findings of each severity kept for one batch: a flood of bad values must not fill the memory."""


class Metric:
    """One value as it goes to transfer: `step` and `timestamp` in seconds, Falcon's spelling."""

    __slots__ = ("counterType", "endpoint", "metric", "step", "tags", "timestamp", "value")

    def __init__(
        self,
        endpoint: str,
        metric: str,
        value: float,
        step: int,
        counterType: str,
        tags: str,
        timestamp: int,
    ) -> None:
        self.endpoint = endpoint
        self.metric = metric
        self.value = value
        self.step = step
        self.counterType = counterType
        self.tags = tags
        self.timestamp = timestamp

    def as_dict(self) -> dict[str, Any]:
        """The value with Falcon's keys, ready for JSON."""
        return {
            "endpoint": self.endpoint,
            "metric": self.metric,
            "value": self.value,
            "step": self.step,
            "counterType": self.counterType,
            "tags": self.tags,
            "timestamp": self.timestamp,
        }

    def __repr__(self) -> str:
        return f"Metric({self.as_dict()!r})"


class Defaults:
    """What an executor fills in for a plugin: its host's name, the plugin's step in seconds."""

    __slots__ = ("endpoint", "step")

    def __init__(self, endpoint: str, step: int) -> None:
        self.endpoint = endpoint
        self.step = step


class ItemProblem(Problem):
    """A Problem of a batch: `index` is the item's place from 0, None for the whole batch."""

    __slots__ = ("index",)

    def __init__(
        self, index: int | None, severity: str, code: str, message: str, hint: str, line: int | None
    ) -> None:
        where = "" if index is None else f"item {index}: "
        super().__init__("", line, severity, code, where + message, hint)
        self.index = index

    def as_dict(self) -> dict[str, Any]:
        return dict(super().as_dict(), index=self.index)


class Batch:
    """What came of one stdout.

    metrics   the values that arrive;  problems  all that is wrong, in the order of the list
    lost      whether the whole batch is lost;  dropped  how many items of the list are lost
    filled    how many values needed a default;  unsaid  how many findings are not in `problems`
    """

    __slots__ = ("_said", "dropped", "filled", "lost", "metrics", "problems", "unsaid")

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self.problems: list[ItemProblem] = []
        self.lost = False
        self.dropped = 0
        self.filled = 0
        self.unsaid = 0
        self._said = {ERROR: 0, WARNING: 0, INFO: 0}

    def say(
        self,
        index: int | None,
        severity: str,
        code: str,
        message: str,
        hint: str,
        line: int | None = None,
    ) -> None:
        """Adds a finding, or only counts it past MAX_PROBLEMS of its severity."""
        self._said[severity] += 1
        if self._said[severity] > MAX_PROBLEMS:
            self.unsaid += 1
        else:
            self.problems.append(ItemProblem(index, severity, code, message, hint, line))

    def reason(self) -> str:
        """The gravest finding as one line, "" where all is well: why there is no data."""
        for severity in (ERROR, WARNING):
            for problem in self.problems:
                if problem.severity == severity:
                    return problem.message
        return ""
