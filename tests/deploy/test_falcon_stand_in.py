"""The stand-in of the Open-Falcon agent behaves as the real one was read and measured, faults included."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.deploy.falcon_host import CONFIG
from tests.falcon.arguments import ARGUMENTS
from tests.falcon.command import build
from tests.falcon.execution import split_arguments
from tests.falcon.plugins import atoi


@pytest.mark.parametrize(("text", "arguments"), ARGUMENTS)
def test_arguments_are_split_as_the_agent_splits_them(text: str, arguments: list[str]) -> None:
    assert split_arguments(text) == arguments


def test_numbers_are_what_go_takes_for_them() -> None:
    taken = {"60": 60, "060": 60, "+60": 60, "-60": -60, "": None, "60 ": None, "6e1": None}
    assert {text: atoi(text) for text in taken} == taken
    assert atoi("9" * 20) is None


class Agent:
    """An agent of this machine with a heartbeat every second, and a folder in the place of hbs."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self.folder = program, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "records").mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def script(self, name: str, text: str = "#!/bin/sh\necho '[]'\n", mode: int = 0o755) -> None:
        """A plugin."""
        path = self.folder / "plugin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def start(self, *bound: str, version: str = "master", **changes: Any) -> None:
        """Start it with these bindings, and sections of its configuration laid over the usual ones."""
        config = json.loads(json.dumps(CONFIG))
        config["http"]["listen"] = f"127.0.0.1:{self.port}"
        for section, values in changes.items():
            config[section] = {**config.get(section, {}), **values} if values else values
        (self.folder / "cfg.json").write_text(json.dumps(config))
        (self.folder / "records/plugins").write_text("\n".join(bound))
        folder = [] if "heartbeat" in changes else ["--hbs", "records"]
        with open(self.folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, self._program, "--records", "records", "--as", version, *folder],
                cwd=self.folder, stderr=log,
            )  # fmt: skip
        self.until(lambda: self.ask("/health") == "ok" or self.ended() is not None)

    def ask(self, path: str) -> str | None:
        """The body of an answer, or None where there is none."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=10
            ) as answer:
                assert answer.status == 200
                return str(answer.read().decode())
        except OSError:
            return None

    def listed(self) -> set[str]:
        """What /plugins shows."""
        return set(json.loads(self.ask("/plugins") or "{}").get("data", ()))

    def metrics(self) -> list[dict[str, Any]]:
        """What it has pushed."""
        file = self.folder / "records/metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text()

    def ended(self) -> int | None:
        """Its exit status."""
        return self._process.poll() if self._process else None

    def until(self, true: Callable[[], Any]) -> None:
        """Wait for something."""
        deadline = time.monotonic() + 15
        while not true():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("falcon") / "falcon-agent"
    build(path)
    return path


@pytest.fixture
def agent(program: Path, tmp_path: Path) -> Iterator[Agent]:
    made = Agent(program, tmp_path)
    yield made
    made.close()


NAMES = (
    "60_a.py 60_ 060_b +60_c 1_000_d 60_a.pyc 60_a.py~ 60_a.py.bak 300_README.md "
    "60.py 60 _a 6e1_a 0x10_a .60_a.py.swp 60-a.py"
)


def test_what_is_a_plugin_is_told_by_the_name_alone(agent: Agent) -> None:
    for name in NAMES.split():
        agent.script(f"sys/{name}")
    agent.script("sys/deep/60_x")
    agent.script("one/60")
    agent.start("sys", "one/60(a)", "one/60(b)", "one/nothing", "/")
    names = [f"sys/{name}" for name in NAMES.split()[:9]]
    wanted = {*names, "one/60(a)", "one/60(b)"}
    # Its plugins are started one after the other, and listed as they are.
    agent.until(lambda: len(agent.listed()) >= len(wanted))
    assert agent.listed() == wanted


# Name, version, text, mode of a plugin, and whether it kills the agent.
DEADLY = (
    ("0_x", "master", "", 0o755, True),
    ("-5_x", "0.3", "", 0o755, True),
    ("9223372037_x", "master", "", 0o755, True),
    ("1_x", "0.2.1", "#!/bin/sh\n", 0o644, True),
    ("1_x", "0.3", "#!/bin/sh\n", 0o644, False),
    ("1_x", "master", "#!/bin/sh\necho '[null]'\n", 0o755, True),
)


def test_what_kills_an_agent_kills_it(program: Path, tmp_path: Path) -> None:
    with ExitStack() as running:
        agents = []
        for number, (name, version, text, mode, _) in enumerate(DEADLY):
            (tmp_path / str(number)).mkdir()
            agent = Agent(program, tmp_path / str(number))
            running.callback(agent.close)
            agent.script(f"sys/{name}", text, mode)
            agent.start("sys", version=version, default_tags={"idc": "lab"})
            agents.append(agent)
        for agent, (*plugin, dies) in zip(agents, DEADLY, strict=True):
            agent.until(lambda a=agent: a.ended() is not None or "permission" in a.log().lower())
            assert (agent.ended() == 2) == dies, plugin
            assert ("panic: " in agent.log()) == dies, plugin


def test_an_old_agent_knows_folders_alone(agent: Agent) -> None:
    agent.script("sys/60_a")
    agent.script("sys/60_b")
    agent.script("app/60_c")
    agent.start("sys/60_a", "sys/60_b(x)", "app", version="0.2.1")
    agent.until(agent.listed)
    assert agent.listed() == {"app/60_c"}
    assert agent.ask("/version") == "5.1.2"


OUTPUTS = {
    "1_good": 'echo \'[{"Metric": "good", "Step": 1, "VALUE": 2, "x": 0}]\'',
    "1_failed": 'echo \'[{"metric": "failed"}]\'; exit 3',
    # Its exit status is forgotten, since it said why.
    "1_complained": 'echo \'[{"metric": "complained"}]\'; echo oh >&2; exit 3',
    "1_object": 'echo \'{"metric": "object"}\'',
    "1_float": 'echo \'[{"metric": "float", "timestamp": 1.5}]\'',
    "1_text": 'echo \'[{"metric": "text"}] done\'',
    "1_child": '(sleep 5 &) ; echo \'[{"metric": "child"}]\'',
}


def test_what_is_printed_is_taken_whole_or_not_at_all(agent: Agent) -> None:
    for name, text in OUTPUTS.items():
        agent.script(f"sys/{name}", f"#!/bin/sh\n{text}\n")
    agent.start("sys", default_tags={"idc": "lab"})
    agent.until(lambda: len(agent.metrics()) >= 2 and "will be killed" in agent.log())
    found = {metric["metric"]: metric for metric in agent.metrics()}
    assert set(found) == {"good", "complained"}
    nothing = {"endpoint": "", "countertype": "", "timestamp": 0}
    assert found["good"] == {
        "metric": "good", "step": 1, "value": 2, "tags": "idc=lab", **nothing,
    }  # fmt: skip
    assert (agent.folder / "logs/sys/1_complained().stderr.log").read_text() == "oh\n"
    assert agent.log().count("json.Unmarshal stdout of plugin/sys/") >= 3


def test_failures_are_bodies_and_a_broken_file_ends_it(agent: Agent) -> None:
    (agent.folder / "plugin").mkdir()
    agent.start(plugin={"enabled": False})
    assert agent.ask("/plugin/update") == "plugin not enabled"
    config = json.loads((agent.folder / "cfg.json").read_text())
    config["plugin"]["enabled"] = True
    (agent.folder / "cfg.json").write_text(json.dumps(config))
    assert json.loads(agent.ask("/config/reload") or "")["msg"] == "success"
    said = agent.ask("/plugin/update")
    assert said == "git pull in dir:./plugin fail. error: exit status 128"
    (agent.folder / "cfg.json").write_text("{")
    assert agent.ask("/config/reload") is None
    agent.until(lambda: agent.ended() == 1)


def test_a_missing_section_ends_it_at_its_start(agent: Agent) -> None:
    agent.start(plugin=None)
    assert agent.ended() == 2


class Hbs(socketserver.StreamRequestHandler):
    """Notes what it is asked, and has one answer for all."""

    heard: list[dict[str, Any]]
    answer: ClassVar[dict[str, Any]] = {"Plugins": ["sys"], "Timestamp": 1795294627}

    def handle(self) -> None:
        for line in self.rfile:
            call = json.loads(line)
            self.heard.append(call)
            result = "10.1.2.3," if call["method"] == "Agent.TrustableIps" else self.answer
            told = {"id": call["id"], "result": result, "error": None}
            self.wfile.write(json.dumps(told).encode() + b"\n")


def test_its_calls_are_those_of_the_real_one_on_one_connection(agent: Agent) -> None:
    Hbs.heard = []
    agent.script("sys/60_a")
    os.environ.pop("FALCON_ENDPOINT", None)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hbs) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        agent.start(heartbeat={"addr": f"127.0.0.1:{server.server_address[1]}"})
        assert agent.listed() == set(), "it sleeps first"
        agent.until(agent.listed)
        agent.until(lambda: len({call["method"] for call in Hbs.heard}) == 4)
        server.shutdown()
        agent.close()
    first = {
        "method": "Agent.ReportStatus",
        "params": [
            {
                "Hostname": socket.gethostname(),
                "IP": "127.0.0.1",
                "AgentVersion": "0.3.x@9349180",
                "PluginVersion": "Error:exit status 128",
            }
        ],
        "id": 0,
    }
    assert Hbs.heard[0] == first
    assert [call["id"] for call in Hbs.heard] == list(range(len(Hbs.heard)))
    asked = {"Hostname": socket.gethostname(), "Checksum": ""}
    assert asked in [call["params"][0] for call in Hbs.heard]
