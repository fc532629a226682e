"""`plugfleet host import`: many hosts at once."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from controller.cli import output
from controller.cli.exits import CommandError, Exit
from controller.cli.options import AsJson, open_client, read_input


class Format(enum.StrEnum):
    """What hosts can be imported from."""

    JSON = "json"
    CSV = "csv"
    ANSIBLE = "ansible"


_SUFFIXES = {".json": Format.JSON, ".csv": Format.CSV, ".ini": Format.ANSIBLE, ".yml": Format.ANSIBLE,
             ".yaml": Format.ANSIBLE}  # fmt: skip


def import_hosts(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What to read; - is standard input.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="Found out by the file's suffix if left out.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would come of it, change nothing.")
    ] = False,
    create_groups: Annotated[
        bool | None,
        typer.Option(
            "--create-groups/--no-create-groups",
            help="Make hostgroups that are not there; by default only for an Ansible inventory.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add and change many hosts at once, from JSON, CSV or an Ansible inventory: all or none.

    Hosts that the file does not name stay as they are.
    """
    form = form or _SUFFIXES.get(file.suffix.lower())
    if form is None:
        raise CommandError(
            f"what {file} holds cannot be told from its name",
            hint="say --format json, csv or ansible",
        )
    content = read_input(file)
    with open_client(ctx, timeout=300) as client:
        report = client.start(
            "hosts/import",
            content=content,
            media_type="application/json" if form is Format.JSON else "text/plain",
            format=form.value,
            dry_run=dry_run,
            create_hostgroups=create_groups,
        )
    if as_json:
        output.show_json(report)
    else:
        for error in report["errors"]:
            place = error["line"] or (f"entry {error['row']}" if error["row"] else "")
            output.note(f"{file}:{place}: {error['message']}")
        verb = "Would be" if dry_run else "Hosts"
        output.say(
            f"{verb} created: {report['created']}, changed: {report['updated']}, "
            f"unchanged: {report['unchanged']}"
        )
        if report["hostgroups_created"]:
            output.say(f"Hostgroups created: {', '.join(report['hostgroups_created'])}")
    if report["errors"]:
        raise typer.Exit(Exit.WRONG_USE)
