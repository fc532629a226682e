"""The Nagios wrapper around checks that say what real ones say, and do what bad ones do."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).resolve().parents[2] / "plugins"
NAGIOS = "sys/nagios/60_nagios.py"


@pytest.fixture
def check(shim: Any) -> Any:
    """Makes check_it print the text (a file's, so no shell touches it) and exit with the code."""

    def make(text: str, code: int = 0) -> None:
        path = shim("check_it", f'cat "$0.out"; exit {code}\n')
        Path(f"{path}.out").write_text(text)

    return make


@pytest.mark.parametrize(
    ("code", "status"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (126, 3), (127, 3), (255, 3)]
)
def test_the_exit_code_is_the_status(run_plugin: Any, check: Any, code: int, status: int) -> None:
    check("IT said something\n", code)
    values = run_plugin(NAGIOS, "check_it").values()
    assert values["nagios.status/check=check_it"] == status
    assert values["nagios.timeout/check=check_it"] == 0
    assert 0 <= values["nagios.seconds/check=check_it"] < 10


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        # As check_load, check_disk, check_http and check_ping of monitoring-plugins 2.3 print.
        (
            "LOAD OK - total load average: 0.73, 0.37|load1=0.730;5.000;10.000;0; load5=0.37;;;0;",
            {"label=load1": 0.73, "label=load5": 0.37},
        ),
        (
            "DISK OK| /=23801626624B;216442024755;243497277849;0;270552530944",
            {"label=/,unit=bytes": 23801626624},
        ),
        (
            "HTTP OK |time=0.012345s;;;0.000000;10.000000 size=10701B;;;0",
            {"label=time,unit=s": 0.012345, "label=size,unit=bytes": 10701},
        ),
        (
            "PING OK|rta=0.045000ms;100.0;500.0;0.000000 pl=0%;20;60;0",
            {"label=rta,unit=s": 0.000045, "label=pl,unit=percent": 0},
        ),
        (
            "x|a=1us b=1µs c=2ns",
            {"label=a,unit=s": 1e-6, "label=b,unit=s": 1e-6, "label=c,unit=s": 2e-9},
        ),
        ("x|m=2MB k=1KiB", {"label=m,unit=bytes": 2 * 1024**2, "label=k,unit=bytes": 1024}),
        ("x|'used space'=5;1 'it''s'=6", {"label=used_space": 5, "label=it's": 6}),
        ("x|'a=b'=7 'c,d'=8", {"label=a_b": 7, "label=c_d": 8}),
        ("x|t=-4.5C v=+1 e=1e3", {"label=t,unit=C": -4.5, "label=v": 1, "label=e": 1000}),
        ("x|comma=0,5", {"label=comma": 0.5}),
        ("x|unknown=U;;; bad=1.2.3 nan=nan inf=inf none= ok=1", {"label=ok": 1}),
        ("x|twice=1 twice=2", {"label=twice": 1}),
        (
            "one|a=1\nlong text = no data\nmore|b=2\nc=3",
            {"label=a": 1, "label=b": 2, "label=c": 3},
        ),
        ("no performance data = 5", {}),
        ("", {}),
    ],
)
def test_performance_data_becomes_metrics_in_base_units(
    run_plugin: Any, check: Any, output: str, expected: dict[str, float]
) -> None:
    check(output)
    values = run_plugin(NAGIOS, "check_it").values()
    prefix = "nagios.value/check=check_it,"
    found = {name[len(prefix) :]: value for name, value in values.items() if prefix in name}
    assert found == pytest.approx(expected)


def test_a_counter_is_sent_as_a_counter(run_plugin: Any, check: Any) -> None:
    check("x|requests=123456789c")
    (row,) = [row for row in run_plugin(NAGIOS, "check_it").rows() if "label" in row["tags"]]
    assert (row["value"], row["counterType"]) == (123456789, "COUNTER")
    assert row["tags"] == "check=check_it,label=requests"


@pytest.mark.parametrize(
    "arguments",
    [
        ["check_args", "-w", "5,4,3", "-m", "a b"],
        ["check_args", "-w", "5%2C4%2C3", "-m", "a b"],
        ["check_args -w 5%2C4%2C3 -m 'a b'"],
        ["name=check_args", "check_args -w 5%2C4%2C3 -m 'a b'"],
        ["", "check_args", "-w", "5,4,3", " -m ", "a b", ""],
    ],
)
def test_the_command_line_is_given_in_words_or_whole(
    run_plugin: Any, shim: Any, tmp_path: Path, arguments: list[str]
) -> None:
    shim("check_args", f"printf '<%s>' \"$@\" >'{tmp_path}/words'\n")
    run_plugin(NAGIOS, *arguments).rows()
    assert (tmp_path / "words").read_text() == "<-w><5,4,3><-m><a b>"


def test_a_name_tells_two_bindings_of_one_check_apart(run_plugin: Any, check: Any) -> None:
    check("x|a=1")
    values = run_plugin(NAGIOS, "name=root disk", "check_it").values()
    assert values["nagios.status/check=root_disk"] == 0
    assert values["nagios.value/check=root_disk,label=a"] == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no check is given"),
        (["name=x"], "no check is given"),
        (["check_none_such"], "there is no check 'check_none_such'"),
        (["/etc/passwd"], "there is no check '/etc/passwd' that may be executed"),
        (["/tmp"], "there is no check '/tmp'"),
        (["check 'it"], "cannot split the command line"),
    ],
)
def test_a_check_that_cannot_be_run_is_a_reason_and_no_data(
    run_plugin: Any, arguments: list[str], reason: str
) -> None:
    assert reason in run_plugin(NAGIOS, *arguments).reason()


def test_a_check_with_a_broken_first_line_is_a_reason(run_plugin: Any, tmp_path: Path) -> None:
    path = tmp_path / "check_crlf"
    path.write_text("#!/bin/nosuchshell\r\necho hi\n")
    path.chmod(0o755)
    assert "is its first line right?" in run_plugin(NAGIOS, str(path)).reason()


def gone(pid_file: Path) -> bool:
    pid = int(pid_file.read_text())
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
                return True
            os.kill(pid, 0)
        except (OSError, IndexError):
            return True
        time.sleep(0.02)
    return False


def test_a_check_that_hangs_is_unknown_and_is_killed_with_all_it_started(
    run_plugin: Any, shim: Any, tmp_path: Path
) -> None:
    shim("check_it", f"trap '' TERM\nsleep 60 & echo $! >'{tmp_path}/pid'\nwait; sleep 60\n")
    ran = run_plugin(NAGIOS, "check_it", name="3_nagios.py")
    values = ran.values()
    assert values["nagios.status/check=check_it"] == 3
    assert values["nagios.timeout/check=check_it"] == 1
    assert ran.seconds < 2.5
    assert gone(tmp_path / "pid")


def test_a_check_dies_with_its_wrapper_when_the_agent_stops(
    shim: Any, shims: Path, tmp_path: Path
) -> None:
    whole = f"echo $$ >'{tmp_path}/part'; mv '{tmp_path}/part' '{tmp_path}/pid'"
    shim("check_it", f"trap '' TERM\n{whole}\nsleep 60\nsleep 60\n")
    with subprocess.Popen(
        [str(TREE / NAGIOS), "check_it"],
        env={"PATH": f"{shims}:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        for _ in range(500):
            if (tmp_path / "pid").exists():
                break
            time.sleep(0.02)
        process.terminate()
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (1, b"")
    assert stderr == b"60_nagios.py: stopped by the agent\n"
    assert gone(tmp_path / "pid")


@pytest.mark.parametrize("child", ["sleep 60", "(sleep 0.2; exec yes)"])
def test_a_background_child_that_holds_the_output_costs_nothing(
    run_plugin: Any, shim: Any, tmp_path: Path, child: str
) -> None:
    shim("check_it", f"{child} & echo $! >'{tmp_path}/pid'\necho 'OK|a=1'\n")
    ran = run_plugin(NAGIOS, "check_it")
    assert ran.values()["nagios.value/check=check_it,label=a"] == 1
    assert ran.seconds < 5
    assert gone(tmp_path / "pid")


def test_a_check_that_closes_its_output_is_waited_for(run_plugin: Any, shim: Any) -> None:
    shim("check_it", "echo 'OK|a=1'\nexec >&-\nsleep 0.3\nexit 2\n")
    assert run_plugin(NAGIOS, "check_it").values()["nagios.status/check=check_it"] == 2


@pytest.mark.parametrize("text", ["b", "'", "'' ", "a=", "'a'=1 ", "x|", "\\n|"])
def test_a_flood_is_cut_and_the_status_still_comes(run_plugin: Any, shim: Any, text: str) -> None:
    shim(
        "check_it", f"printf 'WARN|a=1 '\nyes \"{text}\" | tr -d '\\n' | head -c 9999999\nexit 1\n"
    )
    ran = run_plugin(NAGIOS, "check_it")
    values = ran.values()
    assert values["nagios.status/check=check_it"] == 1
    assert values["nagios.value/check=check_it,label=a"] == 1
    assert ran.seconds < 5


def test_many_values_are_bounded(run_plugin: Any, check: Any) -> None:
    check("x|" + " ".join(f"v{number}=1" for number in range(5000)))
    assert len(run_plugin(NAGIOS, "check_it").rows()) == 3 + 200
