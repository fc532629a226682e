"""How a controller lives on PostgreSQL: a session advisory lock on a connection of its own.

The server lets go of it when the connection ends, and ends the connection of a controller that says
nothing for a part of the lease (postgresql.org, "Advisory Locks" and `idle_session_timeout`, which is
there since 14). So it is PostgreSQL that says who lives, by one clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog
from sqlalchemy import Connection, NullPool, create_engine, select, text
from sqlalchemy.exc import SQLAlchemyError

from controller.database.engine import Database, with_options
from controller.deployments.models import ControllerRow
from controller.deployments.presence import CHECK, PATIENCE, SILENCE, Lost, enter, leave, others
from controller.errors import Unavailable
from controller.settings import Settings

_LOCKS = (
    0x706C6766  # "plgf": advisory locks of other programs in the same database have other numbers
)

# What a server says that has no session left. Not "shutting down": a smart shutdown refuses who is new, and
# goes on serving whoever is connected, such as another controller. Neither "not currently accepting
# connections", which a database says that is closed to new sessions.
_SAID_BY_SERVER = ("starting up", "in recovery mode", "not yet accepting connections")
_SAID_BY_KERNEL = ("refused", "no such file")

log = structlog.get_logger(__name__)


class Shared:
    """One of the controllers of a PostgreSQL database.

    One thread calls `check`, which may hang; another one the rest, which does not wait for it.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._lease = settings.lease
        self._database = database
        self._free_since: dict[int, float] = {}
        self._held: tuple[set[int], float] = set(), time.monotonic()
        self._local = False
        self._using = threading.Lock()
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
                "options": with_options(
                    settings.database,
                    f"-c idle_session_timeout={int(settings.lease * 1000 * SILENCE)}",
                ),
            },
        )
        self.id = enter(database)
        self.sure = time.monotonic()
        self._connection: Connection | None = self._connect()

    def _connect(self) -> Connection:
        """A connection that holds this controller's lock.

        Raises:
            Lost: somebody else holds it: it is being taken over.
            SQLAlchemyError: the server does not answer.
        """
        connection = self._engine.connect()
        try:
            self._local = is_local(connection)
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
        # What is proven holds for the moment of the question: the answer may have been long on its way.
        asked = time.monotonic()
        with self._using:
            try:
                if self._connection is None:
                    self._come_back()
                held = self._alive()
                if self.id not in held:
                    self._drop()
                    raise Lost("the database has let go of this controller's lock")
            except SQLAlchemyError as error:
                self._drop()
                self._bear(error)
        self._held = held, time.monotonic()
        for controller in held:
            # Not in `dead` alone, which may come too seldom to see a lock that was back for a moment.
            self._free_since.pop(controller, None)
        self.sure = asked

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
        if serves_nobody(error, self._local):
            # So nobody can take over. A server that is silent may be silent to this machine alone.
            self.sure = time.monotonic()
        silent = time.monotonic() - self.sure
        if silent > self._lease * SILENCE:
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
        known = others(self._database, self.id)
        held, seen = self._held
        since = self._free_since
        for gone in since.keys() - set(known):
            since.pop(gone, None)
        for controller in set(known) - held:
            since.setdefault(controller, seen)
        patience, moment = self._lease * PATIENCE, time.monotonic()
        return [other for other in known if moment - since.get(other, moment) >= patience]

    @contextmanager
    def taking_over(self, dead: int) -> Iterator[bool]:
        taken = self._ask("SELECT pg_try_advisory_lock(:kind, :id)", dead)
        try:
            yield taken
        finally:
            if taken:
                self._ask("SELECT pg_advisory_unlock(:kind, :id)", dead)

    def _ask(self, question: str, controller: int) -> bool:
        """Ask about a controller's lock, unless the connection hangs.

        Raises:
            Unavailable: it does, or it broke.
        """
        if not self._using.acquire(timeout=self._lease * CHECK):
            raise Unavailable("the connection to the database hangs")
        try:
            if self._connection is None:
                raise Unavailable("the connection to the database broke")
            return bool(self._connection.scalar(text(question), self._lock(controller)))
        except SQLAlchemyError as error:
            raise Unavailable(f"the database does not answer: {_first_line(error)}") from error
        finally:
            self._using.release()

    def close(self) -> None:
        try:
            leave(self._database, self.id)
        finally:
            if self._connection is not None:
                self._connection.close()
            self._engine.dispose()


def is_local(connection: Connection) -> bool:
    """Whether the way to the server is a Unix socket of its own, from end to end.

    What listens on loopback, or on a Unix socket, may be a tunnel or a pooler, which this controller
    alone depends on: then the server sees a network connection, or this side does.
    """
    driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
    assert driver is not None  # it is open
    seen_there = connection.scalar(text("SELECT inet_server_addr() IS NOT NULL"))
    return driver.info.host.startswith("/") and not seen_there


def serves_nobody(error: SQLAlchemyError, local: bool) -> bool:
    """Whether it is the server that does not serve, and not the way to it that is broken."""
    said = str(getattr(error, "orig", error)).lower()
    signs = _SAID_BY_SERVER + (_SAID_BY_KERNEL if local else ())
    return any(sign in said for sign in signs)


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", error)).strip().splitlines()[0]
