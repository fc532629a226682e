"""What came of hosts: written into their deployment's rows and the hosts' own.

Used by the runs of this controller and by what a control node reports of its own runs, so that both
leave a host in the same state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from controller.database import counters
from controller.database.base import now
from controller.database.chunks import chunks
from controller.deployments.cleaning import Cleaner
from controller.deployments.drift import Look, record_looks
from controller.deployments.models import Deployment, HostLock, HostResult, HostStatus
from controller.fleet.models import Host, HostState
from controller.plugins.health import PluginState, states_of
from controller.plugins.health import keep as keep_states

_MOST_TEXT = 20_000  # characters of a message that are kept
_MOST_DIFF = 200_000  # characters of a file in a diff that are kept

# What a host's row says after a visit; nothing is known of hosts that were not visited.
_STATES = {
    HostStatus.OK: HostState.CONVERGED,
    HostStatus.CHANGED: HostState.CONVERGED,
    HostStatus.FAILED: HostState.FAILED,
    HostStatus.INTERRUPTED: HostState.FAILED,
    HostStatus.UNREACHABLE: HostState.UNREACHABLE,
}
_RIGHT = (HostStatus.OK, HostStatus.CHANGED)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class HostOutcome:
    """What came of one host.

    Attributes:
        plan: digest of the plan that it was brought to; empty where that is not its newest plan.
        touched: whether anything may have been changed on it.
        plugins: what its agent said of its plugins; None where it was not asked.
    """

    host: str
    status: HostStatus
    message: str = ""
    warnings: Sequence[str] = ()
    steps: Sequence[Mapping[str, Any]] = ()
    diff: Sequence[Mapping[str, Any]] = ()
    plan: str = ""
    touched: bool = True
    plugins: Sequence[PluginState] | None = None


@dataclass(frozen=True)
class Delivered:
    """The release that a run brought to its hosts."""

    number: int
    commit: str


@dataclass
class _Rows:
    results: list[dict[str, Any]] = field(default_factory=list)
    hosts: dict[HostStatus, list[dict[str, Any]]] = field(default_factory=dict)
    looks: dict[int, Look] = field(default_factory=dict)
    plugins: dict[int, Sequence[PluginState]] = field(default_factory=dict)


def outcome_of(host: str, result: Mapping[str, Any], plan: str = "") -> HostOutcome:
    """The outcome that a task result of `plugin_visit` or `plugin_report` tells of."""
    if result.get("unreachable"):
        status = HostStatus.UNREACHABLE
    elif result.get("failed"):
        status = HostStatus.FAILED
    elif result.get("changed"):
        status = HostStatus.CHANGED
    else:
        status = HostStatus.OK
    return HostOutcome(
        host=host,
        status=status,
        message=str(result.get("msg", "")),
        warnings=[str(line) for line in result.get("warnings") or []],
        steps=[_step(step) for step in result.get("steps") or [] if isinstance(step, Mapping)],
        diff=[_diff(entry) for entry in _listed(result.get("diff")) if isinstance(entry, Mapping)],
        plan=plan,
        touched=bool(result.get("changed") or result.get("steps")),
        plugins=states_of(result.get("plugins")),
    )


def cleaned_outcome(
    cleaner: Cleaner, host: str, result: Mapping[str, Any], plan: str
) -> HostOutcome:
    """The same of a result as a host told it; never raises, whatever that holds.

    A host's words are its own: they must not cost other hosts' results.
    """
    try:
        return outcome_of(host, cleaner.data(result), plan)
    except Exception:
        log.exception("what a host told cannot be kept", host=host)
        flags = {name: bool(result.get(name)) for name in ("unreachable", "failed", "changed")}
        known = {**flags, "msg": "what this host told of its visit cannot be read"}
        return replace(outcome_of(host, known, plan), touched=True)


def lost(statuses: Iterable[HostStatus]) -> str:
    """ "2 hosts failed, 1 unreachable"; empty where none was lost."""
    found: Sequence[HostStatus] = list(statuses)
    parts = [
        f"{number} {status.value}"
        for status in (HostStatus.FAILED, HostStatus.UNREACHABLE, HostStatus.INTERRUPTED)
        if (number := found.count(status))
    ]
    return f"of {len(found)} hosts: {', '.join(parts)}" if parts else ""


def record_results(
    session: Session,
    deployment: Deployment,
    outcomes: Iterable[HostOutcome],
    release: Delivered | None,
    *,
    held_only: bool = True,
) -> None:
    """Write what came of hosts; a run that only looked changes of their own rows what drift is.

    Args:
        deployment: its rows for these hosts are there already.
        release: what the hosts were to get; None where the run did not come that far.
        held_only: change only hosts that the deployment still holds the lock of. A result that
            comes after its deployment was taken over must not hide what was done since.
    """
    by_name = {outcome.host: outcome for outcome in outcomes}
    held = _held(session, deployment.id) if held_only else None
    rows = _Rows()
    for part in chunks(sorted(by_name)):
        query = select(HostResult.id, HostResult.host, HostResult.host_id).where(
            HostResult.deployment_id == deployment.id, HostResult.host.in_(part)
        )
        for result_id, name, host_id in session.execute(query):
            outcome = by_name[name]
            rows.results.append(_result_row(result_id, outcome))
            if host_id is None or outcome.status not in _STATES:
                continue
            is_newest = deployment.check or held is None or host_id in held
            if outcome.plugins is not None and is_newest:
                rows.plugins[host_id] = outcome.plugins
            if deployment.check:
                if outcome.status in _RIGHT:
                    differs = outcome.status == HostStatus.CHANGED
                    rows.looks[host_id] = Look(outcome.plan, differs, outcome.message)
                continue
            if is_newest:
                row = _host_row(host_id, outcome, deployment.id, release)
                rows.hosts.setdefault(outcome.status, []).append(row)
    if rows.results:
        session.execute(update(HostResult), rows.results)
    keep_states(session, rows.plugins)
    record_looks(session, deployment, rows.looks)
    if not rows.hosts:
        return
    _keep_since(session, rows.hosts)
    for part_of_hosts in rows.hosts.values():
        for columns in _alike(part_of_hosts):
            session.execute(update(Host), columns)
    counters.advance(session, counters.STATES)


def _held(session: Session, deployment_id: int) -> set[int]:
    return set(
        session.scalars(select(HostLock.host_id).where(HostLock.deployment_id == deployment_id))
    )


def _result_row(result_id: int, outcome: HostOutcome) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": result_id,
        "status": outcome.status.value,
        "message": outcome.message[:_MOST_TEXT],
        "warnings": list(outcome.warnings),
        "steps": [dict(step) for step in outcome.steps],
        "diff": [dict(entry) for entry in outcome.diff],
        "ended": now(),
    }
    if outcome.plan:
        row["plan"] = outcome.plan
    return row


def _host_row(
    host_id: int, outcome: HostOutcome, deployment_id: int, release: Delivered | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"id": host_id, "state": _STATES[outcome.status].value}
    if outcome.status in _RIGHT:
        row["last_error"] = ""
        row["reported_plan"] = outcome.plan
        if release:
            row["reported_release"] = release.number
            row["reported_commit"] = release.commit
        if not outcome.plan:
            row["state"] = HostState.PENDING.value  # right, but by a plan that is no longer its own
        return row
    row["last_error"] = f"deployment {deployment_id}: {outcome.message}"[:_MOST_TEXT]
    if outcome.touched:
        row["reported_plan"] = ""  # it may be half way
    return row


def _keep_since(session: Session, hosts: Mapping[HostStatus, list[dict[str, Any]]]) -> None:
    """`state_since` moves only where the state changes."""
    rows = [row for part in hosts.values() for row in part]
    before: dict[int, str] = {}
    for ids in chunks(row["id"] for row in rows):
        query = select(Host.id, Host.state).where(Host.id.in_(ids))
        before.update((host_id, state) for host_id, state in session.execute(query))
    moment = now()
    for row in rows:
        if before.get(row["id"]) != row["state"]:
            row["state_since"] = moment


def _alike(rows: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows by the columns that they set: one statement serves all that set the same."""
    groups: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(frozenset(row), []).append(row)
    return list(groups.values())


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("step", "changed", "failed", "msg", "seconds", "code")
    return {name: step[name] for name in kept if name in step}


def _diff(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("before", "after", "before_header", "after_header", "prepared")
    return {
        name: str(entry[name] if entry[name] is not None else "")[:_MOST_DIFF]
        for name in kept
        if name in entry
    }
