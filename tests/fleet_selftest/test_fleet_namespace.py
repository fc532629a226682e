"""Light hosts: machines of their own on one kernel, that leave this machine alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import FleetError, NamespaceFleet, NamespaceHost

DAY = 86_400


@pytest.fixture
def host(namespace_fleet: NamespaceFleet) -> Iterator[NamespaceHost]:
    """One host, made new afterwards."""
    host = namespace_fleet.hosts[0]
    yield host
    host.restore()
    host.kill()
    host.start(fresh=True)


def test_every_host_has_a_name_an_address_and_processes_of_its_own(
    namespace_fleet: NamespaceFleet,
) -> None:
    for host in namespace_fleet:
        said = host.ssh("hostname; hostname -I; ps -e -o pid=,comm=").stdout.split()
        assert said[:2] == [host.name, host.address]
        assert said[2:4] == ["1", "sshd"]
        assert len(said) < 20  # and not those of this machine


def test_hosts_reach_each_other_by_name(namespace_fleet: NamespaceFleet) -> None:
    said = namespace_fleet["n2"].ssh("exec 3<>/dev/tcp/n4/22; head -c 4 <&3").stdout
    assert said == "SSH-"


def test_a_host_sees_nothing_of_this_machine_but_its_programs(
    namespace_fleet: NamespaceFleet, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    checkout = Path(__file__).resolve().parents[2]
    places = [secret, checkout, Path("/var/lib/dpkg"), Path("/usr/local/bin"), Path("/etc/apt")]
    for place in places:
        assert namespace_fleet["n1"].ssh(f"ls -a {place}").returncode != 0, place
    assert namespace_fleet["n1"].ssh("git --version").returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        "date -s 2020-01-01",
        "mount -t tmpfs none /mnt",
        "umount -l /usr",
        "mknod /tmp/disk b 254 0",
        "echo 1 > /proc/sys/vm/swappiness",
        "modprobe dummy",
        "dmesg",
        "mount -o remount,rw /sys",
    ],
)
def test_root_of_a_host_may_not_touch_the_machine(
    namespace_fleet: NamespaceFleet, command: str
) -> None:
    assert namespace_fleet["n1"].ssh(command).returncode != 0
    assert namespace_fleet["n1"].exec(command).returncode != 0


def test_what_a_host_writes_or_removes_stays_its_own(host: NamespaceHost) -> None:
    done = host.ssh(
        "rm /usr/bin/git && echo x > /usr/bin/h4 && echo x > /etc/services && rm -r /etc/ssl"
    )
    assert done.returncode == 0, done.stderr
    assert host.ssh("git --version").returncode == 127
    assert Path("/usr/bin/git").exists() and not Path("/usr/bin/h4").exists()
    assert host.fleet["n2"].ssh("git --version && ls /etc/ssl").returncode == 0


def test_a_user_may_become_root(namespace_fleet: NamespaceFleet) -> None:
    said = namespace_fleet["n1"].ssh("id -un; sudo -n id -un", user="ops")
    assert said.stdout.split() == ["ops", "root"], said.stderr


def test_a_users_account_can_be_made_as_on_any_host(host: NamespaceHost) -> None:
    said = host.ssh(
        "useradd --system --home-dir /var/lib/p --shell /usr/sbin/nologin p && id -un p"
    )
    assert said.stdout == "p\n", said.stderr


def test_cpu_is_counted_for_all_that_a_host_runs(host: NamespaceHost) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    before = host.cpu_seconds()
    host.ssh(f"/usr/bin/python3 -c '{burn}'")
    over_ssh = host.cpu_seconds() - before
    assert 0.3 <= over_ssh < 0.5
    # A daemon that nobody waits for counts too, and so does what is run from outside.
    host.ssh(f"setsid /usr/bin/python3 -c '{burn}' >/dev/null 2>&1 </dev/null &")
    host.exec(f"/usr/bin/python3 -c '{burn}'")
    time.sleep(0.5)
    assert host.cpu_seconds() - before - over_ssh >= 0.6


def test_a_cut_host_is_unreachable_and_runs_on(host: NamespaceHost) -> None:
    host.cut()
    argv = ["ssh", "-F", str(host.fleet.ssh_config), "-o", "ConnectTimeout=1", host.name, "true"]
    gone = host.fleet.run(argv)
    assert gone.returncode == 255 and "timed out" in gone.stderr
    assert host.exec("hostname").stdout == "n1\n"
    host.restore()
    assert host.ssh("true").returncode == 0


def test_a_killed_host_is_gone_and_comes_back_with_its_disk(host: NamespaceHost) -> None:
    host.ssh("echo kept > /var/lib/file; setsid sleep 300 >/dev/null 2>&1 </dev/null &")
    host.kill()
    with pytest.raises(FleetError, match="n1: is not running"):
        host.exec("true")
    host.start()
    assert host.ssh("cat /var/lib/file; pgrep sleep").stdout == "kept\n"
    host.kill()
    host.start(fresh=True)
    assert host.ssh("cat /var/lib/file").returncode == 1


def test_a_running_host_is_not_started_twice(namespace_fleet: NamespaceFleet) -> None:
    with pytest.raises(FleetError, match="n2: runs already"):
        namespace_fleet["n2"].start()


def test_disks_fill_up_and_go_read_only(host: NamespaceHost) -> None:
    host.fill_disk("/var/lib/full", 65_536)
    full = host.ssh("echo x > /var/lib/full/file")
    assert "No space left on device" in full.stderr
    host.free_disk("/var/lib/full")
    assert host.ssh("echo x > /var/lib/full/file").returncode == 0

    host.small_disk("/var/lib/small", 1_048_576)
    assert host.ssh("head -c 1000000 /dev/zero > /var/lib/small/one").returncode == 0
    assert "No space left" in host.ssh("head -c 100000 /dev/zero > /var/lib/small/two").stderr

    host.make_read_only("/var/lib/full")
    assert "Read-only file system" in host.ssh("echo x > /var/lib/full/file").stderr
    host.free_disk("/var/lib/full")
    assert host.ssh("cat /var/lib/full/file").stdout == "x\n"


def test_a_fault_that_cannot_be_made_says_why(namespace_fleet: NamespaceFleet) -> None:
    with pytest.raises(FleetError, match=r"n2: umount .*not mounted"):
        namespace_fleet["n2"].free_disk("/var/lib")


@pytest.mark.parametrize("seconds", [-DAY, 3.5 * DAY])
def test_a_wrong_clock_is_wrong_for_every_new_program(host: NamespaceHost, seconds: float) -> None:
    program = "import time; time.sleep(.05); print(int(time.time()))"
    host.set_clock(seconds)
    said = host.ssh(f"date +%s; sudo date +%s; /usr/bin/python3 -c '{program}'", user="ops")
    assert said.stderr == ""
    for reading in said.stdout.split():
        assert int(reading) == pytest.approx(time.time() + seconds, abs=20)
    host.set_clock(None)
    assert int(host.ssh("date +%s").stdout) == pytest.approx(time.time(), abs=20)


def test_a_host_is_reached_through_another(namespace_fleet: NamespaceFleet) -> None:
    jump, target = namespace_fleet["n1"], namespace_fleet["n2"]
    before = jump.logins()
    argv = ["ssh", "-F", str(namespace_fleet.ssh_config), "-J", "n1", "n2", "hostname"]
    assert namespace_fleet.run(argv).stdout == "n2\n"
    assert jump.logins() == before + 1
    source = target.ssh("who -m >/dev/null; echo $SSH_CONNECTION").stdout.split()[0]
    assert source == "10.99.0.1"  # the control side's, when nobody is in between


def test_ansible_masters_of_two_fleets_with_the_same_addresses_do_not_mix(
    namespace_fleet: NamespaceFleet, tmp_path: Path
) -> None:
    settings = tmp_path / "ansible.cfg"
    settings.touch()
    with NamespaceFleet(1, tmp_path / "fleet") as other:
        assert other.hosts[0].address == namespace_fleet.hosts[0].address
        (other.hosts[0].root / "etc/which").write_text("other")
        (namespace_fleet.hosts[0].root / "etc/which").write_text("first")
        for fleet, expected in ((namespace_fleet, "first"), (other, "other")):
            ansible = Path(sys.executable).with_name("ansible")
            inventory = fleet.inventory(user="ops", name="masters")
            argv = [str(ansible), "-i", str(inventory), "n1", "-b", "-m", "command"]
            env = {**os.environ, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_CONFIG": str(settings)}
            done = fleet.run([*argv, "-a", "cat /etc/which"], env=env)
            assert expected in done.stdout, done.stdout + done.stderr


def test_fifty_hosts_are_up_within_five_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    with NamespaceFleet(50, tmp_path / "fleet") as fleet:
        assert time.monotonic() - began < 5
        assert fleet["n50"].ssh("hostname").stdout == "n50\n"


def test_more_hosts_than_a_switch_carries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="more than 800 hosts on one switch"):
        NamespaceFleet(801, tmp_path / "fleet")
    assert not (tmp_path / "fleet").exists()


def test_a_host_that_cannot_start_says_why(tmp_path: Path) -> None:
    with NamespaceFleet(1, tmp_path / "fleet") as fleet:
        host = fleet.hosts[0]
        host.ssh("echo Nonsense yes >> /etc/ssh/sshd_config")
        host.kill()
        with pytest.raises(
            FleetError, match=r"n1: ended with 255: (.|\n)*Bad configuration option"
        ):
            host.start()


def test_commands_of_the_control_side_end_with_the_fleet(tmp_path: Path) -> None:
    with NamespaceFleet(1, tmp_path / "fleet") as fleet:
        left = subprocess.Popen(fleet.control(["sleep", "300"]))
        time.sleep(0.1)
    assert left.wait(5) == -9
