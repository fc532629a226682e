"""Opening the database, and sessions that either read or write.

SQLite has one writer at a time. A transaction that reads first and writes later fails at once when
another wrote in between (SQLITE_BUSY_SNAPSHOT, no timeout helps), so a writing session takes the
write lock when it begins (sqlite.org/lang_transaction.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from controller.database.silence import Watch
from controller.errors import Unavailable

_BUSY_TIMEOUT = 15_000  # milliseconds
_CONNECT_TIMEOUT = 5  # seconds
# A server whose machine fell silent (power, network) is noticed within about 10 s, less than a lease;
# without these the kernel goes on trying for a quarter of an hour. See silence for one that hangs.
_DEAD_PEER = {
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# The same for the server: the rows that a silent controller has locked are others' to go on with.
_DEAD_CLIENT = (
    "-c idle_in_transaction_session_timeout=10000 -c tcp_keepalives_idle=4 "
    "-c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
)


class Database:
    """The database of one controller.

    Args:
        url: an SQLAlchemy URL of SQLite or PostgreSQL.
    """

    def __init__(self, url: str, *, pool_size: int = 20) -> None:
        self.engine = _open(url, pool_size)
        self._watch = Watch(self.engine) if self.is_postgresql else None
        # SQLite's transactions see one state by themselves, PostgreSQL's only from this level on.
        one_state = {"isolation_level": "REPEATABLE READ"} if self.is_postgresql else {}
        self._read = sessionmaker(
            self.engine.execution_options(**one_state), expire_on_commit=False
        )
        self._write = sessionmaker(
            self.engine.execution_options(plugfleet_write=True), expire_on_commit=False
        )
        self._write_at_once = sessionmaker(
            self.engine.execution_options(plugfleet_write=True, plugfleet_wait=False),
            expire_on_commit=False,
        )

    @property
    def is_postgresql(self) -> bool:
        """Whether several controllers can share it."""
        return self.engine.dialect.name == "postgresql"

    @property
    def patience(self) -> float:
        """Seconds that a change waits for others that write to SQLite."""
        return _BUSY_TIMEOUT / 1000

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and changes nothing.

        Raises:
            Unavailable: the database cannot be reached.
        """
        with _told(), self._read() as session:
            yield session

    @contextmanager
    def write(self, *, wait: bool = True) -> Iterator[Session]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Args:
            wait: for whoever else writes to SQLite; without, it is locked at once.

        Raises:
            Unavailable: the database cannot be reached, is locked, or is full; nothing was changed, or it
                says that this is not known.
        """
        make = self._write if wait else self._write_at_once
        with _told(), make() as session, session.begin() as transaction:
            yield session
            session.flush()
            with _told_of_commit():
                transaction.commit()

    def close(self) -> None:
        """Close all connections."""
        if self._watch is not None:
            self._watch.close()
        self.engine.dispose()


def _open(url: str, pool_size: int) -> Engine:
    if url.startswith("sqlite"):
        engine = create_engine(
            url,
            connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT / 1000},
            pool_size=pool_size,
            max_overflow=pool_size,
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=10,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT,
            "application_name": "plugfleet",
            "options": with_options(url, _DEAD_CLIENT),
            **_DEAD_PEER,
        },
    )


def with_options(url: str, options: str) -> str:
    """The options for PostgreSQL's server that a URL has, and further ones."""
    given = make_url(url).query.get("options", "")
    return " ".join([*([given] if isinstance(given, str) else given), options]).strip()


def _prepare_sqlite(connection: Any, _: object) -> None:
    # Python's own transaction control begins none before a SELECT; SQLAlchemy's "begin" does.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # no row is lost by a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    begin = "BEGIN IMMEDIATE" if options.get("plugfleet_write", False) else "BEGIN"
    if options.get("plugfleet_wait", True):
        connection.exec_driver_sql(begin)
        return
    connection.exec_driver_sql("PRAGMA busy_timeout=0")
    try:
        connection.exec_driver_sql(begin)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={_BUSY_TIMEOUT}")


@contextmanager
def _told_of_commit() -> Iterator[None]:
    """Say that nobody knows what became of a change whose commit was not answered."""
    try:
        yield
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise Unavailable(
            "the connection to the database broke while the change was written",
            hint="it may have been made or not: look before trying again",
        ) from error


@contextmanager
def _told() -> Iterator[None]:
    """Say what the database's trouble means to a caller."""
    try:
        yield
    except OperationalError as error:
        raise Unavailable(
            f"the database does not answer: {str(error.orig).strip().splitlines()[0]}",
            hint="nothing was changed; try again",
        ) from error
    except PoolTimeout as error:
        raise Unavailable("too many requests wait for the database", hint="try again") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("the connection to the database broke", hint="try again") from error
        raise
