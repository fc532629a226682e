"""The table of schedules."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from controller.database.base import Base, Json, JsonOrNull, UtcDateTime, now


class Place(enum.StrEnum):
    """Where a schedule runs."""

    CONTROLLER = "controller"
    AWX = "awx"


class Missed(enum.StrEnum):
    """What becomes of turns that fell due while no controller was there."""

    SKIP = "skip"
    ONCE = "once"  # the last one of them, where it is no later than `grace` allows


class Overlap(enum.StrEnum):
    """What becomes of a turn while the deployment of the one before goes on."""

    SKIP = "skip"
    WAIT = "wait"  # as deployments do for others' hosts; one at most


class Outcome(enum.StrEnum):
    """What came of a turn."""

    STARTED = "started"
    OVERLAP = "overlap"
    MISSED = "missed"
    REFUSED = "refused"  # whoever made the schedule may not do that, or not any more
    FAILED = "failed"  # what was asked for cannot be now


class Schedule(Base):
    """One schedule.

    Attributes:
        request: what to deploy, as POST /deployments takes it.
        missed, overlap, grace: as given; None leaves it to the place where it runs.
        token_id: of whoever made or changed it last: its rights are the schedule's.
        next_at: when the controller takes the next turn; None where it takes none.
        turn_due, turn_at: when the last turn fell due, and was dealt with.
        deployment_id: the last deployment that it started.
        awx_url: of the AWX that has it, or may have it: while it is set, nothing is started here.
        awx_id: AWX's, or None where it is not known whether there is one.
        awx_asked: when AWX was asked to make it, until it has answered.
        awx_version: the version that AWX was brought to, or 0.
        awx_job: `id`, `status` and `finished` of the newest job that it began in AWX, as AWX has them.
        awx_looked: when AWX was last asked for that job.
        awx_problem, awx_since: what keeps AWX from being in step, and since when.
        awx_corrected: what somebody had changed in AWX, and was set right.
        removing: it is gone as soon as it is gone from AWX.
    """

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    rrule: Mapped[str] = mapped_column(Text)
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    enabled: Mapped[bool] = mapped_column(default=True)
    missed: Mapped[str | None] = mapped_column(String(8))
    grace: Mapped[int | None]
    overlap: Mapped[str | None] = mapped_column(String(8))
    runs_in: Mapped[str] = mapped_column(String(16), default=Place.CONTROLLER.value)
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"))
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    created_by: Mapped[str] = mapped_column(String(100))
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    version: Mapped[int] = mapped_column(default=1)

    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    turn_due: Mapped[datetime | None] = mapped_column(UtcDateTime)
    turn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    turn_outcome: Mapped[str] = mapped_column(String(16), default="")
    turn_reason: Mapped[str] = mapped_column(Text, default="")
    deployment_id: Mapped[int | None] = mapped_column(
        ForeignKey("deployments.id", ondelete="SET NULL")
    )

    awx_url: Mapped[str] = mapped_column(String(300), default="")
    awx_id: Mapped[int | None]
    awx_template: Mapped[int | None]
    awx_asked: Mapped[datetime | None] = mapped_column(UtcDateTime)
    awx_version: Mapped[int] = mapped_column(default=0)
    awx_job: Mapped[dict[str, Any] | None] = mapped_column(JsonOrNull)
    awx_looked: Mapped[datetime | None] = mapped_column(UtcDateTime)
    awx_problem: Mapped[str] = mapped_column(Text, default="")
    awx_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    awx_corrected: Mapped[str] = mapped_column(Text, default="")
    removing: Mapped[bool] = mapped_column(default=False)
