"""Tables of deployments, their waves, what came of each host, events, and host locks."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from controller.database.base import Base, Json, JsonOrNull, UtcDateTime, now


class Status(enum.StrEnum):
    """The status of a deployment and of each of its waves."""

    QUEUED = "queued"  # waits for its turn, or for hosts that another one holds
    RUNNING = "running"
    CANCELING = "canceling"  # asked to end; its processes are being ended
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # hosts failed or were unreachable, or the run itself did not work
    CANCELED = "canceled"
    INTERRUPTED = "interrupted"  # its controller died; every host's row says what is known

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (Status.QUEUED, Status.RUNNING, Status.CANCELING)


class HostStatus(enum.StrEnum):
    """What a deployment came to on one host."""

    WAITING = "waiting"  # its wave has not begun
    RUNNING = "running"  # its wave runs and has not reported it yet
    CURRENT = "current"  # it reports its plan already, so it was not visited
    OK = "ok"  # visited, and right
    CHANGED = "changed"  # visited, and brought to its plan
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    CANCELED = "canceled"  # the deployment ended before it was visited
    INTERRUPTED = "interrupted"  # the run died while it may have been visited


class Deployment(Base):
    """One deployment.

    Attributes:
        release: number of the release that its hosts are to have.
        request: what was asked for (see schemas.DeploymentRequest), as JSON.
        check: look and tell what would change, change nothing.
        claimed_by: the controller that drives it, or None while nobody does.
        reason: why it failed, was interrupted, or still waits; one sentence.
    """

    __tablename__ = "deployments"

    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(String(16), default=Status.QUEUED.value)
    release: Mapped[int]
    check: Mapped[bool] = mapped_column(default=False)
    request: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    by: Mapped[str] = mapped_column(String(100), default="")
    retry_of: Mapped[int | None] = mapped_column(ForeignKey("deployments.id"))
    reason: Mapped[str] = mapped_column(Text, default="")
    claimed_by: Mapped[int | None] = mapped_column(ForeignKey("controllers.id"))
    cancel_requested_by: Mapped[str] = mapped_column(String(100), default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    started: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)

    waves: Mapped[list[Wave]] = relationship(
        back_populates="deployment", order_by="Wave.number", cascade="all, delete-orphan"
    )

    __table_args__ = (Index(None, "status", "id"),)


class Wave(Base):
    """One wave: a set of hosts, and the run that visits them.

    Attributes:
        number: 1 for the first.
        pid: of the run's own process, while it runs.
        exit_status: of ansible-playbook, or None where there was none.
        jobs: what AWX carries out of it, as deployments.engines.jobs has it; None where it does nothing.
    """

    __tablename__ = "waves"

    id: Mapped[int] = mapped_column(primary_key=True)
    deployment_id: Mapped[int] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    number: Mapped[int]
    status: Mapped[str] = mapped_column(String(16), default=Status.QUEUED.value)
    reason: Mapped[str] = mapped_column(Text, default="")
    pid: Mapped[int | None]
    exit_status: Mapped[int | None]
    jobs: Mapped[dict[str, Any] | None] = mapped_column(JsonOrNull)
    started: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)

    deployment: Mapped[Deployment] = relationship(back_populates="waves")

    __table_args__ = (UniqueConstraint("deployment_id", "number"),)


class HostResult(Base):
    """What a deployment came to on one host.

    Attributes:
        host: its name; the row outlives the host.
        wave: the wave's number, or 0 where it was not visited.
        plan: digest of the plan that it was to be brought to.
        steps: `{"step", "changed", "failed", "msg", "seconds"}` of each step taken.
    """

    __tablename__ = "host_results"

    id: Mapped[int] = mapped_column(primary_key=True)
    deployment_id: Mapped[int] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    host: Mapped[str] = mapped_column(String(253), index=True)
    host_id: Mapped[int | None] = mapped_column(ForeignKey("hosts.id", ondelete="SET NULL"))
    wave: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(String(16), default=HostStatus.WAITING.value)
    plan: Mapped[str] = mapped_column(String(64), default="")
    message: Mapped[str] = mapped_column(Text, default="")
    warnings: Mapped[list[str]] = mapped_column(Json, default=list)
    steps: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    diff: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("deployment_id", "host"),
        Index(None, "deployment_id", "status", "id"),
        Index(None, "host_id", "id"),
    )


class RunEvent(Base):
    """One event of a run, in the order in which it happened.

    Attributes:
        id: grows over all runs; what a reader resumes after.
        counter: ansible-runner's own number within the run, or 0 for the controller's own events.
        kind: ansible-runner's event name, or `deployment.*` / `wave.*` of the controller's own.
        data: JSON text; kept as text because readers get it as it is.
    """

    __tablename__ = "run_events"

    # SQLite makes a rowid of an INTEGER only.
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
    )
    deployment_id: Mapped[int] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    wave: Mapped[int] = mapped_column(default=0)
    counter: Mapped[int] = mapped_column(default=0)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    kind: Mapped[str] = mapped_column(String(50))
    host: Mapped[str] = mapped_column(String(253), default="")
    data: Mapped[str] = mapped_column(Text, default="{}")

    __table_args__ = (Index(None, "deployment_id", "id"), {"sqlite_autoincrement": True})


class HostLock(Base):
    """A host that a deployment holds: no other touches it meanwhile."""

    __tablename__ = "host_locks"

    host_id: Mapped[int] = mapped_column(
        ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True
    )
    deployment_id: Mapped[int] = mapped_column(
        ForeignKey("deployments.id", ondelete="CASCADE"), index=True
    )


class ControllerRow(Base):
    """One running (or dead) controller process that shares this database.

    Attributes:
        id: also the number of its advisory lock in PostgreSQL.
    """

    __tablename__ = "controllers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(300))
    started: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)
