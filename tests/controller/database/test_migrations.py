"""Migrations make exactly the tables that the code has, on both databases."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import text

from controller.database.engine import Database
from controller.database.migrate import config, upgrade, version
from controller.errors import PlugfleetError, Unavailable


def test_the_migrations_make_the_tables_of_the_models(database_url: str) -> None:
    database = Database(database_url)
    command.check(config(database.engine))  # raises where a model has no migration
    command.downgrade(config(database.engine), "base")
    assert version(database.engine) is None
    upgrade(database.engine)
    command.check(config(database.engine))
    database.close()


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    database = Database(database_url)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(PlugfleetError, match="newer plugfleet"):
        upgrade(database.engine)
    database.close()


def test_what_raises_in_a_transaction_leaves_nothing(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(KeyError), database.write() as session:
        session.execute(text("UPDATE counters SET number = 77"))
        raise KeyError
    with database.read() as session:
        assert 77 not in session.scalars(text("SELECT number FROM counters")).all()
    database.close()


def test_a_reading_session_sees_one_state_whatever_is_written_meanwhile(database_url: str) -> None:
    database = Database(database_url)
    numbers = text("SELECT sum(number) FROM counters")
    with database.read() as session:
        before = session.scalar(numbers)
        with database.write() as other:
            other.execute(text("UPDATE counters SET number = number + 7"))
        assert session.scalar(numbers) == before
    with database.read() as session:
        assert session.scalar(numbers) != before
    with database.write() as session:
        assert session.scalar(numbers) != before
    database.close()


def test_a_database_that_is_not_there_is_unavailable_and_says_why() -> None:
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match="does not answer"), database.read() as session:
        session.execute(text("SELECT 1"))
    database.close()
