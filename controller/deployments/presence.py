"""What it means that a controller lives: the rows of controllers, the parts of a lease, and the
questions that `controller.deployments.liveness` answers for each kind of database.
"""

from __future__ import annotations

import os
import socket
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import select, update

from controller.database.base import now
from controller.database.engine import Database
from controller.deployments.models import ControllerRow

# Parts of a lease. A controller that heard nothing of the database for SILENCE ends its runs, which
# takes ENDING. The server ends its connection after SILENCE, but may have to at any moment: so others,
# once they see that its lock is free, wait for longer than both together. A silent controller costs
# SILENCE and PATIENCE, and up to three looks: less than a lease.
SILENCE = 0.28
ENDING = 0.125
PATIENCE = 0.48
CHECK = 1 / 16  # between looks


class Lost(Exception):
    """This controller may have been taken for dead: its runs must end before it goes on."""


class Presence(Protocol):
    """How a controller shows that it lives, and sees who else does.

    Attributes:
        id: of this controller's row.
        sure: the moment (`time.monotonic`) for which it was last proven that it counts as alive; infinite
            where no other can take over.
    """

    id: int
    sure: float

    def check(self) -> None:
        """Make sure that it still counts as alive; may hang for as long as a connection does.

        Raises:
            Lost: it does not, or that cannot be known any more.
            Unavailable: the database does not answer; it may be waited for.
        """

    def dead(self) -> list[int]:
        """Ids of controllers that ended without saying so."""

    def taking_over(self, dead: int) -> AbstractContextManager[bool]:
        """A block in which no other controller takes the same one over; yields whether to."""

    def close(self) -> None:
        """Say that this controller ends."""


def enter(database: Database) -> int:
    """Write that this process is a controller; returns its row's id."""
    with database.write() as session:
        row = ControllerRow(name=f"{socket.gethostname()} ({os.getpid()})"[:300])
        session.add(row)
        session.flush()
        return row.id


def leave(database: Database, controller: int) -> None:
    """Write that a controller has ended."""
    with database.write() as session:
        session.execute(
            update(ControllerRow).where(ControllerRow.id == controller).values(ended=now())
        )


def others(database: Database, own: int) -> list[int]:
    """Ids of the controllers that have not said that they ended, but this one."""
    with database.read() as session:
        return list(
            session.scalars(
                select(ControllerRow.id)
                .where(ControllerRow.ended.is_(None), ControllerRow.id != own)
                .order_by(ControllerRow.id)
            )
        )
