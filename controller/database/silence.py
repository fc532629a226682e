"""Noticing that PostgreSQL has fallen silent: it takes connections or keeps them open, and answers nobody.

A kernel that answers for a server that hangs, or a proxy that does, keeps TCP's own timeouts from ever
coming. A statement may take as long as it takes, so time alone says nothing: where one has been waited
for long, a new connection is asked for, and only if that gets no answer either are all waits ended.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import structlog
from psycopg.errors import ConnectionTimeout
from sqlalchemy import Engine, event

_LOOK = 1.0  # seconds between two looks
_SUSPECT = 6.0  # seconds that a statement takes without anybody's asking why
_PROBE = 8  # seconds that a new connection may take

log = structlog.get_logger(__name__)


class Watch:
    """Watches all connections of an engine, from the first on until `close`."""

    def __init__(self, engine: Engine) -> None:
        self._lock = threading.Lock()
        self._waits: dict[psycopg.Connection[Any], float] = {}
        self._silent = self._suspicious = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._way: tuple[list[Any], dict[str, Any]] = [], {}
        watch = self

        class Watched(psycopg.Connection[Any]):
            def wait(self, *args: Any, **more: Any) -> Any:
                with watch._waiting(self):
                    return super().wait(*args, **more)

        self._kind = Watched
        event.listen(engine, "do_connect", self._connect)

    def close(self) -> None:
        """Watch no more, until the next connection."""
        self._over.set()

    def _connect(
        self, _: object, __: object, args: list[Any], how: dict[str, Any]
    ) -> psycopg.Connection[Any]:
        with self._lock:
            self._way = args, how
            if self._thread is None or self._over.is_set():
                self._over = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._over,), name="database-watch", daemon=True
                )
                self._thread.start()
        if self._silent:
            raise psycopg.OperationalError("it takes connections and is silent")
        try:
            return self._kind.connect(*args, **how)
        except ConnectionTimeout:
            self._suspicious = True
            raise

    @contextmanager
    def _waiting(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        with self._lock:
            self._waits[connection] = time.monotonic()
        try:
            if self._silent:
                _end(connection)
            yield
        finally:
            with self._lock:
                self._waits.pop(connection, None)

    def _run(self, over: threading.Event) -> None:
        while not over.wait(_LOOK):
            if self._silent or self._suspicious or self._longest() > _SUSPECT:
                self._suspicious = False
                # One try may be lost to a pooler that is full; all waits are ended for two.
                self._judge(self._answers() or (not self._silent and self._answers()))

    def _longest(self) -> float:
        with self._lock:
            return time.monotonic() - min(self._waits.values(), default=time.monotonic())

    def _answers(self) -> bool:
        """Whether the server, or whoever refuses in its place, says anything."""
        args, how = self._way
        try:
            psycopg.connect(*args, **{**how, "connect_timeout": _PROBE}).close()
        except ConnectionTimeout:
            return False
        except Exception:
            # Refused, or this machine has no more files: neither is silence.
            return True
        return True

    def _judge(self, answers: bool) -> None:
        with self._lock:
            if self._silent == answers:
                log.warning("the database answers" if answers else "the database is silent")
            self._silent = not answers
            if self._silent:
                for connection in self._waits:
                    _end(connection)


def _end(connection: psycopg.Connection[Any]) -> None:
    """Let whoever waits for a connection be told that it broke; it must not be closed meanwhile."""
    # Broken already, or no file is left for a duplicate: then it breaks by itself, or the next look ends it.
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as own,
    ):
        own.shutdown(socket.SHUT_RDWR)
