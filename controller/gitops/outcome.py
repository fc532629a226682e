"""What applying a document changes, gathered while it is done, and where in it an error comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from controller.bindings.merging import identity
from controller.bindings.models import BindingRow, OverrideRow
from controller.errors import PlugfleetError
from controller.gitops.schemas import Change, FieldChange

SECRETS_CHANGED = "secrets changed"


@dataclass
class Outcome:
    """What making things so changed.

    Attributes:
        not_named: what the document does not name and was left.
        bound: places in the document of the bindings that were made or changed, and their rows.
        laid_over: the same of overrides.
    """

    changes: list[Change] = field(default_factory=list)
    not_named: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bound: list[tuple[str, BindingRow]] = field(default_factory=list)
    laid_over: list[tuple[str, OverrideRow]] = field(default_factory=list)

    @property
    def moves_sources(self) -> bool:
        """Whether the next release's tree will come from elsewhere than the newest one's."""
        return any(change.kind == "source" for change in self.changes)

    def note(
        self,
        action: Any,
        kind: Any,
        name: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        given: Sequence[str] = (),
    ) -> bool:
        """Keep a change if there is one; says whether there is.

        Args:
            given: places of the secrets that get another value, which nobody is shown.
        """
        fields = [
            FieldChange(field=key, before=before.get(key), after=after.get(key))
            for key in dict.fromkeys([*before, *after])
            if identity(before.get(key)) != identity(after.get(key))
        ]
        if given:
            fields.append(FieldChange(field=SECRETS_CHANGED, before=[], after=list(given)))
        if fields or action != "change":
            self.changes.append(Change(action=action, kind=kind, name=name, fields=fields))
            return True
        return False


@contextmanager
def at(place: str, what: str) -> Iterator[None]:
    """Let an error say where in the document it comes from."""
    try:
        yield
    except PlugfleetError as error:
        fields = error.fields or [{"field": "", "message": error.message}]
        error.fields = [
            {"field": _place(place, entry["field"]), "message": entry["message"]}
            for entry in fields
        ]
        error.message = f"{what}: {error.message}"
        raise


def _place(place: str, part: str) -> str:
    """The place of a field that a service named as its own route's body has it."""
    inner = "" if part.startswith("query.") else part.removeprefix("body.")
    for ours, theirs in (("members.", "add."), ("members", "remove")):
        if inner.startswith(theirs):
            inner = ours + inner.removeprefix(theirs)
    return f"body.{place}.{inner}".rstrip(".")
