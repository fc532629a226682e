"""The tree of commands; docs/cli.md is held against it by a test."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli import (
    agent,
    apply,
    audit,
    bind,
    deploy,
    group,
    host,
    init,
    lint,
    plugin,
    portal,
    release,
    rollback,
    schedule,
    secrets,
    serve,
    source,
    status,
    token,
)

app = typer.Typer(
    name="plugfleet",
    help="Get monitoring plugins from git onto every host, and prove that they deliver data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"plugfleet {version('plugfleet')}")
        raise typer.Exit


@app.callback()
def _every_command(
    url: Annotated[
        str | None,
        typer.Option(
            help="The controller, instead of PLUGFLEET_URL; the token comes from PLUGFLEET_TOKEN."
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Gives every command its common options; `options.open_client` reads `url` from the context."""


app.command("serve")(serve.serve)
app.command("init")(init.init)
app.add_typer(secrets.app, name="secrets")
app.add_typer(host.app, name="host")
host.app.command("adopt")(agent.adopt)
app.add_typer(agent.app, name="agent")
app.add_typer(group.app, name="group")
app.add_typer(source.app, name="source")
app.add_typer(plugin.app, name="plugin")
app.add_typer(bind.app, name="bind")
app.add_typer(release.app, name="release")
app.add_typer(deploy.app, name="deploy")
app.add_typer(schedule.app, name="schedule")
app.command("rollback")(rollback.rollback)
app.command("status")(status.status)
app.command("lint")(lint.lint)
app.add_typer(portal.app, name="portal")
app.add_typer(token.app, name="token")
app.command("audit")(audit.audit)
app.command("export")(apply.export)
app.command("apply")(apply.apply)
