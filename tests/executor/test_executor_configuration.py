"""cfg.json and bindings.json: refused with the field's name, and what runs goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest

from executor.config import load
from executor.errors import ConfigError
from executor.httpconnection import Request
from tests.executor.harness import PYTHON, Host, JsonRpc, free_port, prints, wait_until


def written(tmp_path: Path, content: Any) -> str:
    path = tmp_path / "cfg.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("content", "field", "reason"),
    [
        ('{"a": ', "", "not valid JSON"),
        ("[]", "", "one JSON object, not a list"),
        ("[" * 100000, "", "nested too deeply"),
        ({"plugin": []}, "plugin", "must be an object"),
        ({"plugin": {"enabled": "yes"}}, "plugin.enabled", "true or false, not a string"),
        ({"plugin": {"dir": 5}}, "plugin.dir", "must be a string, not a number"),
        ({"plugin": {"dir": "/"}}, "plugin.dir", "directory of its own"),
        ({"plugin": {"dir": "."}}, "plugin.dir", "directory of its own"),
        ({"debug": 1}, "debug", "must be true or false"),
        ({"heartbeat": {"interval": 0}}, "heartbeat.interval", "above 0"),
        ({"heartbeat": {"interval": 1.5}}, "heartbeat.interval", "whole number"),
        ({"heartbeat": {"addr": "nohost"}}, "heartbeat.addr", "host:port"),
        ({"transfer": {"addrs": "x:1"}}, "transfer.addrs", "must be a list"),
        ({"transfer": {"addrs": ["x:99999"]}}, "transfer.addrs", "host:port"),
        ({"transfer": {"enabled": True, "addrs": []}}, "transfer.addrs", "is empty"),
        ({"http": {"listen": "1988"}}, "http.listen", "host:port"),
        ({"default_tags": {"a": 1}}, "default_tags", "must be a string"),
        ({"default_tags": {"a": "b,c"}}, "default_tags", "comma"),
        ({"executor": {"falcon_push": "https://x/"}}, "executor.falcon_push", "http://"),
        ({"executor": {"agent_push": "http://u:p@x/"}}, "executor.agent_push", "no user"),
        ({"executor": {"spool_max_bytes": 5}}, "executor.spool_max_bytes", "at least"),
        ({"executor": {"first_run_within": -1}}, "executor.first_run_within", "between 0"),
        ({"executor": {"interpreters": ["node"]}}, "executor.interpreters", "an object"),
        ({"executor": {"interpreters": {"node": 5}}}, "executor.interpreters", "list of"),
        ({"executor": {"interpreters": {"node": []}}}, "executor.interpreters", "list of"),
        ({"executor": {"interpreters": {"node": ""}}}, "executor.interpreters", "a path"),
        ({"executor": {"postextract": "yes"}}, "executor.postextract", '"skip"'),
        ({"executor": {"boundary": {"url": "ftp://x/"}}}, "executor.boundary.url", "https://"),
        ({"executor": {"jsonl": {"max_bytes": "1"}}}, "executor.jsonl.max_bytes", "whole number"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(
    tmp_path: Path, content: Any, field: str, reason: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.field == field
    assert reason in str(caught.value)
    assert path in str(caught.value)


def test_an_empty_object_gets_safe_defaults(tmp_path: Path) -> None:
    config = load(written(tmp_path, {"some": "key", "plugin": None}))
    assert config["plugin.enabled"] is False
    assert config["http.listen"] == "127.0.0.1:1988"
    assert config["executor.state"] == str(tmp_path / "state")


def test_the_example_of_a_falcon_agent_is_taken(tmp_path: Path) -> None:
    example = {
        "debug": True, "hostname": "", "ip": "",
        "plugin": {"enabled": False, "dir": "./plugin", "git": "x", "logs": "./logs"},
        "heartbeat": {"enabled": True, "addr": "127.0.0.1:6030", "interval": 60, "timeout": 1000},
        "transfer": {"enabled": True, "addrs": ["127.0.0.1:8433", "127.0.0.1:8433"],
                     "interval": 60, "timeout": 1000},
        "http": {"enabled": True, "listen": ":1988", "backdoor": False},
        "collector": {"ifacePrefix": ["eth", "em"], "mountPoint": []},
        "default_tags": {}, "ignore": {"cpu.busy": True, "df.bytes.free": True},
    }  # fmt: skip
    config = load(written(tmp_path, example))
    assert config["plugin.dir"] == str(tmp_path / "plugin")
    assert config["http.listen"] == ":1988"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--version"], 0, "plugfleet-executor 0.1.0"),
        (["--help"], 0, "usage:"),
        ([], 2, "--config FILE is missing"),
        (["--config"], 2, "needs a file"),
        (["--config", "x", "--nonsense"], 2, "unknown argument"),
        (["--config", "x", "--check", "--stop"], 2, "exclude each other"),
        (["--config", "/no/such/cfg.json", "--check"], 1, "cannot be read"),
    ],
)
def test_command_line(pyz: Path, arguments: list[str], code: int, said: str) -> None:
    done = subprocess.run([PYTHON, str(pyz), *arguments], capture_output=True, text=True)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_what_is_wrong_or_that_it_is_good(host: Host) -> None:
    host.write_cfg()
    done = host.run("--check")
    assert (done.returncode, "good; this host is testhost" in done.stdout) == (0, True)
    host.cfg["debug"] = "x"
    host.write_cfg()
    done = host.run("--check")
    assert done.returncode == 1
    assert "debug must be true or false" in done.stderr


@pytest.mark.parametrize("way", ["reload", "hangup"])
def test_a_broken_configuration_is_refused_and_the_old_one_stays(host: Host, way: str) -> None:
    host.script("app/1_a.sh", prints())
    host.bind("app")
    host.start()
    host.wait_state("app/1_a.sh", "ok")
    (host.root / "cfg.json").write_text('{"plugin": ')
    if way == "reload":
        status, body = host.answer("/config/reload")
        assert status == 400
        assert "config refused, the old one stays" in json.loads(body)["msg"]
    else:
        assert host.process is not None
        host.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the old one stays" in host.log, "it is logged")
    assert "not valid JSON" in host.detail()["configError"]
    runs = host.plugins()["app/1_a.sh"]["Runs"]
    wait_until(lambda: host.plugins()["app/1_a.sh"]["Runs"] > runs, "it runs on")


def test_enabling_plugins_needs_no_restart(host: Host) -> None:
    # With the agent it does, and disabling leaves them running.
    host.cfg["plugin"]["enabled"] = False
    host.script("app/1_a.sh", prints())
    host.bind("app")
    host.start()
    host.cfg["plugin"]["enabled"] = True
    host.write_cfg()
    assert json.loads(host.get("/config/reload"))["data"]["plugin"]["enabled"] is True
    host.wait_state("app/1_a.sh", "ok")
    host.cfg["plugin"]["enabled"] = False
    host.write_cfg()
    host.get("/config/reload")
    assert host.plugins() == {}


def test_a_new_hostname_and_tags_count_from_the_reload_on(host: Host) -> None:
    host.script("app/1_a.sh", prints())
    host.bind("app")
    host.start()
    host.wait_state("app/1_a.sh", "ok")
    host.cfg.update(hostname="renamed", default_tags={"rack": "9"})
    host.write_cfg()
    host.get("/config/reload")
    last = wait_until(
        lambda: next((m for m in host.samples() if m["endpoint"] == "renamed"), None), "new name"
    )
    assert last["tags"] == "t=1,rack=9"


def test_a_new_port_is_taken_and_a_busy_one_refused(host: Host) -> None:
    host.start()
    busy = JsonRpc({})
    try:
        host.cfg["http"]["listen"] = f"127.0.0.1:{busy.port}"
        host.write_cfg()
        status, body = host.answer("/config/reload")
        assert status == 400
        assert "http.listen" in body
    finally:
        busy.close()
    port = free_port()
    host.cfg["http"]["listen"] = f"127.0.0.1:{port}"
    host.write_cfg()
    assert json.loads(host.get("/config/reload"))["msg"] == "success"
    host.url = f"http://127.0.0.1:{port}"
    assert host.get("/health") == "ok"


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("127.0.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.1.2.3", False),
        ("::ffff:10.1.2.3", False),
        ("fe80::1", False),
    ],
)
def test_only_this_host_may_reload(peer: str, trusted: bool) -> None:
    client = types.SimpleNamespace(peer=peer)
    assert Request(client, "GET", "/config/reload", b"").from_loopback is trusted  # type: ignore[arg-type]


def test_the_state_folder_cannot_move_while_it_runs(host: Host) -> None:
    host.start()
    host.cfg["executor"]["state"] = "elsewhere"
    host.write_cfg()
    status, body = host.answer("/config/reload")
    assert status == 400
    assert "restart the executor" in body


def test_two_executors_never_share_a_state_folder(host: Host) -> None:
    host.start()
    assert host.process is not None
    done = host.run()
    assert done.returncode == 1
    assert f"another executor (pid {host.process.pid})" in done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"bindings": ["app"', "not valid JSON"),
        ('["app"]', "must hold"),
        ('{"bindings": "app"}', "must hold"),
        ("\x00", "not valid JSON"),
    ],
)
def test_broken_bindings_are_refused_and_the_old_ones_stay(
    host: Host, text: str, reason: str
) -> None:
    host.script("app/1_a.sh", prints())
    host.bind("app")
    host.start()
    host.wait_state("app/1_a.sh", "ok")
    (host.root / "bindings.json").write_text(text)
    wait_until(lambda: reason in host.detail()["bindingsError"], "it is said")
    assert list(host.plugins()) == ["app/1_a.sh"]
    host.script("other/1_b.sh", prints())
    host.bind("other")
    host.wait_state("other/1_b.sh", "ok")
    assert host.detail()["bindingsError"] == ""
    assert list(host.plugins()) == ["other/1_b.sh"]


def test_one_bad_binding_leaves_the_others(host: Host) -> None:
    host.script("app/1_a.sh", prints())
    host.bind("../outside", 7, "app", {"plugin": "app", "config": {}}, "")
    host.start()
    host.wait_state("app/1_a.sh", "ok")
    assert "'..'" in host.plugins()["../outside"]["Reason"]
