"""`--preview`: which hosts a change would reach, before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import Client

Preview = Annotated[
    bool, typer.Option("--preview", help="Say which hosts it would reach, change nothing.")
]


def show_preview(client: Client, changes: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what changes would come to."""
    found = client.send("POST", "plans/preview", body=changes)
    if as_json:
        output.show_json(found)
        return
    output.say(found["text"])
    for problem in found["problems"]:
        output.say(problem, "bold red")
    for warning in found["warnings"]:
        output.note(f"warning: {warning}")
    rows = found["examples"]
    if rows:
        output.show_table(
            rows,
            (
                output.Column("Host", "host"),
                output.Column("Gets", "added"),
                output.Column("Loses", "removed"),
            ),
        )
    if found["hosts"] > len(rows):
        output.say(f"... and {found['hosts'] - len(rows)} more hosts.")
