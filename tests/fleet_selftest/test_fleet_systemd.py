"""Hosts that systemd booted: units, sandboxes and limits that hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import FleetError, NamespaceFleet, SystemdFleet, SystemdHost, systemd, systemd_base

UNIT = (
    "[Service]\nExecStart=/bin/sleep 300\nRestart=always\nDynamicUser=yes\nProtectSystem=strict\n"
)


@pytest.fixture
def host(systemd_fleet: SystemdFleet) -> Iterator[SystemdHost]:
    """One host, made new afterwards."""
    host = systemd_fleet.hosts[0]
    yield host
    host.kill()
    host.start(fresh=True)


def test_systemd_is_process_1_and_every_unit_is_up(systemd_fleet: SystemdFleet) -> None:
    for host in systemd_fleet:
        said = host.ssh("hostname; cat /proc/1/comm; systemctl is-system-running").stdout
        assert said.split() == [host.name, "systemd", "running"]


def test_a_unit_is_installed_started_and_restarted(host: SystemdHost) -> None:
    host.ssh(f"printf '{UNIT}' > /etc/systemd/system/napper.service && systemctl daemon-reload")
    assert host.ssh("systemctl start napper && systemctl is-active napper").stdout == "active\n"
    pid = "systemctl show -P MainPID napper"
    first = host.ssh(f"ps -o user= -p $({pid}); {pid}; kill -9 $({pid})").stdout.split()
    assert first[0] not in ("root", "0")  # a dynamic user
    time.sleep(0.5)
    assert host.ssh(pid).stdout.strip() not in (first[1], "0")


@pytest.mark.parametrize(
    ("setting", "command", "said"),
    [
        ("MemoryMax=32M", "/usr/bin/python3 -c 'bytearray(10**8)'", "status=KILL"),
        ("TasksMax=2", "sh -c 'sleep 1 & sleep 1 & sleep 1 & wait'", "Cannot fork"),
        ("ProtectSystem=strict", "touch /usr/x", "Read-only file system"),
        ("PrivateNetwork=yes", "sh -c '! ip link show eth0'", "does not exist"),
    ],
)
def test_a_units_limits_are_enforced(
    host: SystemdHost, setting: str, command: str, said: str
) -> None:
    done = host.ssh(f"systemd-run --wait --pipe -p {setting} -p MemorySwapMax=0 {command}")
    assert said in done.stderr


def test_a_units_share_of_cpu_is_enforced(host: SystemdHost) -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(time.monotonic() - a)"
    program = f"import time\na = time.monotonic()\n{burn}"
    said = host.ssh(f"systemd-run -q --wait --pipe -p CPUQuota=20% /usr/bin/python3 -c '{program}'")
    assert float(said.stdout) > 0.6, said.stderr


def test_cpu_is_counted_for_services_too(host: SystemdHost) -> None:
    before = host.cpu_seconds()
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    host.ssh(f"systemd-run -q --wait /usr/bin/python3 -c '{burn}'")
    assert 0.3 <= host.cpu_seconds() - before < 1


def test_the_machines_clock_is_not_a_hosts_to_set(host: SystemdHost) -> None:
    assert host.ssh("date -s 2020-01-01").returncode != 0


def test_a_wrong_clock_is_wrong_for_services_too(host: SystemdHost) -> None:
    host.set_clock(-86_400)
    said = host.ssh("date +%s; systemd-run -q --wait --pipe date +%s").stdout.split()
    assert len(said) == 2
    for reading in said:
        assert int(reading) == pytest.approx(time.time() - 86_400, abs=20)


def test_faults_of_disks_and_power_are_as_on_light_hosts(host: SystemdHost) -> None:
    host.fill_disk("/var/lib/full", 65_536)
    assert "No space left" in host.ssh("echo x > /var/lib/full/file").stderr
    host.ssh("echo kept > /etc/kept; sync")
    host.kill()
    host.start()
    assert host.ssh("cat /etc/kept; systemctl is-system-running").stdout.split() == [
        "kept",
        "running",
    ]


def test_a_user_may_become_root(systemd_fleet: SystemdFleet) -> None:
    assert systemd_fleet["s2"].ssh("sudo -n id -un", user="ops").stdout == "root\n"


def test_both_kinds_of_hosts_share_a_switch(
    namespace_fleet: NamespaceFleet, tmp_path: Path
) -> None:
    began = time.monotonic()
    with SystemdFleet(2, tmp_path / "fleet", switch=namespace_fleet.switch) as fleet:
        assert time.monotonic() - began < 10
        address = fleet["s1"].address
        assert address not in {host.address for host in namespace_fleet}
        said = namespace_fleet["n1"].ssh(f"exec 3<>/dev/tcp/{address}/22; head -c 4 <&3").stdout
        assert said == "SSH-"
    assert namespace_fleet["n1"].ssh("true").returncode == 0


def test_more_hosts_than_inotify_allows_are_refused_with_the_command_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inotify").write_text("12\n")
    monkeypatch.setattr(systemd, "INOTIFY", tmp_path / "inotify")
    with pytest.raises(FleetError, match=r"Run: sysctl -w fs\.inotify\.max_user_instances=8192"):
        SystemdFleet(3, tmp_path / "fleet")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "sources.list",
            "# deb http://no.example/ trixie main\n"
            "deb [signed-by=/a b=c] http://one.example/debian trixie main contrib\n"
            "deb-src http://src.example/ trixie main\n",
            [("http://one.example/debian", ["trixie"], ["main", "contrib"])],
        ),
        (
            "sources.list.d/debian.sources",
            "Types: deb deb-src\n# a comment\nURIs: http://two.example/debian\n"
            "Suites: trixie\n trixie-updates\nComponents: main\nSigned-By: /a\n\n"
            "Types: deb-src\nURIs: http://src.example/\nSuites: trixie\nComponents: main\n\n"
            "Enabled: no\nTypes: deb\nURIs: http://off.example/\nSuites: trixie\nComponents: main\n",
            [("http://two.example/debian", ["trixie", "trixie-updates"], ["main"])],
        ),
    ],
)
def test_the_mirror_is_read_from_both_spellings_of_apts_sources(
    tmp_path: Path, name: str, text: str, expected: list[tuple[str, list[str], list[str]]]
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert list(systemd_base._sources(tmp_path)) == expected
