"""Removing several things by one command: each by itself, with what came of each said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

from controller.cli import output
from controller.cli.client import Client, ControllerError, segment
from controller.cli.exits import CommandError, Exit


def remove_each(
    client: Client,
    kind: str,
    collection: str,
    names: Sequence[str | int],
    *,
    as_json: bool,
    told: Callable[[Any], str] | None = None,
    **query: Any,
) -> None:
    """Delete things, one after the other; one that cannot be deleted does not keep the others.

    Args:
        kind: what a person calls such a thing.
        collection: the path that they stand below.
        names: of the things; one that is given twice is deleted once.
        told: says what an answer tells that is not empty: it is not gone yet.
        query: parameters of each request.

    Raises:
        CommandError: there was only one, and it was not deleted; or the controller answers no
            longer.
        typer.Exit: some of several were not deleted.
    """
    names = list(dict.fromkeys(names))
    removed: list[str | int] = []
    failed: list[dict[str, Any]] = []
    lost: CommandError | None = None
    for name in names:
        try:
            answer = client.send("DELETE", f"{collection}/{segment(name)}", query=query)
        except CommandError as error:
            if len(names) == 1:
                raise
            failed.append({"name": name, "error": error.message})
            if not as_json:
                output.complain(error, f"{kind} {name} was not removed: ")
            if not isinstance(error, ControllerError) and error.exit_code == Exit.NOT_REACHABLE:
                lost = error
                break
        else:
            removed.append(name)
            if not as_json:
                output.say(told(answer) if told and answer else f"Removed {kind} {name}.")
    untried = names[len(removed) + len(failed) :]
    failed += [{"name": name, "error": "was not tried"} for name in untried]
    if as_json:
        output.show_json({"removed": removed, "failed": failed})
    elif untried:
        output.note(f"not tried: {', '.join(map(str, untried))}")
    if lost:
        raise typer.Exit(lost.exit_code)
    if failed:
        raise typer.Exit(Exit.FOUND)
