"""The table of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from controller.database.base import Base, JsonOrNull, UtcDateTime, now


class AuditEntry(Base):
    """One change.

    Attributes:
        actor: name of the token, or "controller" for what it does by itself.
        action: `host.create`, `hostgroup.update`, `deployment.start`, ...
        before: what it was, or None where it did not exist; secrets by name only.
        after: what it is, or None where it was deleted.
        request_id: of the request, as in its answer and in the log.
    """

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    actor: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(50))
    kind: Mapped[str] = mapped_column(String(30))
    name: Mapped[str] = mapped_column(String(253))
    before: Mapped[dict[str, Any] | None] = mapped_column(JsonOrNull)
    after: Mapped[dict[str, Any] | None] = mapped_column(JsonOrNull)
    request_id: Mapped[str] = mapped_column(String(64), default="")

    __table_args__ = (Index(None, "kind", "name", "id"), Index(None, "actor", "id"))
