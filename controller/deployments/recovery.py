"""Ending what dead controllers left behind, with each host's true state as far as it can be known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.database.engine import Database
from controller.deployments import service
from controller.deployments.engines.jobs import unsettled
from controller.deployments.models import ControllerRow, Deployment, Status, Wave
from controller.deployments.presence import leave
from controller.deployments.processes import end_marked, mark, marked
from controller.deployments.waveprocess import what_is_left
from controller.deployments.waves import Left, close_wave
from controller.errors import Unavailable
from controller.settings import Settings

_PATIENCE = 10.0  # seconds that a run may take to write its last results and end
_DIED = "the controller died"
_LIVE = [Status.RUNNING.value, Status.CANCELING.value]

log = structlog.get_logger(__name__)


def left_by_the_ended(database: Database, own: int) -> list[int]:
    """Ids of controllers that ended in order, and yet left a deployment behind."""
    with database.read() as session:
        query = (
            select(Deployment.claimed_by)
            .join(ControllerRow, ControllerRow.id == Deployment.claimed_by)
            .where(Deployment.status.in_(_LIVE), ControllerRow.ended.is_not(None))
        )
        return sorted({found for found in session.scalars(query) if found and found != own})


def recover(
    settings: Settings,
    database: Database,
    vault: Vault,
    dead: int,
    adopt: Callable[[int, str], None],
) -> None:
    """End a dead controller's deployments; nothing of them runs on this machine afterwards.

    One that cannot be ended keeps neither the others nor new ones from their turn: it is tried again.

    Args:
        adopt: takes over one that AWX may be at work on, which takes time; with why.

    Raises:
        Unavailable: the database does not answer.
    """
    with database.read() as session:
        deployments = session.scalars(
            select(Deployment.id).where(Deployment.claimed_by == dead, Deployment.status.in_(_LIVE))
        ).all()
    all_ended = True
    for deployment_id in deployments:
        log.warning("ending what a dead controller left", deployment=deployment_id, controller=dead)
        # The runs have seen their pipe end, and are ending by themselves.
        try:
            if _is_unsettled(database, deployment_id):
                adopt(deployment_id, _DIED)
                continue
            end_deployment(settings, database, vault, deployment_id, _DIED, patience=_PATIENCE)
        except Unavailable:
            raise
        except Exception:
            log.exception("a deployment could not be ended", deployment=deployment_id)
            all_ended = False
    if all_ended:
        leave(database, dead)


def end_deployment(
    settings: Settings,
    database: Database,
    vault: Vault,
    deployment_id: int,
    why: str,
    *,
    patience: float = 0,
) -> None:
    """End a deployment in the middle, as `interrupted` or, where that was asked for, `canceled`.

    Args:
        why: nobody drives it any more.
        patience: seconds that its runs may take to end by themselves.
    """
    with database.read() as session:
        waves = session.execute(
            select(Wave.id, Wave.pid).where(Wave.deployment_id == deployment_id)
        ).all()
    lefts = {}
    for wave_id, pid in waves:
        end_run(settings, wave_id, pid, patience=patience)
        lefts[wave_id] = what_is_left(settings, database, vault, wave_id)
    with database.write() as session:
        deployment = session.get_one(Deployment, deployment_id, with_for_update=True)
        # Another controller may have been here in the meantime.
        if not Status(deployment.status).ended:
            _end(session, deployment, why, lefts)
    for left in lefts.values():
        left.folder.remove()


def end_run(
    settings: Settings, wave_id: int, pid: int | None, *, patience: float = _PATIENCE
) -> None:
    """Let nothing of a wave's run go on here; a run that lives may take `patience` seconds to end."""
    known_by = mark(wave_id, settings.database)
    # Where the run itself is dead, nobody ends what it started.
    end_marked(known_by, patience=patience if pid in marked(known_by) else 0)


def is_unsettled(wave: Wave) -> bool:
    """Whether AWX may do something of a wave, or have something to tell of it, that is not on record."""
    return wave.status == Status.RUNNING.value and unsettled(wave.jobs)


def _is_unsettled(database: Database, deployment_id: int) -> bool:
    with database.read() as session:
        waves = session.scalars(select(Wave).where(Wave.deployment_id == deployment_id))
        return any(is_unsettled(wave) for wave in waves)


def _end(session: Session, deployment: Deployment, why: str, lefts: Mapping[int, Left]) -> None:
    for wave in deployment.waves:
        if wave.status == Status.RUNNING.value:
            close_wave(session, wave, Status.INTERRUPTED, why, lefts[wave.id])
    canceled = deployment.status == Status.CANCELING.value
    service.give_up(session, deployment, f"{why}; this host was not visited")
    if canceled:
        reason = f"canceled by {deployment.cancel_requested_by}; {why} meanwhile"
        service.end(session, deployment, Status.CANCELED, reason)
    else:
        service.end(session, deployment, Status.INTERRUPTED, f"{why}; retry what is left")
