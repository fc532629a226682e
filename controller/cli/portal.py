"""`plugfleet portal`: keeps an Open-Falcon portal and the controller in step, or takes a portal over."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import Client
from controller.cli.completion import hostgroup_names
from controller.cli.exits import CommandError, Exit
from controller.cli.options import AsJson, Yes, confirm, open_client

app = typer.Typer(help="Keep an existing Open-Falcon portal in step.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan, change nothing.")]
_TIMEOUT = 1900  # seconds; the controller gives the portal less
_SIGNS = {"create": ("+", "green"), "add": ("+", "green"), "remove": ("-", "red"),
          "delete": ("-", "red")}  # fmt: skip
_MOST_NAMES = 10
_MOST_SKIPPED = 50


class Direction(enum.StrEnum):
    """Who follows whom."""

    TO_PORTAL = "to-portal"
    FROM_PORTAL = "from-portal"


@app.command()
def sync(
    ctx: typer.Context,
    direction: Annotated[
        Direction,
        typer.Option(help="to-portal: the portal follows the controller; or the other way round."),
    ] = Direction.TO_PORTAL,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            "-g",
            help="Only this hostgroup; may be given again.",
            autocompletion=hostgroup_names,
        ),
    ] = None,
    dry_run: DryRun = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Also take away, in hostgroups of both sides, what no sync brought."
        ),
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Follow a portal also where it has lost most of what syncs brought from it.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Bring hostgroups, members and bindings of one side in step with the other; the plan is shown first.

    Changes only what differs, and takes away only what an earlier sync brought. The exit code is 1 with
    --dry-run if there is something to change, else if not all of it could be done.
    """
    body = {
        "direction": direction.value,
        "hostgroups": group or [],
        "prune": prune,
        "accept_loss": accept_loss,
    }
    with open_client(ctx, timeout=_TIMEOUT) as client:
        _carry_out(client, "portal/sync", body, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command("import")
def import_portal(
    ctx: typer.Context,
    dump: Annotated[
        Path | None,
        typer.Option(
            help="Read it from this file of mysqldump in place of the portal's API; - is standard input."
        ),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take a portal over: its hostgroups, their hosts, and its bindings; the plan is shown first.

    All or nothing. What is here already stays, and what cannot be taken is named with its reason. Of a
    dump only names leave this machine.
    """
    body = {"content": None if dump is None else _read_dump(dump)}
    with open_client(ctx, timeout=_TIMEOUT) as client:
        _carry_out(client, "portal/import", body, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command()
def report(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show what the newest sync or import did; the exit code is 1 if not all of it was done."""
    with open_client(ctx) as client:
        found = client.get("portal/report")
    if as_json:
        output.show_json(found)
    else:
        output.say(
            f"{found['kind']} {found['portal']} by {found['by']}, {output.ago(found['started'])} ago"
        )
        _show(found)
    if found["status"] != "done":
        raise typer.Exit(Exit.FOUND)


def _carry_out(
    client: Client, path: str, body: dict[str, Any], *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    found, version = client.post_with_etag(path, body | {"dry_run": True})
    if not as_json:
        _show(found)
    if found["steps"] and not dry_run:
        confirm("Make these changes?", yes=yes)
        found = client.send("POST", path, body=body, headers={"If-Match": version})
        if not as_json:
            _show_steps(step for step in found["steps"] if step["result"] != "done")
            _show_outcome(found)
    if as_json:
        output.show_json(found)
    if found["status"] == "failed" or (dry_run and found["steps"]):
        raise typer.Exit(Exit.FOUND)


def _show(report: Mapping[str, Any]) -> None:
    """Print a plan or a report."""
    _show_steps(report["steps"])
    for entry in report["skipped"][:_MOST_SKIPPED]:
        what = " ".join(part for part in (entry["hostgroup"], entry["name"]) if part)
        output.note(f"left out: {entry['kind']} {_plain(what)}: {entry['reason']}")
    if report["skipped_in_all"] > _MOST_SKIPPED:
        output.note(f"left out: {report['skipped_in_all']} in all; --json shows the first thousand")
    for line in report["notes"]:
        output.note(f"note: {line}")
    _show_outcome(report)


def _show_steps(steps: Iterable[Mapping[str, Any]]) -> None:
    for step in steps:
        sign, style = _SIGNS[step["action"]]
        group = f" {_plain(step['hostgroup'])}" if step["hostgroup"] else ""
        names = [_plain(name) for name in step["names"]]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        listed = f": {', '.join(names[:_MOST_NAMES])}{more}" if names else ""
        result = "" if step["result"] in ("planned", "done") else f" [{step['result']}]"
        reason = f" {step['reason']}" if step["reason"] else ""
        output.say(f"{sign} {step['kind']}{group}{listed}{result}{reason}", style)


def _show_outcome(report: Mapping[str, Any]) -> None:
    results = [step["result"] for step in report["steps"]]
    if not results:
        output.say("Nothing to do.")
    elif report["status"] == "planned":
        output.say(f"{len(results)} to do.")
    else:
        counts = (f"{results.count(result)} {result}" for result in ("done", "failed", "not done"))
        output.say(f"{report['status'].capitalize()}: {', '.join(counts)}.")
    if report["reason"]:
        output.note(f"ended early: {report['reason']}")


def _plain(text: str) -> str:
    """A name of the portal's as one line: it may hold anything."""
    return text if text.isprintable() else ascii(text)


def _read_dump(file: Path) -> dict[str, Any]:
    """What a dump holds, as the controller takes it.

    Raises:
        CommandError: it cannot be read; says in which line.
    """
    from controller.portal.dump import read
    from controller.portal.sql import DumpError

    try:
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as stream:
            dump = read(stream)
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror or error}") from None
    except DumpError as error:
        raise CommandError(f"{file}: {error}", hint="nothing was imported") from None
    for line in dump.notes:
        output.note(f"note: {line}")
    groups = [
        {"name": name, "hosts": hosts, "plugins": dump.plugins[name]}
        for name, hosts in dump.hosts.items()
    ]
    return {"hostgroups": groups, "addresses": dump.addresses}
