"""What a heartbeat says about a host's state: converged without a visit, pending, or drifted.

A deployment carries a release, bindings and configuration. A heartbeat proves the first (PluginVersion
is the commit that the plugin directory is at) and, for an agent that runs just what it is told, the
second. So a host has converged by itself only where nothing else of its plan changed since it was last
known to have all of it. What a visit found (failed, unreachable, drifted) is not undone by less.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, NamedTuple

from controller.agents.calls import Seen
from controller.agents.planned import Planned, Plans
from controller.database.base import now
from controller.fleet.models import HostState

# A visit is recorded while a heartbeat that was sent before it may still be on its way.
_ON_ITS_WAY = 5.0  # seconds
# In the place of a plan's digest: a host that had its plan, and whose agent reported something else,
# or is not told all of it any more.
_UNLIKE = "unlike:"
_BY_ITSELF = (HostState.PENDING, HostState.UNREACHABLE)


class Standing(NamedTuple):
    """What is on record of a host; see fleet.models.Host and models.AgentRow."""

    state: str
    state_since: datetime
    reported_plan: str
    reported_commit: str
    config: str
    config_plan: str


class Verdict(NamedTuple):
    """Columns to set; an empty mapping changes nothing.

    Attributes:
        host: of `hosts`.
        agent: of `agents`.
    """

    host: dict[str, Any]
    agent: dict[str, Any]


def judge(standing: Standing, planned: Planned, plans: Plans, seen: Seen) -> Verdict:
    """What to write of a host that has been heard."""
    host: dict[str, Any] = {}
    agent: dict[str, Any] = {}
    has_plan = standing.reported_plan == planned.plan
    if has_plan:
        agent = {"config": planned.config, "config_plan": planned.plan}
    number = plans.numbers.get(seen.head)
    fresh = _is_fresh(standing, seen)
    if number is not None and seen.head != standing.reported_commit and fresh:
        host = {"reported_release": number, "reported_commit": seen.head}
    if not seen.head or not plans.wanted:
        pass
    elif planned.withheld:
        if has_plan and standing.state == HostState.CONVERGED and fresh:
            host |= _unlike(standing, planned.withheld, HostState.DRIFTED)
            host["last_error"] = f"not told to its agent: {planned.withheld}"
            agent["config_plan"] = host["reported_plan"]
    elif seen.head == plans.wanted:
        if not has_plan and _has_all_else(standing, planned, seen):
            host |= {"reported_plan": planned.plan, "last_error": ""}
            host |= _moved(standing, HostState.CONVERGED)
            agent = {"config": planned.config, "config_plan": planned.plan}
    elif has_plan and standing.state == HostState.CONVERGED and fresh:
        state = HostState.DRIFTED if number is None else HostState.PENDING
        host |= _unlike(standing, seen.head, state)
        host["last_error"] = f"its agent reports {seen.head}" if number is None else ""
        agent["config_plan"] = host["reported_plan"]
    agent = {name: value for name, value in agent.items() if getattr(standing, name) != value}
    return Verdict(host, agent)


def _has_all_else(standing: Standing, planned: Planned, seen: Seen) -> bool:
    """Whether a host whose release is right has everything else of its plan too."""
    by_heartbeat = standing.reported_plan.startswith(_UNLIKE)
    may = standing.state in _BY_ITSELF or (
        standing.state in (HostState.DRIFTED, HostState.CONVERGED) and by_heartbeat
    )
    return (
        may
        and standing.reported_plan != ""
        and standing.config_plan == standing.reported_plan
        and standing.config == planned.config
        and (not planned.takes_lists or seen.told == planned.list.digest)
    )


def _is_fresh(standing: Standing, seen: Seen) -> bool:
    """Whether its last heartbeat was surely sent after the host came into its state."""
    return seen.at - standing.state_since.timestamp() >= _ON_ITS_WAY


def _unlike(standing: Standing, what: str, state: HostState) -> dict[str, Any]:
    unlike = _UNLIKE + hashlib.sha256(what.encode()).hexdigest()[:40]
    return {"reported_plan": unlike} | _moved(standing, state)


def _moved(standing: Standing, state: HostState) -> dict[str, Any]:
    if standing.state == state:
        return {}
    return {"state": state.value, "state_since": now()}
