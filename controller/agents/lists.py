"""What each host's agent is told to run, kept in memory and on disk: a database that is away must stop
no plugin, and an empty list would.

A Falcon agent takes a list only if its Timestamp is greater than the last one it took, and only then
looks into its plugin directory again (cron/plugin.go). So a host's stamp grows when its bindings
change, when a release has landed on it, and when its agent comes to us for the first time or after a
silence, in which another hbs may have told it something else. It never goes back: a step of the clock
is a stamp one greater. It starts at the present second because that is what other hbs give.

Everything here belongs to the event loop's thread.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import structlog

from agentplugin.agents import reported_as
from controller.agents.wire import encode

log = structlog.get_logger(__name__)

LONG_AWAY = 600.0
"""Seconds after which an agent that comes back is told to look again."""
ANY = "*"
"""What a list fits that whatever agent bears it."""
_BETWEEN = ";"
_FORMAT = 2


class Kept(TypedDict):
    """What the file holds."""

    format: int
    forgotten: int
    hosts: list[list[str | int]]


@dataclass(slots=True)
class Entry:
    """One host that has a list.

    Attributes:
        plugins: what it is told to run, as JSON.
        listed: digest of that; empty for a Falcon agent that never had a plugin from us. It is not
            told so: it may have plugins from elsewhere, which an empty list would stop.
        stamp: its Timestamp.
        landed: the commit that its plugin directory was last known to have come to.
        head: PluginVersion of its last heartbeat.
        address: where SSH reaches it, if that is an IP address; its heartbeats may come from there.
        peer: where its heartbeats come from; empty until the first.
        kept_peer: the same as the database has it, as far as is known here.
        claimed: whether another address has sent heartbeats in its name.
        told: digest of the list that it was told last, or empty.
        version: of its agent, as that said.
        fits: the reports of an agent's version that the list is fit for (see fits_text); another agent
            would die of something in it.
        ip: the address that its agent says it has.
        at: moment of its last heartbeat, in seconds since 1970; 0 is none since the start.
        heard: the same on the monotonic clock.
    """

    host_id: int
    plugins: bytes
    listed: str
    stamp: int
    landed: str = ""
    head: str = ""
    address: str = ""
    peer: str = ""
    kept_peer: str = ""
    claimed: bool = False
    told: str = ""
    version: str = ""
    fits: str = ANY
    ip: str = ""
    at: float = 0.0
    heard: float = 0.0

    def is_fit(self) -> bool:
        """Whether the agent bears its list, by what it reported since the start of this controller."""
        if self.fits == ANY or not self.heard:
            return True
        return reported_as(self.version) in self.fits.split(_BETWEEN)

    def look_again(self) -> None:
        """Let the agent look into its plugin directory at its next question."""
        self.stamp = next_stamp(self.stamp)


def fits_text(reports: Iterable[str] | None) -> str:
    """`Entry.fits` of some of agentplugin.agents.REPORTS; None is all."""
    return ANY if reports is None else _BETWEEN.join(sorted(reports))


def next_stamp(last: int) -> int:
    """The Timestamp that follows another one."""
    return max(int(time.time()), last + 1)


class Lists:
    """The lists of all hosts, by name.

    Args:
        file: where they are kept for a start at which the database is away.

    Attributes:
        remembers: whether what was told before this start is known.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._entries: dict[str, Entry] = {}
        self._names: dict[int, str] = {}
        # A host that is made again must not begin with a stamp that its agent has had already.
        self._forgotten = 0
        self.remembers = False

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str) -> Entry | None:
        """The entry of a host, or None where there is no such host."""
        return self._entries.get(name)

    def put(self, changed: Iterable[tuple[str, Entry]], gone: Iterable[int]) -> None:
        """Take over what the database says now.

        Args:
            changed: hosts that are new, or whose entry differs from what was put before.
            gone: ids of hosts that are no more.
        """
        for host_id in gone:
            self._forget(host_id)
        for name, new in changed:
            old = self._entries.get(name)
            if old is not None and old.host_id == new.host_id:
                _merge(old, new)
                continue
            if old is not None:
                self._forget(old.host_id)
            new.stamp = max(new.stamp, self._forgotten + 1)
            self._take([(name, new)])

    def _take(self, entries: Iterable[tuple[str, Entry]]) -> None:
        for name, entry in entries:
            self._entries[name] = entry
            self._names[entry.host_id] = name

    def _forget(self, host_id: int) -> None:
        name = self._names.pop(host_id, None)
        entry = self._entries.pop(name, None) if name is not None else None
        if entry is not None:
            self._forgotten = max(self._forgotten, entry.stamp)

    def entries(self) -> Iterable[Entry]:
        """The entries of all hosts."""
        return self._entries.values()

    def by_id(self, host_id: int) -> Entry | None:
        """The entry of a host by its id."""
        return self._entries.get(self._names.get(host_id, ""))

    def export(self) -> Kept:
        """All that a restart without the database needs."""
        rows: list[list[str | int]] = [
            [name, e.host_id, e.plugins.decode(), e.listed, e.stamp, *_texts(e)]
            for name, e in self._entries.items()
        ]
        return {"format": _FORMAT, "forgotten": self._forgotten, "hosts": rows}

    def load(self) -> None:
        """Take over what `save` kept; a damaged or missing file is as good as an empty one."""
        try:
            kept = json.loads(self._file.read_bytes())
            if kept["format"] != _FORMAT:
                raise ValueError("another format")
            forgotten = int(kept["forgotten"])
            entries = list(_loaded(kept["hosts"]))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the kept lists cannot be used", file=str(self._file), error=str(error))
            return
        self._forgotten, self.remembers = forgotten, True
        self._take(entries)


def save(file: Path, kept: Kept) -> None:
    """Keep what `Lists.export` gave, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    partial = file.with_name(f"{file.name}.new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        json.dump(kept, stream, separators=(",", ":"))
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def _texts(entry: Entry) -> tuple[str, str, str, str]:
    return entry.landed, entry.head, entry.peer, entry.fits


def _loaded(rows: list[list[str | int]]) -> Iterator[tuple[str, Entry]]:
    for name, host_id, plugins, listed, stamp, *texts in rows:
        entry = Entry(int(host_id), encode(json.loads(str(plugins))), str(listed), int(stamp))
        entry.landed, entry.head, entry.peer, entry.fits = map(str, texts)
        entry.kept_peer = entry.peer
        yield str(name), entry


def _merge(old: Entry, new: Entry) -> None:
    """Take over a host's new entry; what its heartbeats told meanwhile stays."""
    if new.listed != old.listed and new.stamp <= old.stamp:
        new.stamp = next_stamp(old.stamp)
    old.stamp = max(old.stamp, new.stamp)
    old.plugins, old.listed, old.fits = new.plugins, new.listed, new.fits
    if new.landed:
        old.landed = new.landed
    old.address = new.address
    if new.peer != old.kept_peer:
        # Somebody said whose name it is, or another controller heard the host first.
        old.peer = old.kept_peer = new.peer
    old.claimed = new.claimed
