"""What a working copy should hold, kept out of the plugin's sight in
`<state>/manifest.records/<name>`: a line about the copy, then a line about its files, so that the
first can be read alone.
"""

from __future__ import annotations

import json
import os

from executor.workfiles import write_secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Record:
    """`read` never fails: where there is no sound record, it is that of no copy.

    code        the signature and folder of which the copy was made, [] for none
    extracted   the postExtract command that it has been through, or ""
    protection  what held that postExtract
    files       name -> [blob name, change time]; ["", 0] for one that is the plugin's to change
    """

    __slots__ = ("_path", "code", "extracted", "files", "protection")

    def __init__(self, path: str) -> None:
        self._path = path
        self.code: list[Any] = []
        self.extracted = ""
        self.protection = ""
        self.files: dict[str, list[Any]] = {}

    @classmethod
    def read(cls, path: str, *, files: bool = True) -> Record:
        """The record at `path`; without `files` that line is not read, and `write` not to be used."""
        record = cls(path)
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                head = json.loads(stream.readline())
                found = json.loads(stream.readline()) if files else {}
            record.code = list(head["code"])
            record.extracted = str(head["extracted"])
            record.protection = str(head["protection"])
            record.files = {str(name): [str(blob), int(at)] for name, (blob, at) in found.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls(path)
        return record

    def write(self) -> None:
        """OSError where the disk says no."""
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        head = {"code": self.code, "extracted": self.extracted, "protection": self.protection}
        write_secret(self._path, f"{json.dumps(head)}\n{json.dumps(self.files)}\n")
