"""Waiting for AWX to fetch a project or an inventory, which it does by jobs of its own."""

from __future__ import annotations

import time

from roles.awx_setup.control.client import Awx, Object
from roles.awx_setup.control.refusals import AwxError

_ACTIVE = {"new", "pending", "waiting", "running"}
_UPDATES = {"projects": "project_update", "inventory_sources": "inventory_update"}
_LOOKS = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between looks; the last goes on
_LAST_WORDS = 15  # lines of its output that explain a failure


def update(awx: Awx, kind: str, found: Object, *, again: bool, timeout: float) -> bool:
    """See to it that a project or inventory source was fetched; returns whether that was begun here.

    Args:
        again: fetch it even where that has been done.
        timeout: seconds that it may take.

    Raises:
        AwxError: it failed, with its own last words; or took too long.
    """
    path = f"{kind}/{found['id']}/"
    # A new project begins by itself.
    status = awx.get(path)["status"]
    begun = status not in _ACTIVE and (again or status != "successful")
    if begun:
        awx.post(f"{path}update/", {})
    deadline = time.monotonic() + timeout
    looks = iter(_LOOKS)
    look = next(looks)
    while (now := awx.get(path))["status"] in _ACTIVE:
        if time.monotonic() > deadline:
            raise AwxError(
                f"AWX has not fetched {_named(kind, found)} within {timeout:.0f} s; is an instance of it free? "
                "Run this again, or give awx_setup_update_timeout"
            )
        time.sleep(look)
        look = next(looks, look)
    if now["status"] != "successful":
        raise AwxError(f"AWX could not fetch {_named(kind, found)}: {_words_of(awx, kind, now)}")
    return begun


def _named(kind: str, found: Object) -> str:
    return f"{kind.removesuffix('s').replace('_', ' ')} {found['name']!r}"


def _words_of(awx: Awx, kind: str, now: Object) -> str:
    """Why an update failed, in its own words."""
    summary = now.get("summary_fields", {})
    last = summary.get("last_update") or summary.get("last_job")
    if not last:
        return f"it is {now['status']}"
    path = f"{_UPDATES[kind]}s/{last['id']}/"
    told = awx.get(path)
    explained = told.get("job_explanation") or told.get("result_traceback")
    output = str(awx.get(f"{path}stdout/?format=txt")).strip().splitlines()
    return str(explained or "\n".join(output[-_LAST_WORDS:]) or f"it is {now['status']}").strip()
