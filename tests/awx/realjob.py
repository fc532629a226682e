"""The process of one real job: `python -m tests.awx.realjob`, with its orders as JSON on standard input.

Runs the playbook by ansible-runner in the project's checkout, as AWX does inside an execution
environment, and writes each event as a line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import ansible_runner


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
    arguments = [f"-u {order['user']}"] if order["user"] else []
    if order["key"]:
        key = folder / "key"
        key.touch(0o600)
        key.write_text(order["key"].rstrip("\n") + "\n")
        arguments.append(f"--private-key {key}")
    arguments += ["--check"] * order["check"] + ["--diff"] * order["diff"]
    try:
        runner = ansible_runner.run(
            private_data_dir=str(folder),
            project_dir=order["project"],
            playbook=order["playbook"],
            inventory=order["inventory"],
            limit=order["limit"] or None,
            extravars=order["extra_vars"],
            forks=order["forks"] or 5,
            tags=order["tags"] or None,
            skip_tags=order["skip_tags"] or None,
            cmdline=" ".join(arguments) or None,
            envvars=order["env"],
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
