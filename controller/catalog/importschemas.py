"""What requests and answers about importing sources look like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller.catalog.schemas import (
    Credentials,
    SourcePath,
    SourceRef,
    SourceSubdir,
    SourceUrl,
)
from controller.web.fields import Name


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourceEntry(_Given):
    """A source of a list to import; what is not named gets its default, credentials stay."""

    name: Annotated[
        Name | None,
        Field(description="null: the source at that path, or a new one named by its path."),
    ] = None
    url: SourceUrl
    path: SourcePath = ""
    ref: SourceRef = "HEAD"
    subdir: SourceSubdir = ""
    credentials: Credentials | None = None


class SubmoduleRepository(_Given):
    """A repository of submodules."""

    url: SourceUrl
    ref: SourceRef = "HEAD"
    credentials: Credentials | None = None


class SourceImport(_Given):
    """Sources to import: either `sources` or `repository`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sources": [
                        {"path": "httpcheck", "url": "https://git.example.com/httpcheck.git"}
                    ],
                    "dry_run": True,
                },
                {"repository": {"url": "https://git.example.com/contrib.git", "ref": "master"}},
            ]
        }
    )

    sources: Annotated[
        list[SourceEntry] | None, Field(min_length=1, max_length=1000, description="A list.")
    ] = None
    repository: Annotated[
        SubmoduleRepository | None, Field(description="One whose submodules are the sources.")
    ] = None
    under: Annotated[
        SourcePath, Field(description="Folder of the plugin tree that all of them are put into.")
    ] = ""
    fetch: Annotated[
        bool,
        Field(
            description="First fetch each new or changed source, and refuse those that do not answer with "
            "their commit."
        ),
    ] = False
    skip_refused: Annotated[
        bool, Field(description="Import the others where some are refused, instead of none.")
    ] = False
    dry_run: Annotated[
        bool, Field(description="Only answer what would come of it, refusals included.")
    ] = False

    @model_validator(mode="after")
    def _one_kind(self) -> SourceImport:
        if (self.sources is None) == (self.repository is None):
            raise ValueError("give either sources or repository")
        return self


class SourceChange(BaseModel):
    """One field of a source that an import changes; of credentials only that they change."""

    field: str
    before: str | bool | None
    after: str | bool | None


class SourceLine(BaseModel):
    """What an import comes to for one source."""

    place: Annotated[str, Field(description="Where it stands in what is imported.")]
    name: str
    path: str
    url: str
    ref: str
    subdir: str
    action: Literal["new", "same", "changed", "refused"]
    changes: list[SourceChange]
    message: Annotated[str, Field(description="Why it is refused.")]


class SourceImportReport(BaseModel):
    """What an import came, or would come, to."""

    dry_run: bool
    created: int
    changed: int
    unchanged: int
    refused: int
    sources: list[SourceLine]
