"""Tables of sources and releases; the releases themselves are commits of the deploy line."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from controller.database.base import Base, Json, JsonOrNull, UtcDateTime, now


class SourceRow(Base):
    """One source: a git repository mounted at a path of the plugin tree.

    Attributes:
        path: the mount point; empty is the root of the tree.
        url: without credentials.
        credentials: encrypted JSON `{"username", "password"}`, or empty.
    """

    __tablename__ = "sources"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    path: Mapped[str] = mapped_column(String(500), unique=True, default="")
    url: Mapped[str] = mapped_column(Text)
    ref: Mapped[str] = mapped_column(String(250), default="HEAD")
    subdir: Mapped[str] = mapped_column(String(500), default="")
    credentials: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    version: Mapped[int] = mapped_column(default=1)


class ReleaseRow(Base):
    """One release as it was published.

    Attributes:
        sources: `{"path", "url", "ref", "commit"}` of each source.
        problems: the lint's findings; None where it was adopted and nobody asked for them yet.
        fixes: `{"path", "fix"}` of each file that publishing corrected in the tree.
        changes: "A path", "M path", "D path" against the release before.
    """

    __tablename__ = "releases"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    commit: Mapped[str] = mapped_column(String(40), unique=True)
    tree: Mapped[str] = mapped_column(String(40))
    sources: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    problems: Mapped[list[dict[str, Any]] | None] = mapped_column(JsonOrNull)
    fixes: Mapped[list[dict[str, str]]] = mapped_column(Json, default=list)
    changes: Mapped[list[str]] = mapped_column(Json, default=list)
    rollback_to: Mapped[int | None]
    by: Mapped[str] = mapped_column(String(200), default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class ReleaseBundle(Base):
    """A release's objects as a git bundle on top of the release before it.

    With these a controller that shares the database, or has lost its catalog folder, makes the
    deploy line whole again. A table of its own: lists of releases do not read it.
    """

    __tablename__ = "release_bundles"

    number: Mapped[int] = mapped_column(
        ForeignKey("releases.number", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    bundle: Mapped[bytes] = mapped_column(LargeBinary)
