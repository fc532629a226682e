"""`plugfleet lint`: needs no controller."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli import output
from controller.cli.exits import CommandError, Exit
from controller.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def lint(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Top of a plugin tree, or a checkout of one.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say what in a plugin tree would not deliver data, or would harm an agent.

    Nothing is executed and no controller is needed. Exit code 0: no errors (warnings may be there),
    1: errors, 2: DIR cannot be read. docs/lint.md explains every code.
    """
    from rich.text import Text

    from agentplugin.lint import lint_tree, summary

    try:
        report = lint_tree(str(directory))
    except OSError as err:
        raise CommandError(
            f"cannot read {directory}: {err.strerror or err}",
            hint="Name the top directory of a plugin tree.",
        ) from None
    if as_json:
        output.show_json(report.as_dict())
    else:
        show_problems(problem.as_dict() for problem in report.problems)
        style = "bold green" if report.clean else "bold red"
        line = Text(f"{directory}: ").append(summary(report), style=style)
        output.console().print(line, soft_wrap=True)
    if not report.clean:
        raise typer.Exit(Exit.FOUND)


def show_problems(problems: Iterable[Mapping[str, Any]]) -> None:
    """A table of a lint's findings, gravest look first to find by colour."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Severity", no_wrap=True)
    table.add_column("Where", overflow="fold", ratio=2)
    table.add_column("Problem and what to do", overflow="fold", ratio=5)
    for problem in problems:
        line = problem.get("line")
        place = problem["path"] if line is None else f"{problem['path']}:{line}"
        what = Text(problem["message"])
        if problem.get("hint"):
            what.append(f"\n{problem['hint']}", style="green")
        what.append(f"  [{problem['code']}]", style="dim")
        severity = problem["severity"]
        table.add_row(Text(severity, output.STYLES.get(severity, "")), Text(place), what)
    if table.row_count:
        output.console().print(table)
