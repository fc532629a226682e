"""The executor as a systemd unit: hardened, as its own account, and brought back when it dies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.deployment import Deployment, step_script
from tests.deploy.falcon_host import CONFIG
from tests.falcon.command import build
from tests.fleet import SystemdFleet, SystemdHost

UNIT = "plugfleet-executor.service"
ROOT = "/var/lib/plugfleet"

# Tries to write where a plugin must not, and delivers what it could.
NOSY = """#!/bin/sh
cd "$(dirname "$0")"
count=0
for path in ./mine /etc/mine /usr/mine /var/lib/mine ../../../../../cfg.json; do
  (echo x > "$path") 2>/dev/null && count=$((count + 1))
done
id -un | grep -qx plugfleet || count=$((count + 100))
printf '[{"endpoint":"h","metric":"nosy","value":%s,"step":60,"counterType":"GAUGE","tags":"","timestamp":%s}]' \\
  "$count" "$(date +%s)"
"""


@pytest.fixture(scope="module")
def deployment(
    systemd_fleet: SystemdFleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    made = Deployment(
        systemd_fleet,
        tmp_path_factory.mktemp("systemd-deployment") / "d",
        bindings={"all": ["sys/one", "sys/nosy"]},
        variables={
            "agent_config_settings": {
                "executor": {"jsonl": {"path": f"{ROOT}/agent/metrics.jsonl"}}
            }
        },
    )
    made.source.write("sys/nosy/60_nosy.sh", NOSY)
    made.source.commit()
    made.deploy()
    yield made
    made.close()


def on(host: SystemdHost, command: str) -> str:
    done = host.exec(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def eventually(host: SystemdHost, command: str, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if host.exec(command).returncode == 0:
            return True
        time.sleep(0.2)
    return False


def hosts(deployment: Deployment) -> list[SystemdHost]:
    return list(deployment.fleet)


def test_the_unit_runs_enabled_as_its_own_account(deployment: Deployment) -> None:
    for host in hosts(deployment):
        assert on(host, f"systemctl is-active {UNIT}; systemctl is-enabled {UNIT}") == (
            "active\nenabled"
        )
        pid = on(host, f"systemctl show -P MainPID {UNIT}")
        assert on(host, f"stat -c %U /proc/{pid}") == "plugfleet"


def test_a_second_run_changes_nothing(deployment: Deployment) -> None:
    assert set(deployment.deploy().states().values()) == {"right"}


def test_plugins_deliver_and_can_write_nowhere_but_in_the_agents_folder(
    deployment: Deployment,
) -> None:
    for host in hosts(deployment):
        assert eventually(host, f"grep -q nosy {ROOT}/agent/metrics.jsonl")
        assert '"value":0' in on(host, f"grep nosy {ROOT}/agent/metrics.jsonl | tail -1")


def test_a_killed_executor_comes_back_and_runs_its_plugins(deployment: Deployment) -> None:
    host = hosts(deployment)[0]
    before = on(host, f"systemctl show -P MainPID {UNIT}")
    on(host, f"kill -9 {before}")
    assert eventually(
        host, f"test $(systemctl show -P MainPID {UNIT}) != 0 && curl -sf 127.0.0.1:1988/health"
    )
    assert on(host, f"systemctl show -P MainPID {UNIT}") != before


def test_its_limits_are_enforced(deployment: Deployment) -> None:
    host = hosts(deployment)[0]
    assert on(host, f"systemctl show -P MemoryMax {UNIT}") == str(512 << 20)
    assert on(host, f"systemctl show -P TasksMax {UNIT}") == "512"
    # One greedy plugin is killed alone.
    assert on(host, f"systemctl show -P OOMPolicy {UNIT}") == "continue"


def test_an_update_is_taken_without_a_restart(deployment: Deployment) -> None:
    host = hosts(deployment)[0]
    before = on(host, f"systemctl show -P MainPID {UNIT}")
    deployment.source.write("sys/one/60_one.sh", step_script("one", 7))
    deployment.source.commit()
    assert set(deployment.deploy().states().values()) == {"changed"}
    assert on(host, f"grep -c value..7 {ROOT}/agent/plugin/sys/one/60_one.sh") == "1"
    assert on(host, f"systemctl show -P MainPID {UNIT}") == before


def test_the_units_sandbox_is_tight(deployment: Deployment) -> None:
    """systemd's own exposure score, 0 to 10: below 5 it says OK."""
    rated = on(hosts(deployment)[0], f"systemd-analyze security --no-pager {UNIT} | tail -1")
    assert float(rated.split(":")[1].split()[0]) < 5, rated


def test_what_decides_what_runs_belongs_to_root(deployment: Deployment) -> None:
    host = hosts(deployment)[0]
    owners = on(host, f"stat -c '%U %n' {ROOT} {ROOT}/cfg.json {ROOT}/executor.pyz {ROOT}/agent")
    assert owners.split("\n") == [
        f"root {ROOT}",
        f"root {ROOT}/cfg.json",
        f"root {ROOT}/executor.pyz",
        f"plugfleet {ROOT}/agent",
    ]


def test_another_account_takes_over_what_the_former_one_wrote(deployment: Deployment) -> None:
    kept = on(hosts(deployment)[0], f"readlink {ROOT}/agent/plugin")
    run = deployment.run("-e", "executor_user=collector")
    assert set(run.states().values()) == {"changed"}, run.text
    for host in hosts(deployment):
        pid = on(host, f"systemctl show -P MainPID {UNIT}")
        assert on(host, f"stat -c %U /proc/{pid}") == "collector"
        assert on(host, f"find {ROOT} -user plugfleet -o -group plugfleet") == ""
        assert on(host, f"stat -c %U:%G:%a {ROOT}/cfg.json") == "root:collector:640"
        assert on(host, f"readlink {ROOT}/agent/plugin") == kept
    again = deployment.run("-e", "executor_user=collector")
    assert set(again.states().values()) == {"right"}, again.text
    assert set(deployment.deploy().states().values()) == {"changed"}
    assert set(deployment.deploy().states().values()) == {"right"}


FALCON_UNIT = """
[Service]
User=falcon
WorkingDirectory=/opt/falcon
Environment=FALCON_ENDPOINT=known
ExecStart=/usr/bin/python3 falcon-agent -c config.json --records records --hbs records
"""


def test_an_open_falcon_agent_is_restarted_by_the_unit_whose_process_it_is(
    systemd_fleet: SystemdFleet, tmp_path: Path
) -> None:
    host = next(iter(systemd_fleet))
    on(host, "useradd --system falcon; install -d -o falcon /opt/falcon/records /opt/falcon/plugin")
    build(Path(f"{host.root}/opt/falcon/falcon-agent"))
    # The executor has the usual port.
    config = CONFIG | {"plugin": {"enabled": False, "dir": "plugin/", "git": ""}}
    config["http"] = {"enabled": True, "listen": ":2988"}
    Path(f"{host.root}/opt/falcon/config.json").write_text(json.dumps(config))
    Path(f"{host.root}/etc/systemd/system/metrics.service").write_text(FALCON_UNIT)
    on(host, "systemctl daemon-reload && systemctl start metrics")
    assert eventually(host, "curl -sf 127.0.0.1:2988/health")
    before = on(host, "systemctl show -P MainPID metrics")
    made = Deployment(
        systemd_fleet,
        tmp_path,
        bindings={"all": ["sys/one"]},
        variables={
            "agent_config_kind": "falcon",
            "agent_update_listen": "127.0.0.1:2988",
            "plugin_sync_root": "/var/lib/plugfleet-falcon",
        },
    )
    try:
        run = made.deploy("-l", host.name)
        assert "agent restarted" in run.of(host.name)["msg"]
        assert on(host, "systemctl show -P MainPID metrics") not in ("0", before)
        assert on(host, "stat -c %U /opt/falcon/plugin/sys/one/60_one.sh") == "falcon"
        assert made.deploy("-l", host.name).states() == {host.name: "right"}
    finally:
        on(host, "systemctl stop metrics")
        made.close()
