"""Tables of hosts and hostgroups."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from controller.database.base import Base, Json, UtcDateTime, now


class HostState(enum.StrEnum):
    """The state of a host against its plan."""

    PENDING = "pending"  # its plan is not what it last reported, and nothing tried yet
    CONVERGED = "converged"  # it reported its plan
    DRIFTED = "drifted"  # it had its plan, and reported something else since
    FAILED = "failed"  # the last deployment could not bring it there
    UNREACHABLE = "unreachable"  # the last deployment could not reach it


class AgentKind(enum.StrEnum):
    """What runs the plugins of a host."""

    EXECUTOR = "executor"
    FALCON = "falcon"


class Host(Base):
    """One host.

    Attributes:
        address: how SSH reaches it; empty is its name.
        variables: Ansible variables of its own.
        secrets: encrypted JSON of variables whose values are never shown (see auth.vault).
        labels: what label rules of hostgroups look at.
        reported_release: number of the release that it last said it has.
        reported_plan: digest of the plan that it was last brought to (see plans.service).
        state_since: when it came into its state.
        version: grows with every change of what is configured; its ETag.
    """

    __tablename__ = "hosts"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(253), unique=True)
    address: Mapped[str] = mapped_column(String(253), default="")
    agent_kind: Mapped[str] = mapped_column(String(16), default=AgentKind.EXECUTOR.value)
    variables: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    secrets: Mapped[str] = mapped_column(Text, default="")
    labels: Mapped[dict[str, str]] = mapped_column(Json, default=dict)
    last_heartbeat: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reported_release: Mapped[int | None]
    reported_commit: Mapped[str] = mapped_column(String(40), default="")
    reported_plan: Mapped[str] = mapped_column(String(64), default="")
    wanted_release: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(16), default=HostState.PENDING.value)
    state_since: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    last_error: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    version: Mapped[int] = mapped_column(default=1)

    memberships: Mapped[list[Membership]] = relationship(
        back_populates="host", cascade="all, delete-orphan", passive_deletes=True
    )

    __table_args__ = (
        Index(None, "state", "id"),
        Index(None, "state_since", "id"),
        Index(None, "last_heartbeat", "id"),
    )


class Hostgroup(Base):
    """One hostgroup.

    Attributes:
        rule: label rule such as `idc=bj,role!=db`; hosts that it fits are members too.
        variables: Ansible variables of its hosts.
        secrets: encrypted JSON of variables whose values are never shown.
    """

    __tablename__ = "hostgroups"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    rule: Mapped[str] = mapped_column(Text, default="")
    variables: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    secrets: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    version: Mapped[int] = mapped_column(default=1)

    memberships: Mapped[list[Membership]] = relationship(
        back_populates="hostgroup", cascade="all, delete-orphan", passive_deletes=True
    )


class Membership(Base):
    """One host in one hostgroup, by name, by the group's rule, or both.

    Kept as rows, also for rules: 200 rules held against 10,000 hosts for every question would be
    two million evaluations. They are written anew when a rule or a host's labels change.
    """

    __tablename__ = "memberships"

    hostgroup_id: Mapped[int] = mapped_column(
        ForeignKey("hostgroups.id", ondelete="CASCADE"), primary_key=True
    )
    host_id: Mapped[int] = mapped_column(
        ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    by_name: Mapped[bool] = mapped_column(default=False)
    by_rule: Mapped[bool] = mapped_column(default=False)

    host: Mapped[Host] = relationship(back_populates="memberships")
    hostgroup: Mapped[Hostgroup] = relationship(back_populates="memberships")
