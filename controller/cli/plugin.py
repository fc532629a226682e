"""`plugfleet plugin`: what the newest release offers, who runs it, and how it fares."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.completion import plugin_paths
from controller.cli.options import AsJson, Limit, open_client
from controller.cli.showing import show_list

app = typer.Typer(help="Plugins of the newest release: list, show.", no_args_is_help=True)


class Kind(enum.StrEnum):
    """What kinds of plugins there are."""

    MANIFEST = "manifest"
    SCRIPTS = "scripts"


Release = Annotated[int | None, typer.Option(help="Of this release instead of the newest.")]
_LONG = ("scripts", "form", "metrics", "dashboards", "readme", "findings", "bindings", "source")
HOST_COLUMNS = (
    output.Column("Plugin", "plugin"),
    output.Column("State", "state", state=True),
    output.Column("Since", lambda row: output.ago(row["since"])),
    output.Column("Seen", lambda row: output.ago(row["seen"])),
    output.Column("Reason", "reason"),
)


@app.command("list")
def list_plugins(
    ctx: typer.Context,
    search: Annotated[
        str, typer.Option("--search", "-q", help="Part of path, title, description or a tag.")
    ] = "",
    kind: Annotated[Kind | None, typer.Option(help="Only of this kind.")] = None,
    tag: Annotated[str, typer.Option(help="Only with this tag.")] = "",
    release: Release = None,
    sort: Annotated[
        str, typer.Option(help="path, name, kind or version; - for descending.")
    ] = "path",
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List what can be bound: folders with a plugin.json, and folders with step scripts."""
    columns = (
        output.Column("Plugin", "path"),
        output.Column("Kind", "kind"),
        output.Column("What", _what),
        output.Column("Version", "version"),
        output.Column("Source", lambda row: (row["source"] or {}).get("commit", "")[:12]),
        output.Column("Groups", "hostgroups", right=True),
        output.Column("Hosts", "hosts", right=True),
    )
    show_list(
        ctx,
        "plugins",
        columns,
        limit=limit,
        as_json=as_json,
        q=search,
        kind=kind.value if kind else "",
        tag=tag,
        release=release,
        sort=sort,
    )


def _what(row: Mapping[str, Any]) -> str:
    """What a plugin is, in a few words."""
    if row["scripts"]:
        shown = ", ".join(script["name"] for script in row["scripts"][:3])
        more = len(row["scripts"]) - 3
        return f"{shown} and {more} more" if more > 0 else shown
    return str(row["title"] or row["description"])[:80]


@app.command()
def show(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(help="Its path.", autocompletion=plugin_paths)],
    release: Release = None,
    hosts: Annotated[
        bool, typer.Option("--hosts", help="Also its state on each host, not only the counts.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a plugin: what it is, its parameters and metrics, who runs it, and how it fares."""
    with open_client(ctx) as client:
        page = client.get("plugins/page", path=path, release=release)
        states = list(client.items("plugins/hosts", path=path)) if hosts else []
    if as_json:
        output.show_json(page | ({"hosts_states": states} if hosts else {}))
        return
    output.show_fields(page, skip=_LONG)
    if page["source"]:
        output.say(f"from {page['source']['url']} at {page['source']['commit'][:12]}")
    _show_parts(page)
    if hosts:
        output.show_table(states, (output.Column("Host", "host"), *HOST_COLUMNS))


def _show_parts(page: Mapping[str, Any]) -> None:
    """The lists of a plugin's page, those that hold something."""
    tables: tuple[tuple[list[Any], tuple[output.Column, ...]], ...] = (
        (
            page["scripts"],
            (output.Column("Script", "name"), output.Column("Step (s)", "step", right=True)),
        ),
        (
            (page["form"] or {}).get("fields", []),
            (
                output.Column("Parameter", "key"),
                output.Column("Type", "type"),
                output.Column("Required", "required"),
                output.Column("Default", "default"),
                output.Column("Description", "description"),
            ),
        ),
        (
            page["metrics"],
            (
                output.Column("Metric", "name"),
                output.Column("Unit", "unit"),
                output.Column("Aggregate", "aggregate"),
                output.Column("Description", lambda row: row["description"] or row["display_name"]),
            ),
        ),
        (
            page["bindings"],
            (
                output.Column("Hostgroup", "hostgroup"),
                output.Column("Binding", "binding", right=True),
                output.Column("What", "plugin"),
                output.Column("Hosts", "hosts", right=True),
            ),
        ),
        (
            page["findings"],
            (
                output.Column("Finding", "severity", state=True),
                output.Column("File", "path"),
                output.Column("What", "message"),
            ),
        ),
    )
    for rows, columns in tables:
        if rows:
            output.show_table(rows, columns)
