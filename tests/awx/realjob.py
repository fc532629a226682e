"""The process of one real job: `python -m tests.awx.realjob`, with its orders as JSON on standard input.

Runs the playbook by ansible-runner in the project's checkout, as AWX does inside an execution
environment, and writes each event as a line of JSON. As there (`RunJob` in awx/main/tasks/jobs.py), hosts are logged
in to as root where nothing else is said, and no variable may be a template that does not stand in the job
template itself (awx/main/utils/safe_yaml.py, ALLOW_JINJA_IN_EXTRA_VARS).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ansible_runner
import yaml


class _Untrusted(yaml.SafeDumper):
    """Writes every text, keys too, as one that is no template."""


_Untrusted.add_representer(str, lambda dumper, text: dumper.represent_scalar("!unsafe", text))


def _write_variables(file: Path, found: Mapping[str, Any], trusted: Mapping[str, Any]) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    with file.open("x") as out:
        for name, value in found.items():
            dumper = yaml.SafeDumper if (name, value) in trusted.items() else _Untrusted
            yaml.dump({name: value}, out, Dumper=dumper)


def _environment(folder: Path) -> dict[str, str]:
    """What AWX sets for every job (`build_env` in awx/main/tasks/jobs.py, ANSIBLE_... in awx/settings/defaults.py)."""
    roles = "roles:~/.ansible/roles:/usr/share/ansible/roles:/etc/ansible/roles"
    collections = "~/.ansible/collections:/usr/share/ansible/collections"
    return {
        "ANSIBLE_COLLECTIONS_PATH": f"{folder}/requirements_collections:{collections}",
        "ANSIBLE_FORCE_COLOR": "True",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_ROLES_PATH": f"{folder}/requirements_roles:{roles}",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{folder}/cp",
        "MAX_EVENT_RES": "700000",
    }


def main() -> int:
    """Run one job; its exit status is ansible-playbook's."""
    order = json.loads(sys.stdin.readline())
    # Whatever Ansible prints itself must not get between the events.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    canceled = False

    def cancel(*_: Any) -> None:
        nonlocal canceled
        canceled = True

    signal.signal(signal.SIGTERM, cancel)

    def on_event(event: dict[str, Any]) -> bool:
        out.write(json.dumps(event) + "\n")
        return False

    folder = Path(order["folder"])
    arguments = [f"-u {order['user'] or 'root'}"]
    _write_variables(folder / "env" / "extravars", order["extra_vars"], order["trusted"])
    if order["key"]:  # ansible-runner gives it to an agent
        key = folder / "env" / "ssh_key"
        key.touch(0o600)
        key.write_text(order["key"].rstrip("\n") + "\n")
    arguments += ["--check"] * order["check"] + ["--diff"] * order["diff"]
    try:
        runner = ansible_runner.run(
            private_data_dir=str(folder),
            project_dir=order["project"],
            playbook=order["playbook"],
            inventory=order["inventory"],
            limit=order["limit"] or None,
            forks=order["forks"] or None,
            tags=order["tags"] or None,
            skip_tags=order["skip_tags"] or None,
            cmdline=" ".join(arguments),
            envvars=_environment(folder) | order["env"],
            settings={"pexpect_timeout": 1},
            quiet=True,
            suppress_env_files=True,
            event_handler=on_event,
            cancel_callback=lambda: canceled,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 143 if canceled else int(runner.rc or 0)


if __name__ == "__main__":
    sys.exit(main())
