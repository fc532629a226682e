"""One host's visit: look, decide, act; never more than two execs for a host, one if it is right."""

from __future__ import annotations

import json
import shlex
import traceback
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from controller.catalog.errors import CatalogError
from roles.agent_config.control import discovery
from roles.plugin_sync.control.connections import HostConnection
from roles.plugin_sync.control.look import Look, LookError, Seen
from roles.plugin_sync.control.packs import Packs
from roles.plugin_sync.control.payload import BOOT_COMMAND, Payload
from roles.plugin_sync.control.plan import PlanRefused, Wanted
from roles.plugin_sync.control.shown import without_values
from roles.plugin_sync.control.states import plugin_states

_MARKER = "plugfleet-visit 1"
_LOOK_TIMEOUT = 60  # seconds; a look takes some 20 ms


class Visitor:
    """Carries out visits of one deployment.

    Args:
        packs: what mirrors lack, or None where no release was published.
        check: look and tell, change nothing.
    """

    def __init__(self, packs: Packs | None, *, check: bool) -> None:
        self._packs = packs
        self._check = check
        self._payload = Payload()

    def visit(self, connection: HostConnection, wanted: Wanted) -> dict[str, Any]:
        """Bring one host to its plan.

        Returns:
            A task result: `changed`, `failed`, `unreachable`, `msg`, `steps`, `warnings`, `diff`, and
            `plugins` where the agent was asked for them.
        """
        try:
            result = self._visit(connection, wanted)
            if result.get("diff"):
                path = str(wanted.settings["agent_config_bindings_path"])
                result["diff"] = without_values(result["diff"], path)
            return result
        except AnsibleConnectionFailure as error:
            return {"unreachable": True, "changed": False, "msg": str(error)}
        except (PlanRefused, LookError, CatalogError, AnsibleError) as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        except Exception as error:
            # One host's surprise must not hide what was done to the others.
            return unexpected(error)

    def _visit(self, connection: HostConnection, wanted: Wanted) -> dict[str, Any]:
        seen = _look(connection, wanted)
        found = wanted.completed(seen)
        folder = found.settings["agent_config_plugin_dir"]
        if seen.agent and folder != discovery.plain(seen.agent.values["dir"]):
            # The look's shell reads JSON well enough for files as people write them, not for all.
            seen = _look(connection, found)
        wanted = found
        files = wanted.files(seen) if "configure" in wanted.steps else []
        needed = wanted.needed(seen, files)
        if not needed:
            return _right(wanted, seen)
        if self._check:
            return _would(needed, files)
        if not seen.python:
            raise PlanRefused(
                "the host has no Python 3 (ansible_python_interpreter, /usr/bin/python3, python3); "
                "it needs 3.8 or newer"
            )
        if "git" not in seen.tools and {"sync", "update"} & set(needed):
            raise PlanRefused("git is not installed on the host; install it")
        return self._act(connection, wanted, seen, needed, files)

    def _act(
        self,
        connection: HostConnection,
        wanted: Wanted,
        seen: Seen,
        needed: Mapping[str, str],
        files: list[dict[str, Any]],
    ) -> dict[str, Any]:
        # A new configuration, release or program is proven by the update step's verification.
        steps = set(needed)
        if wanted.release and "update" in wanted.steps:
            steps.add("update")
        plan = wanted.for_host(seen, sorted(steps), files)
        blobs = {}
        if "install" in steps and wanted.program and seen.program != wanted.program.sha256:
            blobs["program"] = wanted.program.content
        if "sync" in steps and self._packs:
            blobs["pack"] = self._packs.since(seen.mirror)
        report = self._run(connection, seen.python, plan, blobs)
        if _says(report, "mirror-damaged") and self._packs:
            plan["replace_mirror"] = True
            blobs["pack"] = self._packs.since("")
            report = self._run(connection, seen.python, plan, blobs)
        result = _result(report, needed)
        listed = next((s["listed"] for s in report["steps"] if s.get("listed") is not None), None)
        return result | plugin_states(wanted, seen, listed)

    def _run(
        self,
        connection: HostConnection,
        python: str,
        plan: Mapping[str, Any],
        blobs: Mapping[str, bytes],
    ) -> dict[str, Any]:
        command = shlex.join([python, *BOOT_COMMAND])
        status, output, errors = connection.run(command, self._payload.stream(plan, blobs))
        text = output.decode("utf-8", "replace")
        _, found, answer = text.rpartition(f"\n{_MARKER}\n")
        if not found:
            raise PlanRefused(
                f"the visit's program ended with status {status} and no report; run again. "
                f"Its last words: {_last_words(errors or output)}"
            )
        report: dict[str, Any] = json.loads(answer)
        return report


def unexpected(error: Exception) -> dict[str, Any]:
    """The result of a host where something happened that nobody thought of."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return {
        "failed": True,
        "changed": False,
        "msg": f"unexpected {type(error).__name__}: {error} ({where.name}, line {where.lineno}); "
        "this is a fault of plugfleet's, please report it",
    }


def _look(connection: HostConnection, wanted: Wanted) -> Seen:
    look = Look(wanted.look(), _LOOK_TIMEOUT, find=wanted.must_find)
    status, output, errors = connection.run(look.command)
    try:
        return look.read(output)
    except LookError as error:
        reason = f"not done within {_LOOK_TIMEOUT} s" if status == 124 else f"status {status}"
        raise LookError(f"{error} ({reason}): {_last_words(errors or output)}") from None


def _last_words(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return " / ".join(lines[-3:])[-400:] or "none"


def _says(report: Mapping[str, Any], code: str) -> bool:
    return any(step.get("code") == code for step in report["steps"])


def _right(wanted: Wanted, seen: Seen) -> dict[str, Any]:
    message = "nothing to do"
    if wanted.release:
        message = f"has release {wanted.release['number']}"
        if wanted.expected and seen.plugins is not None:
            listed = len(set(wanted.expected) & set(seen.plugins))
            message += f", {listed} of {len(wanted.expected)} bound plugins listed"
    told = {"changed": False, "msg": message, "warnings": _complaints(wanted, seen)}
    return told | plugin_states(wanted, seen, seen.plugins)


def _complaints(wanted: Wanted, seen: Seen) -> list[str]:
    """What the agent itself says of bound plugins that give no data."""
    complaints = wanted.stderr(seen)
    for key in wanted.expected:
        entry = (seen.plugins or {}).get(key) or {}
        reason = entry.get("Reason")
        if reason and entry.get("State") not in ("waiting", "running", "ok"):
            complaints.append(f"{key}: {reason}")
    return complaints


def _would(needed: Mapping[str, str], files: list[dict[str, Any]]) -> dict[str, Any]:
    diff = [
        {
            "before": file["present"],
            "after": file["content"],
            "before_header": file["path"],
            "after_header": file["path"],
        }
        for file in files
    ]
    reasons = "; ".join(f"{step} ({reason})" for step, reason in needed.items())
    return {"changed": True, "msg": f"would {reasons}", "diff": diff}


def _result(report: Mapping[str, Any], needed: Mapping[str, str]) -> dict[str, Any]:
    steps = report["steps"]
    failed = [step for step in steps if step.get("failed")]
    told = [step["msg"] for step in steps if step.get("changed") and step.get("msg")]
    if failed:
        message = f"{failed[0]['step']}: {failed[0]['msg']}"
    else:
        message = "; ".join(told) or "nothing to do"
    return {
        "changed": any(step.get("changed") for step in steps),
        "failed": bool(failed),
        "msg": message,
        "needed": dict(needed),
        "steps": [
            {k: v for k, v in step.items() if k not in ("diff", "listed", "warnings")}
            for step in steps
        ],
        "warnings": [line for step in steps for line in step.get("warnings", [])],
        "diff": [entry for step in steps for entry in step.get("diff", [])],
    }
