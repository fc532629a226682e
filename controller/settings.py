"""Settings of the controller: environment variables `PLUGFLEET_...`, then the settings file, then defaults.

The file is TOML, written by `plugfleet init`; docs/controller-settings.md lists every setting, which
a test holds against this class.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from controller.errors import PlugfleetError
from controller.execution import ExecutionSettings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DEFAULT_DATA_DIR = Path("~/.local/share/plugfleet")


class Settings(ExecutionSettings):
    """What a controller needs to know before it can open its database."""

    model_config = SettingsConfigDict(env_prefix="PLUGFLEET_", extra="forbid")

    data_dir: Annotated[
        Path, Field(description="Folder of the database, the deploy line, keys and run records.")
    ] = _DEFAULT_DATA_DIR
    database_url: Annotated[
        str,
        Field(
            description="SQLAlchemy URL; empty is an SQLite file in data_dir. PostgreSQL: postgresql+psycopg://..."
        ),
    ] = ""
    secret_key_file: Annotated[
        Path | None,
        Field(
            description="File with the keys that encrypt secrets, newest first; default data_dir/secret.key."
        ),
    ] = None
    secret_key: Annotated[
        str,
        Field(description="The keys themselves, comma separated, instead of a file.", repr=False),
    ] = ""
    public_url: Annotated[
        str, Field(description="Where people and control nodes reach this controller.")
    ] = "http://127.0.0.1:8700"
    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Field(ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    ] = 8700
    project_dir: Annotated[
        Path, Field(description="Checkout with deploy-plugins.yml, roles/ and ansible.cfg.")
    ] = Path(__file__).resolve().parents[1]
    forks: Annotated[
        int, Field(ge=1, le=1000, description="Hosts that one run visits at a time.")
    ] = 50
    concurrent_runs: Annotated[
        int,
        Field(ge=1, le=64, description="Runs of ansible-playbook at a time, on this controller."),
    ] = max(1, os.cpu_count() or 1)
    run_timeout: Annotated[int, Field(ge=10, description="Seconds after which a run is ended.")] = (
        3600
    )
    lease: Annotated[
        float,
        Field(
            ge=2,
            le=30,
            description="Seconds after which another controller takes over a dead one's work.",
        ),
    ] = 30
    source_timeout: Annotated[
        float, Field(gt=0, description="Seconds that one source's git server may take.")
    ] = 60
    agents_listen: Annotated[
        str,
        Field(
            description="Where to listen for agents' heartbeats, e.g. 0.0.0.0:6030; empty is off."
        ),
    ] = ""
    agents_tls_listen: Annotated[
        str,
        Field(
            description="The same with TLS, for clients with a certificate of their host's name; default port 6031."
        ),
    ] = ""
    agents_tls_certificate: Annotated[
        Path | None, Field(description="PEM file of this server's certificate, with its chain.")
    ] = None
    agents_tls_key: Annotated[Path | None, Field(description="PEM file of its key.")] = None
    agents_tls_authority: Annotated[
        Path | None, Field(description="PEM file of the authority of the clients' certificates.")
    ] = None
    agents_networks: Annotated[
        str,
        Field(
            description="Networks that agents may come from, comma separated; empty is everywhere."
        ),
    ] = ""
    agents_trustable: Annotated[
        str,
        Field(
            description="What agents get as TrustableIps: who may call their /exit, /run and /config/reload."
        ),
    ] = ""
    agents_upstream: Annotated[
        str,
        Field(description="A real hbs that gets the calls that are not ours; empty is none."),
    ] = ""
    agents_connections: Annotated[
        int, Field(ge=1, description="Agents' connections that may be open in all.")
    ] = 20_000
    agents_connections_per_address: Annotated[
        int, Field(ge=1, description="Agents' connections of one address.")
    ] = 1000
    agents_idle: Annotated[
        int,
        Field(
            ge=60,
            description="Seconds of silence after which a connection is closed; more than any agent's interval.",
        ),
    ] = 3600
    portal_url: Annotated[
        str,
        Field(
            max_length=300,
            description="Address of an Open-Falcon portal's API (falcon-plus) to keep in step with; empty is none.",
        ),
    ] = ""
    portal_user: Annotated[str, Field(description="Account of the portal to work as.")] = "root"
    portal_token: Annotated[
        str,
        Field(description="Its token: `sig` of a login, or the API's default_token.", repr=False),
    ] = ""
    keep_events_days: Annotated[
        int,
        Field(
            ge=1,
            description="Days that events of ended deployments are kept, and which hosts had nothing to be done.",
        ),
    ] = 30
    log_format: Annotated[Literal["json", "console"], Field(description="How log lines look.")] = (
        "json"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="Least level that is logged."),
    ] = "info"

    @field_validator("agents_listen", "agents_tls_listen", "agents_upstream")
    @classmethod
    def _address(cls, value: str) -> str:
        if value:
            split_address(value, 1)
        return value

    @field_validator("agents_networks")
    @classmethod
    def _networks(cls, value: str) -> str:
        networks(value)
        return value

    @field_validator(
        "data_dir",
        "project_dir",
        "secret_key_file",
        "agents_tls_certificate",
        "agents_tls_key",
        "agents_tls_authority",
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else value

    @field_validator("public_url")
    @classmethod
    def _no_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("portal_url")
    @classmethod
    def _portal(cls, value: str) -> str:
        return check_portal_url(value) if value else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order in which settings count: given by the program, the environment, the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file())

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'plugfleet.db'}"

    @property
    def key_file(self) -> Path:
        """The file with the keys of secrets."""
        return self.secret_key_file or self.data_dir / "secret.key"

    @property
    def agent_networks(self) -> tuple[Network, ...]:
        """The networks that agents may come from; none is everywhere."""
        return networks(self.agents_networks)

    @property
    def catalog_dir(self) -> Path:
        """The folder of the deploy repository."""
        return self.data_dir / "catalog"


def networks(text: str) -> tuple[Network, ...]:
    """The networks of a comma separated text.

    Raises:
        ValueError: one is none.
    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def check_portal_url(text: str) -> str:
    """The address of a portal without what follows the host and path of its API.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("write it as http://falcon.example.com:8080")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("holds more than an address; the token is portal_token")
    return text.strip().rstrip("/").removesuffix("/api/v1")


def split_address(text: str, default_port: int) -> tuple[str, int]:
    """Host and port of `host:port`, `[::]:port`, `host` or `:port`; an empty host is every address.

    Raises:
        ValueError: says what is wrong.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    if host.count(":") and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r}: put an IPv6 address into brackets, [::]:6030")
    if port and (not port.isascii() or not port.isdigit() or int(port) > 65535):
        raise ValueError(f"{text!r}: {port!r} is no port")
    return host.strip("[]"), int(port) if port else default_port


class SettingsError(PlugfleetError):
    """The settings file cannot be used; nothing was begun."""

    code, title = "settings", "The settings file cannot be used"


def settings_file() -> Path:
    """Where the settings file is, whether it exists or not."""
    named = os.environ.get("PLUGFLEET_CONFIG")
    return Path(named) if named else Path("/etc/plugfleet/controller.toml")


def check_settings_file() -> None:
    """Refuse a settings file that somebody named and that is not there: defaults in its place would
    open another database. The one at the usual place may be missing.

    Raises:
        SettingsError: names the file.
    """
    file = settings_file()
    try:
        file.open("rb").close()
    except FileNotFoundError:
        if os.environ.get("PLUGFLEET_CONFIG"):
            raise SettingsError(
                f"there is no settings file {file}",
                hint="correct PLUGFLEET_CONFIG or --config, or make one with `plugfleet init`",
            ) from None
    except IsADirectoryError:
        raise SettingsError(f"{file} is no settings file") from None
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror or error}") from None
