"""What the executor writes belongs to its account; handing it over where `executor_user` changed.

git refuses another user's repository, and the executor stops at what it may not write.
"""

from __future__ import annotations

import os

from roles.plugin_sync.host import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def former(plan: dict[str, Any]) -> os.stat_result | None:
    """Whom the executor's state belongs to, if that is another account than it is to run as."""
    if os.geteuid() != 0:
        return None
    try:
        found = os.lstat(plan["executor"]["state"])
    except FileNotFoundError:
        return None
    return None if found.st_uid == command.account(plan["user"] or "root").pw_uid else found


def hand_over(plan: dict[str, Any], old: os.stat_result) -> None:
    """Give the executor's folders to the account that it is to run as, and end what runs there.

    Only what belonged to the former account: it may have linked other users' files into its own.
    """
    _stop(plan)
    new = command.account(plan["user"] or "root")
    agent = plan["agent"]
    state = plan["executor"]["state"]
    own = (os.path.dirname(agent["dir"]), agent["logs"], state, plan["mirror"])
    # The state folder last: its owner is what tells the next visit that this one was killed.
    below = {path for top in own for path in _all_below(top)} - {state}
    # Its configuration stays root's, and readable to the account's group.
    for folder in {plan["root"], os.path.dirname(agent["cfg"])}:
        for entry in os.scandir(folder):
            if entry.is_file(follow_symlinks=False) and entry.stat().st_gid == old.st_gid:
                os.chown(entry.path, -1, new.pw_gid)
    for path in (*below, state):
        if os.lstat(path).st_uid == old.st_uid:
            os.chown(path, new.pw_uid, new.pw_gid, follow_symlinks=False)


def _all_below(top: str) -> list[str]:
    found = [top] if os.path.lexists(top) else []
    for folder, folders, names in os.walk(top):
        found += [os.path.join(folder, name) for name in (*folders, *names)]
    return found


def _stop(plan: dict[str, Any]) -> None:
    wanted = plan["executor"]
    if wanted["service"] == "systemd":
        command.run(["systemctl", "stop", os.path.basename(wanted["unit_path"])])
    elif os.path.exists(wanted["program"]):
        program = [wanted["python"], "-IS", wanted["program"], "--config", plan["agent"]["cfg"]]
        command.run([*program, "--stop"])
