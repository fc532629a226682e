"""Routes of tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, status
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import select

from controller.auth import service
from controller.auth.models import Scope, Token
from controller.web.deps import Admin, Reading, Viewer, Writing
from controller.web.fields import NAME_PATTERN, AnyHostgroup, Name
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(prefix="/tokens", tags=["tokens"])

TokenName = Annotated[
    str, Path(pattern=NAME_PATTERN, max_length=100, description="Name of the token.")
]


class TokenCreate(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    scope: Annotated[
        Scope, Field(description="What it may do; each scope includes the one before.")
    ]
    hostgroups: Annotated[
        list[AnyHostgroup] | None,
        Field(
            max_length=1000, description="Limit it to these hostgroups; null is the whole fleet."
        ),
    ] = None
    expires: Annotated[AwareDatetime | None, Field(description="When it ends; null is never.")] = (
        None
    )


class TokenView(BaseModel):
    """A token, without its text."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    scope: Scope
    hostgroups: list[str] | None
    expires: datetime | None
    revoked: datetime | None
    last_used: datetime | None
    created: datetime
    created_by: str


class NewToken(TokenView):
    """A token that was just made."""

    token: Annotated[str, Field(description="The token's text; it cannot be had again.")]


@router.get("", summary="List tokens", responses=answers(401, 403, 422))
def list_tokens(
    by: Admin,
    session: Reading,
    sort: Annotated[
        str, Query(max_length=50, description="`name` or `created`; with `-` before it descending.")
    ] = "name",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[TokenView]:
    rows, following = fetch_page(
        session,
        select(Token),
        sort=sort,
        columns={"name": Token.name, "created": Token.created},
        key=Token.id,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[TokenView.model_validate(row) for row in rows], next=following)


@router.get("/current", summary="Show the token that asks", responses=answers(401))
def show_current(by: Viewer, session: Reading) -> TokenView:
    return TokenView.model_validate(service.find(session, by.name))


@router.post(
    "",
    summary="Make a token",
    description="The answer holds the token's text, which is shown this once.",
    status_code=status.HTTP_201_CREATED,
    responses=answers(401, 403, 409, 422),
)
def create_token(by: Admin, session: Writing, body: TokenCreate) -> NewToken:
    by.need_whole_fleet("making tokens")
    token, text = service.create(
        session,
        by,
        name=body.name,
        scope=body.scope,
        hostgroups=body.hostgroups,
        expires=body.expires,
    )
    return NewToken(token=text, **TokenView.model_validate(token).model_dump())


@router.delete(
    "/{name}",
    summary="Revoke a token",
    description="It is refused from the next request on; its name stays in the list and the audit log.",
    responses=answers(401, 403, 404, 409, 422),
)
def revoke_token(by: Admin, session: Writing, name: TokenName) -> TokenView:
    by.need_whole_fleet("revoking tokens")
    return TokenView.model_validate(service.revoke(session, by, name))
