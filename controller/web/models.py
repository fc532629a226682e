"""The table of answers to requests that must not be carried out twice."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from controller.database.base import Base, Json, UtcDateTime, now


class IdempotentAnswer(Base):
    """What a request with an Idempotency-Key was answered.

    Attributes:
        digest: SHA-256 of method, path and body: the same key with another request is refused.
    """

    __tablename__ = "idempotent_answers"

    token_id: Mapped[int] = mapped_column(
        ForeignKey("tokens.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    body: Mapped[dict[str, Any]] = mapped_column(Json)
    location: Mapped[str] = mapped_column(String(300), default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now, index=True)
