"""A PostgreSQL of the tests' own: one server a process, and in it a database as new for each test."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg


class PostgresqlMissing(Exception):
    """PostgreSQL's server is not installed."""


class Server:
    """A running server; reached over a Unix socket in its own folder only.

    Args:
        folder: its own; holds data, socket and log.
        user: who runs it.
    """

    def __init__(self, folder: Path, user: str) -> None:
        self._folder = folder
        self._user = user
        self._programs = _programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0

    def initialize(self) -> None:
        """Make its data folder."""
        trusting = ["-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(
            [self._programs / "initdb", "-D", self._folder / "data", "-U", self._user, *trusting],
            check=True,
            capture_output=True,
            **self._as_user(),
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # No test pulls the plug: what a power cut would lose need not be written.
        options = [f"-c{name}=off" for name in ("fsync", "full_page_writes", "synchronous_commit")]
        program = [self._programs / "postgres", "-D", self._folder / "data"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*program, "-k", self._folder, "-h", "", "-N", "200", *options],
                stdout=subprocess.DEVNULL,
                stderr=log,
                **self._as_user(),
            )
        ready = [self._programs / "pg_isready", "-q", "-h", self._folder]
        for _ in range(200):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            if self._process.poll() is not None:
                break
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
        raise RuntimeError((self._folder / "log").read_text())

    def take_nobody_new(self) -> None:
        """Begin a smart shutdown: who is connected goes on, until `stop`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End every connection, and it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def _as_user(self) -> dict[str, Any]:
        """PostgreSQL refuses to run as root."""
        account = pwd.getpwnam(self._user)
        become = {"user": account.pw_uid, "group": account.pw_gid} if os.getuid() == 0 else {}
        return {"cwd": self._folder, **become}

    def url(self, name: str) -> str:
        """SQLAlchemy's URL of one of its databases."""
        return f"postgresql+psycopg://{self._user}@/{name}?host={self._folder}"

    def create(self, template: str = "template0") -> str:
        """Make a database like another one; returns its name."""
        self._made += 1
        name = f"test{self._made}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected."""
        self._run(f'DROP DATABASE "{name}" WITH (FORCE)')

    def connect(self, name: str) -> psycopg.Connection[Any]:
        """A connection to one of its databases, on which every statement is a transaction."""
        where = f"host={self._folder} user={self._user} dbname={name}"
        return psycopg.connect(where, autocommit=True)

    def _run(self, statement: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(statement.encode())


class OneForAll:
    """A database that is brought back to its first state for each test; making one takes longer.

    Args:
        server: where it is.
        migrate: makes its tables, given its URL.
    """

    def __init__(self, server: Server, migrate: Callable[[str], None]) -> None:
        self._server = server
        self._migrate = migrate
        self._connection: psycopg.Connection[Any] | None = None

    def as_new(self) -> str:
        """Its URL, once nobody is connected and it holds what the migrations put there."""
        if not self._usable():
            self._make()
        assert self._connection is not None
        self._connection.execute(self._restore)
        return self._server.url(self._name)

    def close(self) -> None:
        """Remove it."""
        if self._connection is not None:
            self._connection.close()
            self._server.drop(self._name)

    def _make(self) -> None:
        self.close()
        self._name = self._server.create()
        self._migrate(self._server.url(self._name))
        connection = self._connection = self._server.connect(self._name)
        self._first_shape = connection.execute(_SHAPE).fetchone()
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in rows.fetchall()]
        filled = [t for t in tables if connection.execute(f'SELECT 1 FROM "{t}"').fetchone()]
        used = connection.execute(_SEQUENCES).fetchall()
        connection.execute("CREATE SCHEMA first")
        for table in filled:
            connection.execute(f'CREATE TABLE first."{table}" AS TABLE public."{table}"')
        # Foreign keys would ask for an order, and cost more than everything else.
        self._restore = ";".join(
            [
                _DISCONNECT,
                "SET session_replication_role = replica",
                *(f'DELETE FROM public."{table}"' for table in tables),
                *(f'INSERT INTO public."{table}" TABLE first."{table}"' for table in filled),
                *(f"SELECT setval('{name}', {last}, {called})" for name, last, called in used),
            ]
        ).encode()

    def _usable(self) -> bool:
        """Whether no test has changed its tables, or closed it."""
        if self._connection is None:
            return False
        try:
            return bool(self._connection.execute(_SHAPE).fetchone() == self._first_shape)
        except psycopg.OperationalError:
            return False


_DISCONNECT = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SEQUENCES = """
    SELECT format('%I', sequencename), coalesce(last_value, start_value), last_value IS NOT NULL
    FROM pg_sequences WHERE schemaname = 'public'
"""
# What a test that changes tables, rather than rows, changes.
_SHAPE = """
    SELECT count(*), max(attrelid::bigint) FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND NOT attisdropped
"""


@contextmanager
def running() -> Iterator[Server]:
    """Run a server until the block ends.

    Raises:
        PostgresqlMissing: says what to install.
    """
    user = pwd.getpwuid(os.getuid()).pw_name if os.getuid() else "nobody"
    folder = Path(tempfile.mkdtemp(prefix="plugfleet-postgresql-", dir="/tmp"))
    try:
        shutil.chown(folder, user)
        server = Server(folder, user)
        server.initialize()
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of PostgreSQL's programs: Debian keeps them out of PATH."""
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not versions:
        raise PostgresqlMissing("PostgreSQL is not installed; run tests/install-packages as root")
    return versions[-1].parent
