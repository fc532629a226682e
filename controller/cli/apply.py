"""`plugfleet export` and `plugfleet apply`: sources, hostgroups, bindings, overrides and schedules as YAML in git."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import documents, output
from controller.cli.client import ControllerError
from controller.cli.documents import Document
from controller.cli.exits import CommandError, Exit
from controller.cli.options import AsJson, Yes, confirm, open_client
from controller.cli.scheduleoptions import said_of

_SIGNS = {"create": ("+", "green"), "change": ("~", "yellow"), "delete": ("-", "red")}
_TIMEOUT = 300  # seconds


def export(
    ctx: typer.Context,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File, or a folder for one file a hostgroup; standard output if left out.",
        ),
    ] = None,
    members: Annotated[
        bool, typer.Option("--members/--no-members", help="Also who is a member by name.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Write sources, hostgroups, bindings and schedules as YAML that `plugfleet apply` takes.

    Secrets are in it by name only.
    """
    with open_client(ctx, timeout=_TIMEOUT) as client:
        found = client.get("configuration")
    content = {name: _trimmed(found[name]) for name in ("sources", "hostgroups", "schedules")}
    content["overrides"] = {
        host: {plugin: _short(entry) for plugin, entry in plugins.items()}
        for host, plugins in found["overrides"].items()
    }
    if not members:
        for group in content["hostgroups"].values():
            group.pop("members", None)
    if as_json:
        output.show_json(content)
        return
    for file in documents.write(content, target):
        output.note(f"Wrote {file}")


def apply(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="YAML files, or folders of them, taken as one; - is standard input."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, change nothing.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also delete what the files do not name.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make sources, hostgroups, bindings and schedules what YAML files say; the plan is shown first.

    All or nothing. With --dry-run the exit code is 1 if there is something to change.
    """
    document = documents.read(files)
    query = {"prune": prune}
    with open_client(ctx, timeout=_TIMEOUT) as client:
        try:
            plan, version = client.post_with_etag(
                "configuration/apply", document.content, **query, dry_run=True
            )
            if not as_json:
                show_plan(plan)
            if plan["changes"] and not dry_run:
                confirm("Make these changes?", yes=yes)
                plan = client.send(
                    "POST",
                    "configuration/apply",
                    body=document.content,
                    query=query,
                    headers={"If-Match": version},
                )
        except ControllerError as error:
            raise _with_lines(error, document) from None
    if as_json:
        output.show_json(plan)
    elif plan["applied"]:
        output.say(f"Done: {_counts(plan)}.")
    if dry_run and plan["changes"]:
        raise typer.Exit(Exit.FOUND)


def show_plan(plan: Mapping[str, Any]) -> None:
    """Print what would change, with each field's old and new value."""
    for change in plan["changes"]:
        sign, style = _SIGNS[change["action"]]
        output.say(f"{sign} {change['kind']} {change['name']}", style)
        for entry in change["fields"]:
            before, after = _shown(entry["before"]), _shown(entry["after"])
            if change["kind"] == "members":
                for name in entry["before"]:
                    output.say(f"    - {name}")
                for name in entry["after"]:
                    output.say(f"    + {name}")
            elif entry["field"] == "secrets changed":
                output.say(f"    secrets changed: {', '.join(entry['after'])}")
            elif change["action"] == "change":
                output.say(f"    {entry['field']}: {before} -> {after}")
            elif change["action"] == "create" and entry["after"] not in ("", None, {}, [], False):
                output.say(f"    {entry['field']}: {after}")
    for name in plan["not_named"]:
        output.note(f"not in the files: {name} (--prune deletes it)")
    for line in plan["notes"]:
        output.note(f"note: {line}")
    output.say(_counts(plan) if plan["changes"] else "Nothing to do.")


def _counts(plan: Mapping[str, Any]) -> str:
    actions = [change["action"] for change in plan["changes"]]
    return (
        f"{actions.count('create')} to create, {actions.count('change')} to change, "
        f"{actions.count('delete')} to delete"
        if not plan["applied"]
        else f"{actions.count('create')} created, {actions.count('change')} changed, "
        f"{actions.count('delete')} deleted"
    )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:199] + "…"


def _trimmed(things: Mapping[str, Any]) -> dict[str, Any]:
    """Without fields that are empty, which mean the same when they are left out."""
    return {name: _without_empty(thing) for name, thing in things.items()}


def _without_empty(thing: Mapping[str, Any]) -> dict[str, Any]:
    if "deploy" in thing:
        thing = {**thing, "deploy": said_of(thing["deploy"])}
    trimmed = {
        key: value
        for key, value in thing.items()
        # An empty list of members says that there are none; one that is left out says nothing.
        if value not in ("", None, {}, []) or (key == "members" and value == [])
    }
    if "bindings" in trimmed:
        trimmed["bindings"] = [
            entry if isinstance(entry, str) else _short(entry) for entry in trimmed["bindings"]
        ]
    return trimmed


def _short(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A binding or an override without secrets and format where it has none."""
    return {
        key: value
        for key, value in entry.items()
        if key not in ("secrets", "format", "step") or value
    }


def _with_lines(error: ControllerError, document: Document) -> CommandError:
    """A problem of the controller's, shown at the lines of the files that caused it."""
    details = []
    for entry in error.fields:
        path, line = document.find(entry["field"])
        if line:
            details.append(f"{line}: {path}: {entry['message']}")
    if not details:
        return error
    return CommandError(
        "the files cannot be applied; nothing was changed",
        details=details,
        hint=error.hint,
        exit_code=error.exit_code,
    )
