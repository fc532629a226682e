"""What routes declare that they need: the database, the caller, the vault, the settings.

A route's session is a transaction that is committed before the answer is sent (`scope="function"`):
an answer of 2xx means that the rows are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from controller.auth import service as auth
from controller.auth.models import Scope
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.catalog.publish import Catalog
from controller.database.engine import Database
from controller.errors import Unauthorized, Unavailable
from controller.settings import Settings

# Fewer than the database has connections: some are left for what runs beside requests.
_SESSIONS = 24
bearer = HTTPBearer(auto_error=False, description="A token of `plugfleet token create`.")


@dataclass(frozen=True)
class Context:
    """What one controller process has open; `app.state.context`."""

    settings: Settings
    database: Database
    vault: Vault
    catalog: Catalog


class Turns:
    """How many requests have a session at a time; the others wait for theirs here, not in a thread.

    A request needs a thread again after its last statement. If all threads waited for a connection,
    or for SQLite's one writer, those that have them could never come to an end.
    """

    def __init__(self) -> None:
        self.reading = asyncio.Semaphore(_SESSIONS)
        self.writing = asyncio.Semaphore(1)


def context(request: Request) -> Context:
    """The process's open things."""
    found: Context = request.app.state.context
    return found


Open = Annotated[Context, Depends(context)]


def caller(
    request: Request,
    opened: Open,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Principal:
    """Who asks.

    Raises:
        Unauthorized: no token, or not a valid one.
    """
    if credentials is None:
        raise Unauthorized("this needs a token", hint="send it as `Authorization: Bearer pf_...`")
    with opened.database.read() as session:
        principal, stale = auth.check(session, credentials.credentials, request.state.request_id)
    if stale and principal.token_id is not None:
        # A database that is full or locked can still be read, and reading it waits for nobody.
        with suppress(Unavailable), opened.database.write(wait=False) as session:
            auth.note_use(session, principal.token_id)
    return principal


def _at_least(scope: Scope) -> Callable[[Principal], Principal]:
    def check(principal: Annotated[Principal, Depends(caller)]) -> Principal:
        principal.need(scope)
        return principal

    return check


# `scopes` do nothing but stand in the OpenAPI document, as the route's security requirement.
Viewer = Annotated[Principal, Security(_at_least(Scope.VIEWER), scopes=[Scope.VIEWER.value])]
Operator = Annotated[Principal, Security(_at_least(Scope.OPERATOR), scopes=[Scope.OPERATOR.value])]
Admin = Annotated[Principal, Security(_at_least(Scope.ADMIN), scopes=[Scope.ADMIN.value])]


@asynccontextmanager
async def _taken(turn: asyncio.Semaphore, opened: Context) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(opened.database.patience):
            await turn.acquire()
    except TimeoutError:
        raise Unavailable(
            "the database is locked, or too many requests wait for it",
            hint="nothing was changed; try again",
        ) from None
    try:
        yield
    finally:
        turn.release()


async def _reads(request: Request, opened: Open) -> AsyncIterator[None]:
    turns: Turns = request.app.state.turns
    async with _taken(turns.reading, opened):
        yield


async def _writes(request: Request, opened: Open) -> AsyncIterator[None]:
    turns: Turns = request.app.state.turns
    several = opened.database.is_postgresql
    async with _taken(turns.reading if several else turns.writing, opened):
        yield


def _reading(
    opened: Open, _: Annotated[None, Depends(_reads, scope="function")]
) -> Iterator[Session]:
    with opened.database.read() as session:
        yield session


def _writing(
    opened: Open, _: Annotated[None, Depends(_writes, scope="function")]
) -> Iterator[Session]:
    with opened.database.write() as session:
        yield session


Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]
