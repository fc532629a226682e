"""Steps `install` and `start`: the executor's program, its service, and that it runs.

A marker file stands from before the program is replaced until it has been restarted, so a visit
that is killed in between leaves a host that the next one finishes.
"""

from __future__ import annotations

import os
import pwd

from roles.agent_config.host import files
from roles.agent_update.host import loopback
from roles.executor.host import ownership
from roles.plugin_sync.host import command
from roles.plugin_sync.host.outcome import Outcome, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYSTEMD = "/run/systemd/system"


def install(plan: dict[str, Any], blobs: dict[str, bytes]) -> Outcome:
    """Put the program and, with systemd, its unit in place."""
    wanted, outcome = plan["executor"], Outcome("executor is installed")
    parts = []
    if os.geteuid() == 0 and _make_account(plan["user"], plan["root"]):
        parts.append("account {}".format(plan["user"]))
    former = ownership.former(plan)
    if former:
        files.write(plan["marker"], b"", 0o644)
        ownership.hand_over(plan, former)
        parts.append("ownership")
    # The folder itself stays root's: who may replace cfg.json decides what the executor runs.
    files.make_folder(plan["root"], "")
    for path in (os.path.dirname(plan["agent"]["dir"]), plan["agent"]["logs"], wanted["state"]):
        files.make_folder(path, plan["user"])
    files.make_folder(os.path.dirname(wanted["program"]), "")
    if _sha256(wanted["program"]) != wanted["program_sha256"]:
        if "program" not in blobs:
            raise StepFailed("the executor's program was not sent; run again", "no-program")
        files.write(plan["marker"], b"", 0o644)
        files.write(wanted["program"], blobs["program"], 0o755)
        parts.append("program")
    if wanted["service"] == "systemd":
        if not os.path.isdir(SYSTEMD):
            raise StepFailed(
                "systemd does not run on this host; set executor_service to process", "no-systemd"
            )
        before = files.read(wanted["unit_path"])
        if before != wanted["unit"]:
            files.write(plan["marker"], b"", 0o644)
            files.write(wanted["unit_path"], wanted["unit"].encode(), 0o644)
            parts.append("unit")
            outcome.diff.append(
                {
                    "before": before or "",
                    "after": wanted["unit"],
                    "before_header": wanted["unit_path"],
                    "after_header": wanted["unit_path"],
                }
            )
    if parts:
        outcome.changed = True
        outcome.msg = "executor: {} written".format(" and ".join(parts))
    return outcome


def _make_account(user: str, home: str) -> bool:
    if user in ("", "root"):
        return False
    try:
        pwd.getpwnam(user)
        return False
    except KeyError:
        shell = next((s for s in ("/usr/sbin/nologin", "/sbin/nologin") if os.path.exists(s)), "")
    status, output = command.run(
        ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home,
         "--shell", shell or "/bin/false", user]
    )  # fmt: skip
    if status:
        raise StepFailed(f"the account {user} could not be made: {output}", "no-user")
    return True


def _sha256(path: str) -> str:
    import hashlib

    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return ""


def start(plan: dict[str, Any], blobs: dict[str, bytes]) -> Outcome:
    """Start the executor, or restart it where its program, unit or configuration is newer."""
    wanted, agent = plan["executor"], plan["agent"]
    stale = os.path.exists(plan["marker"])
    version = loopback.get(agent["listen"], "/version", 2)
    if version is not None and not version.startswith("plugfleet-"):
        raise StepFailed(
            f"something else answers on {agent['listen']} (/version says {version[:60]!r}): if it "
            "is an Open-Falcon agent, set agent_config_kind=falcon, else change agent_update_listen",
            "port-taken",
        )
    if not stale and version is not None:
        return Outcome("executor runs")
    if wanted["service"] == "systemd":
        _systemd(plan)
    else:
        _process(plan)
    if not loopback.wait(agent["listen"], 20):
        raise StepFailed(
            "the executor does not answer on {} 20 s after its start: {}".format(
                agent["listen"], _last_words(plan)
            ),
            "executor-down",
        )
    if stale:
        os.unlink(plan["marker"])
    return Outcome("executor started", changed=True)


def _systemd(plan: dict[str, Any]) -> None:
    name = os.path.basename(plan["executor"]["unit_path"])
    for args in (["daemon-reload"], ["enable", "--quiet", name], ["restart", name]):
        status, output = command.run(["systemctl", *args])
        if status:
            raise StepFailed("systemctl {}: {}".format(" ".join(args), output), "systemctl")


def _process(plan: dict[str, Any]) -> None:
    import shutil

    wanted = plan["executor"]
    python = shutil.which(wanted["python"])
    if python is None:
        raise StepFailed(
            "{} is not on this host; set executor_python".format(wanted["python"]), "no-python"
        )
    status, output = command.run(
        [python, "-IS", wanted["program"], "--config", plan["agent"]["cfg"], "--restart"],
        plan["user"],
    )
    if status:
        raise StepFailed(f"the executor could not be started: {output[-500:]}", "start")


def _last_words(plan: dict[str, Any]) -> str:
    """The end of the executor's log."""
    wanted = plan["executor"]
    if wanted["service"] == "systemd":
        name = os.path.basename(wanted["unit_path"])
        _, output = command.run(["journalctl", "--no-pager", "-n", "5", "-o", "cat", "-u", name])
        return output[-500:] or f"journalctl -u {name} has no word of it"
    path = os.path.join(plan["agent"]["logs"], "executor.log")
    return (files.read(path) or "")[-500:].strip() or f"{path} is empty"
