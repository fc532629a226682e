"""What a visit to a batch came to as a whole: a sentence for people, and figures for `set_stats`.

AWX keeps the figures as a job's artifacts and hands them to the nodes of a workflow that follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
_OUTCOMES = ("unreachable", "failed", "changed")
_NAMED = 1000  # hosts of an outcome; AWX keeps artifacts in one database row


def sentence(hosts: Results) -> str:
    """The numbers of hosts by outcome, e.g. `3 hosts: 2 right, 1 changed, 0 failed, 0 unreachable`."""
    found = _by_outcome(hosts)
    right = len(hosts) - sum(len(names) for names in found.values())
    return (
        f"{len(hosts)} hosts: {right} right, {len(found['changed'])} changed, "
        f"{len(found['failed'])} failed, {len(found['unreachable'])} unreachable"
    )


def stats(hosts: Results, release: Mapping[str, Any] | None, *, check: bool) -> dict[str, Any]:
    """Data for `set_stats` with `aggregate`, which adds up the batches of a play with `serial`.

    It adds numbers and lists, and lays one mapping over the other: so what is the same for all batches
    stands in a mapping.
    """
    found = _by_outcome(hosts)
    return {
        "plugfleet_run": {
            "check": check,
            "release": {name: release[name] for name in ("number", "commit")} if release else {},
        },
        "plugfleet_summary": [sentence(hosts)],
        "plugfleet_hosts": len(hosts),
        **{f"plugfleet_{outcome}": len(names) for outcome, names in found.items()},
        **{f"plugfleet_{outcome}_hosts": names[:_NAMED] for outcome, names in found.items()},
    }


def _by_outcome(hosts: Results) -> dict[str, list[str]]:
    """Outcome -> hosts; a host that is right has none, and a failed one counts as failed only."""
    found: dict[str, list[str]] = {outcome: [] for outcome in _OUTCOMES}
    for name, result in hosts.items():
        outcome = next((one for one in _OUTCOMES if result.get(one)), None)
        if outcome:
            found[outcome].append(name)
    return found
