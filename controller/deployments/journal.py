"""Reading the journal of a run: which hosts were begun, and what came of those that were visited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """A host's visit began, or ended with a task result."""

    host: str
    result: dict[str, Any] | None


class JournalReader:
    """Reads what was appended since it was read last.

    Args:
        path: the file that roles/plugin_sync/control/journal.py writes; it may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[Entry]:
        """The entries that are whole and were not returned before."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole, _, _ = data.rpartition(b"\n")
        if not whole:
            return []
        self._offset += len(whole) + 1
        return [entry for line in whole.split(b"\n") if (entry := _entry(line))]


def _entry(line: bytes) -> Entry | None:
    """None for a line that a full disk cut short, or that nobody can read."""
    try:
        read = json.loads(line)
        host, result = str(read["host"]), read.get("result")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Entry(host, result) if isinstance(result, dict | None) else None
