"""Which controller a command speaks to: option, then `PLUGFLEET_URL` and `PLUGFLEET_TOKEN`, then a file.

The file is `~/.config/plugfleet/cli.toml` with `url`, `token` and `ca_file`; nobody but its owner may
read it. There is no option for the token: a command line is in the list of processes.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from controller.cli.exits import CommandError

DEFAULT_URL = "http://127.0.0.1:8700"
_KEYS = ("url", "token", "ca_file")


@dataclass(frozen=True)
class Connection:
    """Where the controller is and what to show it.

    Attributes:
        token: may be empty; the controller then says that one is needed.
        ca_file: PEM file of the authority that signed the controller's certificate, or empty.
    """

    url: str
    token: str
    ca_file: str = ""


def connection_file() -> Path:
    """Where the file is, whether it exists or not."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "plugfleet" / "cli.toml"


def find_connection(url: str | None) -> Connection:
    """The connection to use.

    Args:
        url: of the `--url` option, or None.

    Raises:
        CommandError: the file cannot be used, or the URL is not one.
    """
    kept = _read(connection_file())
    given = url or os.environ.get("PLUGFLEET_URL") or kept.get("url") or DEFAULT_URL
    given = given.strip().rstrip("/")
    if not _is_url(given):
        raise CommandError(
            f"the controller's URL {given!r} is not one",
            hint="write it as https://controller.example.com:8700",
        )
    token = os.environ.get("PLUGFLEET_TOKEN") or kept.get("token", "")
    if not token.isascii() or not token.isprintable():
        raise CommandError("the token holds characters that no token has", hint="see docs/cli.md")
    ca_file = os.environ.get("PLUGFLEET_CA_FILE") or kept.get("ca_file", "")
    return Connection(given, token.strip(), ca_file)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _read(file: Path) -> dict[str, str]:
    try:
        text = file.read_text()
        mode = file.stat().st_mode
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {file}: {error}") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{file} is not TOML: {error}") from None
    for key, value in values.items():
        if key not in _KEYS or not isinstance(value, str):
            raise CommandError(
                f"{file}: {key!r} is not a text that is known there",
                hint=f"known are {', '.join(_KEYS)}",
            )
    if "token" in values and mode & 0o077:
        raise CommandError(
            f"{file} holds a token and can be read by others", hint=f"chmod 600 {file}"
        )
    return values
