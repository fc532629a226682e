"""Rotating the keys of secrets, in each step's order and out of it; on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from controller.auth.principal import CONTROLLER
from controller.auth.vault import (
    Vault,
    VaultError,
    load_vault,
    new_key,
    read_keys,
    write_keys,
)
from controller.bindings.models import BindingRow, OverrideRow
from controller.catalog.models import SourceRow
from controller.database.tables import Base
from controller.errors import Conflict
from controller.fleet.models import Host, Hostgroup
from controller.operations.keys import SEALED, add_key, drop_old_keys, reseal
from controller.web.deps import Context

SECRET = {"password": "s3cret"}


@pytest.fixture
def keys(tmp_path: Path, context: Context) -> Path:
    """A key file whose one key everything in the database is sealed with."""
    file = tmp_path / "keys"
    add_key(file)
    sealed = Vault(read_keys(file)).seal(SECRET)
    with context.database.write() as session:
        group = Hostgroup(name="web", secrets=sealed)
        session.add(OverrideRow(host=Host(name="c"), plugin="x", secrets=sealed))
        session.add_all([Host(name="a", secrets=sealed), Host(name="b"), group])
        session.flush()
        session.add(BindingRow(hostgroup_id=group.id, plugin="x", secrets=sealed))
        session.add(SourceRow(name="s", url="https://git.example.com/x.git", credentials=sealed))
    return file


def sealed(context: Context) -> list[str]:
    with context.database.read() as session:
        return [text for column in SEALED for text in session.scalars(select(column)) if text]


def test_every_column_with_secrets_is_known() -> None:
    columns = {
        (table.name, column.name)
        for table in Base.metadata.tables.values()
        for column in table.columns
        if column.name in ("secrets", "credentials")
    }
    assert {(column.class_.__tablename__, column.key) for column in SEALED} == columns


def test_everything_is_sealed_with_the_newest_key(context: Context, keys: Path) -> None:
    (old,) = read_keys(keys)
    assert add_key(keys) == 2
    with context.database.write() as session:
        counts = reseal(session, CONTROLLER, Vault(read_keys(keys)))
    assert counts == {
        "hosts": 1,
        "hostgroups": 1,
        "bindings": 1,
        "binding_overrides": 1,
        "sources": 1,
    }
    newest = Vault(read_keys(keys)[:1])
    assert [newest.open(text) for text in sealed(context)] == [SECRET] * len(SEALED)
    with pytest.raises(VaultError):
        Vault([old]).open(sealed(context)[0])
    with context.database.read() as session:
        assert drop_old_keys(session, keys) == 1
    assert old not in read_keys(keys) and len(read_keys(keys)) == 1


def test_a_key_that_is_needed_still_is_not_dropped(context: Context, keys: Path) -> None:
    add_key(keys)
    before = keys.read_text()
    with context.database.read() as session, pytest.raises(Conflict):
        drop_old_keys(session, keys)
    assert keys.read_text() == before


def test_a_key_that_is_missing_changes_nothing(context: Context, keys: Path) -> None:
    before = sealed(context)
    with pytest.raises(VaultError), context.database.write() as session:
        reseal(session, CONTROLLER, Vault([new_key()]))
    assert sealed(context) == before


def test_the_key_file_stays_its_owners_alone(keys: Path) -> None:
    add_key(keys)
    assert keys.stat().st_mode & 0o777 == 0o600


def test_a_vault_that_is_open_follows_its_key_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    add_key(file)
    running = load_vault("", file)
    first = running.seal(SECRET)
    mark = running.fingerprint(first)
    add_key(file)
    by_another = load_vault("", file).seal(SECRET)
    assert running.open(by_another) == SECRET, "sealed with a key that came later"
    renewed = running.renew(first)
    write_keys(file, read_keys(file)[:1])
    for text in (renewed, running.seal(SECRET)):
        assert load_vault("", file).open(text) == SECRET, "the old key is not used any more"
    assert running.fingerprint(renewed) == mark


def test_a_vault_says_what_became_of_its_key_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    add_key(file)
    running = load_vault("", file)
    known = running.seal(SECRET)
    file.unlink()
    assert running.open(running.seal(SECRET)) == SECRET, "what it knows stays"
    for content, mode, says in (("rubbish", 0o600, "is not one"), (new_key(), 0o644, "by others")):
        file.write_text(content)
        file.chmod(mode)
        for _ in range(2):
            with pytest.raises(VaultError, match=says):
                running.seal(SECRET)
        assert running.open(known) == SECRET
