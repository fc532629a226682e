"""The journal of a run: one line when a host's visit begins and one when it ends.

A task's result comes when all of its hosts are through. The controller shows progress and, where a
run is ended in the middle, must know which hosts were touched; so it names a file for both in
PLUGFLEET_JOURNAL (see controller/deployments/journal.py, which reads it). Without it nothing is written.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

FILE = "PLUGFLEET_JOURNAL"


class Journal:
    """Appends to the journal that the environment names, if any."""

    def __init__(self) -> None:
        self._path = os.environ.get(FILE)

    def begun(self, host: str) -> None:
        """A host is about to be visited."""
        self._write({"host": host})

    def ended(self, host: str, result: Mapping[str, Any]) -> None:
        """A host was visited, with this task result."""
        self._write({"host": host, "result": dict(result)})

    def _write(self, entry: Mapping[str, Any]) -> None:
        if not self._path:
            return
        line = json.dumps(entry, default=str).encode() + b"\n"
        # A full disk costs the progress, not the visit. One write to a file opened for appending:
        # lines of threads never mix.
        with contextlib.suppress(OSError):
            journal = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(journal, line)
            finally:
                os.close(journal)
