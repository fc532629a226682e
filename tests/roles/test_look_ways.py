"""The look asks the agent with whatever a host has: bash, else curl, else Python."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from roles.plugin_sync.control.look import Look, Seen

_BODY = b'{"msg": "success", "data": {"sys/one/60_one.sh": {"State": "ok"}}}'
_TOOLS = ("sh", "timeout", "cat", "id", "readlink")


class Agent(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/plugins" else 404)
        self.end_headers()
        self.wfile.write(_BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listen() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def look(tmp_path: Path, listen: str, tools: list[str]) -> Seen:
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in (*_TOOLS, *tools):
        # Not the PATH's python3, which may be a script that looks for the real one on the PATH.
        found = os.path.realpath(sys.executable) if tool == "python3" else shutil.which(tool)
        assert found, f"this machine has no {tool}"
        os.symlink(found, programs / tool)
    wanted = {
        name: ""
        for name in (
            "user",
            "mirror",
            "branch",
            "dir",
            "cfg",
            "bindings",
            "program",
            "state",
            "unit",
        )
    }
    wanted |= {"marker": "/no/marker", "git_url": "", "listen": listen, "pythons": "python3"}
    asked = Look(wanted, 20)
    done = subprocess.run(
        ["/bin/sh", "-c", asked.command], env={"PATH": str(programs)}, capture_output=True
    )
    return asked.read(done.stdout)


@pytest.mark.parametrize("tools", [["bash"], ["curl"], ["python3"]], ids=lambda tools: tools[0])
def test_what_the_agent_lists_is_seen(tmp_path: Path, listen: str, tools: list[str]) -> None:
    assert look(tmp_path, listen, tools).plugins == {"sys/one/60_one.sh": {"State": "ok"}}


def test_a_bash_that_was_built_without_network_is_made_up_for(tmp_path: Path, listen: str) -> None:
    poor = tmp_path / "bash"
    poor.write_text("#!/bin/sh\necho '/dev/tcp/: No such file or directory' >&2\nexit 1\n")
    poor.chmod(0o755)
    (tmp_path / "host").mkdir()
    programs = os.environ["PATH"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{programs}")
        seen = look(tmp_path / "host", listen, ["bash", "curl"])
    assert seen.plugins == {"sys/one/60_one.sh": {"State": "ok"}}


@pytest.mark.parametrize("tools", [["bash", "curl"], ["python3"]], ids=lambda tools: tools[0])
def test_where_no_agent_listens_none_is_seen(tmp_path: Path, tools: list[str]) -> None:
    assert look(tmp_path, "127.0.0.1:1", tools).plugins is None
