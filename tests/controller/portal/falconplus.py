"""A stand-in of a portal: the API of falcon-plus as it was measured, faults included (open-falcon.md, 2).

Kept as they are: names are one regardless of case, plugins may be bound twice, a deleted binding is 417
the second time, setting a hostgroup's hosts replaces them, and paging counts from 1.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

TOKEN = "0123456789abcdef-sig"


@dataclass
class FalconPlus:
    """What the portal holds, and what it is told to do wrong.

    Attributes:
        groups: names by id.
        hosts: addresses by name.
        members: names of hosts by the hostgroup's id.
        plugins: (id, hostgroup's id, dir).
        asked: `METHOD path` of each request.
        faults: what the next requests that fit are answered with: a pattern of `METHOD path`, and a
            status with a body, `hang`, `drop`, or `lose`: done, and the answer lost.
    """

    url: str = ""
    groups: dict[int, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    members: dict[int, list[str]] = field(default_factory=dict)
    plugins: list[tuple[int, int, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    faults: list[tuple[str, Any]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def add(self, name: str, hosts: tuple[str, ...] = (), plugins: tuple[str, ...] = ()) -> int:
        """Make a hostgroup as a person did."""
        number = next(self.ids)
        self.groups[number] = name
        for host in hosts:
            self.hosts.setdefault(host, "")
        self.members[number] = list(hosts)
        self.plugins += [(next(self.ids), number, plugin) for plugin in plugins]
        return number

    def content(self) -> dict[str, tuple[list[str], list[str]]]:
        """Hosts and plugins of each hostgroup."""
        return {
            name: (
                sorted(self.members[number]),
                sorted(text for _, group, text in self.plugins if group == number),
            )
            for number, name in self.groups.items()
        }

    def changes(self) -> list[str]:
        """The requests that change something, and forget them all."""
        found = [entry for entry in self.asked if not entry.startswith("GET")]
        self.asked.clear()
        return found

    def answer(self, method: str, path: str, query: str, body: Any) -> tuple[int, Any]:
        """What the real one answers."""
        if found := re.fullmatch(r"hostgroup/(\d+)(/\w+)?", path):
            number, below = int(found[1]), found[2] or ""
            if number not in self.groups:
                return 417, {"error": "record not found"}
            return self._hostgroup(method, number, below, body)
        if (method, path) == ("GET", "hostgroup"):
            return self._listed(query)
        if (method, path) == ("POST", "hostgroup"):
            return self._make(body["name"])
        if (method, path) == ("POST", "plugin"):
            number = next(self.ids)
            self.plugins.append((number, body["hostgroup_id"], body["dir_path"]))
            return 200, {"id": number, "grp_id": body["hostgroup_id"], "dir": body["dir_path"]}
        if method == "DELETE" and path.startswith("plugin/"):
            number = int(path.rpartition("/")[2])
            if number not in [row[0] for row in self.plugins]:
                return 417, {"error": "record not found"}
            self.plugins = [row for row in self.plugins if row[0] != number]
            return 200, {"message": f"plugin:{number} has been deleted"}
        return 404, "404 page not found"

    def _listed(self, query: str) -> tuple[int, Any]:
        rows = [{"id": n, "grp_name": g, "create_user": "root"} for n, g in self.groups.items()]
        paged = re.search(r"page=(\d+)&limit=(\d+)", query)
        if paged:
            page, limit = int(paged[1]), int(paged[2])
            rows = rows[(page - 1) * limit : page * limit]
        return 200, rows

    def _make(self, name: str) -> tuple[int, Any]:
        if name.lower() in [group.lower() for group in self.groups.values()]:
            return 417, {"error": f"Error 1062: Duplicate entry '{name}' for key 'grp_name'"}
        number = self.add(name)
        return 200, {"id": number, "grp_name": name, "create_user": "root"}

    def _hostgroup(self, method: str, number: int, below: str, body: Any) -> tuple[int, Any]:
        if (method, below) == ("GET", "/plugins"):
            return 200, [
                {"id": n, "grp_id": g, "dir": d, "create_user": "root"}
                for n, g, d in self.plugins
                if g == number
            ]
        if method == "GET":
            hosts = [
                {"id": 1, "hostname": name, "ip": self.hosts.get(name, ""), "agent_version": ""}
                for name in self.members[number]
            ]
            group = {"id": number, "grp_name": self.groups[number]}
            return 200, {"hostgroup": group, "hosts": hosts}
        if method == "DELETE":
            del self.groups[number], self.members[number]
            self.plugins = [row for row in self.plugins if row[1] != number]
            return 200, {"message": f"hostgroup:{number} has been deleted"}
        assert (method, below) == ("PATCH", "/host")
        named = {host.lower() for host in body["hosts"]}
        there = self.members[number]
        if body["action"] == "add":
            known = {host.lower(): host for host in self.hosts}
            new = [known.get(host.lower(), host) for host in body["hosts"]]
            self.members[number] = there + [host for host in new if host not in there]
            self.hosts |= {host: "" for host in new if host not in self.hosts}
        else:
            self.members[number] = [host for host in there if host.lower() not in named]
        return 200, {"message": f"{body['hosts']} bind to hostgroup"}


@contextmanager
def serving() -> Iterator[FalconPlus]:
    """A portal until the block ends."""
    portal = FalconPlus()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet, else each waits 40 ms for an acknowledgement

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def _serve(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or "{}")
            path, _, query = self.path.removeprefix("/api/v1/").partition("?")
            portal.asked.append(what := f"{self.command} {path}")
            fault = next((f for f in portal.faults if re.fullmatch(f[0], what)), None)
            if fault:
                portal.faults.remove(fault)
            given = json.loads(self.headers.get("Apitoken", "null"))
            if fault and fault[1] == "hang":
                portal.ended.wait(10)
                self.close_connection = True
            elif fault and fault[1] == "drop":
                self.close_connection = True
            elif fault and fault[1] != "lose":
                self._send(*fault[1])
            elif given is None:
                self._send(401, {"error": "token key is not set"})
            elif given != {"name": "root", "sig": TOKEN}:
                self._send(401, {"error": f"session not found {given['sig']}"})
            else:
                answer = portal.answer(self.command, path, query, body)
                if fault:
                    self.close_connection = True
                else:
                    self._send(*answer)

        def _send(self, status: int, body: Any) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is none of ours."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.005}, name="portal", daemon=True
    )
    thread.start()
    portal.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield portal
    finally:
        portal.ended.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
