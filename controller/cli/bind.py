"""`plugfleet bind`: which hostgroup runs which plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.completion import hostgroup_names
from controller.cli.exits import CommandError
from controller.cli.options import AsJson, Limit, open_client, patch, read_yaml, secrets
from controller.cli.preview import Preview, show_preview
from controller.cli.removal import remove_each
from controller.cli.showing import show_list, show_one

app = typer.Typer(help="Bindings: list, add, change, remove.", no_args_is_help=True)

Secrets = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        help="Configuration item, or path such as items/0/password, whose value is asked for, or read from "
        "standard input, and never shown.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        help="What it prints: nagios, telegraf-exec, telegraf-execd or prometheus; boundary is a manifest "
        "plugin's own."
    ),
]
Step = Annotated[int | None, typer.Option(help="Seconds between two starts of what has a format.")]
Id = Annotated[int, typer.Argument(help="Its number, as `plugfleet bind list` shows it.")]


@app.command("list")
def list_bindings(
    ctx: typer.Context,
    group: Annotated[
        str,
        typer.Option(
            "--group", "-g", help="Only of this hostgroup.", autocompletion=hostgroup_names
        ),
    ] = "",
    plugin: Annotated[str, typer.Option(help="Only of this plugin.")] = "",
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List bindings."""
    columns = (
        output.Column("Id", "id", right=True),
        output.Column("Hostgroup", "hostgroup"),
        output.Column("Plugin", "plugin"),
        output.Column("Format", lambda row: _format(row)),
        output.Column("Configuration", "config"),
        output.Column("Secret items", "config_secrets"),
    )
    show_list(
        ctx, "bindings", columns, limit=limit, as_json=as_json, hostgroup=group, plugin=plugin
    )


def _format(row: Mapping[str, Any]) -> str:
    return f"{row['format']} every {row['step']} s" if row["format"] else "-"


@app.command()
def show(ctx: typer.Context, number: Id, as_json: AsJson = False) -> None:
    """Show a binding."""
    show_one(ctx, f"bindings/{number}", as_json=as_json)


@app.command()
def add(
    ctx: typer.Context,
    group: Annotated[
        str, typer.Argument(help="Hostgroup, or all.", autocompletion=hostgroup_names)
    ],
    plugin: Annotated[
        str,
        typer.Argument(help="Plugin directory, script, 'script(arg1,arg2)', or manifest plugin."),
    ],
    config: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON file with a manifest plugin's configuration; - is stdin."),
    ] = None,
    secret: Secrets = None,
    format: Format = None,
    step: Step = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help="Arguments of a program with a --format, after --.", metavar="ARGS"),
    ] = None,
    preview: Preview = False,
    as_json: AsJson = False,
) -> None:
    """Let a hostgroup's hosts run a plugin, from their next deployment on."""
    body: dict[str, Any] = {"hostgroup": group, "plugin": plugin}
    body |= _formatted(format, step)
    if config is not None:
        body["config"] = read_yaml(config)
    if arguments:
        if not format or config is not None:
            raise CommandError(
                "arguments go with --format, and without --config",
                hint="write those of a step script as 'script(arg1,arg2)'",
            )
        body["config"] = {"args": arguments}
    if secret and not preview:
        body["config_secrets"] = secrets(secret)
    with open_client(ctx) as client:
        if preview:
            show_preview(client, {"bindings": {"add": [body]}}, as_json=as_json)
            return
        made = client.send("POST", "bindings", body=body)
    if as_json:
        output.show_json(made)
        return
    output.say(f"Bound {plugin} to hostgroup {group}: binding {made['id']}.")
    _warn(made)


def _formatted(format: str | None, step: int | None) -> dict[str, Any]:
    given = {"format": format, "step": step}
    return {name: value for name, value in given.items() if value is not None}


def _warn(made: Mapping[str, Any]) -> None:
    for warning in made["warnings"]:
        output.note(f"warning: {warning}")


@app.command()
def change(
    ctx: typer.Context,
    number: Id,
    plugin: Annotated[str | None, typer.Option(help="Bind this instead.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON file with a manifest plugin's configuration; - is stdin."),
    ] = None,
    secret: Secrets = None,
    remove_secret: Annotated[
        list[str] | None, typer.Option(help="Name or path of a secret item to remove.")
    ] = None,
    format: Format = None,
    step: Step = None,
    as_json: AsJson = False,
) -> None:
    """Change some of a binding's fields; the others stay."""
    given = _formatted(format, step)
    if plugin is not None:
        given["plugin"] = plugin
    if config is not None:
        given["config"] = read_yaml(config)
    if secret:
        given["config_secrets"] = secrets(secret)
    body = patch(given, {"config_secrets": remove_secret})
    with open_client(ctx) as client:
        changed = client.send("PATCH", f"bindings/{number}", body=body)
    if as_json:
        output.show_json(changed)
        return
    output.say(f"Changed binding {number}.")
    _warn(changed)


@app.command()
def remove(
    ctx: typer.Context,
    numbers: Annotated[list[int], typer.Argument(help="Their numbers.")],
    preview: Preview = False,
    as_json: AsJson = False,
) -> None:
    """Remove bindings: their hosts stop running the plugins with their next deployment."""
    with open_client(ctx) as client:
        if preview:
            show_preview(client, {"bindings": {"remove": numbers}}, as_json=as_json)
            return
        remove_each(client, "binding", "bindings", numbers, as_json=as_json)
