"""`plugfleet audit`: who changed what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.moments import past
from controller.cli.options import AsJson
from controller.cli.showing import show_list


def audit(
    ctx: typer.Context,
    kind: Annotated[str, typer.Option(help="Only this kind of thing, e.g. host.")] = "",
    name: Annotated[str, typer.Option(help="Only the thing of this name.")] = "",
    actor: Annotated[str, typer.Option(help="Only what this token did.")] = "",
    since: Annotated[
        str, typer.Option(help="Only from then on: 12h, 30d, 8w ago, or a date such as 2027-01-31.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most entries.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the audit log, newest first."""
    moment = past(since, "--since") if since else ""
    columns = (
        output.Column("When", "at"),
        output.Column("Who", "actor"),
        output.Column("What", "action"),
        output.Column("Name", "name"),
        output.Column("Change", lambda row: changed_fields(row["before"], row["after"])),
    )
    asked = {"kind": kind, "name": name, "actor": actor, "since": moment}
    show_list(ctx, "audit", columns, limit=limit, as_json=as_json, **asked)


def changed_fields(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """The fields that differ, as `field: old -> new`, each on a line."""
    if before is None or after is None:
        return "\n".join(
            f"{key}: {_short(value)}" for key, value in (after or before or {}).items()
        )
    return "\n".join(
        f"{key}: {_short(before.get(key))} -> {_short(after.get(key))}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
