"""`plugfleet group`: hostgroups and their members."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import segment
from controller.cli.completion import host_names, hostgroup_names
from controller.cli.host import RemoveSecret, RemoveVariable, SecretOption, VariableOption
from controller.cli.options import AsJson, Limit, open_client, patch, secrets, variables
from controller.cli.preview import Preview, show_preview
from controller.cli.removal import remove_each
from controller.cli.showing import make, show_list, show_one

app = typer.Typer(help="Hostgroups: list, add, change, members.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Its name.", autocompletion=hostgroup_names)]
Hosts = Annotated[list[str], typer.Argument(help="Names of hosts.", autocompletion=host_names)]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
Rule = Annotated[
    str | None,
    typer.Option(help="Label rule such as idc=bj,role!=db: hosts that it fits are members too."),
]


@app.command("list")
def list_groups(
    ctx: typer.Context,
    search: Annotated[str, typer.Option("--search", "-q", help="Part of the name.")] = "",
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List hostgroups."""
    columns = (
        output.Column("Hostgroup", "name"),
        output.Column("Hosts", "hosts", right=True),
        output.Column("Rule", "rule"),
        output.Column("Description", "description"),
    )
    show_list(ctx, "hostgroups", columns, limit=limit, as_json=as_json, q=search)


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a hostgroup."""
    show_one(ctx, f"hostgroups/{segment(name)}", as_json=as_json)


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name, as Ansible will know it.")],
    description: Description = None,
    rule: Rule = None,
    var: VariableOption = None,
    secret: SecretOption = None,
    as_json: AsJson = False,
) -> None:
    """Add a hostgroup."""
    body = _body(description, rule, var, secret) | {"name": name}
    make(ctx, "POST", "hostgroups", body, f"Added hostgroup {name}.", as_json=as_json)


@app.command()
def change(
    ctx: typer.Context,
    name: Name,
    description: Description = None,
    rule: Rule = None,
    var: VariableOption = None,
    remove_var: RemoveVariable = None,
    secret: SecretOption = None,
    remove_secret: RemoveSecret = None,
    preview: Preview = False,
    as_json: AsJson = False,
) -> None:
    """Change some of a hostgroup's fields; the others stay."""
    given = _body(description, rule, var, secret)
    body = patch(given, {"variables": remove_var, "secrets": remove_secret})
    with open_client(ctx) as client:
        if preview:
            show_preview(client, {"hostgroups": [{"name": name, "rule": rule}]}, as_json=as_json)
            return
        group = client.send("PATCH", f"hostgroups/{segment(name)}", body=body)
    if as_json:
        output.show_json(group)
    else:
        output.say(f"Changed hostgroup {name}.")


@app.command()
def remove(
    ctx: typer.Context,
    names: Annotated[
        list[str], typer.Argument(help="Their names.", autocompletion=hostgroup_names)
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Their bindings too, if they have any.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove hostgroups; their hosts stay."""
    with open_client(ctx) as client:
        remove_each(client, "hostgroup", "hostgroups", names, as_json=as_json, force=force or None)


@app.command()
def members(ctx: typer.Context, name: Name, limit: Limit = None, as_json: AsJson = False) -> None:
    """List a hostgroup's hosts, and whether each is a member by name or by rule."""
    columns = (
        output.Column("Host", "host"),
        output.Column("State", "state", state=True),
        output.Column("By name", "by_name"),
        output.Column("By rule", "by_rule"),
    )
    show_list(ctx, f"hostgroups/{segment(name)}/members", columns, limit=limit, as_json=as_json)


@app.command("add-hosts")
def add_hosts(
    ctx: typer.Context,
    name: Name,
    hosts: Hosts,
    preview: Preview = False,
    as_json: AsJson = False,
) -> None:
    """Make hosts members by name; the members that there are stay."""
    _change_members(ctx, name, "add", hosts, preview=preview, as_json=as_json)


@app.command("remove-hosts")
def remove_hosts(
    ctx: typer.Context,
    name: Name,
    hosts: Hosts,
    preview: Preview = False,
    as_json: AsJson = False,
) -> None:
    """End hosts' membership by name; a rule that fits them keeps them members."""
    _change_members(ctx, name, "remove", hosts, preview=preview, as_json=as_json)


def _change_members(
    ctx: typer.Context, name: str, verb: str, hosts: list[str], *, preview: bool, as_json: bool
) -> None:
    with open_client(ctx) as client:
        if preview:
            show_preview(client, {"hostgroups": [{"name": name, verb: hosts}]}, as_json=as_json)
            return
        answer = client.send("POST", f"hostgroups/{segment(name)}/members", body={verb: hosts})
    if as_json:
        output.show_json(answer)
    else:
        done = "Added to" if verb == "add" else "Removed from"
        number = answer["added"] + answer["removed"]
        output.say(f"{done} hostgroup {name}: {number} host{'' if number == 1 else 's'}.")
        if answer["stay_by_rule"]:
            output.say(f"Its rule keeps {', '.join(answer['stay_by_rule'])} in it.")


def _body(
    description: str | None, rule: str | None, var: list[str] | None, secret: list[str] | None
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "description": description,
        "rule": rule,
        "variables": variables(var) if var else None,
        "secrets": secrets(secret) if secret else None,
    }
    return {key: value for key, value in fields.items() if value is not None}
