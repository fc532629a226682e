"""What requests and answers about sources and releases look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from agentplugin import agents
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


def _known_agent(text: str) -> str:
    if not agents.named_versions(text):
        raise ValueError(
            f"{text!r} is no agent that is known; give one of {', '.join(agents.KNOWN)}, or what "
            "an agent reports as its version"
        )
    return text


AgentVersion = Annotated[Line, StringConstraints(max_length=64), AfterValidator(_known_agent)]


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
    agents: Annotated[
        list[AgentVersion] | None,
        Field(
            max_length=10,
            description="Judge the findings for these agents: `0.2.1`, `0.3`, `master`, `executor`, or what an "
            "agent reports. null: for those of the fleet's hosts that the source's plugins are bound to.",
            examples=[["0.2.1", "executor"]],
        ),
    ] = None


class Finding(BaseModel):
    """One finding of the lint; docs/lint.md explains each code."""

    path: str
    line: int | None
    severity: Annotated[str, Field(examples=["error", "warning", "info"])]
    code: str
    message: str
    hint: str
    fixable: Annotated[
        bool, Field(description="The lint can mend it by itself: `fix` when publishing.")
    ] = False
    agents: Annotated[
        str,
        Field(
            description="Which agents it harms, of which hostgroups, or why it is no error.",
            examples=["hostgroup web: 3 hosts run agent v0.2.1, which dies of it"],
        ),
    ] = ""


class FileFix(BaseModel):
    """What was corrected in one file of the tree."""

    path: str
    fix: Annotated[str, Field(examples=["execute-bit", "line-ends", "final-newline"])]


class PossibleFix(FileFix):
    """What can be corrected in one file of the tree, or why it cannot."""

    left: Annotated[str, Field(description="Why it cannot be corrected; empty if it can.")]


class LintReport(BaseModel):
    """What the lint says of a source."""

    commit: Annotated[str, Field(description="The commit that was looked at.")]
    clean: Annotated[bool, Field(description="No errors; there may be warnings.")]
    plugins: Annotated[list[dict[str, Any]], Field(description="The plugins it holds.")]
    problems: list[Finding]
    fixes: Annotated[list[PossibleFix], Field(description="What publishing with `fix` corrects.")]


class PublishRequest(_Input):
    """How to publish."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: Annotated[bool, Field(description="Only say what would be published.")] = False
    force: Annotated[
        bool,
        Field(description="Publish also what a rollback took back (else that is refused, 409)."),
    ] = False
    fix: Annotated[
        bool,
        Field(
            description="Correct execute bits, CR LF line ends and missing last line ends of plugins in the "
            "release (never in a source); the release says of which files."
        ),
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
    fixes: Annotated[
        list[FileFix],
        Field(description="What publishing corrected, so what the sources have otherwise."),
    ]


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
    fixes: Annotated[list[FileFix], Field(description="What was, or would be, corrected.")]
    unfixed: Annotated[
        list[PossibleFix], Field(description="What `fix` could not correct, with why.")
    ]
