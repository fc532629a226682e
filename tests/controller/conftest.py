"""Fixtures of the controller's tests: each database test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from controller.app import open_context
from controller.database.engine import Database
from controller.database.migrate import upgrade
from controller.deployments.spawner import Spawner
from controller.settings import Settings
from controller.web.deps import Context
from tests.controller import postgresql, statements
from tests.controller.server import Api, serving
from tests.controller.sources import SourceRepository


@pytest.fixture(scope="session", autouse=True)
def log_lines() -> None:
    """Give log lines to pytest, which shows those of a test that fails."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    # Lines between two tests, when pytest does not listen, are nobody's.
    logging.getLogger().addHandler(logging.NullHandler())


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Let a statement be compiled for the first test that uses it alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controller.database.engine.create_engine", statements.create_engine)
        yield


@pytest.fixture(scope="session", autouse=True)
def imported_once() -> Iterator[None]:
    """Let the runs of all controllers be copies of one process: to import what they need takes a second."""

    class Shared(Spawner):
        def close(self) -> None:
            """It goes on for the next controller."""

    shared = Shared()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controller.deployments.waveprocess.Spawner", lambda: shared)
        yield
    Spawner.close(shared)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    with postgresql.running() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_database(
    postgresql_server: postgresql.Server,
) -> Iterator[postgresql.OneForAll]:
    """A PostgreSQL database that one test after another gets with all tables and no rows."""
    database = postgresql.OneForAll(postgresql_server, _migrate)
    yield database
    database.close()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables and no rows."""
    file = tmp_path_factory.mktemp("template") / "plugfleet.db"
    _migrate(f"sqlite:///{file}")
    return file


def _migrate(url: str) -> None:
    database = Database(url)
    upgrade(database.engine)
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database with all tables and no rows, of each kind in turn."""
    if request.param == "sqlite":
        file = tmp_path / "plugfleet.db"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), file)
        return f"sqlite:///{file}"
    database: postgresql.OneForAll = request.getfixturevalue("postgresql_database")
    return database.as_new()


@pytest.fixture(scope="session")
def default_settings() -> Settings:
    """Settings of a controller that is told nothing; looking for them in the environment takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLUGFLEET_CONFIG", os.devnull)
        return Settings()


@pytest.fixture
def settings(
    default_settings: Settings, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings of a controller of the test's own; nothing of the machine's configuration counts."""
    monkeypatch.setenv("PLUGFLEET_CONFIG", os.devnull)
    own = {"data_dir": tmp_path / "data", "database_url": database_url}
    return default_settings.model_copy(update=own)


@pytest.fixture
def context(settings: Settings) -> Iterator[Context]:
    """What a controller has open, without its HTTP side."""
    opened = open_context(settings)
    yield opened
    opened.database.close()


@pytest.fixture
def api(context: Context) -> Iterator[Api]:
    """A controller that answers HTTP."""
    with serving(context) as served:
        yield served


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., SourceRepository]:
    """Makes source repositories, each with one step script unless told otherwise."""

    def make(name: str = "source", script: str = "sys/ntp/600_ntp.py") -> SourceRepository:
        repository = SourceRepository(tmp_path / name)
        if script:
            repository.write(script)
            repository.commit()
        return repository

    return make
