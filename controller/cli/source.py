"""`plugfleet source`: the git repositories that plugins come from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import segment
from controller.cli.completion import source_names
from controller.cli.exits import Exit
from controller.cli.lint import LintAgents, check_agents, show_problems
from controller.cli.options import AsJson, Limit, open_client, patch, secrets
from controller.cli.removal import remove_each
from controller.cli.showing import make, show_list, show_one
from controller.cli.sourceimport import import_sources

app = typer.Typer(help="Sources: list, add, import, change, lint.", no_args_is_help=True)
app.command("import")(import_sources)

Name = Annotated[str, typer.Argument(help="Its name.", autocompletion=source_names)]
Path = Annotated[
    str | None, typer.Option(help="Where it is mounted in the plugin tree; the root if left out.")
]
Ref = Annotated[str | None, typer.Option(help="Branch, tag or full commit.")]
Subdir = Annotated[
    str | None, typer.Option(help="Folder of the repository to take; all of it if left out.")
]
Username = Annotated[
    str | None,
    typer.Option(help="For a repository that needs a password, which is asked for or read."),
]


@app.command("list")
def list_sources(ctx: typer.Context, limit: Limit = None, as_json: AsJson = False) -> None:
    """List sources."""
    columns = (
        output.Column("Source", "name"),
        output.Column("Mounted at", lambda row: row["path"] or "(root)"),
        output.Column("URL", "url"),
        output.Column("Ref", "ref"),
        output.Column("Folder", "subdir"),
    )
    show_list(ctx, "sources", columns, limit=limit, as_json=as_json)


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a source."""
    show_one(ctx, f"sources/{segment(name)}", as_json=as_json)


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.")],
    url: Annotated[str, typer.Argument(help="URL of the git repository, without a password.")],
    path: Path = None,
    ref: Ref = None,
    subdir: Subdir = None,
    username: Username = None,
    as_json: AsJson = False,
) -> None:
    """Add a source."""
    body = _body(url, path, ref, subdir, username) | {"name": name}
    make(
        ctx,
        "POST",
        "sources",
        body,
        f"Added source {name}. `plugfleet source lint {name}` looks at it.",
        as_json=as_json,
    )


@app.command()
def change(
    ctx: typer.Context,
    name: Name,
    url: Annotated[str | None, typer.Option(help="URL of the git repository.")] = None,
    path: Path = None,
    ref: Ref = None,
    subdir: Subdir = None,
    username: Username = None,
    no_credentials: Annotated[
        bool, typer.Option("--no-credentials", help="Take user name and password away.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Change some of a source's fields; the others stay."""
    given = _body(url, path, ref, subdir, username)
    body = patch(given | ({"credentials": None} if no_credentials else {}), {})
    make(ctx, "PATCH", f"sources/{segment(name)}", body, f"Changed source {name}.", as_json=as_json)


@app.command()
def remove(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Their names.", autocompletion=source_names)],
    as_json: AsJson = False,
) -> None:
    """Remove sources; the next release is made without them."""
    with open_client(ctx) as client:
        remove_each(client, "source", "sources", names, as_json=as_json)


@app.command()
def lint(
    ctx: typer.Context,
    name: Name,
    ref: Annotated[str, typer.Option(help="Look at this branch, tag or commit instead.")] = "",
    agent: LintAgents = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a source and say what in it would not deliver data, or would harm an agent.

    Without --agent it is judged for the agents of the hosts that its plugins are bound to.
    """
    check_agents(agent)
    body = ({"ref": ref} if ref else {}) | ({"agents": agent} if agent else {})
    with open_client(ctx, timeout=300) as client:
        report = client.send("POST", f"sources/{segment(name)}/lint", body=body)
    if as_json:
        output.show_json(report)
    else:
        show_problems(report["problems"])
        output.say(f"{name}: {_summary(report)}")
    if any(problem["severity"] == "error" for problem in report["problems"]):
        raise typer.Exit(Exit.FOUND)


def _summary(report: dict[str, Any]) -> str:
    counts = {
        severity: sum(problem["severity"] == severity for problem in report["problems"])
        for severity in ("error", "warning", "info")
    }
    return f"{counts['error']} errors, {counts['warning']} warnings, {counts['info']} notes"


def _body(
    url: str | None, path: str | None, ref: str | None, subdir: str | None, username: str | None
) -> dict[str, Any]:
    fields: dict[str, Any] = {"url": url, "path": path, "ref": ref, "subdir": subdir}
    if username is not None:
        fields["credentials"] = {"username": username, **secrets(["password"])}
    return {key: value for key, value in fields.items() if value is not None}
