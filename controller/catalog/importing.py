"""Storing many sources at once: each new, the same, changed, or refused with the reason.

Sources that are not named stay as they are, and importing the same again changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.catalog import service
from controller.catalog.errors import SourceError
from controller.catalog.importschemas import SourceChange, SourceLine
from controller.catalog.models import SourceRow
from controller.catalog.sources import Source, tree_path
from controller.catalog.urls import redact
from controller.database import counters
from controller.errors import Conflict, Invalid

_MOST_NAME = 100
_MOST_SHOWN = 100


@dataclass(frozen=True)
class Wanted:
    """A source as the import wants it.

    Attributes:
        place: where it stands in the request, for messages.
        name: empty where it is called by its path.
        refused: why it cannot be taken, where that is known already.
    """

    place: str
    path: str
    url: str
    ref: str
    subdir: str = ""
    name: str = ""
    credentials: dict[str, str] | None = None
    refused: str = ""


@dataclass
class Outcome:
    """What an import comes to, a line for each source.

    Attributes:
        sources: those that are new or changed, by their place.
    """

    lines: list[SourceLine] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)

    def count(self, action: str) -> int:
        """How many lines have an action."""
        return sum(line.action == action for line in self.lines)


def store(session: Session, by: Principal, vault: Vault, wanted: Iterable[Wanted]) -> Outcome:
    """Make and change sources, in this transaction; what is refused is a line of the outcome."""
    by.need_whole_fleet("a source")
    counters.lock(session, counters.PLANS)
    outcome = Outcome()
    rows = list(session.scalars(select(SourceRow)))
    by_path = {row.path: row for row in rows}
    by_name = {row.name: row for row in rows}
    taken: dict[tuple[str, str], Wanted] = {}
    for entry in wanted:
        try:
            entry = _checked(entry, taken)
            if entry.refused:
                raise Invalid(entry.refused)
            row = by_name.get(entry.name) if entry.name else by_path.get(entry.path)
            with session.begin_nested():
                line, row = _store_one(session, by, vault, entry, row, by_name.keys())
        except (Conflict, Invalid) as error:
            outcome.lines.append(_line(entry, entry.name, "refused", message=error.message))
            continue
        by_path[row.path] = by_name[row.name] = row
        outcome.lines.append(line)
        if line.action != "same":
            outcome.sources[entry.place] = service.as_source(vault, row)
    return outcome


def need_none_refused(outcome: Outcome) -> None:
    """Refuse an import of which a part is refused.

    Raises:
        Invalid: names each, up to a hundred.
    """
    refused = [line for line in outcome.lines if line.action == "refused"]
    if not refused:
        return
    fields = [{"field": line.place, "message": line.message} for line in refused[:_MOST_SHOWN]]
    more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
    raise Invalid(
        f"nothing was imported: {refused[0].place}: {refused[0].message}{more}",
        hint="correct these, or leave them out with skip_refused; dry_run shows the whole plan",
        fields=fields,
    )


def _store_one(
    session: Session,
    by: Principal,
    vault: Vault,
    entry: Wanted,
    row: SourceRow | None,
    names: Iterable[str],
) -> tuple[SourceLine, SourceRow]:
    values: dict[str, Any] = {
        "path": entry.path,
        "url": entry.url,
        "ref": entry.ref,
        "subdir": entry.subdir,
    }
    if entry.credentials:
        values["credentials"] = entry.credentials
    if row is None:
        name = entry.name or _new_name(entry, set(names))
        made = service.create(session, by, vault, name, values)
        return _line(entry, name, "new", shown=service.describe(made)), made
    before, version = service.describe(row), row.version
    changed = service.change(session, by, vault, row.name, values, None)
    after = service.describe(changed)
    changes = [
        SourceChange.model_validate({"field": key, "before": before[key], "after": after[key]})
        for key in after
        if before[key] != after[key]
    ]
    if changed.version != version and not changes:
        changes = [SourceChange(field="credentials", before=None, after=None)]
    action = "changed" if changes else "same"
    return _line(entry, row.name, action, changes, shown=after), changed


def _checked(entry: Wanted, taken: dict[tuple[str, str], Wanted]) -> Wanted:
    """An entry with its path in normal form, which no other entry may have."""
    try:
        entry = replace(entry, path=tree_path(entry.path))
    except SourceError as error:
        raise Invalid(str(error)) from None
    keys = [("path", entry.path), *([("name", entry.name)] if entry.name else [])]
    for key in keys:
        first = taken.setdefault(key, entry)
        if first is not entry:
            told = repr(key[1]) if key[1] else "the root of the tree"
            raise Conflict(f"{first.place} has the {key[0]} {told} too; each needs its own")
    return entry


def _line(
    entry: Wanted,
    name: str,
    action: Any,
    changes: Sequence[SourceChange] = (),
    message: str = "",
    shown: dict[str, object] | None = None,
) -> SourceLine:
    """A line of the outcome; a URL is shown only as it is kept, without credentials."""
    url = str(shown["url"]) if shown else redact(entry.url)
    return SourceLine(
        place=entry.place,
        name=name,
        path=entry.path,
        url=url,
        ref=entry.ref,
        subdir=entry.subdir,
        action=action,
        changes=list(changes),
        message=message,
    )


def _new_name(entry: Wanted, taken: set[str]) -> str:
    """A name made of the path, or of the repository's for the root of the tree."""
    last = entry.url.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")
    text = entry.path.replace("/", ".") or last
    text = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]", "-", text)).lstrip("_.-")
    text = text[:_MOST_NAME] or "source"
    name, number = text, 2
    while name in taken:
        ending = f"-{number}"
        name, number = text[: _MOST_NAME - len(ending)] + ending, number + 1
    return name
