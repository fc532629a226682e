"""The tree of commands; docs/cli.md is held against it by a test.

A noun's module is imported, and its commands are built, when the noun was typed: all of them would
take longer than most commands do.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Final

import typer
import typer.main
from typer.core import TyperGroup

# Each is a module of this folder, which has the noun's own `app`, or one function of that name.
_NAMES: Final = (
    *("serve", "init", "secrets", "host", "agent", "group", "source", "plugin", "bind"),
    *("release", "deploy", "schedule", "rollback", "status", "lint", "portal", "token", "audit"),
    *("export", "apply"),
)
_MODULES: Final = {"export": "apply"}  # where it is not the name itself


class _Nouns(TyperGroup):
    """The program: knows its nouns by name, and loads the one that is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of `--help`."""
        return list(_NAMES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; None, with all loaded for the suggestions, where there is none."""
        for name in (cmd_name,) if cmd_name in _NAMES else _NAMES:
            if name not in self.commands:
                self.commands[name] = _load(name)
        return self.commands.get(cmd_name)


def _load(name: str) -> Any:
    module = importlib.import_module(f"controller.cli.{_MODULES.get(name, name)}")
    noun: typer.Typer | None = getattr(module, "app", None)
    if noun is None:
        noun = typer.Typer(add_completion=False)
        noun.command(name)(getattr(module, name))
        return typer.main.get_command(noun)
    group = typer.main.get_group(noun)
    group.name = name
    return group


app = typer.Typer(
    name="plugfleet",
    cls=_Nouns,
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
