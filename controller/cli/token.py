"""`plugfleet token`: who may speak to the controller."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from controller.cli import configuration, output
from controller.cli.client import segment
from controller.cli.completion import hostgroup_names
from controller.cli.configuration import ConfigFile
from controller.cli.moments import future
from controller.cli.options import AsJson, Limit, open_client
from controller.cli.showing import show_list, show_one

app = typer.Typer(help="Tokens: make, list, revoke, rescue.", no_args_is_help=True)


class TokenScope(enum.StrEnum):
    """`controller.auth.models.Scope`, whose import would bring the whole database with it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_COLUMNS = (
    output.Column("Name", "name"),
    output.Column("Scope", "scope"),
    output.Column(
        "Hostgroups", lambda row: "all" if row["hostgroups"] is None else row["hostgroups"]
    ),
    output.Column("Expires", "expires"),
    output.Column("Last used", lambda row: output.ago(row["last_used"])),
    output.Column("Revoked", "revoked"),
)


@app.command("list")
def list_tokens(ctx: typer.Context, limit: Limit = None, as_json: AsJson = False) -> None:
    """List tokens; their texts are never shown again."""
    show_list(ctx, "tokens", _COLUMNS, limit=limit, as_json=as_json)


@app.command()
def current(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the token that this command line uses."""
    show_one(ctx, "tokens/current", as_json=as_json)


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Who or what will use it; the audit log shows this.")],
    scope: Annotated[
        TokenScope, typer.Option(help="What it may do; each scope includes the one before.")
    ] = TokenScope.VIEWER,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            "-g",
            help="Limit it to this hostgroup; may be given again.",
            autocompletion=hostgroup_names,
        ),
    ] = None,
    expires: Annotated[
        str, typer.Option(help="When it ends: 12h, 30d, 8w, or a date such as 2027-01-31.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a token and show its text, which is shown this once."""
    body = {
        "name": name,
        "scope": scope.value,
        "hostgroups": group or None,
        "expires": future(expires, "--expires") if expires else None,
    }
    with open_client(ctx) as client:
        made = client.send("POST", "tokens", body=body)
    if as_json:
        output.show_json(made)
        return
    output.note(f"Token {name!r}, scope {made['scope']}. Keep it: it is shown this once.")
    output.say(made["token"])


@app.command()
def rescue(
    name: Annotated[
        str, typer.Argument(help="Name of the new token; rescue-DATE-TIME if left out.")
    ] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an admin token on the controller's own machine, where the last one was lost.

    Works on the database itself, as the controller's account and with its settings. The lost token
    stays valid: revoke it with the new one.
    """
    with configuration.existing(config) as context:
        from controller.auth import service

        with context.database.write() as session:
            made, text = service.rescue_token(session, name)
            if as_json:
                output.show_json({"name": made.name, "scope": made.scope, "token": text})
            else:
                output.note(f"Token {made.name!r}, scope admin. Keep it: it is shown this once.")
                output.say(text)


@app.command()
def revoke(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.")],
    as_json: AsJson = False,
) -> None:
    """Take a token back; it is refused from the next request on."""
    with open_client(ctx) as client:
        token = client.send("DELETE", f"tokens/{segment(name)}")
    if as_json:
        output.show_json(token)
    else:
        output.say(f"Token {name!r} is revoked.")
