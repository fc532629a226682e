"""What most commands come to: a list, one thing, or one change, as a table, sentence or JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

from controller.cli import output
from controller.cli.options import open_client


def show_list(
    ctx: typer.Context,
    path: str,
    columns: Sequence[output.Column],
    *,
    limit: int | None,
    as_json: bool,
    **query: Any,
) -> None:
    """Print what a list of the controller's holds.

    Args:
        query: filters; None and empty text are left out.
    """
    with open_client(ctx) as client:
        rows = list(client.items(path, limit=limit, **query))
    if as_json:
        output.show_json(rows)
    else:
        output.show_table(rows, columns)


def show_one(ctx: typer.Context, path: str, *, as_json: bool) -> None:
    """Print one thing of the controller's."""
    with open_client(ctx) as client:
        found = client.get(path)
    if as_json:
        output.show_json(found)
    else:
        output.show_fields(found)


def make(
    ctx: typer.Context,
    method: str,
    path: str,
    body: Any,
    done: str | Callable[[Any], str],
    *,
    as_json: bool,
) -> None:
    """Send a change and print that it is done, or what the controller answers.

    Args:
        done: the sentence that says so, or what makes it of the answer.
    """
    with open_client(ctx) as client:
        answer = client.send(method, path, body=body)
    if as_json:
        output.show_json(answer)
    else:
        output.say(done if isinstance(done, str) else done(answer))


def take_away(
    ctx: typer.Context, path: str, told: dict[str, Any], done: str, *, as_json: bool
) -> None:
    """Delete one thing and print that it is done.

    Args:
        told: what is printed for programs, whom the controller answers nothing.
    """
    with open_client(ctx) as client:
        client.send("DELETE", path)
    if as_json:
        output.show_json(told)
    else:
        output.say(done)
