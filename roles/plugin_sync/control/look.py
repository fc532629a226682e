"""The look: one shell exec that says what a host has; nothing is changed by it."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roles.agent_config.control import discovery
from roles.agent_update.host import checkout


def _short(script: str) -> str:
    """A script without comments: they would cost every host bytes and change nothing."""
    return re.sub(r"^ *#.*\n", "", script, flags=re.MULTILINE)


_SCRIPT = _short(Path(__file__).with_name("look.sh").read_text())
_FIND = _short(discovery.SCRIPT)

_BASH_ASK = """\
exec 3<>"/dev/tcp/$0/$1" || exit
printf 'GET /plugins HTTP/1.0\\r\\n\\r\\n' >&3
exec cat <&3
"""
# For a host that has neither bash nor curl.
_ASK = """\
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
link = socket.create_connection((host, int(port)), 5)
link.sendall(b"GET /plugins HTTP/1.0\\r\\n\\r\\n")
answer = b"".join(iter(lambda: link.recv(65536), b""))
sys.stdout.buffer.write(answer)
"""


class LookError(Exception):
    """The host did not answer the look in a form that can be read."""


@dataclass(frozen=True)
class Seen:
    """What a host showed.

    Attributes:
        mirror: commit of the mirror's branch, or "".
        status: output of `git status --porcelain=v2 --branch` in the agent's plugin folder, or "".
        place: "executor" where plugfleet's executor runs in an agent's place, "elsewhere" where the
            folder has no repository in itself, else "".
        settings: lines "name value" of the checkout's own settings that decide whether a pull works
            in it; "" where they were not asked.
        hidden: git is told to overlook edits of some files.
        files: content of "cfg", "bindings" and "unit" where the file exists.
        unreadable: names of those that exist but could not be read.
        program: SHA-256 of the executor's program, or "".
        owner: the account that the executor's state belongs to, or "" where it was not asked.
        marker: the executor must be restarted for its newer program.
        plugins: what `/plugins` lists, or None where no agent answered.
        python: the host's Python, or "".
        tools: subset of {"git", "systemd"}.
        uid: the user id that the visit has.
        agent: what was found of an Open-Falcon agent, or None where nothing was looked for.
        settled: seconds since the agent's plugin folder came to its commit, where that was asked.
        stderr: plugin -> seconds since it wrote to stderr, for those that did since the folder came
            to its commit.
    """

    mirror: str = ""
    status: str = ""
    place: str = ""
    settings: str = ""
    hidden: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
    program: str = ""
    owner: str = ""
    marker: bool = False
    plugins: Mapping[str, Any] | None = None
    python: str = ""
    tools: frozenset[str] = frozenset()
    uid: int = -1
    agent: discovery.Found | None = None
    settled: int = 0
    stderr: Mapping[str, int] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The commit of the agent's plugin folder, or ""."""
        found = re.search(r"^# branch\.oid ([0-9a-f]{40})$", self.status, re.MULTILINE)
        return found.group(1) if found else ""

    @property
    def changes(self) -> list[str]:
        """Lines of git's status: files of the plugin folder that differ from its commit.

        Of those that .gitignore names, the ones that an agent would run.
        """
        lines = [line for line in self.status.splitlines() if line and not line.startswith("#")]
        return [line for line in lines if line[:2] != "! " or checkout.is_run(line[2:].strip('"'))]


class Look:
    """The command of one host's look, and reading its answer.

    Args:
        preamble: the script's variables.
        timeout: seconds after which it ends itself.
        find: look for an Open-Falcon agent first.
    """

    def __init__(self, preamble: Mapping[str, str], timeout: int, *, find: bool = False) -> None:
        self._nonce = secrets.token_hex(8)
        values = dict(preamble, nonce=self._nonce, bash_ask=_BASH_ASK, ask=_ASK)
        values |= {"find": _FIND if find else "", "settings": checkout.SETTINGS}
        lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
        script = "\n".join(lines) + "\n" + _SCRIPT
        # A look that hangs (a dead network file system) must not hold up the batch for ever.
        self.command = (
            f"if command -v timeout >/dev/null; then exec timeout {timeout} "
            f"/bin/sh -c {shlex.quote(script)}; else exec /bin/sh -c {shlex.quote(script)}; fi"
        )

    def read(self, output: bytes) -> Seen:
        """Read the answer.

        Raises:
            LookError: it is not complete.
        """
        text = output.decode("utf-8", "surrogateescape")
        parts: dict[str, str] = {}
        for section in text.split(f"\n@{self._nonce} ")[1:]:
            name, _, content = section.partition("\n")
            parts[name.strip()] = content
        if "end" not in parts:
            raise LookError("the look did not come to its end")
        tools = parts.get("tools", "").split("\n")
        uid = re.search(r"^uid (\d+)$", parts.get("tools", ""), re.MULTILINE)
        python = re.search(r"^python (.+)$", parts.get("tools", ""), re.MULTILINE)
        settled, stderr = _since(parts.get("since", ""))
        return Seen(
            mirror=parts.get("mirror", "").strip(),
            status=parts.get("status", "").strip(),
            place=parts.get("place", "").strip(),
            settings=parts.get("settings", "").strip(),
            hidden=bool(parts.get("hidden", "").strip()),
            files={n: parts[n] for n in ("cfg", "bindings", "unit") if n in parts},
            unreadable=frozenset(
                n for n in ("cfg", "bindings", "unit") if f"unreadable-{n}" in parts
            ),
            program=parts.get("program", "").split(" ")[0].strip(),
            owner=parts.get("owner", "").strip(),
            marker="marker" in parts,
            plugins=_plugins(parts.get("plugins", "")),
            python=python.group(1).strip() if python else "",
            tools=frozenset({"git", "systemd"} & set(tools)),
            uid=int(uid.group(1)) if uid else -1,
            agent=discovery.read(parts["agent"]) if "agent" in parts else None,
            settled=settled,
            stderr=stderr,
        )


def _since(text: str) -> tuple[int, dict[str, int]]:
    """Ages in seconds: the clock and the folder's time, then a line "mtime path" for each log."""
    lines = text.strip().splitlines()
    if len(lines) < 2 or not (lines[0].isdigit() and lines[1].isdigit()):
        return 0, {}
    now, ages = int(lines[0]), {}
    for line in lines[2:]:
        moment, _, path = line.partition(" ")
        if moment.isdigit() and path.endswith(".stderr.log"):
            ages[path[: -len(".stderr.log")]] = max(0, now - int(moment))
    return now - int(lines[1]), ages


def _plugins(response: str) -> Mapping[str, Any] | None:
    try:
        answer = json.loads(response.partition("\r\n\r\n")[2])
    except ValueError:
        return None
    data = answer.get("data") if isinstance(answer, dict) else None
    if isinstance(data, dict):
        return data
    return {} if isinstance(answer, dict) and answer.get("msg") == "success" else None
