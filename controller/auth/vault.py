"""Secrets at rest: encrypted with keys from a file or a variable, newest first (Fernet).

Fernet is AES-128-CBC with HMAC-SHA-256 (github.com/fernet/spec); `cryptography`'s MultiFernet reads
with any of the keys and writes with the first, which is what makes keys rotatable. A file of keys
that changes is read anew, so that a controller goes on while its keys are rotated.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets as random
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
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
        changed: gives the keys again when they have changed since it was last asked, else None.
    """

    def __init__(
        self, keys: list[str], changed: Callable[[], list[str] | None] = lambda: None
    ) -> None:
        self._fernet = _fernet(keys)
        self._changed = changed
        self._taking = threading.Lock()
        # A fleet's secrets are asked for with every inventory; decrypting one takes 60 us.
        self._fingerprint = lru_cache(maxsize=65_536)(self._digest)

    def seal(self, secrets: Mapping[str, Any]) -> str:
        """Encrypted text of a mapping; empty for an empty one."""
        if not secrets:
            return ""
        # The salt keeps `fingerprint` from being a way to try out passwords.
        content = {"salt": random.token_hex(16), "secrets": dict(secrets)}
        return self._newest().encrypt(json.dumps(content).encode()).decode()

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
        return self._newest().encrypt(self._decrypt(sealed)).decode() if sealed else ""

    def fingerprint(self, sealed: str) -> str:
        """A text that changes whenever the secret is sealed anew, and never by renewing its key.

        Raises:
            VaultError: none of the keys fits.
        """
        return self._fingerprint(sealed) if sealed else ""

    def _digest(self, sealed: str) -> str:
        return hashlib.sha256(self._decrypt(sealed)).hexdigest()

    def _decrypt(self, sealed: str) -> bytes:
        with suppress(InvalidToken):
            return self._fernet.decrypt(sealed.encode())
        # Only now: a large inventory opens thousands, nearly always with keys that are known.
        with suppress(InvalidToken):
            return self._newest().decrypt(sealed.encode())
        raise VaultError(
            "a secret was encrypted with a key that is not there",
            hint="put the old key back below the new one in the key file",
        )

    def _newest(self) -> MultiFernet:
        """With the keys as they are now: what the oldest of them seals, nobody may be able to read."""
        with self._taking:
            keys = self._changed()
            if keys is not None:
                self._fernet = _fernet(keys)
            return self._fernet


def _fernet(keys: list[str]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise VaultError(
            "a secret key is not one", hint="make one with `plugfleet init --new-key`"
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
    follower = _Follower(file)
    return Vault(follower.read(), follower.changed)


class _Follower:
    """Reads a file of keys, and again when it has changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, ...] = ()

    def read(self) -> list[str]:
        """The keys.

        Raises:
            VaultError: others can read the file too, or this account cannot.
        """
        found = self._file.stat()
        if found.st_mode & 0o077:
            raise VaultError(f"{self._file} can be read by others", hint=f"chmod 600 {self._file}")
        try:
            keys = read_keys(self._file)
        except PermissionError:
            raise VaultError(
                f"{self._file} cannot be read by the controller's account",
                hint="give the file to that account",
            ) from None
        _fernet(keys)  # what holds no keys is not seen, so that it is refused every time
        self._seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        return keys

    def changed(self) -> list[str] | None:
        """The keys if the file is another one now; a file that is gone takes no key away."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        same = self._seen == (found.st_mtime_ns, found.st_ino, found.st_size)
        return None if same else self.read()


def read_keys(file: Path) -> list[str]:
    """The keys of a file, one a line."""
    return [line.strip() for line in file.read_text().splitlines() if line.strip()]


def write_keys(file: Path, keys: list[str]) -> None:
    """Write keys to a file that only its owner reads, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = file.with_name(f"{file.name}.new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write("\n".join(keys) + "\n")
        if os.geteuid() == 0 and file.exists():
            # Root rotates what the controller's account goes on reading.
            owner = file.stat()
            os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
        os.fsync(stream.fileno())
    partial.replace(file)
