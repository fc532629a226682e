"""The role `controller` on a host with systemd: a hardened unit, settings, and a second run that changes nothing.

The dependencies are copied rather than downloaded: the host gets a virtual environment with what this
test itself runs on, and the role takes it as installed. All else is the role's own work.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from tests.fleet import SystemdFleet, SystemdHost

CHECKOUT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
UNIT = "plugfleet-controller.service"
HOME = "/opt/plugfleet"
DATA = "/var/lib/plugfleet-controller"
ENTRY = (
    '#!/bin/sh\nexec "$(dirname "$0")/python" -c "from controller.cli import main; main()" "$@"\n'
)


@dataclass
class Installation:
    """A host, and the role that is run on it."""

    fleet: SystemdFleet
    host: SystemdHost
    inventory: Path
    checkout: Path

    def play(self, *args: str) -> str:
        """Run the playbook; returns the host's line of the recap."""
        done = self.fleet.run(
            [
                str(BIN / "ansible-playbook"),
                "-i",
                str(self.inventory),
                str(CHECKOUT / "playbooks/install-controller.yml"),
                "-e",
                f"controller_checkout={self.checkout}",
                *args,
            ],
            cwd=CHECKOUT,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return next(line for line in done.stdout.splitlines() if re.search(r"ok=\d", line))

    def on(self, command: str) -> str:
        """What a command on the host prints."""
        done = self.host.exec(command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


def git(folder: Path, *args: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *args]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def checkout_of(folder: Path) -> Path:
    """A repository with the files as they are now, committed or not."""
    folder.mkdir()
    names = git(CHECKOUT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in names:
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "as it is")
    return folder


def put_dependencies(host: SystemdHost, folder: str) -> None:
    """Make the virtual environment that `pip install -r requirements.lock` would."""
    made = host.exec(f"python3 -m venv --without-pip {folder}/venv")
    assert made.returncode == 0, made.stderr
    venv = host.root / folder.lstrip("/") / "venv"
    [site] = venv.glob("lib/python3*/site-packages")
    for line in (CHECKOUT / "requirements.lock").read_text().splitlines():
        if found := re.match(r"^([A-Za-z0-9_.\-]+)==", line):
            for file in metadata.distribution(found[1]).files or ():
                # Compiled files too, as pip leaves them; they are good for files of the same time.
                if ".." not in file.parts and Path(str(file.locate())).exists():
                    (site / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(str(file.locate()), site / file)
    # As an editable installation does it.
    (site / "plugfleet.pth").write_text(f"{folder}/src\n")
    information = site / "plugfleet-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: plugfleet\nVersion: 0.1.0\n"
    )
    (venv / "bin/plugfleet").write_text(ENTRY)
    (venv / "bin/plugfleet").chmod(0o755)
    (venv / ".installed").touch()


@pytest.fixture(scope="module")
def installed(
    systemd_fleet: SystemdFleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("install")
    host = next(iter(systemd_fleet))
    inventory = systemd_fleet.inventory(name="inventory-controller")
    made = Installation(systemd_fleet, host, inventory, checkout_of(folder / "checkout"))
    commit = git(made.checkout, "rev-parse", "HEAD")[:12]
    before = made.play("--check", "-l", host.name)
    assert "failed=0" in before
    assert host.exec(f"test -e {HOME} -o -e /etc/plugfleet").returncode != 0
    put_dependencies(host, f"{HOME}/{commit}")
    made.play("-l", host.name)
    yield made
    host.exec(
        f"systemctl disable --now {UNIT}; rm -rf {HOME} {DATA} /etc/plugfleet "
        f"/etc/systemd/system/{UNIT}; systemctl daemon-reload; userdel plugfleet-controller"
    )


def test_it_runs_as_its_own_account_also_after_a_reboot(installed: Installation) -> None:
    assert installed.on(f"systemctl is-active {UNIT}; systemctl is-enabled {UNIT}") == (
        "active\nenabled"
    )
    pid = installed.on(f"systemctl show -P MainPID {UNIT}")
    assert installed.on(f"stat -c %U /proc/{pid}") == "plugfleet-controller"


def test_it_answers_and_the_first_token_works(installed: Installation) -> None:
    token = re.search(r"pf_[\w-]{43}", installed.on("cat /etc/plugfleet/first-token"))
    assert token
    fetch = f"curl -sf -H 'Authorization: Bearer {token[0]}' 127.0.0.1:8700"
    assert '"admin"' in installed.on(f"{fetch}/api/v1/tokens/current")
    assert "plugfleet_hosts" in installed.on(f"{fetch}/metrics")
    assert token[0] not in installed.on(f"journalctl --no-pager -o cat -u {UNIT}")


def test_others_can_read_neither_data_nor_settings_nor_token(installed: Installation) -> None:
    modes = installed.on(
        f"stat -c '%a %U' {DATA} {DATA}/secret.key {DATA}/plugfleet.db "
        "/etc/plugfleet/controller.toml /etc/plugfleet/first-token"
    )
    owner = "plugfleet-controller"
    assert modes.split("\n") == [
        f"700 {owner}",
        f"600 {owner}",
        f"600 {owner}",
        "640 root",
        "600 root",
    ]


def test_the_units_sandbox_is_tight(installed: Installation) -> None:
    """systemd's own exposure score, 0 to 10: below 3 is good for a service with a network."""
    assert installed.host.exec(f"systemd-analyze verify {UNIT}").stderr == ""
    rated = installed.on(f"systemd-analyze security --no-pager {UNIT} | tail -1")
    assert float(rated.split(":")[1].split()[0]) < 3, rated


def test_ansible_works_inside_of_the_sandbox(installed: Installation) -> None:
    """What a run needs: a pseudo-terminal, /dev/shm, and a home to write to."""
    pid = installed.on(f"systemctl show -P MainPID {UNIT}")
    inside = f"nsenter -t {pid} -m setpriv --reuid plugfleet-controller --regid plugfleet-controller --clear-groups"
    script = (
        f"cd {HOME}/current/src && export HOME={DATA} PATH={HOME}/current/venv/bin:$PATH && "
        "python -m ansible.cli.adhoc localhost -i localhost, -c local -m ansible.builtin.ping && touch /dev/shm/x && "
        "python -c 'import pty; pty.openpty()' && rm /dev/shm/x && ! touch /etc/x 2>/dev/null"
    )
    assert "pong" in installed.on(f"{inside} /bin/sh -c '{script.replace(chr(39), chr(34))}'")


def test_a_stop_is_graceful_and_leaves_nothing_running(installed: Installation) -> None:
    installed.on(f"systemctl restart {UNIT}")
    installed.on(f"systemctl stop {UNIT}")
    assert installed.on(f"systemctl show -P Result {UNIT}") == "success"
    assert installed.host.exec("pgrep -u plugfleet-controller").returncode == 1
    installed.on(f"systemctl start {UNIT}")


def test_a_second_run_changes_what_is_new_and_nothing_else(installed: Installation) -> None:
    """New settings are one file and a restart; a look at what is there then finds nothing to do."""
    before = installed.on(f"systemctl show -P MainPID {UNIT}")
    new = ("-l", installed.host.name, "-e", '{"controller_settings": {"forks": 7}}')
    assert "changed=2 " in installed.play(*new)
    assert installed.on(f"systemctl show -P MainPID {UNIT}") != before
    assert "forks = 7" in installed.on("cat /etc/plugfleet/controller.toml")
    assert "changed=0 " in installed.play("--check", *new)


def test_a_host_that_lacks_something_is_told_what(installed: Installation) -> None:
    done = installed.fleet.run(
        [
            str(BIN / "ansible-playbook"),
            "-i",
            str(installed.inventory),
            "-l",
            installed.host.name,
            str(CHECKOUT / "playbooks/install-controller.yml"),
            "-e",
            "controller_python=/usr/bin/python2",
        ],
        cwd=CHECKOUT,
        timeout=60,
    )
    assert done.returncode != 0
    assert "controller_python names another" in done.stdout
