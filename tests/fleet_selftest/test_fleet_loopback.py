"""Hosts without root rights: reached by real SSH, told apart, broken and mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import FleetError, LoopbackFleet, LoopbackHost, procs
from tests.fleet.loopback import loopback_address

ANSIBLE = Path(sys.executable).with_name("ansible")
DAY = 86_400


@pytest.fixture
def host(loopback_fleet: LoopbackFleet) -> Iterator[LoopbackHost]:
    """One host, put right afterwards."""
    host = loopback_fleet.hosts[0]
    yield host
    if host.died():
        host.start()


def empty_configuration(folder: Path) -> Path:
    """A configuration of Ansible that says nothing, so that nobody else's is read."""
    (folder / "ansible.cfg").touch()
    return folder / "ansible.cfg"


def ansible(inventory: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs an ad-hoc command of Ansible with nothing of the user's configuration."""
    return subprocess.run(
        [str(ANSIBLE), "-i", str(inventory), *words],
        env={
            **os.environ,
            "ANSIBLE_HOME": str(home),
            "ANSIBLE_CONFIG": str(empty_configuration(home)),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_host_has_an_address_and_a_root_of_its_own(loopback_fleet: LoopbackFleet) -> None:
    said = [
        host.ssh("echo $PLUGFLEET_HOST_NAME $PLUGFLEET_HOST_ROOT").stdout for host in loopback_fleet
    ]
    assert said == [f"{host.name} {host.root}\n" for host in loopback_fleet]
    assert len({host.address for host in loopback_fleet}) == 5


def test_home_and_temporary_files_are_the_hosts(host: LoopbackHost) -> None:
    host.ssh("echo mine > ~/file; echo mine > $TMPDIR/file")
    assert (host.root / "home/file").read_text() == "mine\n"
    assert (host.root / "tmp/file").read_text() == "mine\n"


def test_a_host_with_another_key_than_the_known_one_is_refused(tmp_path: Path) -> None:
    with LoopbackFleet(2, tmp_path / "fleet") as fleet:
        first, second = fleet.known_hosts.read_text().splitlines()
        lines = [first.split()[0], *second.split()[1:]]
        fleet.known_hosts.write_text(" ".join(lines) + "\n")
        refused = fleet.hosts[0].ssh("true")
    assert refused.returncode == 255
    assert "IDENTIFICATION HAS CHANGED" in refused.stderr


def test_ansible_reaches_all_hosts_with_the_inventory(
    loopback_fleet: LoopbackFleet, tmp_path: Path
) -> None:
    inventory = loopback_fleet.inventory(
        groups={"web": ["h1", "h2"], "db": ["h2", "h3", "h4", "h5"]},
        hostvars={"h1": {"answer": {"text": "yes", "list": [1, "1"]}}},
        groupvars={"web": {"port": "0644"}},
        name="for_ansible",
    )
    done = ansible(inventory, tmp_path, "all", "-m", "ping", "-f", "5")
    assert done.stdout.count("SUCCESS") == 5, done.stderr
    shown = ansible(
        inventory, tmp_path, "h1", "-m", "debug", "-a", "msg={{ [answer, port, group_names] }}"
    )
    message = json.loads(shown.stdout.partition("=>")[2])["msg"]
    assert message == [{"text": "yes", "list": [1, "1"]}, "0644", ["web"]]


def test_logins_and_sessions_are_counted(host: LoopbackHost) -> None:
    before = host.logins(), host.sessions()
    for _ in range(3):
        assert host.ssh("true").returncode == 0
    assert (host.logins(), host.sessions()) == (before[0] + 3, before[1] + 3)


def test_what_a_host_runs_costs_it_cpu(host: LoopbackHost) -> None:
    before = host.cpu_seconds()
    host.ssh("/usr/bin/python3 -c 'import time\nwhile time.process_time() < 0.3: pass'")
    # Less by a tick or two: CPU is counted in whole ones.
    assert 0.28 <= host.cpu_seconds() - before < 0.8


def test_a_cut_host_does_not_answer_until_it_is_restored(host: LoopbackHost) -> None:
    host.cut()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            host.ssh("true", timeout=0.5)
        assert host.exec("echo still runs").stdout == "still runs\n"
    finally:
        host.restore()
    assert host.ssh("true").returncode == 0


def test_a_killed_host_refuses_and_comes_back_with_its_files_and_address(
    host: LoopbackHost,
) -> None:
    host.ssh("echo kept > $PLUGFLEET_HOST_ROOT/file; setsid sleep 300 >/dev/null 2>&1 </dev/null &")
    address = host.address, host.port
    assert procs.marked("PLUGFLEET_HOST_ROOT", str(host.root))
    host.kill()
    assert procs.marked("PLUGFLEET_HOST_ROOT", str(host.root)) == []
    assert "Connection refused" in host.ssh("true").stderr
    host.start()
    assert (host.address, host.port) == address
    assert host.ssh("cat $PLUGFLEET_HOST_ROOT/file").stdout == "kept\n"


@pytest.mark.parametrize("seconds", [-DAY, DAY])
def test_a_wrong_clock_is_wrong_for_programs_and_right_for_timeouts(
    host: LoopbackHost, seconds: int
) -> None:
    program = "import time; a = time.monotonic(); time.sleep(.05); print(time.time(), time.monotonic() - a)"
    host.set_clock(seconds)
    try:
        said = host.ssh(f"/usr/bin/python3 -c '{program}'; date +%s").stdout.split()
    finally:
        host.set_clock(None)
    assert float(said[0]) == pytest.approx(time.time() + seconds, abs=20)
    assert 0.05 <= float(said[1]) < 5
    assert int(said[2]) == pytest.approx(time.time() + seconds, abs=20)
    assert int(host.ssh("date +%s").stdout) == pytest.approx(time.time(), abs=20)


def test_two_fleets_live_side_by_side(loopback_fleet: LoopbackFleet, tmp_path: Path) -> None:
    with LoopbackFleet(2, tmp_path / "fleet") as other:
        assert other.hosts[0].address == loopback_fleet.hosts[0].address
        for fleet in (loopback_fleet, other):
            said = fleet.hosts[0].ssh("echo $PLUGFLEET_HOST_ROOT").stdout
            assert said == f"{fleet.hosts[0].root}\n"


def test_fifty_hosts_are_up_within_five_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    with LoopbackFleet(50, tmp_path / "fleet") as fleet:
        assert time.monotonic() - began < 5
        assert fleet["h50"].ssh("echo up").stdout == "up\n"


@pytest.mark.parametrize(
    ("n", "folder", "message"),
    [
        (0, "fleet", "a fleet of 0 hosts is none"),
        (1, "with blank", "use a path of letters, digits"),
        (1, "used", "is not empty"),
        (60_001, "fleet", "there are addresses for 60000"),
    ],
)
def test_what_cannot_be_a_fleet_is_refused(
    tmp_path: Path, n: int, folder: str, message: str
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used/precious").touch()
    with pytest.raises(FleetError, match=message):
        LoopbackFleet(n, tmp_path / folder)
    assert (tmp_path / "used/precious").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": {"web": ["h1", "h9"]}}, "web: no host of this fleet is called h9"),
        ({"groups": {"not-a-name": ["h1"]}}, "a group's name is letters, digits and _"),
        ({"hostvars": {"h7": {}}}, "hostvars: no host of this fleet is called h7"),
    ],
)
def test_an_inventory_of_what_there_is_not_is_refused(
    loopback_fleet: LoopbackFleet, arguments: dict[str, dict[str, list[str]]], message: str
) -> None:
    with pytest.raises(FleetError, match=message):
        loopback_fleet.inventory(name="refused", **arguments)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(
    ("index", "address"),
    [(1, "127.0.0.2"), (248, "127.0.0.249"), (249, "127.0.1.0"), (499, "127.0.2.0")],
)
def test_addresses_go_on_past_one_byte(index: int, address: str) -> None:
    assert loopback_address(index) == address


@pytest.mark.fleet_root
def test_it_works_without_root_rights(tmp_path: Path) -> None:
    """Runs the command as a user that exists in this test's mount namespace only."""
    checkout, home, folder = tmp_path / "checkout", tmp_path / "home", tmp_path / "fleet"
    package = Path(__file__).parent.parent / "fleet"
    subprocess.run(["cp", "-r", "--", str(package), str(home)], check=True)
    (checkout / "tests").mkdir(parents=True)
    home.rename(checkout / "tests/fleet")
    home.mkdir()
    for path in (folder, home):
        path.mkdir(exist_ok=True)
        os.chown(path, 4242, 4242)
    for path in [tmp_path, *tmp_path.parents]:
        if path.owner() == "root" and path != Path("/") and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    passwd = tmp_path / "passwd"
    line = f"fleeter:x:4242:4242::{home}:/bin/sh\n"
    passwd.write_text(Path("/etc/passwd").read_text() + line)
    script = (
        f"mount --bind {passwd} /etc/passwd; cd {checkout}; exec setpriv --reuid=4242 --regid=4242 "
        f"--clear-groups env -i PATH=$PATH HOME={home} PYTHONDONTWRITEBYTECODE=1 timeout 20 "
        f"/usr/bin/python3 -m tests.fleet up --hosts 2 --dir {folder}"
    )
    argv = ["unshare", "--mount", "--propagation=private", "/bin/sh", "-ec", script]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            inventory = process.stdout.readline().strip()
            assert inventory == str(folder / "inventory/hosts.ini"), process.stderr.read()
            assert "ansible_user=fleeter" in Path(inventory).read_text()
            argv = ["ssh", "-F", str(folder / "ssh_config"), "h2", "id -u; echo $HOME"]
            said = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
            assert said.stdout == f"4242\n{folder}/hosts/h2/root/home\n", said.stderr
        finally:
            process.terminate()
            process.wait(20)
    assert list(folder.iterdir()) == []  # its parent is not the user's
