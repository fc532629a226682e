"""Step `configure`: put the rendered files in place and make the agent take them.

The control node has merged what the host showed it; here a file is replaced only if it is still
the one that was merged, so an edit in between is never lost.
"""

from __future__ import annotations

import json
import os
import re
import time

from roles.agent_config.host import files, restart
from roles.plugin_sync.host.outcome import Outcome, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The first, from before plugfleet, and the newest ones.
_BACKUPS = 5


def configure(plan: dict[str, Any], blobs: dict[str, bytes]) -> Outcome:
    """Write the files that differ, keep a backup of each, and reload or restart the agent."""
    outcome = Outcome()
    agent, marker = plan["agent"], plan["marker"]
    # An executor's marker is its `start` step's, which restarts it.
    was_due = restart.due(marker) if agent["kind"] == "falcon" else ""
    foreign = agent["kind"] != "falcon" and os.path.lexists(marker)
    if _reads_at_start(plan):
        restart.note(marker, restart.RESTART)
    elif not foreign and plan["files"]:
        restart.note(marker, restart.RELOAD)
    done = [
        os.path.basename(wanted["path"])
        for wanted in plan["files"]
        if _write(wanted, plan["user"], outcome)
    ]
    outcome.changed = bool(done)
    outcome.msg = "{} written".format(" and ".join(done)) if done else "configuration is right"
    try:
        if agent["kind"] == "falcon" and restart.due(marker) == restart.RESTART:
            restart.make_up(plan, outcome)
        elif done or was_due:
            restart.reload(plan, outcome)
    except StepFailed as error:
        if error.code not in ("agent-down", "configuration-refused") or not done:
            raise
        said = f"{error}; {_put_back(plan)}"
        if error.code == "agent-down" and restart.known(agent):
            said += _started_again(plan, outcome)
        raise StepFailed(said, error.code) from None
    if not foreign and os.path.lexists(marker):
        os.unlink(marker)
    return outcome


def _started_again(plan: dict[str, Any], outcome: Outcome) -> str:
    try:
        restart.restart(plan, outcome)
    except StepFailed as error:
        return f", and it could not be started again: {error}"
    return ", and it was started again"


def _put_back(plan: dict[str, Any]) -> str:
    """Undo what an agent refused: it would not survive its next start; says what was done."""
    for wanted in plan["files"]:
        if wanted["path"] == plan["agent"]["cfg"] and wanted["seen"]:
            content = wanted["present"].encode("utf-8", "surrogateescape")
            files.write(wanted["path"], content, wanted["mode"])
            return f"{wanted['path']} is again what it was before"
    return f"correct {plan['agent']['cfg']} and run again"


def _reads_at_start(plan: dict[str, Any]) -> bool:
    """Whether something changes that an Open-Falcon agent reads at its start alone."""
    if plan["agent"]["kind"] != "falcon":
        return False
    for wanted in plan["files"]:
        if wanted["path"] == plan["agent"]["cfg"]:
            before, after = json.loads(wanted["present"] or "{}"), json.loads(wanted["content"])
            plugin = before.get("plugin")
            was_on = isinstance(plugin, dict) and plugin.get("enabled") is True
            # Its connection to the heartbeat server, and where it listens.
            return not was_on or any(before.get(n) != after.get(n) for n in ("heartbeat", "http"))
    return False


def _write(wanted: dict[str, Any], user: str, outcome: Outcome) -> bool:
    path, content = wanted["path"], wanted["content"]
    before = files.read(path)
    if before == content:
        return False
    if _digest(before) != wanted["seen"]:
        raise StepFailed(
            f"{path} changed while it was being merged; nothing was written, run again",
            "changed-meanwhile",
        )
    files.make_folder(os.path.dirname(path), user)
    if before is not None and wanted["backup"]:
        _back_up(path, before, wanted["mode"])
    files.write(path, content.encode("utf-8", "surrogateescape"), wanted["mode"], user)
    outcome.diff.append(
        {
            "before": before or "",
            "after": content,
            "before_header": path,
            "after_header": path,
        }
    )
    return True


def _digest(text: str | None) -> str:
    if text is None:
        return ""
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _back_up(path: str, text: str, mode: int) -> None:
    folder, name = os.path.split(os.path.realpath(path))
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    prefix = name + ".before-"
    files.write(
        os.path.join(folder, prefix + stamp), text.encode("utf-8", "surrogateescape"), mode & 0o600
    )
    # Ours alone: people keep files of such names too.
    ours = re.compile(re.escape(prefix) + r"[0-9]{8}T[0-9]{6}Z")
    kept = sorted(entry for entry in os.listdir(folder) if ours.fullmatch(entry))
    for old in kept[1 : 1 - _BACKUPS]:
        os.unlink(os.path.join(folder, old))
