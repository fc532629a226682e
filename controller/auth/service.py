"""Tokens: making, checking and revoking them. A token's text is shown once and stored hashed."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.models import Scope, Token
from controller.auth.principal import CONSOLE, CONTROLLER, Principal
from controller.database.base import now
from controller.errors import Conflict, Invalid, NotFound, Unauthorized
from controller.fleet.models import Hostgroup
from controller.web.fields import Name

_PREFIX = "pf_"
_FORM = re.compile(r"^pf_[A-Za-z0-9_-]{43}$")
_NAME = TypeAdapter(Name)
_USE_NOTED_EVERY = timedelta(minutes=1)


def describe(token: Token) -> dict[str, object]:
    """A token as the audit log keeps it: everything but its text."""
    return {
        "scope": token.scope,
        "hostgroups": token.hostgroups,
        "expires": token.expires.isoformat() if token.expires else None,
        "revoked": token.revoked.isoformat() if token.revoked else None,
    }


def create(
    session: Session,
    by: Principal,
    *,
    name: str,
    scope: Scope,
    hostgroups: Sequence[str] | None = None,
    expires: datetime | None = None,
) -> tuple[Token, str]:
    """Make a token.

    Returns:
        The row, and the text, which cannot be had again.

    Raises:
        Conflict: the name is taken.
        Invalid: it would never be valid, or names hostgroups that do not exist.
    """
    if session.scalar(select(Token.id).where(Token.name == name)):
        raise Conflict(f"there is a token {name!r} already", hint="revoked ones keep their name")
    if expires and expires <= now():
        raise Invalid(
            "the token would have expired already",
            fields=[{"field": "expires", "message": "must be in the future"}],
        )
    if hostgroups is not None:
        known = set(session.scalars(select(Hostgroup.name).where(Hostgroup.name.in_(hostgroups))))
        if unknown := sorted(set(hostgroups) - known):
            raise Invalid(
                f"no such hostgroups: {', '.join(unknown)}",
                fields=[{"field": "hostgroups", "message": f"unknown: {', '.join(unknown)}"}],
            )
        hostgroups = sorted(set(hostgroups))
    text = _PREFIX + secrets.token_urlsafe(32)
    token = Token(
        name=name,
        digest=_digest(text),
        scope=scope.value,
        hostgroups=hostgroups,
        expires=expires,
        created_by=by.name,
    )
    session.add(token)
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(f"a token {name!r} is being made at this moment") from None
    record(session, by, "token.create", "token", name, None, describe(token))
    return token, text


def first_token(session: Session) -> str | None:
    """Make the admin token of a controller that has none; returns its text, or None."""
    if session.scalar(select(func.count(Token.id))):
        return None
    return create(session, CONTROLLER, name="admin", scope=Scope.ADMIN)[1]


def rescue_token(session: Session, name: str) -> tuple[Token, str]:
    """Make an admin token for somebody at the controller's machine who lost every other.

    Args:
        name: of the token; empty for one with the present moment in it.

    Returns:
        The row, and the text, which cannot be had again.

    Raises:
        Conflict: the name is taken.
        Invalid: the text is no name.
    """
    try:
        name = _NAME.validate_python(name or f"rescue-{now():%Y%m%d-%H%M%S}")
    except ValidationError as error:
        raise Invalid(f"{name[:50]!r} is no name of a token: {error.errors()[0]['msg']}") from None
    return create(session, CONSOLE, name=name, scope=Scope.ADMIN)


def find(session: Session, name: str) -> Token:
    """A token by its name.

    Raises:
        NotFound: there is none.
    """
    token = session.scalar(select(Token).where(Token.name == name))
    if token is None:
        raise NotFound(f"there is no token {name!r}")
    return token


def revoke(session: Session, by: Principal, name: str) -> Token:
    """Take a token back; it is refused from the next request on.

    Raises:
        NotFound: there is none.
        Conflict: it is the last admin token: nobody could make another.
    """
    # Two that revoke each other's at once would leave none: the second looks when the first is done.
    admins = select(Token.id).where(Token.scope == Scope.ADMIN.value).order_by(Token.id)
    session.execute(admins.with_for_update())
    token = find(session, name)
    if token.revoked:
        return token
    if (
        token.scope == Scope.ADMIN
        and token.hostgroups is None
        and not _other_admins(session, token)
    ):
        raise Conflict(
            f"{name!r} is the last admin token", hint="make another one first, then revoke this"
        )
    before = describe(token)
    token.revoked = now()
    record(session, by, "token.revoke", "token", name, before, describe(token))
    return token


def _other_admins(session: Session, token: Token) -> bool:
    others = session.scalars(
        select(Token).where(
            Token.scope == Scope.ADMIN.value, Token.revoked.is_(None), Token.id != token.id
        )
    )
    return any(
        other.hostgroups is None and (other.expires is None or other.expires > now())
        for other in others
    )


def still_valid(session: Session, token_ids: Collection[int]) -> set[int]:
    """Those of these tokens that are neither expired nor revoked by now."""
    rows = session.execute(
        select(Token.id, Token.expires).where(Token.id.in_(token_ids), Token.revoked.is_(None))
    )
    moment = now()
    return {id for id, expires in rows if expires is None or expires > moment}


def check(session: Session, text: str, request_id: str) -> tuple[Principal, bool]:
    """Who a token's text stands for.

    Returns:
        The principal, and whether its use should be noted (`note_use`).

    Raises:
        Unauthorized: it is unknown, expired or revoked; which one is not said.
    """
    token = None
    if _FORM.match(text):
        token = session.scalar(select(Token).where(Token.digest == _digest(text)))
    if token is None or token.revoked or (token.expires and token.expires <= now()):
        raise Unauthorized("the token is not valid", hint="it may be revoked or expired")
    principal = Principal(
        name=token.name,
        scope=Scope(token.scope),
        hostgroups=None if token.hostgroups is None else frozenset(token.hostgroups),
        token_id=token.id,
        request_id=request_id,
    )
    stale = token.last_used is None or now() - token.last_used > _USE_NOTED_EVERY
    return principal, stale


def note_use(session: Session, token_id: int) -> None:
    """Keep when a token was last used."""
    token = session.get(Token, token_id)
    if token:
        token.last_used = now()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
