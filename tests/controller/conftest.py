"""Fixtures of the controller's tests: each database test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.app import open_context
from controller.database.engine import Database
from controller.database.migrate import upgrade
from controller.settings import Settings
from controller.web.deps import Context
from tests.controller import postgresql
from tests.controller.server import Api, serving
from tests.controller.sources import SourceRepository


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    with postgresql.running() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server: postgresql.Server) -> str:
    """Name of a PostgreSQL database with all tables and no rows."""
    name = postgresql_server.create()
    database = Database(postgresql_server.url(name))
    upgrade(database.engine)
    database.close()
    return name


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables and no rows."""
    file = tmp_path_factory.mktemp("template") / "plugfleet.db"
    database = Database(f"sqlite:///{file}")
    upgrade(database.engine)
    database.close()
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database with all tables and no rows, of each kind in turn."""
    if request.param == "sqlite":
        file = tmp_path / "plugfleet.db"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), file)
        yield f"sqlite:///{file}"
        return
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    name = server.create(request.getfixturevalue("migrated_postgresql"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def settings(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a controller of the test's own; nothing of the machine's configuration counts."""
    monkeypatch.setenv("PLUGFLEET_CONFIG", str(tmp_path / "none.toml"))
    return Settings(data_dir=tmp_path / "data", database_url=database_url)


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
