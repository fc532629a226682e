"""A PostgreSQL of the tests' own: one server a process, one database a test."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


class PostgresqlMissing(Exception):
    """PostgreSQL's server is not installed."""


class Server:
    """A running server; reached over a Unix socket in its own folder only.

    Attributes:
        pid: of its first process.
    """

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], user: str) -> None:
        self._folder = folder
        self._process = process
        self._user = user
        self.pid = process.pid
        self._made = 0

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

    def _run(self, statement: str) -> None:
        where = f"host={self._folder} user={self._user} dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running() -> Iterator[Server]:
    """Run a server until the block ends.

    Raises:
        PostgresqlMissing: says what to install.
    """
    programs = _programs()
    # PostgreSQL refuses to run as root.
    user = pwd.getpwuid(os.getuid()).pw_name if os.getuid() else "nobody"
    account = pwd.getpwnam(user)
    folder = Path(tempfile.mkdtemp(prefix="plugfleet-postgresql-", dir="/tmp"))
    process: subprocess.Popen[bytes] | None = None
    try:
        os.chown(folder, account.pw_uid, account.pw_gid)
        become = {"user": account.pw_uid, "group": account.pw_gid} if os.getuid() == 0 else {}
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", user, "-A", "trust", "--no-sync", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd=folder,
            **become,
        )
        # No test pulls the plug: what a power cut would lose need not be written.
        options = [f"-c{name}=off" for name in ("fsync", "full_page_writes", "synchronous_commit")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", folder, "-h", "", "-N", "200", *options],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=folder,
                **become,
            )
        ready = [programs / "pg_isready", "-q", "-h", folder]
        for _ in range(200):
            if subprocess.run(ready, check=False).returncode == 0:
                break
            if process.poll() is not None:
                raise RuntimeError((folder / "log").read_text())
            with _suppressed_timeout():
                process.wait(0.05)
        yield Server(folder, process, user)
    finally:
        if process:
            process.send_signal(signal.SIGINT)  # ends connections, unlike SIGTERM
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _suppressed_timeout() -> Iterator[None]:
    try:
        yield
    except subprocess.TimeoutExpired:
        return


def _programs() -> Path:
    """The folder of PostgreSQL's programs: Debian keeps them out of PATH."""
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not versions:
        raise PostgresqlMissing("PostgreSQL is not installed; run tests/install-packages as root")
    return versions[-1].parent
