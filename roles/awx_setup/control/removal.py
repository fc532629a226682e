"""Removing an object of AWX's, which AWX may put off.

An inventory goes behind the scenes (`Inventory.schedule_deletion` of awx/main/models/inventory.py). What has a job that
ended just now stays until the job's events are written, for a minute at most (`RelatedJobsPreventDeleteMixin` of
awx/api/views/mixin.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, repeat

from roles.awx_setup.control.client import Awx, Object
from roles.awx_setup.control.refusals import AwxError, EventsPending, NotThere

_GONE = 120.0  # seconds that AWX may take to remove an inventory behind the scenes
_EVENTS = 75.0  # seconds that AWX may refuse for the sake of events
_LOOKS = (0.05, 0.1, 0.2, 0.5)  # seconds between looks; the last goes on


def remove(awx: Awx, kind: str, found: Object) -> None:
    """Remove an object, and wait until it is gone.

    Raises:
        AwxError: AWX refuses it, or takes too long.
    """
    deadline, looks = time.monotonic() + _EVENTS, _looks()
    while not found.get("pending_deletion"):
        try:
            awx.delete(f"{kind}/{found['id']}/")
            break
        except EventsPending:
            if time.monotonic() > deadline:
                raise
            time.sleep(next(looks))
    await_gone(awx, kind, found)


def await_gone(awx: Awx, kind: str, found: Object) -> None:
    """Wait until an object is gone that AWX is removing.

    Raises:
        AwxError: it takes too long.
    """
    deadline, looks = time.monotonic() + _GONE, _looks()
    while time.monotonic() < deadline:
        try:
            awx.get(f"{kind}/{found['id']}/")
        except NotThere:
            return
        time.sleep(next(looks))
    raise AwxError(
        f"AWX has not removed {found['name']!r} of its {kind.replace('_', ' ')} within {_GONE:.0f} s; run this again"
    )


def _looks() -> Iterator[float]:
    return chain(_LOOKS, repeat(_LOOKS[-1]))
