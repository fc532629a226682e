"""What runs on a host in one visit: the wanted steps, one after the other, under one lock.

Sent over the connection and run by the host's Python (>= 3.8, standard library only); nothing is
installed. The steps' modules come along under the names that they are imported by here.

Some of the standard library is imported where it is used (hashlib, shutil, tempfile, ctypes): all of
it together costs a host 12 ms, and a visit that brings a new release to a sound host needs none.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time

from roles.plugin_sync.host import command, leftovers
from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MARKER = "plugfleet-visit 1"

# In this order whatever was asked for: code before what starts it, bindings before the update.
# Named, not imported: only the modules of the steps that are asked for are sent.
STEPS = {
    "install": ("roles.executor.host.service", "install"),
    "sync": ("roles.plugin_sync.host.mirror", "sync"),
    "configure": ("roles.agent_config.host.configure", "configure"),
    "start": ("roles.executor.host.service", "start"),
    "update": ("roles.agent_update.host.update", "update"),
}


def run(plan: dict[str, Any], blobs: dict[str, bytes]) -> None:
    """Run the plan's steps and print what came of them as one JSON line after the marker."""
    report: dict[str, Any] = {"steps": [], "failed": False}
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(int(plan["timeout"]))
    # A run of the controller ends every process with its mark; what is started here is to stay.
    os.environ.pop("PLUGFLEET_WAVE", None)
    name, started = "lock", time.time()
    try:
        os.umask(0o022)
        lock = _lock(plan["root"])
        command.held_by_git.append(lock)
        leftovers.remove_partial_files(_written_folders(plan))
        for name, (module, function) in STEPS.items():
            if name not in plan["steps"]:
                continue
            started = time.time()
            outcome = getattr(sys.modules[module], function)(plan, blobs)
            report["steps"].append(
                dict(outcome.as_dict(), step=name, seconds=round(time.time() - started, 3))
            )
        os.close(lock)
    except StepFailed as error:
        _fail(report, name, str(error), error.code, time.time() - started)
    except OSError as error:
        _fail(report, name, _explain(error), "os-error", time.time() - started)
    finally:
        signal.alarm(0)
    sys.stdout.write(f"\n{MARKER}\n{json.dumps(report)}\n")


def _fail(report: dict[str, Any], step: str, message: str, code: str, seconds: float) -> None:
    report["failed"] = True
    failed = {"step": step, "failed": True, "msg": message, "code": code}
    report["steps"].append(dict(failed, seconds=round(seconds, 3)))


def _lock(root: str) -> int:
    """Let one visit at a time work on a host; the lock ends with the process that holds it."""
    os.makedirs(root, mode=0o755, exist_ok=True)
    lock = os.open(os.path.join(root, ".visit.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.time() + 30
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError:
            if time.time() > deadline:
                raise StepFailed(
                    "another deployment has been working on this host for 30 s; wait for it", "busy"
                ) from None
            time.sleep(0.1)


def _written_folders(plan: dict[str, Any]) -> list[str]:
    """The folders that steps write single files to."""
    executor = plan["executor"]
    paths = [plan["agent"]["cfg"], executor["program"], executor["unit_path"]]
    paths += [file["path"] for file in plan["files"]]
    folders = {os.path.dirname(os.path.realpath(path)) for path in paths}
    return sorted(folders | {plan["root"], os.path.join(plan["root"], "kept")})


def _out_of_time(*_: object) -> None:
    raise StepFailed("the visit took longer than plugin_sync_timeout; it was ended", "timeout")


def _explain(error: OSError) -> str:
    message = "{}: {}".format(error.filename or "file", error.strerror or error)
    if error.filename and error.errno == 28:
        return message + "; free some space there and run again"
    if error.errno == 30:
        return message + "; the file system is mounted read-only"
    return message
