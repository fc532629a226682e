"""What commands print: tables and sentences for people, JSON for programs, errors on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from controller.cli.exits import CommandError

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {
    "converged": "green",
    "ok": "green",
    "changed": "green",
    "current": "green",
    "succeeded": "green",
    "pending": "cyan",
    "queued": "cyan",
    "waiting": "cyan",
    "running": "cyan",
    "drifted": "yellow",
    "canceling": "yellow",
    "canceled": "yellow",
    "started": "green",
    "overlap": "yellow",
    "missed": "yellow",
    "new": "green",
    "same": "dim",
    "refused": "bold red",
    "listed": "green",
    "stderr": "yellow",
    "not-listed": "yellow",
    "no-data": "yellow",
    "timeout": "bold red",
    "parked": "bold red",
    "missing": "bold red",
    "not-executable": "bold red",
    "postextract-failed": "bold red",
    "interrupted": "yellow",
    "warning": "yellow",
    "info": "cyan",
    "failed": "bold red",
    "unreachable": "bold red",
    "error": "bold red",
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: its heading.
        value: a key of the row, or a function that makes the cell's text from it.
        state: the text is a state, shown in its colour.
    """

    title: str
    value: str | Callable[[Mapping[str, Any]], Any]
    state: bool = False
    right: bool = False

    def text(self, row: Mapping[str, Any]) -> str:
        """The cell of a row."""
        found = self.value(row) if callable(self.value) else row.get(self.value)
        return plain(found)


def plain(value: Any) -> str:
    """A value of an answer as people read it."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and value.keys() == {"$secret"}:
        return "(secret)"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={plain(part)}" for key, part in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value) or "-"
    return str(value)


def ago(moment: str | None) -> str:
    """How long ago a moment of an answer was: `12 s`, `5 min`, `3 h`, `2 d`."""
    if not moment:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def console(*, err: bool = False) -> Console:
    """A console that shows text as it is: no markup, no guessed highlights."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    # A pipe has no width: what is read there by line must not be folded.
    width = None if stream.isatty() or "COLUMNS" in os.environ else 200
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def show_json(value: Any) -> None:
    """Print JSON, alone on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    """Print rows as a table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column.title, overflow="fold", justify="right" if column.right else "left")
    for row in rows:
        cells = []
        for column in columns:
            text = column.text(row)
            cells.append(Text(text, style=STYLES.get(text, "") if column.state else ""))
        table.add_row(*cells)
    console().print(table)


def show_fields(thing: Mapping[str, Any], *, skip: Iterable[str] = ()) -> None:
    """Print one thing, a field a line."""
    from rich.table import Table
    from rich.text import Text

    left_out = set(skip)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in thing.items():
        if key not in left_out:
            text = plain(value)
            table.add_row(key.replace("_", " "), Text(text, style=STYLES.get(text, "")))
    console().print(table)


def say(text: str, style: str = "") -> None:
    """Print a sentence that is the command's answer."""
    from rich.text import Text

    console().print(Text(text, style=style), soft_wrap=True)


def note(text: str) -> None:
    """Tell a person something that is no part of the answer."""
    typer.echo(text, err=True)


def complain(error: CommandError, what: str = "") -> None:
    """Say why a command ends, or a part of it (`what`) was not done, and what to do about it."""
    typer.echo(f"plugfleet: {what}{error.message}", err=True)
    for line in error.details:
        typer.echo(f"  {line}", err=True)
    if error.hint:
        typer.echo(f"  {error.hint}", err=True)
