"""The tables of bindings, what a hostgroup's hosts run, and of what single hosts have otherwise."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from controller.database.base import Base, Json, JsonOrNull, UtcDateTime, now
from controller.fleet.models import Host, Hostgroup

LONGEST_KEY = 500


def _named_by_plugin(context: Any) -> str:
    plugin: str = context.get_current_parameters()["plugin"]
    return plugin


class BindingRow(Base):
    """hostgroup -> plugin directory, script, `script(arg1,arg2)`, or configured manifest plugin.

    Attributes:
        plugin: as in `plugin_bindings`: `sys/ntp`, `sys/ntp/600_ntp.py(a,b)`, `httpcheck`.
        key: as `/plugins` lists it: the plugin, with the arguments of one that has a format.
        format: what it prints, see agentplugin.formats; empty is what its kind prints by itself.
        step: seconds between two starts; 0 without a format.
        config: a manifest plugin's configuration items, else None.
        secrets: encrypted JSON of the items' passwords by their names (see sealing), or empty.
    """

    __tablename__ = "bindings"

    id: Mapped[int] = mapped_column(primary_key=True)
    hostgroup_id: Mapped[int] = mapped_column(
        ForeignKey("hostgroups.id", ondelete="CASCADE"), index=True
    )
    plugin: Mapped[str] = mapped_column(String(1000), index=True)
    key: Mapped[str] = mapped_column(String(LONGEST_KEY), default=_named_by_plugin)
    format: Mapped[str] = mapped_column(String(16), default="")
    step: Mapped[int] = mapped_column(default=0)
    config: Mapped[dict[str, Any] | None] = mapped_column(JsonOrNull)
    secrets: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    version: Mapped[int] = mapped_column(default=1)

    hostgroup: Mapped[Hostgroup] = relationship()

    __table_args__ = (UniqueConstraint("hostgroup_id", "key"),)


class OverrideRow(Base):
    """What one host has otherwise than its hostgroups say of a plugin's configuration.

    Attributes:
        plugin: the `key` of the bindings that it is laid over.
        config: a merge patch (RFC 7396).
        secrets: as a binding's.
    """

    __tablename__ = "binding_overrides"

    id: Mapped[int] = mapped_column(primary_key=True)
    host_id: Mapped[int] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"))
    plugin: Mapped[str] = mapped_column(String(LONGEST_KEY))
    config: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    secrets: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    version: Mapped[int] = mapped_column(default=1)

    host: Mapped[Host] = relationship()

    __table_args__ = (UniqueConstraint("host_id", "plugin"),)
