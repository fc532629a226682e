"""The table of what hosts' agents say of the plugins that they run."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from controller.database.base import Base, UtcDateTime, now
from controller.fleet.models import Host

MOST_KEY, MOST_STATE, MOST_REASON = 300, 32, 300


class HostPlugin(Base):
    """One plugin on one host, as the last visit saw it.

    Attributes:
        plugin: the key that the agent's `/plugins` has for it.
        folder: the folder that it is of, as the catalogue lists it: a script's directory, or the
            manifest plugin itself.
        since: when it came into its state.
        seen: when it was last looked at.
    """

    __tablename__ = "host_plugins"

    id: Mapped[int] = mapped_column(primary_key=True)
    host_id: Mapped[int] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"))
    plugin: Mapped[str] = mapped_column(String(MOST_KEY))
    folder: Mapped[str] = mapped_column(String(MOST_KEY))
    state: Mapped[str] = mapped_column(String(MOST_STATE))
    reason: Mapped[str] = mapped_column(String(MOST_REASON), default="")
    since: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    seen: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    host: Mapped[Host] = relationship()

    __table_args__ = (UniqueConstraint("host_id", "plugin"), Index(None, "folder", "state"))
