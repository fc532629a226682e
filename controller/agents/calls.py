"""What agents call: who they are (`ReportStatus`), what to run (`MinePlugins`), and what a controller
without an upstream hbs has nothing to say about. Answers are hbs's own, byte for byte (hbs/rpc/agent.go);
nothing here waits for a database.

Everything here belongs to the event loop's thread.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from controller.agents.connection import Connection
from controller.agents.lists import LONG_AWAY, Entry, Lists
from controller.agents.wire import Call, Refused, answer, encode, first_param, refusal, text_field
from controller.operations.metrics import AGENT_CALLS

MOST_UNKNOWN = 2_000
"""Unknown hosts that are remembered between two writes; others come with their next heartbeat."""

_REPORT, _QUESTION = "model.AgentReportRequest", "model.AgentHeartbeatRequest"
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Control, format and direction characters, and halves of Unicode pairs.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_CODE_OK, _CODE_NO_NAME = b'{"code":0}', b'{"code":1}'
_NO_LIST = b'{"Plugins":null,"Timestamp":0}'
_OURS = ("Agent.ReportStatus", "Agent.MinePlugins", "Agent.TrustableIps", "Agent.BuiltinMetrics")
_counted = {
    (method, result): AGENT_CALLS.labels(method, result)
    for method in (*_OURS, "other")
    for result in ("answered", "refused", "forwarded")
}

Forward = Callable[[Connection, Call], None]
"""Passes a call on to the upstream hbs, and its answer back to the connection."""


class Sighting(NamedTuple):
    """A heartbeat of a host that nobody made."""

    at: float
    peer: str
    ip: str
    version: str
    head: str


class Seen(NamedTuple):
    """What is to be written of one host; see lists.Entry.

    Attributes:
        at: 0 where no heartbeat came.
        kept_peer: `peer` is written only where the database still has this one.
    """

    host_id: int
    at: float
    version: str
    head: str
    ip: str
    peer: str
    kept_peer: str
    stamp: int
    landed: str
    told: str


_written = attrgetter(*Seen._fields)


class Batch(NamedTuple):
    """What is to be written.

    Attributes:
        claims: by the host's id, the other address that sent heartbeats in its name.
    """

    seen: list[Seen]
    claims: dict[int, str]
    unknown: dict[str, Sighting]


class Calls:
    """Answers calls, and gathers what they tell.

    Args:
        trustable: what `TrustableIps` answers.
        forward: to the upstream hbs, or None where there is none.
    """

    def __init__(self, lists: Lists, trustable: str, forward: Forward | None) -> None:
        self._lists = lists
        self._trustable = encode(trustable)
        self._forward = forward
        self._unwritten: dict[int, Entry] = {}
        self._claims: dict[int, str] = {}
        self._unknown: dict[str, Sighting] = {}

    def answer(self, connection: Connection, call: Call) -> bytes | None:
        """The line that answers a call, or None where the upstream's answer will."""
        method = call.method if call.method in _OURS else "other"
        try:
            result = self._result(connection, call)
        except Refused as error:
            _counted[method, "refused"].inc()
            return refusal(call.id, str(error))
        if result is None:
            _counted[method, "forwarded"].inc()
            return None
        _counted[method, "answered"].inc()
        return answer(call.id, result)

    def take(self) -> Batch:
        """What is to be written since the last time."""
        seen = [Seen(*_written(entry)) for entry in self._unwritten.values()]
        for entry in self._unwritten.values():
            entry.kept_peer = entry.peer
        batch = Batch(seen, self._claims, self._unknown)
        self._unwritten, self._claims, self._unknown = {}, {}, {}
        return batch

    def put_back(self, batch: Batch) -> None:
        """Keep what could not be written for the next time; what came since is newer."""
        for seen in batch.seen:
            entry = self._lists.by_id(seen.host_id)
            if entry is not None:
                self._unwritten[seen.host_id] = entry
                entry.kept_peer = seen.kept_peer
        self._claims = batch.claims | self._claims
        for name, sighting in batch.unknown.items():
            if len(self._unknown) < MOST_UNKNOWN:
                self._unknown.setdefault(name, sighting)

    def _result(self, connection: Connection, call: Call) -> bytes | None:
        method = call.method
        if method == "Agent.ReportStatus":
            return self._report(connection, call)
        if method == "Agent.MinePlugins":
            return self._plugins(connection, call)
        if self._forward is not None:
            self._forward(connection, call)
            return None
        if method == "Agent.TrustableIps":
            first_param(call, "model.NullRpcRequest")
            return self._trustable
        if method == "Agent.BuiltinMetrics":
            text_field(first_param(call, _QUESTION), "Hostname", _QUESTION)
            return b'{"Metrics":[],"Checksum":"","Timestamp":%d}' % time.time()
        service, dot, _ = method.rpartition(".")
        if not dot:
            raise Refused(f"rpc: service/method request ill-formed: {method}")
        if service != "Agent":
            raise Refused(f"rpc: can't find service {method}")
        raise Refused(f"rpc: can't find method {method}")

    def _plugins(self, connection: Connection, call: Call) -> bytes | None:
        name = text_field(first_param(call, _QUESTION), "Hostname", _QUESTION)
        if not name:
            return _NO_LIST
        _need_certificate(connection, name)
        entry = self._lists.get(name)
        if entry is None or not entry.listed:
            if self._forward is not None:
                self._forward(connection, call)
                return None
            # An agent keeps the list that it has after an error; an empty one would stop its plugins.
            if entry is None:
                raise Refused(f"plugfleet: there is no host {shown(name)}")
            raise Refused(f"plugfleet: no plugin was bound to host {shown(name)} yet")
        if not entry.is_fit():
            raise Refused(
                f"plugfleet: the list of host {shown(name)} is not made for agent "
                f"{shown(entry.version)} yet"
            )
        if entry.told != entry.listed and _may_be(connection, entry):
            entry.told = entry.listed
            self._unwritten[entry.host_id] = entry
        return b'{"Plugins":%b,"Timestamp":%d}' % (entry.plugins, entry.stamp)

    def _report(self, connection: Connection, call: Call) -> bytes:
        param = first_param(call, _REPORT)
        name, ip, version, head = (
            text_field(param, field, _REPORT)
            for field in ("Hostname", "IP", "AgentVersion", "PluginVersion")
        )
        if not name:
            return _CODE_NO_NAME
        _need_certificate(connection, name)
        entry = self._lists.get(name)
        if entry is None:
            called = clean(name, 253)
            if len(self._unknown) < MOST_UNKNOWN or called in self._unknown:
                self._unknown[called] = Sighting(
                    time.time(),
                    connection.peer,
                    clean(ip, 64),
                    clean(version, 64),
                    clean(head, 128),
                )
        elif not _may_be(connection, entry):
            if not entry.claimed:
                entry.claimed = True
                self._claims[entry.host_id] = connection.peer
        else:
            self._heard(connection, entry, clean(ip, 64), clean(version, 64), clean(head, 128))
        if self._forward is not None:
            self._forward(connection, call._replace(id=b""))
        return _CODE_OK

    def _heard(
        self, connection: Connection, entry: Entry, ip: str, version: str, head: str
    ) -> None:
        moment = time.monotonic()
        away = entry.heard and moment - entry.heard > LONG_AWAY
        if head != entry.head and _COMMIT.fullmatch(head) and head != entry.landed:
            entry.landed = head
            entry.look_again()
        elif away or not entry.peer:
            entry.look_again()
        entry.heard, entry.at = moment, time.time()
        entry.ip, entry.version, entry.head, entry.peer = ip, version, head, connection.peer
        self._unwritten[entry.host_id] = entry


def _may_be(connection: Connection, entry: Entry) -> bool:
    """Whether a call comes from where the host's calls come from; a heartbeat that does not is a claim."""
    known = connection.names is not None or not entry.peer
    return known or connection.peer in ("", entry.peer, entry.address)


def _need_certificate(connection: Connection, name: str) -> None:
    if connection.names is not None and name not in connection.names:
        raise Refused(f"plugfleet: the certificate is not one of host {shown(name)}")


def shown(name: str) -> str:
    """A name that a client sent, fit for a line of text."""
    return repr(clean(name, 100))


def clean(text: str, most: int) -> str:
    """What a client sent, cut and without characters that show nothing or hide others."""
    return _UNSEEN.sub("\ufffd", text[:most])
