"""The manifest plugin, started and configured by its manifest's own rules, on real ports."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentplugin import manifest
from agentplugin.measurements import LineParser, Measurement

FOLDER = Path(__file__).resolve().parents[2] / "plugins" / "portcheck"
MANIFEST = manifest.parse((FOLDER / "plugin.json").read_text(), "portcheck/plugin.json")
Start = Callable[..., "Running"]


class Running:
    """The plugin at work; its lines as an executor reads them."""

    def __init__(self, argv: list[str], cwd: Path, path: str) -> None:
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={"PATH": path, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def measurements(self, count: int) -> list[Measurement]:
        """The next lines, each a measurement that the parser takes."""
        found = []
        for _ in range(count):
            line = self.lines.get(timeout=20)
            # A parser for each: two checks a second apart may fall into one second by the clock.
            parsed = LineParser(MANIFEST.metrics).parse(line, time.time())
            assert isinstance(parsed, Measurement), (line, parsed)
            found.append(parsed)
        return found

    def end(self) -> str:
        """Ends the process; gives what it wrote on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        self.reader.join(10)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        with self.process.stderr as stream:
            return stream.read().decode()


@pytest.fixture
def start(tmp_path: Path, shims: Path) -> Iterator[Start]:
    """Starts the plugin with a configuration, in a working copy as an executor makes it."""
    started = []

    def one(config: dict[str, Any] | None = None, raw: str | None = None) -> Running:
        work = tmp_path / f"work{len(started)}"
        work.mkdir()
        (work / "portcheck.py").write_bytes((FOLDER / "portcheck.py").read_bytes())
        if config is not None:
            (work / "param.json").write_text(MANIFEST.param_json(config))
        if raw is not None:
            (work / "param.json").write_text(raw)
        argv = MANIFEST.argv(config or {"items": [{"host": "localhost", "port": 1}]})
        started.append(Running(argv, work, f"{shims}:/usr/bin:/bin"))
        return started[-1]

    yield one
    for running in started:
        if running.process.poll() is None:
            running.end()


@pytest.fixture
def port() -> Iterator[int]:
    """A port that accepts connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener.getsockname()[1]


def test_an_open_port_is_up_with_the_time_it_took(start: Start, port: int) -> None:
    up, took = start({"items": [{"host": "127.0.0.1", "port": port}]}).measurements(2)
    assert (up.metric, up.value, up.source) == ("PORTCHECK_UP", 1, f"127.0.0.1:{port}")
    assert (took.metric, took.source) == ("PORTCHECK_CONNECT_TIME", up.source)
    assert 0 < took.value < 3000
    assert abs(up.timestamp - time.time()) < 60


def test_one_process_checks_every_item_at_its_own_interval(
    start: Start, port: int, refusing: int
) -> None:
    items = [
        {"host": "127.0.0.1", "port": refusing, "pollInterval": 1000},
        {"host": "127.0.0.1", "port": str(port), "source": "the web shop", "pollInterval": 60000},
        {"host": "nosuch.invalid", "port": 80, "pollInterval": 60000},
    ]
    found = start({"items": items, "pollInterval": 1000}).measurements(6)
    up = {(one.source, one.value) for one in found if one.metric == "PORTCHECK_UP"}
    closed = f"127.0.0.1:{refusing}"
    assert up == {(closed, 0), ("the web shop", 1), ("nosuch.invalid:80", 0)}
    assert sum(one.source == closed for one in found) == 3
    times = [one.timestamp for one in found if one.source == closed]
    assert 1 <= times[-1] - times[0] <= 4


def test_a_port_that_does_not_answer_is_down_in_its_timeout(start: Start) -> None:
    # A full backlog: the kernel drops what else comes, as a firewall does.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        time.sleep(0.2)
        started = time.monotonic()
        running = start({"items": [{"host": "127.0.0.1", "port": port, "timeout": 300}]})
        (down,) = running.measurements(1)
        assert down.value == 0
        assert 0.3 <= time.monotonic() - started < 5
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"host": "", "port": 80}, "item 1: host is missing"),
        ({"port": 80, "host": 5}, "item 1: host is missing"),
        ({"host": "a", "port": 0}, "item 1: port must be 1 to 65535"),
        ({"host": "a", "port": "x"}, 'item 1: port must be a number, not "x"'),
        ({"host": "a", "port": True}, "item 1: port must be a number, not true"),
        ({"host": "a", "port": 1, "timeout": -1}, "item 1: timeout must be above 0"),
        ({"host": "a", "port": 1, "timeout": "inf"}, "item 1: timeout must be a number"),
        ("a:1", "item 1: is not an object"),
    ],
)
def test_a_wrong_item_is_named_and_its_siblings_are_watched(
    start: Start, port: int, item: Any, reason: str
) -> None:
    good = {"host": "127.0.0.1", "port": port}
    running = start(raw=json.dumps({"items": [good, item], "pollInterval": 1000}))
    assert running.measurements(1)[0].value == 1
    assert running.end().strip().startswith(f"portcheck: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot read param.json: No such file"),
        ("{", "param.json is not valid JSON"),
        ("[]", "param.json has no items"),
        ('{"items": []}', "param.json has no items"),
        ('{"items": [{}]}', "none of the 1 items of param.json can be checked"),
    ],
)
def test_a_configuration_without_any_port_ends_it_with_the_reason(
    start: Start, text: str | None, reason: str
) -> None:
    running = start(raw=text)
    assert running.process.wait(20) == 1
    said = running.end().splitlines()
    assert reason in said[-1]
    assert not any("Traceback" in line for line in said)


def test_it_ends_when_nobody_reads_any_more(tmp_path: Path, shims: Path, refusing: int) -> None:
    item = {"host": "127.0.0.1", "port": refusing, "pollInterval": 1000}
    (tmp_path / "param.json").write_text(MANIFEST.param_json({"items": [item]}))
    read_end, write_end = os.pipe()
    with subprocess.Popen(
        [str(FOLDER / "portcheck.py")],
        cwd=tmp_path,
        env={"PATH": f"{shims}:/usr/bin:/bin"},
        stdout=write_end,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(write_end)
        assert os.read(read_end, 1000).startswith(b"PORTCHECK_UP 0 ")
        os.close(read_end)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_the_manifest_fills_in_what_an_operator_left_out() -> None:
    config = {"items": [{"host": "db1", "port": 5432}]}
    assert MANIFEST.validate() == []
    assert MANIFEST.check_config(config) == []
    (item,) = json.loads(MANIFEST.param_json(config))["items"]
    assert item["timeout"] == 3000
    assert item["pollInterval"] == 10000


def test_every_metric_of_the_manifest_is_defined_and_shown() -> None:
    defined = json.loads((FOLDER / "metrics.json").read_text())
    assert set(defined) == set(MANIFEST.metrics)
    needed = {"name", "description", "displayName", "displayNameShort", "unit", "defaultAggregate"}
    for name, definition in defined.items():
        assert definition["name"] == name
        assert needed <= set(definition)
    layout = json.loads((FOLDER / "plugin.json").read_text())["dashboards"][0]["layout"]
    assert all(f"d-g-{name}=" in layout for name in MANIFEST.metrics)


def test_the_icon_is_a_square_png_of_48_pixels() -> None:
    head = (FOLDER / "icon.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (48, 48)


def test_no_sample_configuration_is_shipped() -> None:
    # An executor writes param.json: one in git would make every checkout dirty.
    assert not (FOLDER / "param.json").exists()
