"""The plan of one host, and what of it the host does not have yet."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.catalog.releases import DEPLOY_BRANCH
from roles.agent_config.control import discovery, falconcfg
from roles.agent_config.control.merge import ConfigRefused, merged_text
from roles.agent_config.control.wanted import wanted
from roles.plugin_sync.control.look import Seen

# Every step in the order in which a visit takes it.
STEPS = ("install", "sync", "configure", "start", "update")


class PlanRefused(Exception):
    """What a host showed keeps its plan from being carried out; nothing was changed."""


@dataclass(frozen=True)
class Program:
    """The executor's program: its bytes and their SHA-256."""

    content: bytes
    sha256: str


@dataclass(frozen=True)
class Wanted:
    """What one host should have.

    Attributes:
        settings: the host's role variables.
        steps: the steps that the task asks for.
        release: number and commit, or None where nothing was published.
        bindings: what is bound to the host's groups, or None to leave the host's bindings alone.
        expected: the keys that `/plugins` must show.
        program: the executor's program, where the host runs one.
        unit: its systemd unit's text.
    """

    settings: Mapping[str, Any]
    steps: frozenset[str]
    release: Mapping[str, Any] | None
    bindings: Sequence[Any] | None
    expected: Sequence[str]
    program: Program | None
    unit: str

    @property
    def is_executor(self) -> bool:
        """Whether the host runs plugfleet's executor rather than an Open-Falcon agent."""
        return bool(self.settings["agent_config_kind"] == "executor")

    @property
    def marker(self) -> str:
        """The file that stands while the agent must be restarted."""
        return f"{self.settings['plugin_sync_root']}/.restart-agent"

    def look(self) -> dict[str, str]:
        """The variables of the look script."""
        s = self.settings
        interpreter = s.get("interpreter") or "/usr/bin/python3 python3"
        return {
            "mirror": s["plugin_sync_mirror"],
            "branch": DEPLOY_BRANCH,
            "dir": s["agent_config_plugin_dir"],
            "user": s["plugin_sync_user"],
            "cfg": s["agent_config_path"],
            "bindings": s["agent_config_bindings_path"] if self.is_executor else "",
            "program": s["executor_program"] if self.is_executor else "",
            "state": s["executor_state"] if self.is_executor else "",
            "unit": s["executor_unit_path"] if self.is_executor else "",
            "marker": self.marker,
            "listen": s["agent_update_listen"],
            "git_url": "" if self.is_executor else "yes",
            "pythons": interpreter,
            "home": s["agent_config_home"].rstrip("/"),
            "logs": "" if self.is_executor else s["agent_config_logs"],
        }

    @property
    def must_find(self) -> bool:
        """Whether the look has to find the host's Open-Falcon agent."""
        return discovery.is_needed(self.settings)

    def completed(self, seen: Seen) -> Wanted:
        """The same with what the look found of the host's Open-Falcon agent.

        Raises:
            PlanRefused: which agent is meant cannot be told; names the variable to set.
        """
        settings = self.settings
        if self.is_executor:
            return self
        try:
            if seen.agent is not None:
                config = _content(seen, "cfg", seen.agent.values["cfg"])
                settings = discovery.complete(settings, seen.agent, config, as_root=seen.uid == 0)
            discovery.refuse_folder(settings)
        except ConfigRefused as error:
            raise PlanRefused(str(error)) from None
        return replace(self, settings=settings)

    def files(self, seen: Seen) -> list[dict[str, Any]]:
        """The files whose content must change, with what they should hold.

        Raises:
            PlanRefused: a file cannot be read, or must not be touched.
        """
        s = self.settings
        files = []
        try:
            if not self.is_executor and "cfg" not in seen.files:
                raise discovery.missing(s["agent_config_path"])
            present = _content(seen, "cfg", s["agent_config_path"])
            cfg = merged_text(present, wanted(s, present), s["agent_config_path"])
            if not self.is_executor:
                falconcfg.check(json.loads(cfg), s["agent_config_path"])
                if seen.plugins is None:
                    listen = s["agent_update_listen"]
                    discovery.refuse_deaf(json.loads(cfg), s["agent_config_path"], listen)
        except ConfigRefused as error:
            raise PlanRefused(str(error)) from None
        files.append(_file(s["agent_config_path"], cfg, seen.files.get("cfg"), backup=True))
        if self.is_executor and self.bindings is not None:
            present = _content(seen, "bindings", s["agent_config_bindings_path"])
            text = json.dumps({"bindings": list(self.bindings)}, indent=2) + "\n"
            files.append(_file(s["agent_config_bindings_path"], text, present, backup=False))
        return [file for file in files if file["differs"]]

    def service(self, seen: Seen) -> str:
        """ "systemd" or "process"."""
        chosen = str(self.settings["executor_service"])
        if chosen != "auto":
            return chosen
        return "systemd" if "systemd" in seen.tools and seen.uid == 0 else "process"

    def needed(self, seen: Seen, files: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """The steps that the host needs, each with its reason."""
        needed: dict[str, str] = {}
        if self.is_executor and self.program:
            if seen.program != self.program.sha256:
                needed["install"] = "the executor is missing or another version"
            elif self.service(seen) == "systemd" and seen.files.get("unit", "") != self.unit:
                needed["install"] = "its unit differs"
            elif seen.owner not in ("", self.settings["plugin_sync_user"] or "root"):
                needed["install"] = f"what the executor writes belongs to {seen.owner}"
            if seen.plugins is None or seen.marker or "install" in needed:
                needed["start"] = "the executor must be (re)started"
        if self.release and seen.mirror != self.release["commit"]:
            needed["sync"] = f"the mirror is at {seen.mirror[:12] or 'nothing'}"
        if files:
            needed["configure"] = ", ".join(file["path"] for file in files)
        elif seen.marker and not self.is_executor:
            needed["configure"] = "the agent has yet to take its configuration"
        if reason := self._update_reason(seen):
            needed["update"] = reason
        return {step: needed[step] for step in STEPS if step in needed and step in self.steps}

    def _update_reason(self, seen: Seen) -> str:
        if self.release is None:
            return ""
        if seen.head != self.release["commit"]:
            return f"the agent is at {seen.head[:12] or 'nothing'}"
        if seen.changes:
            return "changed on the host: " + ", ".join(_changed(line) for line in seen.changes[:5])
        if not self.is_executor and not self._pulls_from_mirror(seen):
            return "its checkout does not follow the mirror"
        if seen.hidden:
            return "git is told to overlook edits in its checkout"
        if seen.plugins is None:
            return "no agent answers"
        if not self.is_executor and self.expected and not seen.plugins:
            patience = falconcfg.patience(seen.files.get("cfg", ""))
            return "it lists no plugin" if seen.settled > patience else ""
        missing = sorted(set(self.expected) - set(seen.plugins))
        return f"not listed: {missing[0]}" if missing and self.is_executor else ""

    def _pulls_from_mirror(self, seen: Seen) -> bool:
        # An executor in an agent's place keeps releases of its own, which pull from nowhere.
        if seen.place:
            return seen.place == "executor"
        follows = f"# branch.upstream origin/{DEPLOY_BRANCH}" in seen.status.splitlines()
        return (
            follows and seen.settings == f"remote.origin.url {self.settings['plugin_sync_mirror']}"
        )

    def stderr(self, seen: Seen) -> list[str]:
        """What bound plugins have written to stderr since the host has its release."""
        told = []
        bound = {expected.removesuffix("()") for expected in self.expected}
        for path, seconds in sorted(seen.stderr.items()):
            key = self._plugin_of_log(path)
            if self.bindings is None or key in bound or key in {b.split("(")[0] for b in bound}:
                told.append(f"{key} wrote to stderr {seconds} s ago; see {path}.stderr.log")
        return told

    def stderr_logs(self, seen: Seen) -> dict[str, str]:
        """The logs that were written to since the host has its release, by plugin without "()"."""
        return {self._plugin_of_log(path): f"{path}.stderr.log" for path in seen.stderr}

    def _plugin_of_log(self, path: str) -> str:
        # "path(arguments)"; v0.2.1 leaves the brackets out.
        return os.path.relpath(path, self.settings["agent_config_logs"]).removesuffix("()")

    def for_host(
        self, seen: Seen, steps: Sequence[str], files: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The plan as the host's program takes it."""
        s = self.settings
        return {
            "steps": [step for step in STEPS if step in steps],
            "timeout": s["plugin_sync_timeout"],
            "root": s["plugin_sync_root"],
            "user": s["plugin_sync_user"] if seen.uid == 0 else "",
            "mirror": s["plugin_sync_mirror"],
            "branch": DEPLOY_BRANCH,
            "release": self.release,
            "files": list(files),
            "marker": self.marker,
            "agent": {
                "kind": s["agent_config_kind"],
                "cfg": s["agent_config_path"],
                "dir": s["agent_config_plugin_dir"],
                "logs": s["agent_config_logs"],
                "listen": s["agent_update_listen"],
                "home": s["agent_config_home"].rstrip("/"),
                "started_by": s["agent_config_started_by"],
                "unit": s["agent_config_unit"],
                "restart": s["agent_config_restart_command"],
                "timeout": s["agent_update_timeout"],
                "wait": s["agent_update_wait"],
                "expected": list(self.expected),
                "head": seen.head,
                "changes": [_path(line) for line in seen.changes],
                "listed": len(seen.plugins or ()),
                "settled": seen.settled,
                "patience": 0
                if self.is_executor
                else falconcfg.patience(seen.files.get("cfg", "")),
            },
            "executor": {
                "program": s["executor_program"],
                "program_sha256": self.program.sha256 if self.program else "",
                "python": s["executor_python"],
                "service": self.service(seen),
                "state": s["executor_state"],
                "unit_path": s["executor_unit_path"],
                "unit": self.unit,
            },
        }


def _changed(line: str) -> str:
    """A line of git's status (porcelain=v2) for people: "deleted sys/ntp/600_ntp.py"."""
    if line.startswith(("? ", "! ")):
        return f"added {_path(line)}"
    state = line.split(" ", 2)[1]
    return f"{'deleted' if 'D' in state else 'edited'} {_path(line)}"


def _path(line: str) -> str:
    """The path that a line of git's status is about: "? path", "1 XY sub mH mI mW hH hI path"."""
    return line.split(" ", {"?": 1, "!": 1, "u": 10}.get(line[0], 8))[-1]


def render_unit(template: str, settings: Mapping[str, Any]) -> str:
    """The systemd unit of a host's executor."""
    values = {
        "USER": settings["executor_user"],
        "PYTHON": settings["executor_python"],
        "PROGRAM": settings["executor_program"],
        "CFG": settings["agent_config_path"],
        "ROOT": f"{settings['plugin_sync_root']}/agent",
        "MIRROR": settings["plugin_sync_mirror"],
        "MEMORY_MAX": settings["executor_memory_max"],
        "CPU_QUOTA": settings["executor_cpu_quota"],
        "TASKS_MAX": str(settings["executor_tasks_max"]),
    }
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template


def _content(seen: Seen, name: str, path: str) -> str | None:
    if name in seen.unreadable:
        raise PlanRefused(f"{path} cannot be read: {seen.files[name].strip()[:200]}")
    return seen.files.get(name)


def _file(path: str, content: str, present: str | None, *, backup: bool) -> dict[str, Any]:
    seen = present.encode("utf-8", "surrogateescape") if present is not None else None
    return {
        "path": path,
        "content": content,
        "present": present or "",
        "seen": "" if seen is None else hashlib.sha256(seen).hexdigest(),
        "differs": content != present,
        "backup": backup,
        "mode": 0o640,
    }
