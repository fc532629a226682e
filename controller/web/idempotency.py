"""Idempotency-Key: a POST that starts something is carried out once, however often it is sent.

The answer is kept in the transaction of the work itself, so there is no moment at which one is
there without the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.errors import Conflict, Invalid
from controller.web.models import IdempotentAnswer

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of the caller's own; the same request sent again with it gets the first one's answer.",
    ),
]


async def _digest(request: Request) -> str:
    body = await request.body()
    text = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + body
    return hashlib.sha256(text).hexdigest()


class Once:
    """Carries out a request once for each key."""

    def __init__(self, key: KeyHeader = None, digest: str = Depends(_digest)) -> None:
        self._key = key
        self._digest = digest

    def replay(self, session: Session, principal: Principal) -> JSONResponse | None:
        """The answer that the request had before, for work that must not begin within a transaction.

        Raises:
            Invalid: the key was used for another request.
        """
        if self._key is None or principal.token_id is None:
            return None
        kept = session.get(IdempotentAnswer, (principal.token_id, self._key))
        if kept is None:
            return None
        if kept.digest != self._digest:
            raise Invalid(
                "this Idempotency-Key was used for another request", hint="take a new key"
            )
        return _response(kept.body, kept.location, kept.status, replayed=True)

    def answer(
        self,
        session: Session,
        principal: Principal,
        work: Callable[[], BaseModel],
        *,
        status: int,
        location: Callable[[Any], str] | None = None,
    ) -> JSONResponse:
        """The answer of `work`, or the one that it had before.

        Args:
            session: the transaction that `work` writes in.
            status: HTTP status of the first answer.
            location: gives the Location header from what `work` returned.

        Raises:
            Invalid: the key was used for another request.
            Conflict: the same request is being carried out at this moment.
        """
        if self._key is None or principal.token_id is None:
            return _response(*_carry_out(work, location), status, replayed=False)
        if (before := self.replay(session, principal)) is not None:
            return before
        kept = IdempotentAnswer(
            token_id=principal.token_id, key=self._key, digest=self._digest, status=status, body={}
        )
        session.add(kept)
        try:
            session.flush()
        except IntegrityError:
            raise Conflict("the same request is being carried out at this moment") from None
        kept.body, kept.location = _carry_out(work, location)
        return _response(kept.body, kept.location, status, replayed=False)


Idempotent = Annotated[Once, Depends()]


def _carry_out(
    work: Callable[[], BaseModel], location: Callable[[Any], str] | None
) -> tuple[dict[str, Any], str]:
    result = work()
    return result.model_dump(mode="json"), location(result) if location else ""


def _response(body: dict[str, Any], location: str, status: int, *, replayed: bool) -> JSONResponse:
    headers = {"Location": location} if location else {}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(body, status_code=status, headers=headers)
