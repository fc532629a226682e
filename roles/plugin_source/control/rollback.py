"""Asking a controller to go back to an older release, and following the deployment that brings it to its hosts.

What is asked is docs/rest-api.md's `POST /api/v1/releases/rollback` and `POST /api/v1/deployments`: the controller
decides, records and visits, as it does after `plugfleet rollback` and `plugfleet deploy`.
"""

from __future__ import annotations

import json
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roles.plugin_source.control.asking import NotReachable, NotTrusted, Refused, ask

_LOOK, _SELDOM = 0.5, 5.0  # seconds between looks at the deployment: longer and longer
_PAGE = 500
_LATER = (429, 502, 503, 504)
# Seconds before each further try; a controller that restarts is away for as long as it takes.
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_LOST = {"failed", "interrupted", "canceled"}


class RollbackError(Exception):
    """The controller did not do it; the message says why, and what to do."""


@dataclass(frozen=True)
class RolledBack:
    """What came of it.

    Attributes:
        changed: whether the release is, or in check mode would be, a new one.
        release: the newest one as the controller shows it; None where there is none.
        files: how many differ.
        deployment: its number; 0 where nothing was to be deployed.
        status, reason: what the controller says of the deployment.
        hosts: as task results.
    """

    changed: bool
    release: Mapping[str, Any] | None
    files: int
    deployment: int
    status: str
    reason: str
    hosts: Mapping[str, Mapping[str, Any]]


class Controller:
    """The controller whose hosts they are.

    Args:
        url: without a path.
        token: of scope operator, for all hostgroups.
        timeout: seconds that one answer may take.
        ca_file: file with further authorities; empty is none.
    """

    def __init__(self, url: str, token: str, timeout: float, ca_file: str = "") -> None:
        self._url = url.rstrip("/")
        options = {
            "token": token,
            "timeout": timeout,
            "validate_certs": True,
            "ca_path": ca_file or None,
        }
        self._option: Callable[[str], Any] = options.__getitem__

    def roll_back(
        self, number: int, hosts: Sequence[str], *, max_lost: int, batch_size: int, dry_run: bool
    ) -> RolledBack:
        """Make an old release the newest, bring it to hosts, and wait for the end of that.

        Args:
            hosts: these and no others.
            dry_run: only ask what would be published.

        Raises:
            RollbackError: the controller refuses it, or does not answer.
        """
        published = self._post("releases/rollback", {"number": number, "dry_run": dry_run})
        changed, files = bool(published["changed"]), len(published["changes"])
        if dry_run:
            return RolledBack(changed, published["release"], files, 0, "", "", {})
        asked = {"hosts": list(hosts), "max_lost": max_lost, "batch_size": batch_size}
        view = self._post("deployments", asked)
        pause = _LOOK
        while not view["ended"]:
            time.sleep(pause)
            pause = min(pause * 1.3, _SELDOM)
            view = self._get(f"deployments/{view['id']}")
        return RolledBack(
            changed,
            published["release"],
            files,
            int(view["id"]),
            str(view["status"]),
            str(view["reason"]),
            self._results(int(view["id"])),
        )

    def _results(self, number: int) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        cursor = ""
        while True:
            query = urllib.parse.urlencode({"limit": _PAGE, "cursor": cursor})
            page = self._get(f"deployments/{number}/hosts?{query}")
            found |= {row["host"]: _result(row) for row in page["items"]}
            cursor = page["next"] or ""
            if not cursor:
                return found

    def _get(self, path: str) -> Any:
        return self._asked(path, None, {})

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        # A further try of what had arrived is answered as the first one was.
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        return self._asked(path, json.dumps(body).encode(), headers)

    def _asked(self, path: str, data: bytes | None, headers: Mapping[str, str]) -> Any:
        waits = iter(_WAITS)
        while True:
            try:
                answer = ask(
                    self._option,
                    f"{self._url}/api/v1/{path}",
                    program="plugfleet-rollback",
                    headers=headers,
                    data=data,
                )
                return json.loads(answer.body)
            except Refused as error:
                if error.status not in _LATER:
                    raise RollbackError(_words(self._url, error)) from None
                said = f"{self._url} answered {error}"
            except NotTrusted as error:
                raise RollbackError(f"{self._url} is not trusted: {error}") from None
            except NotReachable as error:
                said = f"{self._url} does not answer: {error}"
            except ValueError:
                said = f"{self._url} answers, but not as a plugfleet controller"
            wait = next(waits, None)
            if wait is None:
                raise RollbackError(
                    f"{said}; what was begun goes on there, see `plugfleet deploy list`"
                )
            time.sleep(wait)


def _words(url: str, error: Refused) -> str:
    said = error.detail or f"status {error.status}; is that a plugfleet controller?"
    return f"{url} refuses it: {said}{f'; {error.hint}' if error.hint else ''}"


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    """What came of a host, as the result of a task."""
    status = row["status"]
    result = {
        "changed": status == "changed",
        "failed": status in _LOST,
        "unreachable": status == "unreachable",
        "msg": row["message"] or {"current": "it reports the release already"}.get(status, status),
        "warnings": row["warnings"],
        "steps": row["steps"],
        "diff": row["diff"],
    }
    return {name: value for name, value in result.items() if value or name == "changed"}
