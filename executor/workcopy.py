"""A manifest plugin's working copy: releases stay read-only, and param.json (with its secrets)
stays out of them. What the copy's files should be is kept by git's blob hashes, as the plugins'
first manager did (graphdat/relay, verifyPlugin).
"""

from __future__ import annotations

import os
import time
import zlib

from executor import keptfiles, workfiles
from executor.blobs import blob
from executor.workfiles import PARAM_JSON, Listing
from executor.workrecord import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

UNBOUND_SECONDS = 7 * 86400.0
"""How long the copy of a plugin that is bound no more is kept: its own files are of use when it is
bound again.
"""

_COPIES, _RECORDS = "manifest", "manifest.records"
_LONGEST_NAME = 200


class LinkRefused(Exception):
    """Links of the plugin's folder lead out of the plugin tree, or round in circles."""

    def __init__(self, links: list[str]) -> None:
        super().__init__(
            f"the link {links[0]} leads out of the plugin tree, or to a folder that holds it: put "
            "what it means into the tree"
        )


class WorkCopy:
    """One plugin's copy in `<state>/manifest/<name>`, and the record of what it should hold.

    path     the plugin's folder in the plugin tree `tree`
    ignores  whether a path below the folder is no part of the code (Manifest.ignores)
    """

    __slots__ = ("_ignores", "_kept", "_record", "_source", "_tree", "folder", "name")

    def __init__(
        self, state_dir: str, tree: str, path: str, ignores: Callable[[str], bool]
    ) -> None:
        self.name = flat(path)
        self.folder = os.path.join(state_dir, _COPIES, self.name)
        self._record = os.path.join(state_dir, _RECORDS, self.name)
        self._kept = os.path.join(state_dir, "manifest.kept")
        self._source = os.path.join(tree, path)
        self._tree = tree
        self._ignores = ignores

    def is_of(self, code: tuple[int, int, int]) -> bool:
        """Whether it was made of the plugin's folder when that had the signature `code`."""
        return self.head.code == [*code, self._source] and os.path.isdir(self.folder)

    def refresh(self) -> tuple[int, int, int]:
        """Make the copy one of what the plugin's folder holds now, unless it is; the signature of
        that. OSError when the disk says no, LinkRefused.

        Files that the plugin itself wrote stay, so that it keeps what it remembers between two
        releases.
        """
        listing = Listing(self._source, self._tree)
        if listing.refused:
            raise LinkRefused(listing.refused)
        code = listing.signature()
        if self.is_of(code):
            return code
        record = Record.read(self._record)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        for old in record.files:
            workfiles.remove_below(self.folder, old)
        record.files = {}
        for name, origin in listing.origins.items():
            workfiles.copy(origin, self.folder, name)
            # An ignored file is the plugin's to change: copied, never compared.
            record.files[name] = ["", 0] if self._ignores(name) else self._state_of(name)
        record.code = [*code, self._source]
        record.extracted = record.protection = ""
        record.write()
        return code

    @property
    def head(self) -> Record:
        """Its record without the files."""
        return Record.read(self._record, files=False)

    def set_extracted(self, command: str, protection: str) -> list[str]:
        """postExtract went well: what it made of the files is right from now on; the names of
        those that it changed.
        """
        record = Record.read(self._record)
        found = []
        for name, entry in record.files.items():
            if entry[0] and workfiles.changed(os.path.join(self.folder, name)) != entry[1]:
                before, record.files[name] = entry[0], self._state_of(name)
                if record.files[name][0] != before:
                    found.append(name)
        record.extracted = command
        record.protection = protection
        record.write()
        return found

    def touched(self) -> bool:
        """Whether a file may have drifted: its change time is not what it was."""
        return any(self._is_touched(name, entry) for name, entry in self._files().items())

    def mend(self) -> list[str]:
        """Files that are not what they should be any more, each as "changed: x" or "missing: x".

        They are kept aside and installed anew; postExtract counts as not run then. OSError when
        the disk says no. A file whose change time is as it was is not read again.
        """
        record = Record.read(self._record)
        suspects = [name for name, entry in record.files.items() if self._is_touched(name, entry)]
        if not suspects:
            return []
        found = []
        for name in suspects:
            now = self._state_of(name)
            if now[0] == record.files[name][0]:
                record.files[name] = now
            else:
                found.append(name)
        if found:
            found = self._install(found, record)
        record.write()
        return found

    def added(self) -> list[str]:
        """Files that neither the release has nor `ignore` names: the plugin's own, or a guest's."""
        known = self._files()
        return sorted(
            name
            for name in workfiles.below(self.folder)
            if name not in known and not self._ignores(name)
        )

    def write_params(self, text: str) -> None:
        """param.json, readable for this user only; one that is right is left alone."""
        path = os.path.join(self.folder, PARAM_JSON)
        if workfiles.read_secret(path) != text:
            workfiles.write_secret(path, text)

    def lacks(self, modules: str) -> list[str]:
        """The modules that stand ready in a folder, and are not in the copy's node_modules."""
        return [
            name
            for name in sorted(os.listdir(modules))
            if os.path.isdir(os.path.join(modules, name))
            and not os.path.lexists(os.path.join(self.folder, "node_modules", name))
        ]

    def seed(self, modules: str) -> None:
        """Copy those: npm then finds what its registry has no more."""
        import shutil

        for name in self.lacks(modules):
            target = os.path.join(self.folder, "node_modules", name)
            shutil.copytree(os.path.join(modules, name), target, symlinks=True)

    def _files(self) -> dict[str, list[object]]:
        return Record.read(self._record).files

    def _is_touched(self, name: str, entry: list[object]) -> bool:
        path = os.path.join(self.folder, name)
        return bool(entry[0]) and workfiles.changed(path) != entry[1]

    def _state_of(self, name: str) -> list[object]:
        path = os.path.join(self.folder, name)
        return [blob(path), workfiles.changed(path)]

    def _install(self, names: list[str], record: Record) -> list[str]:
        """Keep these files aside and copy them anew; what was wrong with each."""
        origins = Listing(self._source, self._tree).origins
        said = []
        for name in names:
            there = os.path.lexists(os.path.join(self.folder, name))
            said.append(f"changed: {name}" if there else f"missing: {name}")
        keptfiles.keep(self._kept, self.name, self.folder, names)
        for name in names:
            if name in origins:
                workfiles.copy(origins[name], self.folder, name)
                record.files[name] = self._state_of(name)
        record.extracted = record.protection = ""
        return said


def forget_params(state_dir: str, path: str) -> None:
    """The plugin of that path does not run here any more: its secrets go, and its copy in time."""
    name = flat(path)
    workfiles.remove(os.path.join(state_dir, _COPIES, name, PARAM_JSON))
    _note_unbound(state_dir, name)


def tidy(state_dir: str, bound: Collection[str]) -> list[str]:
    """Remove the secrets of copies whose plugin (by its path) is not bound, and those copies that
    have been so for UNBOUND_SECONDS: the names of these.
    """
    kept = {flat(path) for path in bound}
    gone = []
    for name in os.listdir(os.path.join(state_dir, _COPIES)):
        folder = os.path.join(state_dir, _COPIES, name)
        if name in kept:
            continue
        params = os.path.join(folder, PARAM_JSON)
        if os.path.lexists(params):
            workfiles.remove(params)
            _note_unbound(state_dir, name)
        elif _unbound_for(state_dir, name) > UNBOUND_SECONDS:
            if os.path.islink(folder) or not os.path.isdir(folder):
                workfiles.remove(folder)
            else:
                workfiles.remove_folder(folder)
            workfiles.remove(os.path.join(state_dir, _RECORDS, name))
            gone.append(name)
    return gone


def _note_unbound(state_dir: str, name: str) -> None:
    # The record's own time says since when; a copy without a record goes at the next look.
    try:
        os.utime(os.path.join(state_dir, _RECORDS, name))
    except OSError:
        return


def _unbound_for(state_dir: str, name: str) -> float:
    try:
        return time.time() - os.stat(os.path.join(state_dir, _RECORDS, name)).st_mtime
    except OSError:
        return float("inf")


def flat(path: str) -> str:
    """One folder name for a path: a plugin inside another's folder gets a copy of its own."""
    name = path.replace("%", "%25").replace("/", "%2F")
    if name.strip(".") == "":
        # The tree itself is a plugin: "." would be the folder of all copies.
        return name.replace(".", "%2E")
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        return name
    cut = os.fsencode(name)[: _LONGEST_NAME - 10].decode("utf-8", "ignore")
    return f"{cut}~{zlib.crc32(os.fsencode(name)):08x}"
