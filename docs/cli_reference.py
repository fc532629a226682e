"""Writes the reference part of docs/cli.md from the commands themselves: `python -m docs.cli_reference`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from controller.cli.commands import app

PAGE = Path(__file__).with_name("cli.md")
MARK = "<!-- What follows is written by `make docs`. -->\n"


def page() -> str:
    """The page as it should be: what people wrote above the mark, and the reference below it."""
    written, _, _ = PAGE.read_text().partition(MARK)
    return written + MARK + "".join(_reference())


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by what is typed for it, the program itself first."""
    root = typer.main.get_command(app)
    yield "plugfleet", root
    yield from _below("plugfleet", root)


def _below(name: str, group: Any) -> Iterator[tuple[str, Any]]:
    for child in sorted(group.list_commands(None)) if hasattr(group, "list_commands") else ():
        command = group.get_command(None, child)
        yield f"{name} {child}", command
        yield from _below(f"{name} {child}", command)


def _reference() -> Iterator[str]:
    for name, command in commands():
        only_a_group = hasattr(command, "commands") and not command.params and name != "plugfleet"
        yield f"\n### `{name}{_usage(command)}`\n\n"
        yield f"{_sentences(command)}\n"
        if only_a_group:
            continue
        rows = [row for parameter in command.params if (row := _row(parameter))]
        if rows:
            yield "\n| | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _usage(command: Any) -> str:
    words = [_title(entry) for entry in command.params if entry.param_type_name == "argument"]
    return "".join(f" {word}" for word in words)


def _title(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper()
    many = "..." if argument.nargs == -1 else ""
    return f"{name}{many}" if argument.required else f"[{name}{many}]"


def _sentences(command: Any) -> str:
    text = command.help or (command.callback and inspect.getdoc(command.callback)) or ""
    return inspect.cleandoc(text)


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"| `{_title(parameter)}` | {_cell(parameter.help)} |"
    if parameter.hidden:
        return ""
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    default = parameter.default
    shown = ""
    if default not in (None, False, "", True) and not callable(default):
        shown = f" Default: `{getattr(default, 'value', default)}`."
    return f"| {names} | {_cell(parameter.help)}{shown} |"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page())
