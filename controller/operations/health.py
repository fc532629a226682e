"""Routes that say whether the controller lives and can work; open to everybody."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text

from controller.web.deps import Open
from controller.web.problems import answers

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """That the process answers."""

    status: str = "ok"


@router.get("/healthz", summary="Say that the process lives")
async def health() -> Health:
    # Not in a thread as all others: those may all wait for the database.
    return Health()


@router.get(
    "/readyz",
    summary="Say whether the controller can work",
    description="It can when its database answers.",
    responses=answers(503),
)
def ready(opened: Open) -> Health:
    with opened.database.read() as session:
        session.execute(text("SELECT 1"))
    return Health()
