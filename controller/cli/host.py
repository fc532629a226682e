"""`plugfleet host`: the hosts of the fleet."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from controller.cli import output, override
from controller.cli.agent import adopt
from controller.cli.client import segment
from controller.cli.completion import host_names, hostgroup_names
from controller.cli.hostimport import import_hosts
from controller.cli.options import (
    AsJson,
    Limit,
    open_client,
    pairs,
    patch,
    secrets,
    variables,
)
from controller.cli.plugin import HOST_COLUMNS
from controller.cli.removal import remove_each
from controller.cli.showing import make, show_list, show_one

app = typer.Typer(help="Hosts: list, add, import, change, remove.", no_args_is_help=True)
app.command("import")(import_hosts)
app.command("adopt")(adopt)
app.add_typer(override.app, name="override")


class AgentKind(enum.StrEnum):
    """What runs the plugins of a host."""

    EXECUTOR = "executor"
    FALCON = "falcon"


class State(enum.StrEnum):
    """The state of a host against its plan."""

    PENDING = "pending"
    CONVERGED = "converged"
    DRIFTED = "drifted"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


Name = Annotated[str, typer.Argument(help="Its name.", autocompletion=host_names)]
Names = Annotated[list[str], typer.Argument(help="Their names.", autocompletion=host_names)]
Address = Annotated[str | None, typer.Option(help="How SSH reaches it; its name if left out.")]
Kind = Annotated[AgentKind | None, typer.Option("--agent", help="What runs its plugins.")]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", "-l", help="NAME=VALUE; may be given again.")
]
VariableOption = Annotated[
    list[str] | None,
    typer.Option("--var", help="Ansible variable NAME=VALUE (JSON or text); may be given again."),
]
SecretOption = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        help="Name of a variable whose value is asked for, or read from standard input, and never shown.",
    ),
]
RemoveVariable = Annotated[
    list[str] | None, typer.Option("--remove-var", help="Name of a variable to remove.")
]
RemoveSecret = Annotated[
    list[str] | None, typer.Option("--remove-secret", help="Name of a secret variable to remove.")
]


@app.command("list")
def list_hosts(
    ctx: typer.Context,
    search: Annotated[
        str, typer.Option("--search", "-q", help="Part of the name or address.")
    ] = "",
    state: Annotated[State | None, typer.Option(help="Only hosts in this state.")] = None,
    group: Annotated[
        str,
        typer.Option("--group", "-g", help="Only members of it.", autocompletion=hostgroup_names),
    ] = "",
    label: LabelOption = None,
    agent: Kind = None,
    release: Annotated[
        int | None, typer.Option(help="Only hosts that report this release.")
    ] = None,
    sort: Annotated[str, typer.Option(help="name, -state_since, last_heartbeat, ...")] = "name",
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List hosts."""
    show_list(
        ctx,
        "hosts",
        COLUMNS,
        limit=limit,
        as_json=as_json,
        q=search,
        state=state.value if state else "",
        hostgroup=group,
        label=list(label or []),
        agent_kind=agent.value if agent else "",
        release=release,
        sort=sort,
    )


COLUMNS = (
    output.Column("Host", "name"),
    output.Column("State", "state", state=True),
    output.Column("Since", lambda row: output.ago(row["state_since"])),
    output.Column("Release", lambda row: _release(row), right=True),
    output.Column("Heartbeat", lambda row: output.ago(row["last_heartbeat"])),
    output.Column("Hostgroups", "hostgroups"),
    output.Column("Last error", lambda row: str(row["last_error"] or "").splitlines()[:1]),
)


def _release(row: Mapping[str, Any]) -> str:
    has, wants = row["reported_release"], row["wanted_release"]
    if has == wants:
        return output.plain(has)
    return f"{output.plain(has)} -> {output.plain(wants)}"


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a host."""
    show_one(ctx, f"hosts/{segment(name)}", as_json=as_json)


@app.command()
def plan(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show what a host should run, and why: which hostgroup, which binding."""
    with open_client(ctx) as client:
        found = client.get(f"plans/{segment(name)}")
    if as_json:
        output.show_json(found)
        return
    output.show_fields(
        found, skip=("plugins", "variables", "listed", "problems", "unused_overrides")
    )
    output.show_table(
        found["plugins"],
        (
            output.Column("Plugin", "plugin"),
            output.Column("Why", lambda row: "\n".join(map(_reason, row["reasons"]))),
            output.Column("Configuration", lambda row: "\n".join(_configured(row["config"]))),
            output.Column("From", lambda row: "\n".join(_origins(row["origins"]))),
        ),
    )
    for problem in found["problems"]:
        output.say(problem, "bold red")
    for plugin in found["unused_overrides"]:
        output.note(f"note: the override of {plugin} does nothing: it is not bound to {name}")


def _configured(config: Mapping[str, Any] | None) -> list[str]:
    """A configuration, a line for each key and for each item."""
    lines = []
    for key, value in (config or {}).items():
        if key == "items" and isinstance(value, list):
            lines += [f"items[{n}]: {output.plain(item)}" for n, item in enumerate(value)]
        else:
            lines.append(f"{key}: {output.plain(value)}")
    return lines


def _reason(reason: Mapping[str, Any]) -> str:
    """Why a host has a plugin, in a few words."""
    ways = [way for way, so in (("name", reason["by_name"]), ("rule", reason["by_rule"])) if so]
    how = f" by {' and '.join(ways)}" if ways else ""
    return f"member of {reason['hostgroup']}{how} (binding {reason['binding']})"


def _origins(origins: list[Mapping[str, Any]]) -> list[str]:
    """Where each part of a configuration comes from, a line for each origin."""
    lines: dict[str, list[str]] = {}
    for origin in origins:
        where = origin["hostgroup"] or "this host"
        lines.setdefault(f"{where} removes" if origin["removed"] else where, []).append(
            origin["place"]
        )
    return [f"{where}: {', '.join(places)}" for where, places in lines.items()]


@app.command()
def plugins(ctx: typer.Context, name: Name, limit: Limit = None, as_json: AsJson = False) -> None:
    """Show how each plugin fares on a host, as the last visit saw it."""
    path = f"hosts/{segment(name)}/plugins"
    show_list(ctx, path, HOST_COLUMNS, limit=limit, as_json=as_json)


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name, as Ansible will know it.")],
    address: Address = None,
    agent: Kind = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            "-g",
            help="Hostgroup that it becomes a member of; may be given again.",
            autocompletion=hostgroup_names,
        ),
    ] = None,
    label: LabelOption = None,
    var: VariableOption = None,
    secret: SecretOption = None,
    as_json: AsJson = False,
) -> None:
    """Add a host."""
    body = _body(address, agent, label, var, secret) | {"name": name}
    if group:
        body["hostgroups"] = group
    make(ctx, "POST", "hosts", body, f"Added host {name}.", as_json=as_json)


@app.command()
def change(
    ctx: typer.Context,
    name: Name,
    address: Address = None,
    agent: Kind = None,
    label: LabelOption = None,
    remove_label: Annotated[
        list[str] | None, typer.Option(help="Name of a label to remove.")
    ] = None,
    var: VariableOption = None,
    remove_var: RemoveVariable = None,
    secret: SecretOption = None,
    remove_secret: RemoveSecret = None,
    as_json: AsJson = False,
) -> None:
    """Change some of a host's fields; the others stay."""
    given = _body(address, agent, label, var, secret)
    removed = {"labels": remove_label, "variables": remove_var, "secrets": remove_secret}
    body = patch(given, removed)
    make(ctx, "PATCH", f"hosts/{segment(name)}", body, f"Changed host {name}.", as_json=as_json)


@app.command()
def remove(ctx: typer.Context, names: Names, as_json: AsJson = False) -> None:
    """Remove hosts from the fleet; nothing is changed on them."""
    with open_client(ctx) as client:
        remove_each(client, "host", "hosts", names, as_json=as_json)


def _body(
    address: str | None,
    agent: AgentKind | None,
    label: list[str] | None,
    var: list[str] | None,
    secret: list[str] | None,
) -> dict[str, Any]:
    """The fields of a request that were given."""
    fields: dict[str, Any] = {
        "address": address,
        "agent_kind": agent.value if agent else None,
        "labels": pairs(label, "--label") if label else None,
        "variables": variables(var) if var else None,
        "secrets": secrets(secret) if secret else None,
    }
    return {key: value for key, value in fields.items() if value is not None}
