"""Settings of the controller: environment variables `PLUGFLEET_...`, then the settings file, then defaults.

The file is TOML, written by `plugfleet init`; docs/controller-settings.md lists every setting, which
a test holds against this class.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

_DEFAULT_DATA_DIR = Path("~/.local/share/plugfleet")


class Settings(BaseSettings):
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
    ] = 15
    source_timeout: Annotated[
        float, Field(gt=0, description="Seconds that one source's git server may take.")
    ] = 60
    keep_events_days: Annotated[
        int, Field(ge=1, description="Days that the events of ended deployments are kept.")
    ] = 30
    log_format: Annotated[Literal["json", "console"], Field(description="How log lines look.")] = (
        "json"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="Least level that is logged."),
    ] = "info"

    @field_validator("data_dir", "project_dir", "secret_key_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else value

    @field_validator("public_url")
    @classmethod
    def _no_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

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
    def catalog_dir(self) -> Path:
        """The folder of the deploy repository."""
        return self.data_dir / "catalog"


def settings_file() -> Path:
    """Where the settings file is, whether it exists or not."""
    named = os.environ.get("PLUGFLEET_CONFIG")
    return Path(named) if named else Path("/etc/plugfleet/controller.toml")
