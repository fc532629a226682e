"""Counters that grow with every change of a kind, so that a reader can ask "anything new?".

A counter only grows, also when the clock goes back or the controller restarts.
"""

from __future__ import annotations

from sqlalchemy import String, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from controller.database.base import Base

PLANS = "plans"  # hosts, hostgroups, bindings, releases: whatever a host's plan is made from
STATES = "states"  # what is known of hosts: state, last error, heartbeat


class Counter(Base):
    """One counter; the first migration makes a row for each."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    number: Mapped[int]


def count(session: Session, name: str) -> int:
    """A counter's number."""
    return session.scalars(select(Counter.number).where(Counter.name == name)).one()


def advance(session: Session, name: str) -> None:
    """Let a counter grow, in the transaction of the change itself."""
    session.execute(update(Counter).where(Counter.name == name).values(number=Counter.number + 1))


def lock(session: Session, name: str) -> None:
    """Let no other transaction that asks for the same go on before this one ends.

    What is read afterwards is what all those before have committed. SQLite needs none of this: a
    writing session is alone there from its beginning.
    """
    session.execute(select(Counter.number).where(Counter.name == name).with_for_update())
