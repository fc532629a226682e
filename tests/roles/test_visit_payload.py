"""What is sent to a host for a visit: all that the wanted steps import, and no more."""

import json
import subprocess
import sys

import pytest

from roles.plugin_sync.control.payload import BOOT_COMMAND, Payload
from roles.plugin_sync.host.program import STEPS


def sent(steps: list[str], kind: str) -> bytes:
    return Payload().stream({"steps": steps, "agent": {"kind": kind}}, {"pack": b"\0\n"})


@pytest.mark.parametrize("kind", ["executor", "falcon"])
@pytest.mark.parametrize("steps", [[step] for step in STEPS] + [list(STEPS)])
def test_a_host_that_has_nothing_of_ours_can_load_what_is_sent(steps: list[str], kind: str) -> None:
    done = subprocess.run(
        [sys.executable, *BOOT_COMMAND], input=sent(steps, kind), capture_output=True, cwd="/"
    )
    # All modules are loaded, and the program has begun: this plan has none of what it needs.
    assert b"in run" in done.stderr
    assert b"KeyError: 'timeout'" in done.stderr


def test_a_new_release_for_an_executor_costs_no_module_of_other_steps_and_agents() -> None:
    header = json.loads(sent(["sync", "update"], "executor").partition(b"\n")[0])
    names = {name for name, _ in header["modules"]}
    assert not {name for name in names if name.endswith((".service", ".configure", ".falcon"))}
    assert len(header["modules"]) == len(names)
