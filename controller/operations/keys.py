"""Rotating the keys of secrets: a new key is put first, everything is sealed anew, old keys go.

A running controller follows its key file (auth.vault); keys in a variable take a restart after the
first step. docs/cli.md has the order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault, VaultError, new_key, read_keys, write_keys
from controller.bindings.models import BindingRow, OverrideRow
from controller.catalog.models import SourceRow
from controller.errors import Conflict
from controller.fleet.models import Host, Hostgroup

# Every column that holds what `Vault.seal` made; a test holds this against the tables.
SEALED: tuple[InstrumentedAttribute[str], ...] = (
    Host.secrets,
    Hostgroup.secrets,
    BindingRow.secrets,
    OverrideRow.secrets,
    SourceRow.credentials,
)


def add_key(file: Path) -> int:
    """Put a new key first in a key file; returns how many it holds then."""
    keys = [new_key(), *(read_keys(file) if file.exists() else [])]
    write_keys(file, keys)
    return len(keys)


def reseal(session: Session, by: Principal, vault: Vault) -> dict[str, int]:
    """Encrypt every secret of the database with the newest key.

    Returns:
        How many of each table.

    Raises:
        VaultError: one was encrypted with a key that is not there; nothing is changed.
    """
    counts = {}
    for column in SEALED:
        table: Any = column.class_
        rows = session.execute(select(table.id, column).where(column != "")).all()
        renewed = [{"id": row[0], column.key: vault.renew(row[1])} for row in rows]
        if renewed:
            session.execute(update(table), renewed)
        counts[table.__tablename__] = len(renewed)
    record(session, by, "keys.rotate", "keys", "secrets", None, counts)
    return counts


def drop_old_keys(session: Session, file: Path) -> int:
    """Keep only the newest key of a file, if it opens every secret; returns how many went.

    Raises:
        Conflict: a secret still needs an older key.
    """
    keys = read_keys(file)
    if not opens_everything(session, Vault(keys[:1])):
        raise Conflict(
            "there are secrets that only an older key opens",
            hint="run `plugfleet secrets rotate` first",
        )
    write_keys(file, keys[:1])
    return len(keys) - 1


def opens_everything(session: Session, vault: Vault) -> bool:
    """Whether a vault opens every secret of the database."""
    for column in SEALED:
        for sealed in session.scalars(select(column).where(column != "")):
            try:
                vault.open(sealed)
            except VaultError:
                return False
    return True
