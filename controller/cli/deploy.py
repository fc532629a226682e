"""`plugfleet deploy`: brings hosts to their plan, and shows what failed and why."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import Client, segment
from controller.cli.completion import host_names, hostgroup_names
from controller.cli.diffs import show_diffs
from controller.cli.exits import CommandError, Exit
from controller.cli.follow import board, follow
from controller.cli.options import AsJson, Limit, open_client
from controller.cli.release import PUBLISH_TIMEOUT, publish_release, show_published
from controller.cli.showing import show_list

app = typer.Typer(invoke_without_command=True)

_PAGE = 500
_SHORT = 60  # characters of a reason that may stand there for each host
_INTERRUPTED = 130  # as shells count a command that Ctrl-C ended
_LOST = ("failed", "unreachable", "interrupted", "canceled")


class HostStatus(enum.StrEnum):
    """What a deployment came to on one host."""

    WAITING = "waiting"
    RUNNING = "running"
    CURRENT = "current"
    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    CANCELED = "canceled"
    INTERRUPTED = "interrupted"


Id = Annotated[int, typer.Argument(help="Its number.", metavar="ID")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it until it has ended.")]


@app.callback()
def deploy(
    ctx: typer.Context,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--hosts",
            help="Only these hosts, separated by commas; may be given again.",
            autocompletion=host_names,
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            "-g",
            help="Only members of this hostgroup; may be given again.",
            autocompletion=hostgroup_names,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Visit hosts too that report their plan already.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only look: show what would change, as diffs.")
    ] = False,
    batch: Annotated[int, typer.Option(min=0, help="Hosts of a wave; 0 puts all into one.")] = 0,
    max_lost: Annotated[
        int,
        typer.Option(min=0, help="Later waves begin only if no more hosts than this were lost."),
    ] = 0,
    refuse: Annotated[
        bool,
        typer.Option("--refuse", help="Do not wait for a deployment that holds some of the hosts."),
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="First publish what the sources hold now.")
    ] = False,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Bring hosts to their plan, all that need it or those that are named.

    Exit code 1: a host failed or was not reached, or the deployment did not come to its end.
    """
    if ctx.invoked_subcommand is not None:
        return
    named = [name.strip() for text in hosts or [] for name in text.split(",") if name.strip()]
    if hosts and not named:
        raise CommandError("--hosts names no host")
    body = {
        "hosts": named,
        "hostgroups": group or [],
        "all": every,
        "check": check,
        "batch_size": batch,
        "max_lost": max_lost,
        "conflict": "refuse" if refuse else "wait",
    }
    with open_client(ctx, timeout=PUBLISH_TIMEOUT if publish else 60) as client:
        if publish:
            published = publish_release(client)
            if not as_json:
                show_published(published, dry_run=False)
        deployment = client.start("deployments", body)
        finish(client, deployment, wait=wait, as_json=as_json)


@app.command("list")
def list_deployments(
    ctx: typer.Context,
    status: Annotated[str, typer.Option(help="Only of this status, e.g. running.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most entries.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List deployments, newest first."""
    show_list(ctx, "deployments", COLUMNS, limit=limit, as_json=as_json, status=status, sort="-id")


COLUMNS = (
    output.Column("Deployment", "id", right=True),
    output.Column("Status", "status", state=True),
    output.Column("Release", "release", right=True),
    output.Column("Who", "by"),
    output.Column("When", lambda row: f"{output.ago(row['created'])} ago"),
    output.Column("Hosts", "hosts"),
    output.Column("Why", lambda row: ("only looked; " if row["check"] else "") + row["reason"]),
)


@app.command()
def show(
    ctx: typer.Context,
    number: Id,
    status: Annotated[
        list[HostStatus] | None, typer.Option(help="Hosts of this status; may be given again.")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Also what changed, as diffs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a deployment: its waves, and its hosts that failed or have the status asked for."""
    wanted = [entry.value for entry in status or []] or list(_LOST)
    with open_client(ctx) as client:
        deployment = client.get(f"deployments/{number}")
        results = list(_results(client, number, wanted))
    if as_json:
        output.show_json(deployment | {"results": results})
        return
    output.show_fields(deployment, skip=("waves", "request"))
    output.show_table(
        deployment["waves"],
        (
            output.Column("Wave", "number", right=True),
            output.Column("Status", "status", state=True),
            output.Column("Hosts", "hosts"),
            output.Column("Why", "reason"),
        ),
    )
    _show_results(results)
    if diff:
        show_diffs(results)


@app.command("follow")
def follow_deployment(ctx: typer.Context, number: Id, as_json: AsJson = False) -> None:
    """Follow a deployment until it has ended."""
    with open_client(ctx) as client:
        finish(client, client.get(f"deployments/{number}"), wait=True, as_json=as_json)


@app.command()
def cancel(ctx: typer.Context, number: Id, wait: Wait = False, as_json: AsJson = False) -> None:
    """Cancel a deployment: hosts that were not visited yet stay as they are."""
    with open_client(ctx) as client:
        deployment = client.start(f"deployments/{number}/cancel")
        if wait:
            with board(quiet=as_json) as shown:
                deployment = follow(client, number, shown)
    if as_json:
        output.show_json(deployment)
    else:
        output.say(f"Deployment {number} is {deployment['status']}.")


@app.command()
def retry(ctx: typer.Context, number: Id, wait: Wait = True, as_json: AsJson = False) -> None:
    """Deploy again to the hosts that a deployment left behind."""
    with open_client(ctx) as client:
        finish(client, client.start(f"deployments/{number}/retry"), wait=wait, as_json=as_json)


@app.command()
def events(
    ctx: typer.Context,
    number: Id,
    after: Annotated[int, typer.Option(min=0, help="Only events after this one.")] = 0,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Print the events of a deployment that there are so far."""
    found: list[Any] = []
    with open_client(ctx) as client:
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = client.get(f"deployments/{number}/events", after=after, limit=size)
            found += page["items"]
            after = page["last"]
            if not page["items"]:
                break
    if as_json:
        output.show_json(found)
        return
    output.show_table(
        found,
        (
            output.Column("Event", "id", right=True),
            output.Column("When", "at"),
            output.Column("Wave", "wave", right=True),
            output.Column("Kind", "kind"),
            output.Column("Host", "host"),
        ),
    )


def finish(client: Client, deployment: Mapping[str, Any], *, wait: bool, as_json: bool) -> None:
    """Follow a deployment if that is wanted, and say what came of it."""
    number = deployment["id"]
    if not wait:
        if as_json:
            output.show_json(deployment)
        else:
            output.say(f"Deployment {number} is {deployment['status']}. {_how_to_follow(number)}")
        return
    if not as_json:
        output.note(f"Deployment {number}: {_sizes(deployment)}")
    ended = _follow(client, number, quiet=as_json)
    wanted = [*_LOST, "changed"] if ended["check"] else list(_LOST)
    results = list(_results(client, number, wanted))
    if as_json:
        output.show_json(ended | {"results": results})
    else:
        _show_results(results)
        if ended["check"]:
            show_diffs(results)
        reason = f": {ended['reason']}" if ended["reason"] else ""
        output.say(
            f"Deployment {number} {ended['status']}{reason}. {_sizes(ended)}",
            output.STYLES.get(ended["status"], ""),
        )
    lost = any(ended["hosts"].get(status) for status in _LOST)
    if lost or ended["status"] != "succeeded":
        raise typer.Exit(Exit.FOUND)


def _follow(client: Client, number: int, *, quiet: bool) -> Any:
    """Follow a deployment; Ctrl-C asks whether it is to be canceled."""
    while True:
        try:
            with board(quiet=quiet) as shown:
                return follow(client, number, shown)
        except KeyboardInterrupt:
            if not sys.stdin.isatty() or not typer.confirm(
                f"\nCancel deployment {number}?", err=True
            ):
                output.note(f"Deployment {number} goes on. {_how_to_follow(number)}")
                raise typer.Exit(_INTERRUPTED) from None
            client.start(f"deployments/{number}/cancel")
        except CommandError as error:
            error.hint = f"{error.hint}. {_how_to_follow(number)}"
            raise


def _results(client: Client, number: int, statuses: Iterable[str]) -> Iterable[Any]:
    for status in statuses:
        yield from client.items(f"deployments/{segment(number)}/hosts", status=status)


def _show_results(results: list[Any]) -> None:
    if not results:
        return
    output.show_table(
        said_once(results),
        (
            output.Column("Host", "host"),
            output.Column("Status", "status", state=True),
            output.Column("Wave", "wave", right=True),
            output.Column("Step", _failed_step),
            output.Column("Why", "message"),
        ),
    )


def said_once(results: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Results without the long messages that stand in one before: what ends a whole run is every host's."""
    first: dict[str, str] = {}
    shown = []
    for result in results:
        message, host = result["message"] or "", result["host"]
        if len(message) > _SHORT and first.setdefault(message, host) != host:
            result = {**result, "message": f"as {first[message]}"}
        shown.append(result)
    return shown


def _failed_step(result: Mapping[str, Any]) -> str:
    return ", ".join(step["step"] for step in result["steps"] if step.get("failed"))


def _sizes(deployment: Mapping[str, Any]) -> str:
    total = sum(deployment["hosts"].values())
    parts = [f"{number} {status}" for status, number in deployment["hosts"].items() if number]
    return f"{total} host{'' if total == 1 else 's'} ({', '.join(parts)})" if parts else "no hosts"


def _how_to_follow(number: int) -> str:
    return f"Follow it with `plugfleet deploy follow {number}`."
