"""That one controller at a time brings AWX's schedules in step: a lock that ends with its connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from controller.database.engine import Database
from controller.errors import Unavailable

_LOCKS = 0x706C6773  # "plgs": the deployments' advisory locks have another number


@contextmanager
def alone(database: Database) -> Iterator[bool]:
    """A block in which no other controller brings AWX in step; yields whether to.

    Raises:
        Unavailable: the database does not answer.
    """
    if not database.is_postgresql:
        yield True
        return
    try:
        # Of no transaction, which the server would end after ten seconds of silence.
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except SQLAlchemyError as error:
        raise Unavailable("the database does not answer") from error
    with connection:
        taken = bool(connection.scalar(select(func.pg_try_advisory_lock(_LOCKS, 1))))
        try:
            yield taken
        finally:
            if taken:
                connection.scalar(select(func.pg_advisory_unlock(_LOCKS, 1)))
