"""What requests and answers about sources and releases look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from controller.web.fields import Line, Name

SourceUrl = Annotated[
    Line,
    StringConstraints(min_length=1, max_length=1000),
    Field(
        description="git://, https://, http:// (without a password), ssh://, user@host:path, file://, or an "
        "absolute path on the controller's machine.",
        examples=["https://git.example.com/ops/plugins.git"],
    ),
]
SourcePath = Annotated[
    Line,
    StringConstraints(max_length=500),
    Field(
        description="Where in the plugin tree it is mounted; empty is the root.", examples=["sys"]
    ),
]
SourceRef = Annotated[
    Line,
    StringConstraints(min_length=1, max_length=250),
    Field(description="Branch, tag or full commit.", examples=["main"]),
]
SourceSubdir = Annotated[
    Line,
    StringConstraints(max_length=500),
    Field(description="The folder of the repository that is mounted; empty is all of it."),
]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Credentials(_Input):
    """What a git server asks for over HTTPS; stored encrypted, never shown."""

    username: Annotated[Line, Field(description="User name; some servers take any.")] = ""
    password: Annotated[
        Line, Field(min_length=1, description="Password or token.", examples=["glpat-..."])
    ]


class SourceCreate(_Input):
    """A source to add."""

    name: Name
    url: SourceUrl
    path: SourcePath = ""
    ref: SourceRef = "HEAD"
    subdir: SourceSubdir = ""
    credentials: Credentials | None = None


class SourcePatch(_Input):
    """What to change of a source: what is not named stays."""

    url: SourceUrl | None = None
    path: SourcePath | None = None
    ref: SourceRef | None = None
    subdir: SourceSubdir | None = None
    credentials: Annotated[
        Credentials | None,
        Field(description="null takes them away. Needed anew where the url names another server."),
    ] = None


class SourceView(BaseModel):
    """A git repository that makes up a part of the plugin tree."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    url: str
    path: str
    ref: str
    subdir: str
    has_credentials: bool
    created: datetime
    updated: datetime


class LintRequest(_Input):
    """What to lint of a source."""

    ref: Annotated[
        SourceRef | None, Field(description="Another branch, tag or commit; null is its own.")
    ] = None


class Finding(BaseModel):
    """One finding of the lint; docs/lint.md explains each code."""

    path: str
    line: int | None
    severity: Annotated[str, Field(examples=["error", "warning", "info"])]
    code: str
    message: str
    hint: str


class LintReport(BaseModel):
    """What the lint says of a source."""

    commit: Annotated[str, Field(description="The commit that was looked at.")]
    clean: Annotated[bool, Field(description="No errors; there may be warnings.")]
    plugins: Annotated[list[dict[str, Any]], Field(description="The plugins it holds.")]
    problems: list[Finding]


class PublishRequest(_Input):
    """How to publish."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: Annotated[bool, Field(description="Only say what would be published.")] = False
    force: Annotated[
        bool,
        Field(description="Publish also what a rollback took back (else that is refused, 409)."),
    ] = False


class RollbackRequest(_Input):
    """Which release to go back to."""

    number: Annotated[int, Field(ge=1, le=2**31 - 1, examples=[12])]
    dry_run: Annotated[bool, Field(description="Only say what would change.")] = False


class ReleaseSource(BaseModel):
    """A source as it went into a release."""

    path: str
    url: str
    ref: str
    commit: str


class ReleaseSummary(BaseModel):
    """One published state of the whole plugin tree."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    commit: str
    tree: str
    sources: list[ReleaseSource]
    rollback_to: Annotated[
        int | None, Field(description="The release whose tree this one has again.")
    ]
    by: str
    created: datetime


class ReleaseView(ReleaseSummary):
    """A release with what its lint found and what it changed."""

    problems: list[Finding]
    changes: Annotated[
        list[str],
        Field(description="`A path`, `M path`, `D path` against the release before."),
    ]


class PublishedView(BaseModel):
    """What publishing or rolling back came to."""

    changed: Annotated[bool, Field(description="Whether the release is, or would be, a new one.")]
    dry_run: bool
    release: Annotated[
        ReleaseSummary | None,
        Field(description="The newest release; null where a dry run finds none yet."),
    ]
    tree: Annotated[str, Field(description="The tree that is, or would be, published.")]
    changes: list[str]
    problems: Annotated[list[Finding], Field(description="The lint's warnings and notes.")]
