"""`plugfleet host override`: what one host has otherwise of a plugin's configuration."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import Client, segment
from controller.cli.completion import host_names, hostgroup_names
from controller.cli.exits import CommandError
from controller.cli.options import AsJson, Limit, open_client, read_yaml, secrets, variables
from controller.cli.showing import show_list

app = typer.Typer(
    help="What one host has otherwise of a plugin's configuration.", no_args_is_help=True
)

Host = Annotated[str, typer.Argument(help="The host's name.", autocompletion=host_names)]
Plugin = Annotated[str, typer.Argument(help="The plugin, as `plugfleet host plan` shows it.")]
Config = Annotated[
    Path | None,
    typer.Option(
        help="YAML or JSON file, laid over what the hostgroups configure: null takes a key away, a list "
        "replaces the whole list; - is stdin."
    ),
]


COLUMNS = (
    output.Column("Plugin", "plugin"),
    output.Column("Configuration", "config"),
    output.Column("Secret items", "config_secrets"),
    output.Column("Used", "used"),
)


@app.command("set")
def set_override(
    ctx: typer.Context,
    host: Host,
    plugin: Plugin,
    config: Config = None,
    value: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE (JSON or text); may be given again."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            help="Item, or path such as items/0/password, whose value is asked for, or read from standard "
            "input, and never shown.",
        ),
    ] = None,
    remove_secret: Annotated[
        list[str] | None, typer.Option(help="Name of a secret item to remove.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a host have something otherwise than its hostgroups say, from its next deployment on.

    Without --config, --set and --secret change some of what is there; with it, all of it but secrets.
    """
    given = read_yaml(config) if config is not None else None
    if given is not None and not isinstance(given, dict):
        raise CommandError(f"{config} must hold a mapping")
    items = variables(value, "--set") if value else {}
    sealed: dict[str, Any] = dict(secrets(secret)) if secret else {}
    sealed |= dict.fromkeys(remove_secret or ())
    if given is None and not items and not sealed:
        raise CommandError("nothing to override was given", hint="--config, --set or --secret")
    path = f"hosts/{segment(host)}/overrides"
    with open_client(ctx) as client:
        headers = {}
        if given is None:
            there, version = client.get_with_etag(path, plugin=plugin)
            given = there["items"][0]["config"] if there["items"] else {}
            headers = {"If-Match": version} if version else {}
        body = {"config": {**given, **items}, "config_secrets": sealed}
        made = client.send("PUT", path, body=body, query={"plugin": plugin}, headers=headers)
        close = "" if made["used"] else _did_you_mean(client, host, made["plugin"])
    if as_json:
        output.show_json(made)
        return
    output.say(f"Host {host} has {made['plugin']} otherwise than its hostgroups say.")
    for warning in made["warnings"]:
        output.note(f"warning: {warning}")
    if not made["used"]:
        note = f"note: {made['plugin']} is not bound to {host}: it does nothing until it is"
        output.note(f"{note}{close}")


def _did_you_mean(client: Client, host: str, plugin: str) -> str:
    """Names what is bound to the host and is spelt nearly so."""
    bound = [entry["plugin"] for entry in client.get(f"plans/{segment(host)}")["plugins"]]
    close = difflib.get_close_matches(plugin, bound, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


@app.command("list")
def list_overrides(
    ctx: typer.Context,
    group: Annotated[
        str,
        typer.Option("--group", "-g", help="Only of its hosts.", autocompletion=hostgroup_names),
    ] = "",
    plugin: Annotated[str, typer.Option(help="Only of this plugin.")] = "",
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List the overrides of all hosts."""
    columns = (output.Column("Host", "host"), *COLUMNS)
    query = {"hostgroup": group, "plugin": plugin}
    show_list(ctx, "overrides", columns, limit=limit, as_json=as_json, **query)


@app.command()
def show(
    ctx: typer.Context,
    host: Host,
    plugin: Annotated[str, typer.Argument(help="Only of this plugin.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show a host's overrides."""
    path = f"hosts/{segment(host)}/overrides"
    show_list(ctx, path, COLUMNS, limit=None, as_json=as_json, plugin=plugin)


@app.command()
def remove(ctx: typer.Context, host: Host, plugin: Plugin, as_json: AsJson = False) -> None:
    """Let a host have what its hostgroups say, from its next deployment on."""
    with open_client(ctx) as client:
        client.send("DELETE", f"hosts/{segment(host)}/overrides", query={"plugin": plugin})
    if as_json:
        output.show_json({"removed": [plugin]})
    else:
        output.say(f"Host {host} has {plugin} as its hostgroups say.")
