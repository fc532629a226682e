"""Names for the shell's completion, from the controller if it answers at once; silence if not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import typer

from controller.cli.client import Client
from controller.cli.connection import find_connection
from controller.cli.exits import CommandError

_PATIENCE = 0.8  # seconds; nobody waits for the tab key


def host_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of hosts that begin with what was typed."""
    return _names(ctx, "hosts", incomplete, q=incomplete)


def hostgroup_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of hostgroups that begin with what was typed."""
    return _names(ctx, "hostgroups", incomplete, q=incomplete)


def source_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of sources that begin with what was typed."""
    return _names(ctx, "sources", incomplete)


def schedule_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of schedules that begin with what was typed."""
    return _names(ctx, "schedules", incomplete)


def plugin_paths(ctx: typer.Context, incomplete: str) -> list[str]:
    """Paths of plugins that begin with what was typed."""
    return _names(ctx, "plugins", incomplete, field="path", q=incomplete)


def _names(
    ctx: typer.Context, path: str, incomplete: str, *, field: str = "name", **query: str
) -> list[str]:
    def ask() -> list[str]:
        connection = find_connection(ctx.find_root().params.get("url"))
        with Client(connection, timeout=_PATIENCE) as client:
            return [row[field] for row in client.items(path, limit=200, **query)]

    return [name for name in _at_once(ask) if name.startswith(incomplete)]


def _at_once(ask: Callable[[], list[str]]) -> list[str]:
    """What a function returns, or nothing where it fails or takes long.

    In a thread of its own: a client's timeouts are for each step, and names resolve without one.
    """
    found: list[str] = []

    def run() -> None:
        try:
            found.extend(ask())
        except (CommandError, KeyError, TypeError):
            return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return list(found)
