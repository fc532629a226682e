"""The state of each bound plugin, in what a visit reads of its host anyway.

plugfleet's executor says it in `/plugins` (executor/diagnosis.py has the words). An Open-Falcon agent
lists what it runs and says nothing of it; its plugins' stderr logs tell a little more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roles.plugin_sync.control.look import Seen
from roles.plugin_sync.control.plan import Wanted

LISTED, NOT_LISTED, STDERR = "listed", "not-listed", "stderr"
_MOST_PLUGINS = 1000
_MOST_REASON = 240  # characters, as the executor cuts them


def plugin_states(
    wanted: Wanted, seen: Seen, listed: Mapping[str, Any] | None
) -> dict[str, list[list[str]]]:
    """The part of a task result that tells of plugins: `plugins`, a list of [key, state, reason].

    Args:
        listed: what `/plugins` said last; None where nobody answered. Then nothing is told.
    """
    if listed is None or wanted.bindings is None:
        return {}
    errors = {} if wanted.is_executor else wanted.stderr_logs(seen)
    states = []
    for key in wanted.expected[:_MOST_PLUGINS]:
        entry = listed.get(key)
        state = NOT_LISTED if entry is None else LISTED
        reason = ""
        if isinstance(entry, Mapping) and entry.get("State"):
            state, reason = str(entry["State"]), str(entry.get("Reason") or "")
        elif entry is not None and (log := errors.get(key.removesuffix("()"))):
            state, reason = STDERR, f"wrote errors since its release came; see {log}"
        states.append([key, state, reason[:_MOST_REASON]])
    return {"plugins": states}
