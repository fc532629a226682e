"""`plugfleet release`: the published states of the plugin tree."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import Client
from controller.cli.lint import show_fixes, show_problems
from controller.cli.options import AsJson, Limit, open_client
from controller.cli.showing import show_list

app = typer.Typer(help="Releases: list, show, publish.", no_args_is_help=True)

PUBLISH_TIMEOUT = 600  # seconds; every source is fetched, composed and linted
_MOST_CHANGES = 40


@app.command("list")
def list_releases(ctx: typer.Context, limit: Limit = None, as_json: AsJson = False) -> None:
    """List releases, newest first."""
    columns = (
        output.Column("Release", "number", right=True),
        output.Column("Commit", lambda row: row["commit"][:12]),
        output.Column("When", "created"),
        output.Column("Who", "by"),
        output.Column("Tree of", "rollback_to", right=True),
    )
    show_list(ctx, "releases", columns, limit=limit, as_json=as_json)


@app.command()
def show(
    ctx: typer.Context,
    number: Annotated[int, typer.Argument(help="Its number.")],
    as_json: AsJson = False,
) -> None:
    """Show a release: its sources, what changed, what the lint found."""
    with open_client(ctx) as client:
        found = client.get(f"releases/{number}")
    if as_json:
        output.show_json(found)
        return
    output.show_fields(found, skip=("changes", "fixes", "problems", "sources"))
    output.show_table(
        found["sources"],
        (
            output.Column("Mounted at", lambda row: row["path"] or "(root)"),
            output.Column("URL", "url"),
            output.Column("Ref", "ref"),
            output.Column("Commit", lambda row: row["commit"][:12]),
        ),
    )
    show_fixes(found["fixes"], ())
    show_changes(found)


@app.command()
def publish(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, publish nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also where a rollback holds the deploy line.")
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Correct execute bits, CR LF and missing last line ends in the release; sources stay.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch every source, compose and lint the tree, and publish it as the next release."""
    with open_client(ctx, timeout=PUBLISH_TIMEOUT) as client:
        answer = publish_release(client, dry_run=dry_run, force=force, fix=fix)
    if as_json:
        output.show_json(answer)
    else:
        show_published(answer, dry_run=dry_run)


def publish_release(
    client: Client, *, dry_run: bool = False, force: bool = False, fix: bool = False
) -> Any:
    """Publish; returns the controller's answer."""
    return client.start("releases", {"dry_run": dry_run, "force": force, "fix": fix})


def show_published(answer: Any, *, dry_run: bool) -> None:
    """Say what publishing came to."""
    verb = "would fix" if dry_run else "fixed"
    show_fixes(answer["fixes"], answer["unfixed"], verb)
    show_changes(answer)
    if dry_run:
        output.say("It would be a new release." if answer["changed"] else "Nothing would change.")
    elif answer["changed"]:
        output.say(f"Published release {answer['release']['number']}.")
    else:
        output.say(f"Nothing changed since release {answer['release']['number']}.")


def show_changes(found: Any) -> None:
    """Print a release's changed files and the lint's findings."""
    for line in found["changes"][:_MOST_CHANGES]:
        output.say(line)
    if len(found["changes"]) > _MOST_CHANGES:
        output.say(f"... and {len(found['changes']) - _MOST_CHANGES} more files")
    show_problems(found["problems"])
