"""Which controllers live: a lock that a process holds for as long as it does, kept by the database.

On PostgreSQL it is the server's (see controller.deployments.advisory). On SQLite there is one
controller, which holds a lock on a file.
"""

from __future__ import annotations

import fcntl
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from controller.database.engine import Database
from controller.deployments.advisory import Shared
from controller.deployments.presence import Presence, enter, leave, others
from controller.errors import Conflict
from controller.settings import Settings


def register(settings: Settings, database: Database) -> Presence:
    """Enter this process into the database and take its lock.

    Raises:
        Conflict: SQLite, and another controller is at work in the same folder.
        Unavailable: the database does not answer.
    """
    if database.is_postgresql:
        return Shared(settings, database)
    return _Alone(settings, database)


class _Alone:
    """The only controller of an SQLite database."""

    sure = math.inf

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        # Open for as long as this controller lives.
        self._file: IO[str] = (settings.data_dir / "controller.lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.id = enter(database)
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
        return others(self._database, self.id)

    @contextmanager
    def taking_over(self, dead: int) -> Iterator[bool]:
        yield True

    def close(self) -> None:
        try:
            leave(self._database, self.id)
        finally:
            self._file.close()
