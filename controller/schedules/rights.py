"""Whose rights schedules have: their owner's, as they are when somebody asks; and whether these suffice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.models import Scope, Token
from controller.auth.principal import Principal
from controller.awx.errors import sentence
from controller.database.base import now
from controller.deployments.choosing import asked_for
from controller.deployments.schemas import DeploymentRequest
from controller.errors import Forbidden, Invalid
from controller.schedules.models import Schedule


def owners(session: Session, rows: Sequence[Schedule]) -> Mapping[int, Token]:
    """The tokens whose rights schedules have."""
    ids = {row.token_id for row in rows}
    return {token.id: token for token in session.scalars(select(Token).where(Token.id.in_(ids)))}


def acts_as(row: Schedule) -> str:
    """Who a schedule's deployments are asked for by."""
    return f"schedule {row.name}"  # with a space, which no token's name has


def rights(session: Session, row: Schedule) -> Principal:
    """Who a schedule's deployments are started as, with the rights of its owner at this moment.

    Raises:
        Forbidden: the owner's token was revoked, or has expired.
    """
    token = session.get_one(Token, row.token_id)
    gone = "revoked" if token.revoked else ""
    if token.expires and token.expires <= now():
        gone = gone or "expired"
    if gone:
        raise Forbidden(
            f"the token {token.name!r}, whose rights this schedule has, is {gone}",
            hint="change the schedule with another token, which then vouches for it",
        )
    groups = None if token.hostgroups is None else frozenset(token.hostgroups)
    principal = Principal(acts_as(row), Scope(token.scope), groups)
    principal.need(Scope.OPERATOR)
    return principal


def refusal(session: Session, row: Schedule) -> str:
    """Why a turn of a schedule would not be started at this moment, or nothing."""
    try:
        asked_for(session, rights(session, row), DeploymentRequest.model_validate(row.request))
    except (Forbidden, Invalid) as error:
        return sentence(error)
    return ""
