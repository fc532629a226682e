"""Tables of what agents report, of hosts that nobody made, and of the rules that adopt them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from controller.database.base import Base, Json, UtcDateTime, now
from controller.fleet.models import Host


class AgentRow(Base):
    """What is known of one host's agent, beside `hosts.last_heartbeat`.

    A table of its own: heartbeats would write the wide rows of hosts all the time.

    Attributes:
        version: of the agent, as it says.
        head: the agent's PluginVersion: the commit that its plugin directory is at, or its error.
        ip: the address that the agent says it has.
        peer: the address that its heartbeats come from; empty until the first.
        claimed_by: another address that sent heartbeats in this host's name, or empty.
        claimed_at: when that was first seen.
        listed: digest of the plugins that it is told to run; empty where it never had any (see lists).
        delivered: `hosts.reported_commit`, as it was when `stamp` was last looked at.
        landed: the commit that its plugin directory was last known to have come to.
        withheld: what its agent would die of and is not told, and why; empty if nothing (see withholding).
        stamp: MinePlugins' Timestamp: grows whenever the agent must look again (see lists).
        config: digest of all of its plan that only a deployment can bring.
        config_plan: `hosts.reported_plan` when that configuration was known to be there.
    """

    __tablename__ = "agents"

    host_id: Mapped[int] = mapped_column(
        ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[str] = mapped_column(String(64), default="")
    head: Mapped[str] = mapped_column(String(128), default="")
    ip: Mapped[str] = mapped_column(String(64), default="")
    peer: Mapped[str] = mapped_column(String(64), default="")
    claimed_by: Mapped[str] = mapped_column(String(64), default="")
    claimed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    listed: Mapped[str] = mapped_column(String(64))
    delivered: Mapped[str] = mapped_column(String(40), default="")
    landed: Mapped[str] = mapped_column(String(40), default="")
    withheld: Mapped[str] = mapped_column(Text, default="")
    stamp: Mapped[int] = mapped_column(BigInteger)
    config: Mapped[str] = mapped_column(String(64), default="")
    config_plan: Mapped[str] = mapped_column(String(64), default="")

    host: Mapped[Host] = relationship()


class UnknownHost(Base):
    """A host that sends heartbeats and that nobody made: its own words, trusted in nothing.

    Attributes:
        name: as it calls itself, without control characters, cut to the column.
        peer: the address that its heartbeats come from.
        problem: why it was not adopted though a rule fits; empty if none tried.
    """

    __tablename__ = "unknown_hosts"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(253), unique=True)
    ip: Mapped[str] = mapped_column(String(64), default="")
    peer: Mapped[str] = mapped_column(String(64), default="")
    version: Mapped[str] = mapped_column(String(64), default="")
    head: Mapped[str] = mapped_column(String(128), default="")
    problem: Mapped[str] = mapped_column(String(500), default="")
    first_seen: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime, default=now, index=True)


class AdoptionRule(Base):
    """Unknown hosts that become hosts by themselves.

    Attributes:
        pattern: shell pattern that the name must fit, or empty.
        network: network that its heartbeats must come from, or empty.
        hostgroups: names of hostgroups that it is put into.
        use_address: SSH reaches it at the address its heartbeats come from, not by its name.
    """

    __tablename__ = "adoption_rules"

    id: Mapped[int] = mapped_column(primary_key=True)
    pattern: Mapped[str] = mapped_column(String(253), default="")
    network: Mapped[str] = mapped_column(String(64), default="")
    hostgroups: Mapped[list[str]] = mapped_column(Json, default=list)
    use_address: Mapped[bool] = mapped_column(default=False)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    version: Mapped[int] = mapped_column(default=1)
