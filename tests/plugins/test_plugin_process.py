"""The process plugin on given processes and on real ones that the tests start."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROCESS = "sys/process/60_process_count.py"
PAGE = 4096
Add = Callable[..., None]


@pytest.fixture
def add(fake_proc: Path, write: Any) -> Add:
    """Adds processes to a fake /proc of a host that is up for 1000 s; process 1 is there."""

    def one(pid: int, comm: str, *command: str, state: str = "S", start: int = 0) -> None:
        stat = f"{pid} ({comm}) {state} " + "0 " * 16 + f"3 0 {start * 100} 0 10 " + "0 " * 20
        text = "\0".join(command) + "\0" if command else ""
        write(fake_proc, {f"{pid}/stat": stat, f"{pid}/cmdline": text})

    write(fake_proc, {"uptime": "1000.00 1.00\n"})
    one(1, "systemd", "/sbin/init")
    return one


@pytest.mark.parametrize(
    ("name", "comm", "command", "counted"),
    [
        ("nginx", "nginx", ["nginx: master process /usr/sbin/nginx"], 1),
        ("nginx", "nginx", ["/usr/sbin/nginx", "-g", "daemon off;"], 1),
        ("nginx", "nginx-exporter", ["/usr/bin/nginx-exporter"], 0),
        (
            "a-name-longer-than-the-kernel-keeps",
            "a-name-longer-t",
            ["/x/a-name-longer-than-the"],
            0,
        ),
        ("prometheus-node-exporter", "prometheus-node", ["/usr/bin/prometheus-node-exporter"], 1),
        ("kworker/0:1", "kworker/0:1", [], 1),
        ("backup.py", "python3", ["/usr/bin/python3", "-u", "/opt/backup.py", "--all"], 1),
        ("backup.py", "python3.11", ["python3.11", "/opt/backup.py"], 1),
        ("backup.py", "vim", ["vim", "/opt/backup.py"], 0),
        ("run.sh", "sh", ["/bin/sh", "./run.sh"], 1),
        ("(sd-pam)", "(sd-pam)", ["(sd-pam)"], 1),
        ("a) b (c", "a) b (c", ["x"], 1),
        ("~java.*kafka", "java", ["java", "-Xmx1g", "kafka.Kafka"], 1),
        ("~^kafka", "java", ["java", "-Xmx1g", "kafka.Kafka"], 0),
        ("my prog", "my prog", ["/opt/my prog"], 1),
    ],
)
def test_a_process_goes_by_its_program_its_script_or_its_command_line(
    run_plugin: Any,
    add: Add,
    fake_proc: Path,
    name: str,
    comm: str,
    command: list[str],
    counted: int,
) -> None:
    add(7, comm, *command)
    rows = run_plugin(PROCESS, name, HOST_PROC=str(fake_proc)).rows()
    assert [row["value"] for row in rows if row["metric"] == "process.count"] == [counted]


def test_memory_is_summed_and_age_is_the_oldest_and_the_youngest(
    run_plugin: Any, add: Add, fake_proc: Path
) -> None:
    add(7, "nginx", "nginx", start=100)
    add(8, "nginx", "nginx", start=990)
    add(9, "nginx", state="Z", start=1)  # it does no work any more
    values = run_plugin(PROCESS, "nginx", "nginx", "sshd", HOST_PROC=str(fake_proc)).values()
    page = int(subprocess.check_output(["getconf", "PAGE_SIZE"]))
    assert values == {
        "process.count/name=nginx": 2,
        "process.rss.bytes/name=nginx": 20 * page,
        "process.threads/name=nginx": 6,
        "process.oldest.seconds/name=nginx": 900.0,
        "process.youngest.seconds/name=nginx": 10.0,
        "process.count/name=sshd": 0,
        "process.rss.bytes/name=sshd": 0,
        "process.threads/name=sshd": 0,
    }


def test_without_names_the_hosts_totals_are_sent(
    run_plugin: Any, add: Add, fake_proc: Path
) -> None:
    add(7, "a", state="Z")
    add(8, "b", state="D")
    add(9, "c", state="D")
    values = run_plugin(PROCESS, "", HOST_PROC=str(fake_proc)).values()
    assert values == {
        "process.total": 4,
        "process.total.threads": 12,
        "process.zombies": 1,
        "process.blocked": 2,
    }


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[str]:
    """A real process with a name that no other on this machine has."""
    program = tmp_path / "plugfleet-nap"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as process:
        time.sleep(0.3)
        yield program.name
        process.kill()


def test_a_real_process_is_counted_once_and_the_plugin_never_counts_itself(
    run_plugin: Any, sleeper: str
) -> None:
    values = run_plugin(PROCESS, sleeper, f"~{sleeper} 60", "60_process_count.py").values()
    assert values[f"process.count/name={sleeper}"] == 1
    assert values[f"process.count/name={sleeper}_60"] == 1
    assert values["process.count/name=60_process_count.py"] == 0
    assert values[f"process.rss.bytes/name={sleeper}"] > 0
    assert 0.2 < values[f"process.oldest.seconds/name={sleeper}"] < 30


def test_a_proc_that_hides_others_processes_is_a_reason_and_no_wrong_count(
    run_plugin: Any, fake_proc: Path, write: Any
) -> None:
    write(fake_proc, {"uptime": "1.0 1.0", "77/stat": "77 (a) S", "77/cmdline": ""})
    assert "hidepid" in run_plugin(PROCESS, "a", HOST_PROC=str(fake_proc)).reason()


def test_a_bad_regular_expression_is_named(run_plugin: Any) -> None:
    assert "'~ng(inx' is no regular expression" in run_plugin(PROCESS, "~ng(inx").reason()


def test_a_proc_that_is_not_there_is_a_reason(run_plugin: Any, tmp_path: Path) -> None:
    assert "cannot read" in run_plugin(PROCESS, HOST_PROC=str(tmp_path / "none")).reason()
