"""The events of one job, read while AWX is still writing them.

AWX's callback receiver writes events in batches and by several workers (awx/main/dispatch/worker/callback.py),
so that an event may appear after others with higher numbers, and after the job has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from controller.awx.client import PAGE, Awx
from controller.awx.errors import AwxAway, AwxError

_HOLES_AT_ONCE = 100  # asked for by number

log = structlog.get_logger(__name__)


class Follower:
    """Reads each event of a job once.

    Attributes:
        highest: number of the last event that was seen.
        holes: numbers before it that were not.
        heard: hosts that an event told the result of.
        more: whether another look would find something at once.
        through: the playbook has told of its end.
    """

    def __init__(self, awx: Awx, job: int) -> None:
        self._awx = awx
        self._job = job
        self.highest = 0
        self.holes: set[int] = set()
        self.heard: set[str] = set()
        self.more = False
        self.through = False

    def read(self) -> list[dict[str, Any]]:
        """What is new, in the form that ansible-runner gives it, with the job's id as `job`.

        Raises:
            AwxError: as the client does; nothing was read then.
        """
        found: list[dict[str, Any]] = []
        self.more = False
        if self.holes:
            wanted = ",".join(map(str, sorted(self.holes)[:_HOLES_AT_ONCE]))
            self._take(self._awx.events(self._job, counter__in=wanted), found)
        try:
            page = self._awx.events(self._job, counter__gt=self.highest)
        except AwxAway:
            if not found:
                raise
            return found  # the next look meets the same
        self._take(page, found)
        # One page a look: what a broken connection keeps from us is never more than that.
        self.more = len(page) == PAGE
        return found

    def _take(self, page: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
        for row in page:
            number = int(row.get("counter") or 0)
            if number > self.highest:
                self.holes.update(range(self.highest + 1, number))
                self.highest = number
            elif number in self.holes:
                self.holes.discard(number)
            else:
                continue
            event = {name: row.get(name) for name in ("event", "event_data", "counter", "stdout")}
            found.append(event | {"job": self._job})
            self.through |= event["event"] == "playbook_on_stats"
            self._listen(row.get("event_data"))

    def _listen(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        if data.get("host"):
            self.heard.add(str(data["host"]))
        result = data.get("res")
        visited = result.get("hosts") if isinstance(result, dict) else None
        if isinstance(visited, dict):
            self.heard.update(visited)


def why_silent(awx: Awx, inventory: int, hosts: Sequence[str]) -> dict[str, str]:
    """Of hosts that a job told nothing of: those that AWX could not visit, and why."""
    try:
        known = awx.hosts(inventory, hosts)
    except AwxError as error:
        log.warning("AWX's inventory cannot be read", error=error.message)
        return {}
    found = {}
    for host in hosts:
        if host not in known:
            found[host] = (
                "AWX's inventory does not have this host, or our token may not read it: its source "
                "must be this controller's inventory, and be updated on launch"
            )
        elif not known[host]:
            found[host] = "this host is turned off in AWX's inventory"
    return found
