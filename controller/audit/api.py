"""Routes of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy import select

from controller.audit.models import AuditEntry
from controller.web.deps import Reading, Viewer
from controller.web.fields import Line
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(prefix="/audit", tags=["audit"])


class AuditView(BaseModel):
    """One change: who did what to which thing, and what it was and is."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    actor: str
    action: str
    kind: str
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str


@router.get("", summary="Read the audit log, newest first", responses=answers(401, 403, 422))
def read_audit_log(
    by: Viewer,
    session: Reading,
    kind: Annotated[Line, Query(description="Only this kind of thing, e.g. `host`.")] = "",
    name: Annotated[Line, Query(description="Only the thing of this name.")] = "",
    actor: Annotated[Line, Query(description="Only what this token did.")] = "",
    since: Annotated[AwareDatetime | None, Query(description="Only from this moment on.")] = None,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[AuditView]:
    by.need_whole_fleet("the audit log")
    query = select(AuditEntry)
    for column, wanted in (
        (AuditEntry.kind, kind),
        (AuditEntry.name, name),
        (AuditEntry.actor, actor),
    ):
        if wanted:
            query = query.where(column == wanted)
    if since:
        query = query.where(AuditEntry.at >= since)
    rows, following = fetch_page(
        session,
        query,
        sort="-id",
        columns={"id": AuditEntry.id},
        key=AuditEntry.id,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[AuditView.model_validate(row) for row in rows], next=following)
