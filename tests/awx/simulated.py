"""What a job tells that visits hosts which are not there: events as `deploy-plugins.yml` gives them.

The events have the shapes that ansible-runner hands over (event, event_data, counter, uuid, stdout,
created), as AWX stores them; what stands in a host's result is what the project's `plugin_visit` and
`plugin_report` answer.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.awx.store import Object, moment

TIMED_OUT = "Job terminated due to timeout"
# What the reaper says of it (awx/main/dispatch/reaper.py).
REAPED = "Task was marked as running but was not present in the job queue, so it has been marked as failed."
_KINDS = {"failed": "runner_on_failed", "unreachable": "runner_on_unreachable"}


@dataclass
class Play:
    """How a simulated job goes.

    Attributes:
        outcomes: host -> ok, changed, failed or unreachable; the others are `otherwise`.
        seconds: how long it takes, spread over its events.
        silent: hosts that no result tells of.
        breaks: the job ends with status `error`, and this as the exception of its traceback.
        timeout: events after which the job's time is over; 0 is never.
        reaped: events after which the job's process is gone, with nobody left to count them; 0 is never.
        padding: more bytes in every host's result.
    """

    outcomes: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = "changed"
    seconds: float = 0.0
    silent: frozenset[str] = frozenset()
    breaks: str = ""
    timeout: int = 0
    reaped: int = 0
    padding: int = 0

    def outcome(self, host: str) -> str:
        """What comes of a host."""
        return self.outcomes.get(host, self.otherwise)


def events(play: Play, hosts: Sequence[str], check: bool, playbook: str) -> Iterator[Object]:
    """The events of a run, in their order; each with a counter from 1."""
    told = [host for host in hosts if host not in play.silent]
    number = 0

    def event(kind: str, data: Object, stdout: str = "") -> Object:
        nonlocal number
        number += 1
        return {
            "uuid": str(uuid.uuid4()),
            "counter": number,
            "event": kind,
            "created": moment(),
            "stdout": stdout,
            "start_line": number - 1,
            "end_line": number,
            "event_data": {"playbook": playbook, "uuid": str(uuid.uuid4()), **data},
        }

    if not hosts:
        said = "ERROR! Specified inventory, host pattern and/or --limit leaves us with no hosts to target."
        yield event("verbose", {}, said)
        return
    play_data = {"play": "Bring the hosts to their plan", "play_pattern": "all"}
    yield event("playbook_on_start", {})
    yield event("playbook_on_play_start", play_data, "\r\nPLAY [Bring the hosts to their plan] ***")
    visit = {**play_data, "task": "Visit each host", "task_action": "plugin_visit"}
    yield event("playbook_on_task_start", visit, "\r\nTASK [Visit each host] ***")
    report = {**play_data, "task": "Report what came of it", "task_action": "plugin_report"}
    yield event(
        "runner_on_ok",
        {**visit, "host": hosts[0], "res": {"changed": True, "_ansible_no_log": False}},
    )
    yield event("playbook_on_task_start", report, "\r\nTASK [Report what came of it] ***")
    for host in told:
        outcome = play.outcome(host)
        res = {
            "changed": outcome == "changed",
            "failed": outcome == "failed",
            "unreachable": outcome == "unreachable",
            "msg": f"{host}: {outcome}",
            "steps": [{"step": "sync", "changed": outcome == "changed", "msg": "x" * play.padding}],
        }
        yield event(
            _KINDS.get(outcome, "runner_on_ok"),
            {**report, "host": host, "remote_addr": host, "res": res, "duration": 0.01},
            f"{outcome}: [{host}]",
        )
    counts = Counter(play.outcome(host) for host in told)
    per_host: Object = {
        name: {host: 1 for host in told if play.outcome(host) == outcome}
        for name, outcome in (
            ("changed", "changed"),
            ("failures", "failed"),
            ("dark", "unreachable"),
        )
    }
    per_host["ok"] = {host: 1 for host in told if play.outcome(host) in ("ok", "changed")}
    summary: Object = {"plugfleet_check": check, "plugfleet_counts": dict(counts)}
    yield event("playbook_on_stats", {**per_host, "artifact_data": summary}, "\r\nPLAY RECAP ***")


def traceback(broke: str) -> str:
    """As AWX keeps it of an exception (`traceback.format_exc` in awx/main/tasks/jobs.py)."""
    lines = [
        "Traceback (most recent call last):",
        '  File "awx/main/tasks/jobs.py", line 610, in run',
    ]
    return "\n".join([*lines, "    res = receptor_job.run()", f"RuntimeError: {broke}", ""])


def succeeded(play: Play, hosts: Sequence[str]) -> bool:
    """Whether ansible-playbook would end with status 0."""
    lost = {"failed", "unreachable"}
    return bool(hosts) and not any(play.outcome(host) in lost for host in hosts)


def status_of(play: Play, hosts: Sequence[str]) -> str:
    """The status that the job ends with."""
    if play.breaks:
        return "error"
    return "successful" if succeeded(play, hosts) else "failed"


def artifacts(told: Sequence[Mapping[str, Any]]) -> Object:
    """What the run's `set_stats` left, as AWX shows it in a job's `artifacts`."""
    for event in reversed(told):
        if event["event"] == "playbook_on_stats":
            return dict(event["event_data"].get("artifact_data") or {})
    return {}
