"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli.client import Client
from controller.cli.connection import find_connection
from controller.cli.exits import CommandError, Exit

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Most entries; all if left out.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_MOST_INPUT = 64 * 1024 * 1024  # bytes


def open_client(ctx: typer.Context, *, timeout: float = 60) -> Client:
    """A client of the controller that the command line, environment or file names."""
    return Client(find_connection(ctx.find_root().params.get("url")), timeout=timeout)


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """The `NAME=VALUE` texts of an option as a mapping.

    Raises:
        CommandError: one has no `=` or no name, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CommandError(f"{option} {text!r}: write it as NAME=VALUE")
        if name in found:
            raise CommandError(f"{option} {name!r} was given twice")
        found[name] = value
    return found


def variables(texts: Iterable[str], option: str = "--var") -> dict[str, Any]:
    """The `NAME=VALUE` texts of variables; a value that is JSON is taken as that, others as text."""
    return {name: _value(text) for name, text in pairs(texts, option).items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def secrets(names: Iterable[str]) -> dict[str, str]:
    """Values for secrets: asked for on a terminal, else read from standard input, a line each.

    Raises:
        CommandError: standard input has fewer lines.
    """
    found = {}
    for name in names:
        if sys.stdin.isatty():
            found[name] = typer.prompt(f"Value of {name}", hide_input=True, err=True)
            continue
        line = sys.stdin.readline()
        if not line:
            raise CommandError(
                f"no value for the secret {name!r} on standard input",
                hint="give one line for each --secret, in their order",
            )
        found[name] = line.rstrip("\n")
    return found


def read_input(file: Path) -> bytes:
    """What a file holds; `-` is standard input.

    Raises:
        CommandError: it cannot be read, or is absurdly large.
    """
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(_MOST_INPUT + 1)
        else:
            with file.open("rb") as stream:
                content = stream.read(_MOST_INPUT + 1)
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror or error}") from None
    if len(content) > _MOST_INPUT:
        raise CommandError(f"{file} is larger than {_MOST_INPUT} bytes")
    return content


def read_yaml(file: Path) -> Any:
    """The value of a YAML or JSON file; `-` is standard input.

    Raises:
        CommandError: names file and line.
    """
    import yaml

    try:
        return yaml.safe_load(read_input(file))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise CommandError(f"{file}{line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CommandError(f"{file} is not YAML: {error}") from None


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if a person says so.

    Raises:
        CommandError: there is nobody to ask.
        typer.Exit: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(
            "there is no terminal to ask on", hint="say --yes to go on without asking"
        )
    if not typer.confirm(question, err=True):
        typer.echo("Nothing was changed.", err=True)
        raise typer.Exit(Exit.FOUND)


def patch(
    given: Mapping[str, Any],
    removed: Mapping[str, list[str] | None],
) -> dict[str, Any]:
    """The body of a PATCH: what was given, and null for each entry to take out.

    Args:
        removed: names to take out, by field.

    Raises:
        CommandError: nothing was given.
    """
    body = dict(given)
    for field, names in removed.items():
        if names:
            body[field] = body.get(field, {}) | dict.fromkeys(names)
    if not body:
        raise CommandError("nothing to change was given", hint="see --help for what can be changed")
    return body
