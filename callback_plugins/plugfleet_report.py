"""Callback `plugfleet_report`: tells the controller what a deployment from a shell came to.

It needs nothing but the checkout that it lies in, so that it works in any execution environment; what it
sends is docs/rest-api.md's `POST /api/v1/reports`.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

# Plugins of Ansible work from a checkout, where nothing is installed: its rooms are importable from its top.
_CHECKOUT = str(Path(__file__).resolve().parents[1])
if _CHECKOUT not in sys.path:
    sys.path.insert(0, _CHECKOUT)

from roles.plugin_source.control.asking import NotReachable, Refused, ask  # noqa: E402

DOCUMENTATION = """
name: plugfleet_report
type: notification
short_description: Tells a plugfleet controller what a deployment came to on each host
description:
  - When C(deploy-plugins.yml) has ended, the results of the hosts that come from a controller's inventory are
    sent to it. It then shows them as it shows deployments of its own.
  - Silent where the inventory is not a controller's, and inside of the controller's own runs; those that AWX
    carries out for it have the extra variable C(plugfleet_wave).
  - A report that fails is a warning and never fails the play.
options:
  token:
    description: A token of the controller with scope operator; without one nothing is sent.
    default: ""
    env:
      - name: PLUGFLEET_TOKEN
  enabled:
    description: Turn it off for runs that the controller should not know of.
    type: bool
    default: true
    env:
      - name: PLUGFLEET_REPORT
  timeout:
    description: Seconds that the controller may take to answer.
    type: float
    default: 30
  validate_certs:
    description: Hold the controller's certificate against the known authorities.
    type: bool
    default: true
    env:
      - name: PLUGFLEET_VALIDATE_CERTS
  ca_path:
    description: File with further authorities.
    type: path
    env:
      - name: PLUGFLEET_CA_FILE
"""

_VISIT = "plugin_visit"
# A visit that leaves one of these out did not bring its hosts to their plan.
_WHOLE = {"sync", "configure", "update"}
_MOST_DIFF = 20_000  # characters of a file; the terminal shows the rest
_MOST_MESSAGE = 20_000
_MOST_NAME = 512  # characters, as AWX has it
# Seconds before each further try: a proxy whose controller restarts answers 502 or 503 meanwhile.
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
_PATIENCE = 120.0  # seconds after which no further try is made
_LATER = (502, 503, 504)
_TAKEN = 409  # an earlier try arrived, and is being recorded
_NAMED = 5  # hosts that a warning names
_STEP = ("step", "changed", "failed", "msg", "code", "seconds")
_DIFF = ("before_header", "after_header", "before", "after")


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core has no types
    """Collects what `plugin_visit` says of each host, and sends it at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "plugfleet_report"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._started = datetime.now(timezone.utc)
        self._release = 0
        self._controller = ""
        self._check = False
        self._begun_by: dict[str, Any] | None = None
        self._plans: dict[str, str] = {}
        self._hosts: dict[str, dict[str, Any]] = {}

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """A run begins."""
        self._started = datetime.now(timezone.utc)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Learn which hosts come from a controller, and what their plans are."""
        manager = play.get_variable_manager()
        inventory = manager._inventory if manager else None
        if inventory is None or "plugfleet_wave" in manager.extra_vars or not self._is_wanted():
            return
        variables = inventory.groups["all"].vars
        self._controller = str(variables.get("plugin_source_controller") or "")
        release = variables.get("plugin_source_release") or {}
        self._release = int(release.get("number") or 0)
        self._begun_by = _awx_schedule(manager.extra_vars)
        self._plans = {
            name: str(host.vars["plugfleet_plan"])
            for name, host in inventory.hosts.items()
            if "plugfleet_plan" in host.vars
        }

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task was carried out; only the visit says what came of every host."""
        # With `_`, as they are named by ansible-core before 2.19 too.
        task = result._task
        if not self._controller or task.action != _VISIT:
            return
        if not set(result._task_fields.get("args", {}).get("steps") or ()) >= _WHOLE:
            return
        self._check = bool(task.check_mode)
        for host, visited in (result._result.get("hosts") or {}).items():
            if host in self._plans:
                self._hosts[host] = self._told(host, visited)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The run has ended: send what came of it."""
        if not (self._hosts and self._release):
            return
        hosts, self._hosts = self._hosts, {}
        report = {
            "release": self._release,
            "check": self._check,
            "started": self._started.isoformat(),
            "hosts": list(hosts.values()),
        }
        if self._begun_by:
            report["awx_schedule"] = self._begun_by
        try:
            answer = self._send(json.dumps(report).encode("utf-8", "replace"))
        except Exception as error:
            # Whatever it is: the hosts are deployed, and that is what the run's status says.
            self._display.warning(
                f"plugfleet: the controller {self._controller} was not told of this run: {error}. "
                f"What came of {_named(hosts)} is not on its record, and their states there are older "
                "than this run: see `plugfleet host list`. Run this again, or `plugfleet deploy`: hosts "
                "that are right are only looked at, and reported."
            )
            return
        self._display.display(
            f"plugfleet: recorded as deployment {answer.get('deployment')} of {self._controller}"
        )

    def _is_wanted(self) -> bool:
        inside_a_wave = "PLUGFLEET_WAVE" in os.environ
        return bool(not inside_a_wave and self.get_option("enabled") and self.get_option("token"))

    def _told(self, host: str, visited: Mapping[str, Any]) -> dict[str, Any]:
        status = next(
            (name for name in ("unreachable", "failed", "changed") if visited.get(name)), "ok"
        )
        return {
            "host": str(host),
            "status": status,
            "message": str(visited.get("msg", ""))[:_MOST_MESSAGE],
            "plan": self._plans[host],
            "warnings": [str(line)[:_MOST_MESSAGE] for line in visited.get("warnings") or ()],
            "steps": [_only(step, _STEP, _MOST_MESSAGE) for step in visited.get("steps") or ()],
            "diff": [_only(entry, _DIFF, _MOST_DIFF) for entry in visited.get("diff") or ()],
            "plugins": visited.get("plugins"),
        }

    def _send(self, body: bytes) -> dict[str, Any]:
        """The controller's answer.

        Raises:
            RuntimeError: says what the controller answered in the end, or that it did not.
        """
        headers = {
            "Content-Type": "application/json",
            # A further try of a report that had arrived is not recorded twice.
            "Idempotency-Key": str(uuid.uuid4()),
        }
        deadline = time.monotonic() + _PATIENCE
        waits = iter(_WAITS)
        again = False
        while True:
            try:
                answer = ask(
                    self.get_option,
                    f"{self._controller.rstrip('/')}/api/v1/reports",
                    program="plugfleet-report",
                    headers=headers,
                    data=body,
                )
                taken: dict[str, Any] = json.loads(answer.body)
                return taken
            except Refused as error:
                reason = f"it answered {error}"
                final = error.status not in _LATER and not (again and error.status == _TAKEN)
            except NotReachable as error:
                reason, final = str(error), False
            wait = next(waits, None)
            if final or wait is None or time.monotonic() + wait > deadline:
                raise RuntimeError(reason)
            time.sleep(wait)
            again = True


def _awx_schedule(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """Which of AWX's schedules began this job, as AWX tells it; None where none did."""
    number, name = told.get("awx_schedule_id"), told.get("awx_schedule_name")
    # What else somebody calls so must not cost the report.
    if not isinstance(name, str) or not isinstance(number, int) or not 0 < number < 2**31:
        return None
    return {"id": int(number), "name": str(name)[:_MOST_NAME]}


def _only(entry: Any, names: tuple[str, ...], most: int) -> dict[str, Any]:
    """The parts of an entry that a report has, texts cut to what the controller takes."""
    found = {name: entry[name] for name in names if isinstance(entry, Mapping) and name in entry}
    return {
        name: str(value)[:most] if isinstance(value, str) else value
        for name, value in found.items()
        if value is not None
    }


def _named(hosts: Mapping[str, Any]) -> str:
    shown = ", ".join(sorted(hosts)[:_NAMED])
    more = f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else ""
    return f"{len(hosts)} host{'s' if len(hosts) > 1 else ''} ({shown}{more})"
