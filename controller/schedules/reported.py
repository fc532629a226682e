"""Runs that AWX's schedules begin, and that their jobs report: whose schedule it was.

AWX tells each job by `awx_schedule_id` and `awx_schedule_name` which of its schedules began it (`awx_meta_vars` in
awx/main/models/unified_jobs.py), whatever its template asks for; the job's report brings that along.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.deployments.models import Deployment
from controller.schedules import marks
from controller.schedules.models import Schedule
from controller.schedules.service import sees


def begun_by(session: Session, by: Principal, number: int, name: str) -> Schedule | None:
    """The schedule of ours that AWX has by an id and a name, as it is now and stays until this transaction ends.

    Returns:
        None where it is none of ours that AWX has, or none that the token sees.
    """
    query = select(Schedule).where(Schedule.awx_id == number, Schedule.awx_url != "")
    # Two AWXs have the same ids.
    for row in session.scalars(query.with_for_update()):
        if marks.name_of(row) == name and sees(session, by, row):
            return row
    return None


def link(session: Session, row: Schedule, deployment: Deployment) -> None:
    """Let a reported deployment be the schedule's last one, unless another began after it."""
    before = session.get(Deployment, row.deployment_id) if row.deployment_id else None
    if before is None or before.created <= deployment.created:
        row.deployment_id = deployment.id
