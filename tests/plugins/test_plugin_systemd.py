"""The systemd plugin with a systemctl that answers as the real one does, and with the real one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

SYSTEMD = "sys/systemd/60_systemd_units.py"
# As systemd 252 prints with --plain --no-legend.
FAILED = (
    "backup.service loaded failed failed Nightly backup\n"
    "dev-disk-by\\x2dlabel-x.mount loaded failed failed A, b=c\n"
)
SHOWN = {
    "sshd.service": "NRestarts=3\nLoadState=loaded\nActiveState=active\n",
    "backup.timer": "LoadState=loaded\nActiveState=active\n",
    "backup.service": "NRestarts=0\nLoadState=loaded\nActiveState=failed\n",
    "none.service": "NRestarts=0\nLoadState=not-found\nActiveState=inactive\n",
}


@pytest.fixture
def systemctl(shim: Any, tmp_path: Path) -> Any:
    """A systemctl that lists the given failed units and shows the units of SHOWN."""

    def make(failed: str) -> None:
        (tmp_path / "failed").write_text(failed)
        for unit, text in SHOWN.items():
            (tmp_path / unit).write_text(text)
        shim(
            "systemctl",
            f"cd '{tmp_path}'\n"
            'case " $* " in *" list-units "*) exec cat failed;; esac\n'
            'while [ "$1" != -- ]; do shift; done; shift\n'
            'gap=; for unit; do printf "$gap"; cat "$unit"; gap=\'\\n\'; done\n',
        )

    return make


def test_failed_units_are_counted_and_named(run_plugin: Any, systemctl: Any) -> None:
    systemctl(FAILED)
    assert run_plugin(SYSTEMD, "").values() == {
        "systemd.failed.count": 2,
        "systemd.unit.failed/unit=backup.service": 1,
        "systemd.unit.failed/unit=dev-disk-by_x2dlabel-x.mount": 1,
    }


def test_many_failed_units_are_all_counted_and_the_first_are_named(
    run_plugin: Any, systemctl: Any
) -> None:
    systemctl("".join(f"u{number}.service loaded failed failed x\n" for number in range(500)))
    values = run_plugin(SYSTEMD).values()
    assert values.pop("systemd.failed.count") == 500
    assert len(values) == 20


def test_given_units_are_told_apart(run_plugin: Any, systemctl: Any) -> None:
    systemctl("")
    values = run_plugin(SYSTEMD, "sshd", "backup.timer", "backup.service", "none", "sshd").values()
    assert values == {
        "systemd.failed.count": 0,
        "systemd.unit.active/unit=sshd.service": 1,
        "systemd.unit.loaded/unit=sshd.service": 1,
        "systemd.unit.restarts/unit=sshd.service": 3,
        "systemd.unit.active/unit=backup.timer": 1,
        "systemd.unit.loaded/unit=backup.timer": 1,
        "systemd.unit.active/unit=backup.service": 0,
        "systemd.unit.loaded/unit=backup.service": 1,
        "systemd.unit.restarts/unit=backup.service": 0,
        "systemd.unit.active/unit=none.service": 0,
        "systemd.unit.loaded/unit=none.service": 0,
        "systemd.unit.restarts/unit=none.service": 0,
    }


@pytest.mark.parametrize("unit", ["ssh*", "a b", "--root=/x", "../x", "[ab]", "/dev/sda"])
def test_what_could_stand_for_many_units_or_for_an_option_is_refused(
    run_plugin: Any, systemctl: Any, unit: str
) -> None:
    systemctl("")
    assert f"{unit!r} is no unit name" in run_plugin(SYSTEMD, unit).reason()


NOT_BOOTED = "System has not been booted with systemd as init system (PID 1). Can't operate."


def test_a_host_without_systemd_as_process_1_gives_the_reason(run_plugin: Any, shim: Any) -> None:
    shim("systemctl", f'echo "{NOT_BOOTED}" >&2; echo "Failed to connect to bus" >&2; exit 1\n')
    assert run_plugin(SYSTEMD).reason().endswith(f"systemctl list-units: {NOT_BOOTED}")


def test_a_host_without_systemctl_gives_the_reason(run_plugin: Any, shims: Path) -> None:
    (shims / "env").symlink_to(str(shutil.which("env")))
    assert "there is no systemctl" in run_plugin(SYSTEMD, PATH=str(shims)).reason()


def test_a_systemctl_that_hangs_ends_inside_the_step(run_plugin: Any, shim: Any) -> None:
    shim("systemctl", "exec sleep 60\n")
    ran = run_plugin(SYSTEMD, name="3_units.py")
    assert "gave no answer" in ran.reason()
    assert ran.seconds < 2.5


def test_this_machine_gives_data_or_the_reason(run_plugin: Any) -> None:
    ran = run_plugin(SYSTEMD)
    if Path("/run/systemd/system").is_dir():
        assert "systemd.failed.count" in ran.values()
    else:
        assert "systemctl" in ran.reason()
