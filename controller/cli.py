"""The `plugfleet` command: one sub-command a verb, exit code 0 done, 1 found wrong, 2 wrong use."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agentplugin.lint import Report

app = typer.Typer(
    name="plugfleet",
    help="Get monitoring plugins from git onto every host, and prove that they deliver data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FOUND_ERRORS = 1
WRONG_USE = 2

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


@app.callback()
def _commands() -> None:
    """Keeps `lint` a sub-command while it is the only one."""


@app.command()
def lint(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Top of a plugin tree, or a checkout of one.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, for programs.")
    ] = False,
) -> None:
    """Say what in a plugin tree would not deliver data, or would harm an agent.

    Nothing is executed and no controller is needed. Exit code 0: no errors (warnings may be there),
    1: errors, 2: DIR cannot be read. docs/lint.md explains every code.
    """
    from agentplugin.lint import lint_tree

    try:
        report = lint_tree(str(directory))
    except OSError as err:
        typer.echo(
            f"plugfleet lint: cannot read {directory}: {err.strerror or err}. "
            "Name the top directory of a plugin tree.",
            err=True,
        )
        raise typer.Exit(WRONG_USE) from None
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _print_for_people(report, directory)
    if not report.clean:
        raise typer.Exit(FOUND_ERRORS)


def _print_for_people(report: Report, directory: Path) -> None:
    """A table of the findings, gravest look first to find by colour, and one line that sums up."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from agentplugin.lint import summary

    console = Console(highlight=False)
    if report.problems:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("Severity", no_wrap=True)
        table.add_column("Where", overflow="fold", ratio=2)
        table.add_column("Problem and what to do", overflow="fold", ratio=5)
        for problem in report.problems:
            place = problem.path if problem.line is None else f"{problem.path}:{problem.line}"
            what = Text(problem.message)
            if problem.hint:
                what.append(f"\n{problem.hint}", style="green")
            what.append(f"  [{problem.code}]", style="dim")
            table.add_row(Text(problem.severity, _STYLES[problem.severity]), Text(place), what)
        console.print(table)
    style = "bold red" if not report.clean else "bold green"
    console.print(Text(f"{directory}: ").append(summary(report), style=style), soft_wrap=True)


def main() -> None:
    """Entry point of the `plugfleet` command."""
    for stream in (sys.stdout, sys.stderr):
        # Paths hold anything; a terminal that cannot show it must not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
