"""A simple manifest plugin: configured, run in a copy of its own, read line by line, restarted
with patience.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from tests.executor.harness import Host, alive, wait_until
from tests.executor.manifest_source import install


def test_it_runs_with_its_parameters_in_a_private_copy(host: Host) -> None:
    install(
        host,
        "import json, os\np = json.load(open('param.json'))\n"
        "open('made', 'w').write(p['host'])\n"
        "print('TEST_VALUE', 12.5, p['host'])\nprint('TEST_OTHER 7%')\nprint('UNDECLARED 1')\n",
    )
    host.bind({"plugin": "check", "config": {"secret": "hidden", "pollInterval": 60000}})
    host.start()
    entry = host.wait_state("check", "ok")
    assert (entry["Kind"], entry["Cycle"]) == ("manifest", 60)
    wait_until(lambda: len(host.samples()) == 2, "two values")
    first, second = host.samples()
    assert (first["metric"], first["value"], first["tags"]) == (
        "TEST_VALUE", 12.5, "source=localhost,plugin=check",
    )  # fmt: skip
    assert (second["value"], second["step"], second["tags"]) == (7.0, 60, "plugin=check")
    copy = host.root / "state" / "manifest" / "check"
    assert (copy / "param.json").stat().st_mode & 0o777 == 0o600
    assert copy.stat().st_mode & 0o077 == 0
    assert '\n   "secret": "hidden"' in (copy / "param.json").read_text()
    assert not (host.root / "plugin" / "check" / "made").exists()
    assert wait_until(lambda: host.plugins()["check"]["Rejected"], "the undeclared one") == 1


def test_a_looping_plugin_is_left_alone_and_its_lines_come_at_once(host: Host) -> None:
    install(host, "import time\nwhile True:\n    print('TEST_VALUE 1')\n    time.sleep(0.5)\n")
    host.bind("check")
    host.start()
    wait_until(lambda: host.plugins()["check"]["Samples"] >= 2, "values while it runs")
    entry = host.plugins()["check"]
    assert (entry["Running"], entry["Runs"], entry["State"]) == (True, 0, "ok")


def test_a_plugin_that_ends_is_started_again_after_its_poll_interval(host: Host) -> None:
    install(host, "print('TEST_VALUE 1')\n")
    host.bind({"plugin": "check", "config": {"pollInterval": 1000}})
    host.start()
    wait_until(lambda: host.plugins()["check"]["Runs"] == 1, "first run")
    began = time.monotonic()
    wait_until(lambda: host.plugins()["check"]["Runs"] >= 3, "two more")
    assert 1.5 < time.monotonic() - began < 3


def test_a_crashing_plugin_backs_off_and_a_new_configuration_brings_it_back(host: Host) -> None:
    # A poll interval of 1 s would hide the pauses.
    install(
        host,
        "import json, sys\np = json.load(open('param.json'))\n"
        "if p['host'] == 'bad': sys.exit('cannot reach ' + p['host'])\nprint('TEST_VALUE 1')\n",
    )
    host.bind({"plugin": "check", "config": {"host": "bad"}})
    host.cfg["executor"]["restart_pause"] = 0.1
    host.start()
    began = time.monotonic()
    entry = host.wait_state("check", "parked", seconds=30)
    assert entry["Runs"] == 5
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4 + 0.8
    assert "exit code 1: cannot reach bad" in entry["Reason"]
    host.bind({"plugin": "check", "config": {"host": "good"}})
    host.wait_state("check", "ok")


def test_new_code_restarts_a_looping_plugin(host: Host) -> None:
    code = "import time\nwhile True:\n    print('TEST_VALUE {}')\n    time.sleep(0.2)\n"
    install(host, code.format(1))
    host.bind("check")
    host.cfg["heartbeat"] = {"interval": 1}
    host.start()
    host.wait_state("check", "ok")
    install(host, code.format("2.0"))
    wait_until(lambda: host.plugins()["check"]["LastValue"]["value"] == 2, "the new code runs")


@pytest.mark.parametrize(
    ("fields", "config", "state", "reason"),
    [
        ({"command": "boundary-meter init.lua"}, {}, "unsupported-runtime", "boundary-meter"),
        ({"command": "nonesuch-9 x"}, {}, "unsupported-runtime", "nonesuch-9"),
        ({"command": "./gone x"}, {}, "unsupported-runtime", "its folder has no './gone'"),
        ({"command": "main.py"}, {}, "unsupported-runtime", "only './main.py' means the file"),
        ({"unsupportedPlatforms": [{"osFamily": "Linux"}]}, {}, "unsupported-platform", "Linux"),
        ({"paramArray": {"itemTitle": ["host"], "schemaTitle": "x"}}, {}, "failed", "items"),
        ({"command": "python3 main.py $(nope)"}, {}, "failed", "nope"),
        ({"disabled": True}, {}, "parked", "disabled"),
    ],
)
def test_what_cannot_start_is_named_and_not_retried(
    host: Host, fields: dict[str, Any], config: dict[str, Any], state: str, reason: str
) -> None:
    install(host, "print('TEST_VALUE 1')\n", **fields)
    host.bind({"plugin": "check", "config": config})
    host.start()
    entry = host.wait_state("check", state)
    assert reason in entry["Reason"]
    assert entry["Runs"] == 0


def test_a_broken_manifest_names_the_line(host: Host) -> None:
    install(host, "")
    (host.root / "plugin" / "check" / "plugin.json").write_text('{\n  "command": "x",\n}')
    install(host, "", "huge", description="x" * (5 << 20))
    host.bind("check", "huge")
    host.start()
    assert "larger than 4 MiB" in host.wait_state("huge", "failed")["Reason"]
    reason = host.wait_state("check", "failed")["Reason"]
    assert "plugin.json:2" in reason and "^" not in reason


def test_what_it_said_is_told_where_a_run_gave_nothing(host: Host) -> None:
    install(host, "import sys\nprint('disk is away', file=sys.stderr)\n")
    host.bind("check")
    host.start()
    assert host.wait_state("check", "no-data")["Reason"].endswith("; stderr: disk is away")


def test_the_hosts_interpreter_map_comes_first(host: Host) -> None:
    install(host, "print('TEST_VALUE 3')\n", command="python main.py")
    host.cfg["executor"]["interpreters"] = {"python": ["/usr/bin/env", "python3"]}
    host.bind("check")
    host.start()
    assert host.wait_state("check", "ok")["LastValue"]["value"] == 3


def test_an_endless_line_grows_no_memory(host: Host) -> None:
    install(
        host,
        "import sys\nfor n in range(200): sys.stdout.write('x' * 65536)\n"
        "print()\nprint('TEST_VALUE 4')\n",
    )
    host.start()
    before = host.rss_kb()
    host.bind("check")
    assert host.wait_state("check", "ok")["Rejected"] == 1
    assert host.rss_kb() - before < 2500


def test_stopping_ends_it_and_unbinding_too(host: Host) -> None:
    install(
        host,
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nwhile True: time.sleep(1)\n",
    )
    host.bind("check")
    host.start()
    pid_file = host.root / "state/manifest/check/pid"
    pid = int(wait_until(lambda: pid_file.exists() and pid_file.read_text(), "it runs"))
    host.bind()
    wait_until(lambda: not alive(pid), "it ended")
    assert not os.path.exists(f"/proc/{pid}") or not alive(pid)


def test_events_are_counted_and_logged(host: Host) -> None:
    install(host, "print('_bevent:disk replaced|t:warn|m:slot 3')\nprint('TEST_VALUE 1')\n")
    host.bind("check")
    host.start()
    host.wait_state("check", "ok")
    assert host.plugins()["check"]["Events"] == 1
    assert "event warn: disk replaced: slot 3" in host.log
