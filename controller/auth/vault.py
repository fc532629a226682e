"""Secrets at rest: encrypted with keys from a file or a variable, newest first (Fernet).

Fernet is AES-128-CBC with HMAC-SHA-256 (github.com/fernet/spec); `cryptography`'s MultiFernet reads
with any of the keys and writes with the first, which is what makes keys rotatable.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets as random
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from controller.errors import PlugfleetError


class VaultError(PlugfleetError):
    """The keys cannot be read, or none of them opens a secret."""

    code, title = "secrets", "Secrets cannot be read"


class Vault:
    """Encrypts and decrypts mappings of secrets.

    Args:
        keys: Fernet keys, the one to write with first.
    """

    def __init__(self, keys: list[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise VaultError(
                "a secret key is not one", hint="make one with `plugfleet init --new-key`"
            ) from None
        # A fleet's secrets are asked for with every inventory; decrypting one takes 60 us.
        self._fingerprint = lru_cache(maxsize=65_536)(self._digest)

    def seal(self, secrets: Mapping[str, Any]) -> str:
        """Encrypted text of a mapping; empty for an empty one."""
        if not secrets:
            return ""
        # The salt keeps `fingerprint` from being a way to try out passwords.
        content = {"salt": random.token_hex(16), "secrets": dict(secrets)}
        return self._fernet.encrypt(json.dumps(content).encode()).decode()

    def open(self, sealed: str) -> dict[str, Any]:
        """The mapping of an encrypted text.

        Raises:
            VaultError: none of the keys fits.
        """
        if not sealed:
            return {}
        secrets: dict[str, Any] = json.loads(self._decrypt(sealed))["secrets"]
        return secrets

    def renew(self, sealed: str) -> str:
        """The same secret, encrypted with the first key; its fingerprint stays.

        Raises:
            VaultError: none of the keys fits.
        """
        return self._fernet.encrypt(self._decrypt(sealed)).decode() if sealed else ""

    def fingerprint(self, sealed: str) -> str:
        """A text that changes whenever the secret is sealed anew, and never by renewing its key.

        Raises:
            VaultError: none of the keys fits.
        """
        return self._fingerprint(sealed) if sealed else ""

    def _digest(self, sealed: str) -> str:
        return hashlib.sha256(self._decrypt(sealed)).hexdigest()

    def _decrypt(self, sealed: str) -> bytes:
        try:
            return self._fernet.decrypt(sealed.encode())
        except InvalidToken:
            raise VaultError(
                "a secret was encrypted with a key that is not there",
                hint="put the old key back below the new one in the key file",
            ) from None


def new_key() -> str:
    """A fresh random key."""
    return Fernet.generate_key().decode()


def load_vault(given: str, file: Path) -> Vault:
    """The vault with the keys of a comma separated text, or of a file that is made if missing.

    Raises:
        VaultError: the file cannot be read, or others can read it too.
    """
    if given:
        return Vault([key.strip() for key in given.split(",") if key.strip()])
    if not file.exists():
        write_keys(file, [new_key()])
    if file.stat().st_mode & 0o077:
        raise VaultError(f"{file} can be read by others", hint=f"chmod 600 {file}")
    return Vault(read_keys(file))


def read_keys(file: Path) -> list[str]:
    """The keys of a file, one a line."""
    return [line.strip() for line in file.read_text().splitlines() if line.strip()]


def write_keys(file: Path, keys: list[str]) -> None:
    """Write keys to a file that only its owner reads, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = file.with_name(f"{file.name}.new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write("\n".join(keys) + "\n")
        os.fsync(stream.fileno())
    partial.replace(file)
