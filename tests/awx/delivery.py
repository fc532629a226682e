"""A job's events on their way into AWX's database: late, in batches, and out of order.

As AWX's callback receiver does it (awx/main/dispatch/worker/callback.py): several workers take events
in turn, and each writes what it has from time to time. So an event may be seen after a later one, and
some of them only after the job's status has become final.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.awx.store import Object, moment

_WORKERS = 4
_SHOWN_STDOUT = 1024  # bytes; EVENT_STDOUT_MAX_BYTES_DISPLAY
_LEVELS = {"playbook_on_start": 0, "playbook_on_play_start": 1, "playbook_on_task_start": 2}
_TITLES = {
    "playbook_on_start": "Playbook Started",
    "playbook_on_play_start": "Play Started",
    "playbook_on_task_start": "Task Started",
    "playbook_on_stats": "Playbook Complete",
    "runner_on_ok": "Host OK",
    "runner_on_failed": "Host Failed",
    "runner_on_unreachable": "Host Unreachable",
    "runner_on_start": "Host Started",
    "verbose": "Verbose",
}


@dataclass
class Delivery:
    """How events arrive.

    Attributes:
        flush: seconds after which a worker writes what it has.
        delay: further seconds that every event takes.
        held: counters of events that take `held_for` seconds more.
        lost: counters of events that never arrive.
        largest: bytes of a task's result that are kept; of a larger one nothing is (MAX_EVENT_RES).
    """

    flush: float = 0.05
    delay: float = 0.0
    held: frozenset[int] = frozenset()
    held_for: float = 10.0
    lost: frozenset[int] = frozenset()
    largest: int = 700_000


class Events:
    """The events of one job."""

    def __init__(self, job: int, delivery: Delivery, numbers: list[int]) -> None:
        self._job = job
        self._delivery = delivery
        self._last = numbers  # the last id of all jobs' events, as they share a table
        self._random = random.Random(job)
        self._waiting: list[tuple[float, float, Object]] = []
        self._seen: list[Object] = []
        self._lock = threading.Lock()
        self.emitted = 0

    def emit(self, told: Mapping[str, Any]) -> None:
        """Take an event of ansible-runner's."""
        rule = self._delivery
        counter = int(told["counter"])
        with self._lock:
            self.emitted += 1
            if counter in rule.lost:
                return
            # Each worker writes at moments of its own, and not in the order of the others.
            due = time.monotonic() + rule.delay + rule.flush * (counter % _WORKERS) / _WORKERS
            due += rule.held_for if counter in rule.held else 0.0
            self._waiting.append((due, self._random.random(), _row(self._job, told, rule.largest)))

    def seen(self) -> list[Object]:
        """What is in the database by now, in the order in which it was written."""
        with self._lock:
            now = time.monotonic()
            arrived = sorted(
                (entry for entry in self._waiting if entry[0] <= now), key=lambda entry: entry[1]
            )
            if arrived:
                self._waiting = [entry for entry in self._waiting if entry[0] > now]
            for _, _, row in arrived:
                self._last[0] += 1
                row["id"] = self._last[0]
                row["url"] = f"/api/v2/job_events/{row['id']}/"
                self._seen.append(row)
            return list(self._seen)

    @property
    def finished(self) -> bool:
        """Whether as many events are there as the job has told of."""
        return len(self.seen()) == self.emitted


@dataclass
class Deliveries:
    """How the events of new jobs arrive, and the numbers that they get."""

    rule: Delivery = field(default_factory=Delivery)
    last: list[int] = field(default_factory=lambda: [0])

    def of(self, job: int) -> Events:
        """The events of a new job."""
        return Events(job, self.rule, self.last)


def shown(row: Object, whole: bool) -> Object:
    """An event as a list shows it: long output is cut unless `no_truncate` is given."""
    stdout = row["stdout"]
    if whole or row["event"].startswith("playbook_on") or len(stdout) <= _SHOWN_STDOUT:
        return row
    return row | {"stdout": stdout[:_SHOWN_STDOUT] + "\u2026"}


def _row(job: int, told: Mapping[str, Any], largest: int) -> Object:
    kind, data = told["event"], dict(told.get("event_data") or {})
    if len(json.dumps(data.get("res"))) > largest:
        data["res"] = {}
    res = data.get("res")
    res = res if isinstance(res, dict) else {}
    return {
        "id": 0,
        "type": "job_event",
        "related": {"job": f"/api/v2/jobs/{job}/"},
        "summary_fields": {},
        "created": told.get("created") or moment(),
        "modified": moment(),
        "job": job,
        "event": kind,
        "counter": told["counter"],
        "event_display": _TITLES.get(kind, kind),
        "event_data": data,
        "event_level": _LEVELS.get(kind, 3),
        "failed": kind in ("runner_on_failed", "runner_on_unreachable")
        and not data.get("ignore_errors"),
        "changed": bool(res.get("changed")),
        "uuid": told["uuid"],
        "parent_uuid": told.get("parent_uuid", ""),
        "host": None,
        "host_name": str(data.get("host", "")),
        "playbook": str(data.get("playbook", "")),
        "play": str(data.get("play", "")),
        "task": str(data.get("task", "")),
        "role": str(data.get("role", "")),
        "stdout": told.get("stdout", ""),
        "start_line": told.get("start_line", 0),
        "end_line": told.get("end_line", 0),
        "verbosity": told.get("verbosity", 0),
    }
