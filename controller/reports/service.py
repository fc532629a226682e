"""Recording what a control node's own run came to, as the deployment that it was.

It leaves the hosts in the same state as a run of the controller's: both write by
`controller.deployments.results`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.catalog.models import ReleaseRow
from controller.database.base import now
from controller.database.chunks import chunks
from controller.deployments import service as deployments
from controller.deployments.cleaning import cleaner_of
from controller.deployments.models import Deployment, HostResult, Status, Wave
from controller.deployments.results import Delivered, HostOutcome, outcome_of, record_results
from controller.deployments.schemas import DeploymentRequest
from controller.errors import Forbidden, Invalid
from controller.fleet.access import seen_by
from controller.fleet.models import Host
from controller.plans import service as plans
from controller.reports.schemas import Report
from controller.schedules import reported
from controller.schedules.rights import acts_as

_NAMED = 20  # hosts that an error lists


def take(session: Session, by: Principal, vault: Vault, report: Report) -> Deployment:
    """Record a run that has ended.

    Hosts that the controller does not know are left out: one that was deleted meanwhile must not
    take the results of all others with it.

    Raises:
        Invalid: the release was never published here, or no host of the report is known.
        Forbidden: the token does not reach a host.
    """
    release = session.get(ReleaseRow, report.release)
    if release is None:
        raise Invalid(
            f"release {report.release} was not published by this controller",
            fields=[{"field": "body.release", "message": "unknown"}],
        )
    ids = _ids(session, by, [host.host for host in report.hosts])
    said = report.awx_schedule
    # Before anything is written: whoever starts a schedule's deployment by hand holds it first, too.
    schedule = reported.begun_by(session, by, said.id, said.name) if said else None
    moment = now()
    started = min(report.started or moment, moment)
    deployment = Deployment(
        release=release.number,
        check=report.check,
        request=DeploymentRequest(hosts=sorted(ids), all=True, check=report.check).model_dump(
            mode="json"
        ),
        by=acts_as(schedule) if schedule else by.name,
        started=started,
        created=started,
    )
    session.add(deployment)
    session.flush()
    outcomes = _outcomes(session, vault, report, ids)
    session.execute(insert(HostResult), list(_rows(deployment.id, report, ids)))
    delivered = Delivered(release.number, release.commit)
    record_results(session, deployment, outcomes, delivered, held_only=False)
    _end(session, deployment, outcomes, started, moment)
    shown: dict[str, Any] = {"release": release.number, "check": report.check, "hosts": len(ids)}
    if schedule:
        reported.link(session, schedule, deployment)
        shown["schedule"] = schedule.name
    record(session, by, "deployment.report", "deployment", str(deployment.id), None, shown)
    return deployment


def _ids(session: Session, by: Principal, names: Sequence[str]) -> dict[str, int]:
    """The known hosts' ids by name."""
    known: dict[str, int] = {}
    seen: set[str] = set()
    for part in chunks(names):
        rows = session.execute(select(Host.name, Host.id).where(Host.name.in_(part)))
        known.update((name, host_id) for name, host_id in rows)
        seen.update(session.scalars(select(Host.name).where(Host.name.in_(part), seen_by(by))))
    if outside := sorted(set(known) - seen):
        raise Forbidden(
            f"token {by.name!r} is limited to {', '.join(sorted(by.hostgroups or ()))}; "
            f"not to {', '.join(outside[:_NAMED])}"
        )
    if not known:
        raise Invalid(
            "the controller knows none of the reported hosts",
            fields=[{"field": "body.hosts", "message": "unknown"}],
        )
    return known


def _outcomes(
    session: Session, vault: Vault, report: Report, ids: dict[str, int]
) -> list[HostOutcome]:
    cleaner = cleaner_of(session, vault, ids)
    wanted = plans.digests(session, vault, sorted(ids.values()))
    outcomes = []
    for host in report.hosts:
        if host.host not in ids:
            continue
        # A plan that changed since the run read it is not what the host should have now.
        plan = host.plan if wanted.get(ids[host.host]) == host.plan else ""
        result: dict[str, Any] = host.model_dump(exclude={"host", "status", "plan", "message"})
        result |= {host.status: True, "msg": host.message}
        outcomes.append(outcome_of(host.host, cleaner.data(result), plan))
    return outcomes


def _rows(deployment_id: int, report: Report, ids: dict[str, int]) -> Iterator[dict[str, Any]]:
    for host in report.hosts:
        if host.host in ids:
            yield {
                "deployment_id": deployment_id,
                "host": host.host,
                "host_id": ids[host.host],
                "wave": 1,
                "plan": host.plan,
            }


def _end(
    session: Session,
    deployment: Deployment,
    outcomes: Iterable[HostOutcome],
    started: datetime,
    moment: datetime,
) -> None:
    lost = sum(outcome.status in deployments.LOST for outcome in outcomes)
    status = Status.FAILED if lost else Status.SUCCEEDED
    reason = "reported by a control node"
    if lost:
        reason += f"; {lost} host{' was' if lost == 1 else 's were'} lost"
    wave = Wave(deployment_id=deployment.id, number=1, status=status.value, reason=reason)
    wave.started, wave.ended = started, moment
    session.add(wave)
    deployments.end(session, deployment, status, reason)
