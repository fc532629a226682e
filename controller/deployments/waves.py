"""The rows of a wave: begun, and closed where its run could not do that itself."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from controller.catalog.models import ReleaseRow
from controller.database.base import now
from controller.deployments import events
from controller.deployments.cleaning import Cleaner
from controller.deployments.events import Event
from controller.deployments.journal import JournalReader
from controller.deployments.models import Deployment, HostResult, HostStatus, Status, Wave
from controller.deployments.recorder import WaveEnd, end_wave
from controller.deployments.results import Delivered, HostOutcome, cleaned_outcome, record_results
from controller.deployments.rundir import RunDir


@dataclass(frozen=True)
class Left:
    """What a run left behind that did not end by itself."""

    folder: RunDir
    cleaner: Cleaner


def begin_wave(session: Session, wave: Wave) -> None:
    """Write that a wave's run is about to start."""
    moment = now()
    wave.status, wave.started = Status.RUNNING.value, moment
    mine = (HostResult.deployment_id == wave.deployment_id, HostResult.wave == wave.number)
    waiting = HostResult.status == HostStatus.WAITING.value
    session.execute(
        update(HostResult)
        .where(*mine, waiting, HostResult.host_id.is_(None))
        .values(
            status=HostStatus.CANCELED.value, message="the host was removed before", ended=moment
        )
    )
    session.execute(
        update(HostResult).where(*mine, waiting).values(status=HostStatus.RUNNING.value)
    )
    told = Event("wave.started", {"wave": wave.number})
    events.append(session, wave.deployment_id, wave.number, [told])


def close_wave(
    session: Session,
    wave: Wave,
    status: Status,
    reason: str,
    left: Left | None = None,
) -> None:
    """Decide what is undecided of a wave whose run is over and did not do it.

    Args:
        left: what the run left; None where it never began.
    """
    deployment = session.get_one(Deployment, wave.deployment_id)
    release = session.get_one(ReleaseRow, deployment.release)
    undecided = dict(
        session.execute(
            select(HostResult.host, HostResult.plan).where(
                HostResult.deployment_id == wave.deployment_id,
                HostResult.wave == wave.number,
                HostResult.status == HostStatus.RUNNING.value,
            )
        ).all()
    )
    outcomes: dict[str, HostOutcome] = {}
    journal = JournalReader(left.folder.journal).new() if left else []
    for entry in journal:
        if entry.host not in undecided:
            continue
        if entry.result is None:
            message = f"{reason} while this host was being visited; deploy to it again"
            outcomes[entry.host] = HostOutcome(entry.host, HostStatus.INTERRUPTED, message)
        else:
            assert left is not None
            # What a look was held against is not known for sure: plans move on while it is queued.
            plan = "" if deployment.check else undecided[entry.host]
            outcomes[entry.host] = cleaned_outcome(left.cleaner, entry.host, entry.result, plan)
    unknown = left is not None and not journal
    for name in undecided:
        if name in outcomes:
            continue
        if unknown:
            message = f"{reason}; this host may have been visited, deploy to it again"
            outcomes[name] = HostOutcome(name, HostStatus.INTERRUPTED, message)
        else:
            lost = HostStatus.FAILED if status == Status.FAILED else HostStatus.CANCELED
            message = f"{reason}; this host was not visited"
            outcomes[name] = HostOutcome(name, lost, message, touched=False)
    delivered = Delivered(release.number, release.commit)
    record_results(session, deployment, outcomes.values(), delivered)
    told = [
        Event("host.ended", {"status": o.status.value, "message": o.message}, host=o.host)
        for o in outcomes.values()
    ]
    events.append(session, wave.deployment_id, wave.number, told)
    end_wave(session, wave, WaveEnd(status, reason, None), now())
