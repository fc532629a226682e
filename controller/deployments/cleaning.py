"""Making what a run says fit to keep: no secret's value, no character that a database refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.bindings.models import BindingRow
from controller.fleet.models import Host, Hostgroup

HIDDEN = "********"
# Shorter ones would hide parts of harmless words, and are no secrets to anybody who guesses.
_SHORTEST = 4
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Cleaner:
    """Cleans texts and plain data that holds texts.

    Args:
        secrets: values that must not be kept.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = set()
        for secret in secrets:
            # Lines of a key are secrets too, and a secret may stand inside of JSON text.
            for part in {secret, *secret.splitlines()}:
                if len(part.strip()) >= _SHORTEST:
                    forms |= {part, json.dumps(part)[1:-1]}
        longest_first = sorted(forms, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, value: str) -> str:
        """A text without colours, secrets, NUL (PostgreSQL), and halves of Unicode pairs."""
        if "\x1b" in value:
            value = _COLOURS.sub("", value)
        if self._secrets:
            value = self._secrets.sub(HIDDEN, value)
        if "\x00" in value:
            value = value.replace("\x00", "\ufffd")
        return value if value.isascii() else value.encode("utf-8", "replace").decode()

    def data(self, value: Any) -> Any:
        """Plain data with every text in it cleaned, names of mappings included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.data(entry) for name, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(entry) for entry in value]
        return value if isinstance(value, int | float | bool | None) else self.text(str(value))


def secrets_of(session: Session, vault: Vault, hosts: Iterable[str]) -> set[str]:
    """Every secret text that a run over these hosts may come to see."""
    sealed = set(session.scalars(select(Hostgroup.secrets)))
    sealed |= set(session.scalars(select(BindingRow.secrets)))
    names = set(hosts)
    for name, secrets in session.execute(select(Host.name, Host.secrets).where(Host.secrets != "")):
        if name in names:
            sealed.add(secrets)
    return {text for entry in sealed for text in _texts(vault.open(entry))}


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
