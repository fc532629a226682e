"""An Open-Falcon agent is found under whatever name its home goes, and in as few looks as can be."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roles.agent_config.control.discovery import Found
from roles.plugin_sync.control.look import Look
from roles.plugin_sync.control.plan import Wanted
from roles.plugin_sync.control.visit import Visitor

NAMES = (
    "mirror", "branch", "dir", "user", "cfg", "bindings", "program", "state", "unit", "marker",
    "git_url", "home", "logs",
)  # fmt: skip
ME = pwd.getpwuid(os.getuid()).pw_name


def find(home: Path) -> Found:
    """What the look finds of an agent whose home was told."""
    preamble = dict.fromkeys(NAMES, "") | {"home": str(home), "listen": "127.0.0.1:1"}
    look = Look(preamble | {"pythons": "python3"}, 20, find=True)
    done = subprocess.run(["/bin/sh", "-c", look.command], capture_output=True)
    found = look.read(done.stdout).agent
    assert found is not None, done.stderr
    return found


@pytest.mark.parametrize("name", ["home x", "home*", "[a-z]", "  two", "$HOME", "it's"])
def test_a_home_of_any_name_is_looked_into(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    (home / "config").mkdir(parents=True)
    (tmp_path / "home1").mkdir()
    (home / "config/cfg.json").write_text('{"plugin": {"dir": "./plugin"}}')
    assert find(home).values == {
        "home": str(home),
        "cfg": str(home / "config/cfg.json"),
        "dir": str(home / "plugin"),
        "logs": "",
        "user": ME,
    }


# Its name is what a host's agent is known by.
BE_AN_AGENT = """\
import time
open("/proc/self/comm", "w").write("falcon-agent")
print(flush=True)
time.sleep(60)
"""


def test_an_agent_is_found_by_a_home_that_is_told_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/cfg.json").write_text('{"plugin": {"dir": "plugin", "logs": "logs"}}')
    (tmp_path / "agent.py").write_text(BE_AN_AGENT)
    with subprocess.Popen(
        [sys.executable, "../agent.py"], cwd=tmp_path / "real", stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout is not None and agent.stdout.readline()
        found = find(tmp_path / "link")
        agent.kill()
    assert found.pids == [str(agent.pid)]
    assert found.values["dir"] == str(tmp_path / "link/plugin")


def test_a_link_belongs_to_whom_its_folder_belongs(tmp_path: Path) -> None:
    if os.getuid():
        folder, owner = Path("/"), "root"
    else:
        folder, owner = tmp_path / "home", "nobody"
        folder.mkdir()
        os.chown(folder, pwd.getpwnam(owner).pw_uid, -1)
    (tmp_path / "link").symlink_to(folder)
    assert find(tmp_path / "link").values["user"] == owner


class Local:
    """A connection to this very machine, which counts."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, command: str, data: bytes = b"") -> tuple[int, bytes, bytes]:
        self.runs += 1
        done = subprocess.run(["/bin/sh", "-c", command], input=data, capture_output=True)
        return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("written", "looks"),
    [
        ("{home}/plugin", 1),
        ("{home}/plugin/", 1),
        ("{home}//./plugin", 1),
        ("./plugin", 1),
        ("././plugin//", 1),
        # No shell reads these, and only the host knows what is above a link.
        ("./pl\\u0075gin", 2),
        ("{home}/x/../plugin", 2),
    ],
)
def test_a_folder_that_is_merely_written_differently_costs_no_second_look(
    tmp_path: Path, written: str, looks: int
) -> None:
    folder = json.dumps(written.format(home=tmp_path)).replace("\\\\", "\\")
    (tmp_path / "cfg.json").write_text(f'{{"plugin": {{"dir": {folder}}}}}')
    settings: dict[str, Any] = dict.fromkeys(
        ("agent_config_plugin_dir", "agent_config_logs", "agent_config_bindings_path",
         "plugin_sync_user", "executor_program", "executor_state", "executor_unit_path"), "",
    ) | {
        "agent_config_kind": "falcon",
        "agent_config_home": str(tmp_path),
        "agent_config_path": str(tmp_path / "cfg.json"),
        "agent_update_listen": "127.0.0.1:1",
        "plugin_sync_mirror": "/no/mirror.git",
        "plugin_sync_root": "/no/root",
    }  # fmt: skip
    wanted = Wanted(settings, frozenset({"update"}), None, None, (), None, "")
    connection: Any = Local()
    result = Visitor(None, check=True).visit(connection, wanted)
    assert result["msg"] == "nothing to do", result
    assert connection.runs == looks
