"""Which controllers live: a lock that a process holds for as long as it does, kept by the database.

On PostgreSQL a session advisory lock on a connection of its own: the server lets go of it when the
connection ends, and TCP keep-alives end the connection of a machine that is gone (postgresql.org,
"Advisory Locks" and `tcp_keepalives_idle`). On SQLite there is one controller, which holds a lock
on a file.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Protocol

import structlog
from sqlalchemy import Connection, NullPool, create_engine, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from controller.database.base import now
from controller.database.engine import Database
from controller.deployments.models import ControllerRow
from controller.errors import Conflict, Unavailable
from controller.settings import Settings

_LOCKS = (
    0x706C6766  # "plgf": advisory locks of other programs in the same database have other numbers
)

log = structlog.get_logger(__name__)


class Lost(Exception):
    """This controller may have been taken for dead: its runs must end before it goes on."""


class Presence(Protocol):
    """How a controller shows that it lives, and sees who else does.

    Attributes:
        id: of this controller's row.
    """

    id: int

    def check(self) -> None:
        """Make sure that it still counts as alive.

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


def register(settings: Settings, database: Database) -> Presence:
    """Enter this process into the database and take its lock.

    Raises:
        Conflict: SQLite, and another controller is at work in the same folder.
        Unavailable: the database does not answer.
    """
    if database.is_postgresql:
        return _Shared(settings, database)
    return _Alone(settings, database)


def _enter(database: Database) -> int:
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


def _others(database: Database, own: int) -> list[int]:
    with database.read() as session:
        return list(
            session.scalars(
                select(ControllerRow.id)
                .where(ControllerRow.ended.is_(None), ControllerRow.id != own)
                .order_by(ControllerRow.id)
            )
        )


class _Alone:
    """The only controller of an SQLite database."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        # Open for as long as this controller lives.
        self._file: IO[str] = (settings.data_dir / "controller.lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.id = _enter(database)
        except OSError:
            self._file.close()
            raise Conflict(
                f"another controller is at work in {settings.data_dir}",
                hint="stop it, or give several controllers one PostgreSQL (database_url)",
            ) from None
        except BaseException:
            self._file.close()
            raise

    def check(self) -> None:
        """It lives for as long as its process does."""

    def dead(self) -> list[int]:
        return _others(self._database, self.id)

    @contextmanager
    def taking_over(self, dead: int) -> Iterator[bool]:
        yield True

    def close(self) -> None:
        try:
            leave(self._database, self.id)
        finally:
            self._file.close()


class _Shared:
    """One of the controllers of a PostgreSQL database.

    Of the lease, a half is for the server to find that a connection is dead, and a third for a
    controller to come back after the server was restarted, before others take over.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._lease = settings.lease
        self._database = database
        self._free_since: dict[int, float] = {}
        seconds = max(1, int(settings.lease / 8))
        self._engine = create_engine(
            settings.database,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "connect_timeout": max(2, int(settings.lease / 4)),
                "application_name": "plugfleet presence",
                # How this side finds out that the server is gone.
                "keepalives_idle": seconds,
                "keepalives_interval": seconds,
                "keepalives_count": 2,
                "tcp_user_timeout": int(settings.lease * 1000 / 4),
                # How the server finds out that this side is gone.
                "options": f"-c tcp_keepalives_idle={seconds} -c tcp_keepalives_interval={seconds} "
                f"-c tcp_keepalives_count=2 -c tcp_user_timeout={int(settings.lease * 1000 / 3)}",
            },
        )
        self.id = _enter(database)
        self._connection: Connection | None = self._connect()
        self._sure = time.monotonic()

    def _connect(self) -> Connection:
        """A connection that holds this controller's lock.

        Raises:
            Lost: somebody else holds it: it is being taken over.
            SQLAlchemyError: the server does not answer.
        """
        connection = self._engine.connect()
        try:
            taken = connection.scalar(
                text("SELECT pg_try_advisory_lock(:kind, :id)"), self._lock(self.id)
            )
        except BaseException:
            connection.close()
            raise
        if taken:
            return connection
        connection.close()
        raise Lost("another controller takes this one's work over")

    @staticmethod
    def _lock(controller: int) -> dict[str, int]:
        return {"kind": _LOCKS, "id": controller}

    def check(self) -> None:
        try:
            if self._connection is None:
                self._come_back()
            elif self.id not in self._alive():
                raise Lost("the database has let go of this controller's lock")
        except SQLAlchemyError as error:
            self._drop()
            self._bear(error)
        self._sure = time.monotonic()

    def _drop(self) -> None:
        """Close a connection that broke; SQLAlchemy would open another one, without the lock."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _come_back(self) -> None:
        """Take the lock again after a broken connection, if nobody has taken over meanwhile."""
        connection = self._connect()
        with self._database.read() as session:
            ended = session.scalar(select(ControllerRow.ended).where(ControllerRow.id == self.id))
        if ended is not None:
            connection.close()
            raise Lost("another controller took this one's work over")
        self._connection = connection
        log.info("the connection to the database is back")

    def _bear(self, error: SQLAlchemyError) -> None:
        """Say whether a broken connection may be waited for."""
        if _refused(error):
            # A server that refuses serves nobody, so nobody can take over. One that is silent may be
            # silent to this machine alone.
            self._sure = time.monotonic()
        silent = time.monotonic() - self._sure
        if silent > self._lease / 2:
            raise Lost(f"the database has been silent for {silent:.0f} s") from error
        raise Unavailable(f"the connection to the database broke: {_first_line(error)}") from error

    def _alive(self) -> set[int]:
        """Ids of the controllers whose lock is held."""
        if self._connection is None:
            raise Unavailable("the connection to the database broke")
        held = text(
            "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND classid = :kind AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return set(self._connection.scalars(held, {"kind": _LOCKS}))

    def dead(self) -> list[int]:
        others = _others(self._database, self.id)
        held = self._alive()
        moment = time.monotonic()
        self._free_since = {
            controller: self._free_since.get(controller, moment)
            for controller in others
            if controller not in held
        }
        patience = self._lease / 3
        return [other for other, since in self._free_since.items() if moment - since >= patience]

    @contextmanager
    def taking_over(self, dead: int) -> Iterator[bool]:
        connection = self._connection
        if connection is None:
            raise Unavailable("the connection to the database broke")
        taken = connection.scalar(text("SELECT pg_try_advisory_lock(:kind, :id)"), self._lock(dead))
        try:
            yield bool(taken)
        finally:
            if taken:
                connection.execute(text("SELECT pg_advisory_unlock(:kind, :id)"), self._lock(dead))

    def close(self) -> None:
        try:
            leave(self._database, self.id)
        finally:
            if self._connection is not None:
                self._connection.close()
            self._engine.dispose()


def _refused(error: SQLAlchemyError) -> bool:
    """Whether a server, or its machine, said that nobody is served now."""
    said = str(getattr(error, "orig", error)).lower()
    signs = (
        "refused",
        "starting up",
        "shutting down",
        "no such file",
        "in recovery mode",
        "not currently accepting connections",
    )
    return any(sign in said for sign in signs)


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", error)).strip().splitlines()[0]
