"""Step `configure`: put the rendered files in place and make the agent take them.

The control node has merged what the host showed it; here a file is replaced only if it is still
the one that was merged, so an edit in between is never lost.
"""

from __future__ import annotations

import hashlib
import os
import time

from roles.agent_config.host import files
from roles.agent_update.host import loopback
from roles.plugin_sync.host import command
from roles.plugin_sync.host.outcome import Outcome, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BACKUPS = 5


def configure(plan: dict[str, Any], blobs: dict[str, bytes]) -> Outcome:
    """Write the files that differ, keep a backup of each, and reload or restart the agent."""
    outcome = Outcome()
    done: list[str] = []
    agent = plan["agent"]
    if plan["apply"] == "restart":
        # Stands until it has been restarted: a visit that is killed in between is made up for.
        files.write(plan["marker"], b"", 0o644)
    for wanted in plan["files"]:
        if _write(wanted, plan["user"], outcome):
            done.append(os.path.basename(wanted["path"]))
    outcome.changed = bool(done)
    outcome.msg = "{} written".format(" and ".join(done)) if done else "configuration is right"
    if plan["apply"] == "restart":
        _restart(agent, outcome)
        os.unlink(plan["marker"])
    elif plan["apply"] == "reload" and done:
        _reload(agent, outcome)
    return outcome


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
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _back_up(path: str, text: str, mode: int) -> None:
    folder, name = os.path.split(os.path.realpath(path))
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    prefix = name + ".before-"
    files.write(
        os.path.join(folder, prefix + stamp), text.encode("utf-8", "surrogateescape"), mode & 0o600
    )
    kept = sorted(entry for entry in os.listdir(folder) if entry.startswith(prefix))
    for old in kept[:-_BACKUPS]:
        os.unlink(os.path.join(folder, old))


def _reload(agent: dict[str, Any], outcome: Outcome) -> None:
    """Have a running agent read its configuration again; what was written is known to be JSON."""
    answer = loopback.get(agent["listen"], "/config/reload")
    if answer is None:
        # Not running: it reads the new file when it starts, and `update` says that it is down.
        return
    if '"msg":"success"' not in answer.replace(" ", ""):
        outcome.warnings.append(
            f"the agent did not take its configuration again: /config/reload said {answer.strip()[:200]!r}"
        )


def _restart(agent: dict[str, Any], outcome: Outcome) -> None:
    """Restart the agent: one that started with plugins off never schedules any until then."""
    if not agent["restart"]:
        raise StepFailed(
            "the agent must be restarted, since it was started with its plugin section off and "
            "decides that only once; set agent_config_restart_command, or restart it by hand "
            "and run again",
            "restart-needed",
        )
    status, output = command.run(["/bin/sh", "-c", agent["restart"]], timeout=60)
    if status:
        raise StepFailed(
            f"{agent['restart']} ended with status {status}: {output[-300:]}", "restart"
        )
    if not loopback.wait(agent["listen"], 20):
        raise StepFailed(
            "the agent does not answer on {} 20 s after its restart; look at its log".format(
                agent["listen"]
            ),
            "agent-down",
        )
    outcome.changed = True
    outcome.msg += ", agent restarted"
