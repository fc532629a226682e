"""The catalog's errors: each says what was wrong with which source, and what to do.

CatalogError
├── SourceError     a source's URL, ref or answer
├── ComposeError    sources that do not fit together, or content a fleet must not get
├── LintError       the composed tree has lint errors (they are in `.problems`)
├── ReleaseError    the deploy line could not be moved
├── Busy            another run works on the deploy line
└── NoRoom          the disk is full
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentplugin.agents import explained


class CatalogError(Exception):
    """Something about the sources or the deploy line keeps a release from being published."""


class SourceError(CatalogError):
    """A source cannot be fetched, or its definition must not be used."""


class ComposeError(CatalogError):
    """The sources do not make up a plugin tree that may go to a fleet."""


class ReleaseError(CatalogError):
    """The deploy line does not hold what was asked for, or could not be moved."""


class Busy(CatalogError):
    """Another run of this machine works on the deploy line, and did not end in time."""


class NoRoom(CatalogError):
    """The disk that the deploy line is on is full."""


class LintError(CatalogError):
    """The composed tree has lint errors; nothing was published.

    Attributes:
        problems: every problem found, as dictionaries in the lint's output form.
    """

    def __init__(self, problems: Sequence[dict[str, Any]]) -> None:
        self.problems = list(problems)
        errors = [p for p in self.problems if p["severity"] == "error"]
        lines = [f"{p['path']}: {explained(p)} [{p['code']}]" for p in errors[:10]]
        if len(errors) > len(lines):
            lines.append(f"... and {len(errors) - len(lines)} more")
        noun = "error" if len(errors) == 1 else "errors"
        super().__init__(
            f"the plugin tree has {len(errors)} lint {noun}; nothing was published:\n"
            + "\n".join(lines)
        )
