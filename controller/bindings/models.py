"""The table of bindings: what a hostgroup's hosts run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from controller.database.base import Base, JsonOrNull, UtcDateTime, now
from controller.fleet.models import Hostgroup


class BindingRow(Base):
    """hostgroup -> plugin directory, script, `script(arg1,arg2)`, or configured manifest plugin.

    Attributes:
        plugin: as in `plugin_bindings`: `sys/ntp`, `sys/ntp/600_ntp.py(a,b)`, `httpcheck`.
        config: a manifest plugin's configuration items, else None.
        secrets: encrypted JSON of the items' passwords, or empty.
    """

    __tablename__ = "bindings"

    id: Mapped[int] = mapped_column(primary_key=True)
    hostgroup_id: Mapped[int] = mapped_column(
        ForeignKey("hostgroups.id", ondelete="CASCADE"), index=True
    )
    plugin: Mapped[str] = mapped_column(String(1000), index=True)
    config: Mapped[dict[str, Any] | None] = mapped_column(JsonOrNull)
    secrets: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    version: Mapped[int] = mapped_column(default=1)

    hostgroup: Mapped[Hostgroup] = relationship()

    __table_args__ = (UniqueConstraint("hostgroup_id", "plugin"),)
