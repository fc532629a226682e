"""Follows a deployment live: its event stream moves a bar for each wave, on standard error.

A broken stream is taken up again after the last event that came (`Last-Event-ID`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from controller.cli import output
from controller.cli.client import Client
from controller.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PATIENCE = 60  # seconds without the controller, after which nobody waits any longer
_UNDECIDED = ("waiting", "running")
_LOST = ("failed", "unreachable", "interrupted")


class Board:
    """Shows how far each wave is: bars on a terminal, a line for each wave's beginning and end else."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._tasks: dict[int, TaskID] = {}
        self._shown: dict[int, str] = {}
        # A stream that is taken up again repeats nothing, but it begins before what was asked for
        # with the deployment itself: each host counts once.
        self._ended: dict[int, dict[str, str]] = {}
        self._waves: list[Mapping[str, Any]] = []

    def show(self, deployment: Mapping[str, Any]) -> None:
        """Show a deployment as the controller tells of it."""
        self._waves = deployment["waves"]
        for wave in self._waves:
            self._show_wave(wave)

    def event(self, kind: str, event: Mapping[str, Any]) -> None:
        """Show what an event tells."""
        if kind == "wave.waiting":
            output.note(f"Wave {event['wave']} {(event.get('data') or {}).get('reason', 'waits')}")
        if kind == "host.ended" and event.get("host"):
            status = str((event.get("data") or {}).get("status", ""))
            self._ended.setdefault(int(event["wave"]), {})[str(event["host"])] = status
            for wave in self._waves:
                if wave["number"] == event["wave"]:
                    self._show_wave(wave)

    def _show_wave(self, wave: Mapping[str, Any]) -> None:
        number, counts = wave["number"], wave["hosts"]
        ended = self._ended.get(number, {})
        total = sum(counts.values())
        done = max(sum(n for s, n in counts.items() if s not in _UNDECIDED), len(ended))
        lost = max(
            sum(n for s, n in counts.items() if s in _LOST),
            sum(status in _LOST for status in ended.values()),
        )
        if self._progress is None:
            self._print_once(number, wave["status"], total, lost)
            return
        name = f"Wave {number} of {len(self._waves)}: {wave['status']}"
        if number not in self._tasks:
            self._tasks[number] = self._progress.add_task(name, total=total, lost="")
        self._progress.update(
            self._tasks[number],
            description=name,
            total=total,
            completed=done,
            lost=f"{lost} lost" if lost else "",
        )

    def _print_once(self, number: int, status: str, total: int, lost: int) -> None:
        if status != self._shown.get(number) and status != "queued":
            tail = f", {lost} lost" if lost else ""
            output.note(f"Wave {number} of {len(self._waves)}: {status} ({total} hosts{tail})")
        self._shown[number] = status


@contextmanager
def board(*, quiet: bool) -> Iterator[Board]:
    """A board on standard error; bars where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Board(None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[lost]}", style="bold red"),
        TimeElapsedColumn(),
        console=output.console(err=True),
    ) as progress:
        yield Board(progress)


def follow(client: Client, deployment_id: int, shown: Board) -> Any:
    """Wait for the end of a deployment; returns it as it ended.

    Raises:
        CommandError: the controller was not to be reached for a minute.
    """
    path = f"deployments/{deployment_id}"
    last, lost_since = "", None
    while True:
        try:
            deployment = client.get(path)
            shown.show(deployment)
            lost_since = None
            if deployment["ended"]:
                return deployment
            last = _read_stream(client, path, last, shown)
        except CommandError as error:
            if error.exit_code != Exit.NOT_REACHABLE:
                raise
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > _PATIENCE:
                raise
            time.sleep(1)


def _read_stream(client: Client, path: str, last: str, shown: Board) -> str:
    """Show events until the stream ends; returns the id of the last one."""
    try:
        with client.events(f"{path}/events/stream", last) as events:
            for event_id, kind, data in events:
                last = event_id or last
                if kind == "end":
                    break
                event = json.loads(data)
                kind = event.get("kind", kind)
                shown.event(kind, event)
                if kind.startswith(("wave.", "deployment.")):
                    shown.show(client.get(path))
    except CommandError as error:
        if error.exit_code != Exit.NOT_REACHABLE:
            raise
        # What came before the connection broke is not read again.
        time.sleep(1)
    return last
