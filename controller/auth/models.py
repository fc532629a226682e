"""The table of tokens."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from controller.database.base import Base, JsonOrNull, UtcDateTime, now


class Scope(enum.StrEnum):
    """What a token may do; each includes the one before."""

    VIEWER = "viewer"  # look
    OPERATOR = "operator"  # change hosts, hostgroups and bindings; publish, deploy, roll back
    ADMIN = "admin"  # sources, tokens, keys

    def includes(self, other: Scope) -> bool:
        """Whether this scope reaches as far as another."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


class Token(Base):
    """One API token.

    Attributes:
        digest: SHA-256 of the token's text. A fast hash will do: the text is 256 random bits.
        hostgroups: names that it is limited to, or None for the whole fleet.
        expires: when it ends, or None.
        revoked: when it was taken back, or None; the row stays for the audit log.
    """

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scope: Mapped[str] = mapped_column(String(16))
    hostgroups: Mapped[list[str] | None] = mapped_column(JsonOrNull)
    expires: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    created_by: Mapped[str] = mapped_column(String(100), default="")
