"""Tables of what was made on either side to keep a portal in step, and of what each sync did."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from controller.database.base import Base, Json, UtcDateTime, now


class Side(enum.StrEnum):
    """Where something was made."""

    PORTAL = "portal"
    HERE = "here"


class Kind(enum.StrEnum):
    """What a hostgroup is made of."""

    HOSTGROUP = "hostgroup"
    BINDING = "binding"
    MEMBER = "member"


class PortalOwned(Base):
    """Something that a sync made on one side because the other had it, and may therefore take away.

    Rows for the portal are written before it is asked: where its answer is lost, whatever is found
    there later is ours. They name things, not rows of ours, and outlive these.

    Attributes:
        portal: URL of the portal.
        name: of the plugin or host; empty for the hostgroup itself.
    """

    __tablename__ = "portal_owned"

    portal: Mapped[str] = mapped_column(String(300), primary_key=True)
    side: Mapped[str] = mapped_column(String(16), primary_key=True)
    hostgroup: Mapped[str] = mapped_column(String(100), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)


class PortalRun(Base):
    """One sync or import that was to change something.

    Attributes:
        status: `running`, `done` or `failed`.
        report: its steps and what came of each; while it runs, its plan.
    """

    __tablename__ = "portal_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    portal: Mapped[str] = mapped_column(String(300))
    by: Mapped[str] = mapped_column(String(100))
    status: Mapped[str] = mapped_column(String(16))
    report: Mapped[dict[str, Any]] = mapped_column(Json)
    started: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "status"),)
