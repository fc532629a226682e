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

    from agentplugin.fixes import Fix
    from agentplugin.lint import Report

LintAgents = Annotated[
    list[str] | None,
    typer.Option(
        "--agent",
        metavar="VERSION",
        help="Judge for this agent: 0.2.1, 0.3, master, executor, or what one reports. Repeatable.",
    ),
]


def lint(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Top of a plugin tree, or a checkout of one.")
    ],
    agent: LintAgents = None,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="First mend execute bits, CR LF and missing last line ends of plugins."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what in a plugin tree would not deliver data, or would harm an agent.

    Nothing is executed and no controller is needed. Exit code 0: no errors (warnings may be there),
    1: errors, 2: DIR cannot be read or, with --fix, written. docs/lint.md explains every code.
    """
    from rich.text import Text

    from agentplugin.agents import judged
    from agentplugin.lint import summary

    check_agents(agent)
    report = _report(directory)
    fixed, failed = _fix(directory, report.fixes) if fix else ([], [])
    if fixed:
        report = _report(directory)
    found = report.as_dict()
    if agent:
        found["problems"] = judged(found["problems"], agent)
    counted = [problem["severity"] for problem in found["problems"]]
    if as_json:
        output.show_json(found | ({"fixed": fixed} if fix else {}))
    else:
        show_fixes(fixed, found["fixes"] if fix else [])
        show_problems(found["problems"])
        style = "bold red" if "error" in counted else "bold green"
        line = Text(f"{directory}: ").append(summary(found["plugins"], counted), style=style)
        output.console().print(line, soft_wrap=True)
    if failed:
        raise CommandError("; ".join(failed), hint="The other files were corrected.")
    if "error" in counted:
        raise typer.Exit(Exit.FOUND)


def check_agents(agents: list[str] | None) -> None:
    """Refuse an agent that nobody knows."""
    from agentplugin.agents import KNOWN, named_versions

    for agent in agents or ():
        if not named_versions(agent):
            raise CommandError(
                f"--agent {agent!r} is no agent that is known",
                hint=f"Give one of {', '.join(KNOWN)}, or what an agent reports as its version.",
            )


def show_fixes(
    fixed: Iterable[Mapping[str, str]], unfixed: Iterable[Mapping[str, str]], verb: str = "fixed"
) -> None:
    """Say which files were corrected, and which could not be, with why."""
    for fix in fixed:
        output.say(f"{verb} {fix['path']}: {fix['fix']}")
    for fix in unfixed:
        output.say(f"not fixed {fix['path']}: {fix['fix']}: {fix['left'] or 'it is as before'}")


def _report(directory: Path) -> Report:
    from agentplugin.lint import lint_tree
    from controller.catalog.manifestschema import faults

    try:
        return lint_tree(str(directory), faults)
    except OSError as err:
        raise CommandError(
            f"cannot read {directory}: {err.strerror or err}",
            hint="Name the top directory of a plugin tree.",
        ) from None


def _fix(directory: Path, fixes: Iterable[Fix]) -> tuple[list[dict[str, str]], list[str]]:
    """Correct files; returns what was corrected, and what could not be written."""
    from agentplugin.fixes import apply

    fixed, failed = [], []
    by_path: dict[str, list[Fix]] = {}
    for fix in fixes:
        if not fix.left:
            by_path.setdefault(fix.path, []).append(fix)
    for path, wanted in by_path.items():
        try:
            apply(str(directory), path, [fix.name for fix in wanted])
        except OSError as err:
            failed.append(f"cannot correct {path}: {err.strerror or err}")
        else:
            fixed += [{"path": path, "fix": fix.name} for fix in wanted]
    return fixed, failed


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
        if problem.get("agents"):
            what.append(f"\n{problem['agents']}", style="bold")
        if problem.get("hint"):
            what.append(f"\n{problem['hint']}", style="green")
        fixable = ", fixable" if problem.get("fixable") else ""
        what.append(f"  [{problem['code']}{fixable}]", style="dim")
        severity = problem["severity"]
        table.add_row(Text(severity, output.STYLES.get(severity, "")), Text(place), what)
    if table.row_count:
        output.console().print(table)
