"""`plugfleet agent`: what agents say, hosts that nobody made, and the rules that adopt them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import segment
from controller.cli.completion import host_names, hostgroup_names
from controller.cli.options import AsJson, Limit, pairs
from controller.cli.showing import make, show_list, take_away

app = typer.Typer(
    help="Agents: unknown hosts, adoption rules, claims on names.", no_args_is_help=True
)
rule = typer.Typer(
    help="Rules by which unknown hosts become hosts by themselves.", no_args_is_help=True
)
app.add_typer(rule, name="rule")

Unknown = Annotated[str, typer.Argument(help="As it calls itself.")]
Host = Annotated[str, typer.Argument(help="Its name.", autocompletion=host_names)]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        "-g",
        help="Hostgroup that it becomes a member of; may be given again.",
        autocompletion=hostgroup_names,
    ),
]
RuleId = Annotated[int, typer.Argument(help="Its id.")]


@app.command("unknown")
def list_unknown(
    ctx: typer.Context,
    search: Annotated[
        str, typer.Option("--search", "-q", help="Part of the name or address.")
    ] = "",
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List hosts that send heartbeats and that nobody made."""
    show_list(
        ctx,
        "unknown-hosts",
        (
            output.Column("Host", "name"),
            output.Column("From", "peer"),
            output.Column("Agent", "version"),
            output.Column("Plugins at", "head"),
            output.Column("Heartbeat", lambda row: output.ago(row["last_seen"])),
            output.Column("Not adopted because", "problem"),
        ),
        limit=limit,
        as_json=as_json,
        q=search,
    )


def adopt(
    ctx: typer.Context,
    name: Unknown,
    group: Groups = None,
    address: Annotated[str, typer.Option(help="How SSH reaches it; its name if left out.")] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="NAME=VALUE; may be given again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an unknown host a host: its agent gets its plugins, and deployments visit it."""
    body: dict[str, Any] = {"hostgroups": group or [], "address": address}
    if label:
        body["labels"] = pairs(label, "--label")
    path = f"unknown-hosts/{segment(name)}/adoption"
    make(ctx, "POST", path, body, f"Adopted host {name}.", as_json=as_json)


@app.command()
def forget(ctx: typer.Context, name: Unknown, as_json: AsJson = False) -> None:
    """Take an unknown host off the list; its next heartbeat brings it back."""
    path = f"unknown-hosts/{segment(name)}"
    take_away(ctx, path, {"forgotten": name}, f"Forgot {name}.", as_json=as_json)


@app.command("claims")
def list_claims(ctx: typer.Context, limit: Limit = None, as_json: AsJson = False) -> None:
    """List hosts in whose names another address sends heartbeats."""
    show_list(
        ctx,
        "claims",
        (
            output.Column("Host", "host"),
            output.Column("Comes from", "peer"),
            output.Column("Claimed by", "claimed_by"),
            output.Column("Since", lambda row: output.ago(row["claimed_at"])),
        ),
        limit=limit,
        as_json=as_json,
    )


@app.command()
def move(ctx: typer.Context, name: Host, as_json: AsJson = False) -> None:
    """Take a host's heartbeats from the address that claims its name: the host has moved there."""

    def done(host: Any) -> str:
        return f"Heartbeats of {name} come from {host['agent']['peer']} now."

    make(ctx, "POST", f"hosts/{segment(name)}/agent/move", None, done, as_json=as_json)


@app.command()
def dismiss(ctx: typer.Context, name: Host, as_json: AsJson = False) -> None:
    """Dismiss the claim on a host's name; the next heartbeat from elsewhere flags it again."""
    path = f"hosts/{segment(name)}/agent/claim"
    take_away(ctx, path, {"dismissed": name}, f"Dismissed the claim on {name}.", as_json=as_json)


@rule.command("list")
def list_rules(ctx: typer.Context, limit: Limit = None, as_json: AsJson = False) -> None:
    """List adoption rules; the first that fits counts."""
    show_list(
        ctx,
        "adoption-rules",
        (
            output.Column("Rule", "id", right=True),
            output.Column("Names", "pattern"),
            output.Column("From", "network"),
            output.Column("Into", "hostgroups"),
            output.Column("SSH by", lambda row: "address" if row["use_address"] else "name"),
        ),
        limit=limit,
        as_json=as_json,
    )


@rule.command("add")
def add_rule(
    ctx: typer.Context,
    pattern: Annotated[str, typer.Option(help="Shell pattern of names, e.g. 'web-*'.")] = "",
    network: Annotated[str, typer.Option(help="Where it must come from, e.g. 10.1.0.0/16.")] = "",
    group: Groups = None,
    use_address: Annotated[
        bool, typer.Option(help="SSH reaches it at the address that it comes from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add a rule: unknown hosts that it fits are adopted with their next heartbeat."""
    body = {
        "pattern": pattern,
        "network": network,
        "hostgroups": group or [],
        "use_address": use_address,
    }

    def done(made: Any) -> str:
        return f"Added adoption rule {made['id']}."

    make(ctx, "POST", "adoption-rules", body, done, as_json=as_json)


@rule.command("remove")
def remove_rule(ctx: typer.Context, number: RuleId, as_json: AsJson = False) -> None:
    """Remove a rule; hosts that it adopted stay."""
    path = f"adoption-rules/{number}"
    take_away(ctx, path, {"removed": number}, f"Removed adoption rule {number}.", as_json=as_json)
