"""The disk plugin on this machine's own mounts, on given mount tables, and on mounts that hang."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DISK = "sys/disk/60_disk.py"


def device(path: Path) -> str:
    number = path.stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def line(
    path: str, dev: str, fstype: str = "ext4", options: str = "rw", super_options: str = "rw"
) -> str:
    """One line of mountinfo, as proc(5) describes it."""
    escaped = path.replace("\\", "\\134").replace(" ", "\\040")
    return f"36 35 {dev} / {escaped} {options},relatime shared:1 - {fstype} /dev/x {super_options}"


@pytest.fixture
def mounted(fake_proc: Path, write: Any) -> Any:
    """Makes the lines the mount table of process 1; gives the environment to run with."""

    def make(*lines: str, fstab: str = "") -> dict[str, str]:
        etc = fake_proc.parent / "etc"
        write(fake_proc, {"1/mountinfo": "\n".join(lines) + "\n"})
        write(etc, {"fstab": fstab})
        return {"HOST_PROC": str(fake_proc), "HOST_ETC": str(etc)}

    return make


def paths(ran: Any) -> set[str]:
    """The mount points that a run reports."""
    return {row["tags"].split(",")[0].split("=")[1] for row in ran.rows()}


def test_the_root_filesystem_is_measured_as_statvfs_says(run_plugin: Any) -> None:
    # Process 1 may see another root than a test in a sandbox: "/" given is "/" reported.
    rows = [row for row in run_plugin(DISK, "/").rows() if row["tags"].startswith("mount=/,")]
    values = {row["metric"]: row["value"] for row in rows}
    found = os.statvfs("/")
    used = found.f_blocks - found.f_bfree
    assert values["disk.hung"] == values["disk.error"] == 0
    assert values["disk.total.bytes"] == found.f_blocks * found.f_frsize
    assert values["disk.used.percent"] == pytest.approx(
        100 * used / (used + found.f_bavail), abs=0.5
    )


def test_every_mount_of_this_machine_is_delivered_without_kernel_filesystems(
    run_plugin: Any,
) -> None:
    found = paths(run_plugin(DISK))
    assert found
    assert not {"/proc", "/sys", "/dev", "/dev/pts"} & found


def test_each_filesystem_is_reported_once_at_its_shortest_path(
    run_plugin: Any, mounted: Any, tmp_path: Path
) -> None:
    dev = device(tmp_path)
    (tmp_path / "deeper").mkdir()
    env = mounted(line(f"{tmp_path}/deeper", dev), line(str(tmp_path), dev))
    assert paths(run_plugin(DISK, **env)) == {str(tmp_path)}


def test_of_two_mounts_on_one_path_the_later_counts(
    run_plugin: Any, mounted: Any, tmp_path: Path
) -> None:
    env = mounted(line(str(tmp_path), "0:99", "nfs4"), line(str(tmp_path), device(tmp_path), "xfs"))
    assert {row["tags"] for row in run_plugin(DISK, **env).rows()} == {
        f"mount={tmp_path},fstype=xfs"
    }


@pytest.mark.parametrize(
    ("path", "fstype"),
    [
        ("/proc", "proc"),
        ("/run/user/1000", "tmpfs"),
        ("/snap/core/1", "squashfs"),
        ("/dev", "devtmpfs"),
        ("/var/lib/docker/overlay2/x/merged", "overlay"),
        ("/srv/container", "overlay"),
        ("/var/lib/kubelet/pods/x/secret", "tmpfs"),
        ("/media/cd", "iso9660"),
    ],
)
def test_what_is_the_kernels_or_full_by_nature_is_skipped(
    run_plugin: Any, mounted: Any, tmp_path: Path, path: str, fstype: str
) -> None:
    env = mounted(line(path, "0:77", fstype), line(str(tmp_path), device(tmp_path)))
    assert paths(run_plugin(DISK, **env)) == {str(tmp_path)}


def test_names_with_falcons_own_signs_become_harmless_tags(
    run_plugin: Any, mounted: Any, tmp_path: Path
) -> None:
    odd = tmp_path / 'my disk, a=b "x"'
    odd.mkdir()
    values = run_plugin(DISK, **mounted(line(str(odd), device(odd)))).values()
    assert f"disk.used.percent/mount={tmp_path}/my_disk__a_b__x_,fstype=ext4" in values


@pytest.mark.parametrize(
    ("options", "super_options", "fstab", "readonly", "unwanted"),
    [
        ("rw", "rw", "rw", 0, 0),
        ("ro", "ro", "ro", 1, 0),
        ("ro", "ro", "defaults", 1, 1),
        ("ro", "ro", None, 1, 0),  # not in fstab: nobody said how it should be
        ("rw", "ro", None, 1, 1),  # ext4 and others after an error (errors=remount-ro)
        ("rw", "rw,errors=remount-ro,emergency_ro", None, 1, 1),  # ext4 since Linux 6.15
        ("ro", "rw", "ro,bind", 1, 0),
    ],
)
def test_a_filesystem_that_stopped_writing_is_told_from_a_read_only_one(
    run_plugin: Any,
    mounted: Any,
    tmp_path: Path,
    options: str,
    super_options: str,
    fstab: str | None,
    readonly: int,
    unwanted: int,
) -> None:
    table = "" if fstab is None else f"# /dev/y {tmp_path} ext4 ro\n/dev/x {tmp_path} ext4 {fstab}"
    entry = line(str(tmp_path), device(tmp_path), "ext4", options, super_options)
    env = mounted(entry, fstab=table)
    values = run_plugin(DISK, **env).values()
    tags = f"mount={tmp_path},fstype=ext4"
    assert values[f"disk.readonly/{tags}"] == readonly
    assert values[f"disk.readonly.unwanted/{tags}"] == unwanted


def test_a_mount_that_should_be_there_and_is_not_is_told(
    run_plugin: Any, mounted: Any, tmp_path: Path
) -> None:
    missing = tmp_path / "data"
    missing.mkdir()
    env = mounted(line(str(tmp_path), device(tmp_path)))
    values = run_plugin(DISK, f"{tmp_path}/", str(missing), **env).values()
    assert values[f"disk.mounted/mount={tmp_path}"] == 1
    assert values[f"disk.mounted/mount={missing}"] == 0
    assert f"disk.used.percent/mount={missing},fstype=ext4" not in values


def test_sizes_of_another_filesystem_at_the_same_path_are_never_taken(
    run_plugin: Any, mounted: Any, tmp_path: Path
) -> None:
    # A sandboxed agent (systemd's PrivateTmp) sees something else there than process 1.
    values = run_plugin(DISK, **mounted(line(str(tmp_path), "0:4095"))).values()
    assert values[f"disk.hung/mount={tmp_path},fstype=ext4"] == 0
    assert not any(name.startswith("disk.used") for name in values)


HANGING = """
import os, time
real = os.stat
def stat(path, *args, **kwargs):
    if str(path).endswith("/hangs"):
        open(os.environ["STUCK"], "a").write("%d\\n" % os.getpid())
        time.sleep(600)
    return real(path, *args, **kwargs)
os.stat = stat
"""

UNKILLABLE = """
kill = os.kill
def spare(pid, number):
    if str(pid) not in open(os.environ["STUCK"]).read().split():
        kill(pid, number)
os.kill = spare
"""


@pytest.fixture
def hanging(tmp_path: Path, mounted: Any) -> Iterator[dict[str, str]]:
    """An environment in which one of three mounts, of a local type, never answers."""
    stuck = tmp_path / "stuck"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HANGING)
    lines = []
    for number, name in enumerate(["a", "hangs", "z"]):
        (tmp_path / name).mkdir()
        dev = device(tmp_path) if name == "z" else f"0:{number}"
        lines.append(line(f"{tmp_path}/{name}", dev))
    yield {**mounted(*lines), "PYTHONPATH": str(site), "STUCK": str(stuck)}
    for pid in stuck.read_text().split():
        # Only a child that is still the test's own: it has the test's folder in its environment.
        try:
            if str(tmp_path).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                os.kill(int(pid), signal.SIGKILL)
        except (OSError, ValueError):
            pass


def test_a_mount_that_hangs_is_told_and_its_siblings_are_measured(
    run_plugin: Any, hanging: dict[str, str], tmp_path: Path
) -> None:
    ran = run_plugin(DISK, name="6_disk.py", **hanging)
    values = ran.values()
    assert values[f"disk.hung/mount={tmp_path}/hangs,fstype=ext4"] == 1
    for sibling in ("a", "z"):
        assert values[f"disk.hung/mount={tmp_path}/{sibling},fstype=ext4"] == 0
    assert f"disk.used.percent/mount={tmp_path}/z,fstype=ext4" in values
    assert ran.seconds < 5.5


def test_hanging_ends_inside_the_step(run_plugin: Any, hanging: dict[str, str]) -> None:
    ran = run_plugin(DISK, name="3_disk.py", **hanging)
    assert ran.rows()
    assert ran.seconds < 2.5


def test_a_child_that_cannot_be_killed_holds_no_pipe_and_is_not_joined_by_a_second(
    run_plugin: Any, hanging: dict[str, str], tmp_path: Path
) -> None:
    # SIGKILL does not reach a process that waits in the kernel; here, it is not sent.
    site = Path(hanging["PYTHONPATH"]) / "sitecustomize.py"
    site.write_text(HANGING + UNKILLABLE)
    for _ in range(3):
        # run_plugin reads until the pipes are closed: it would not come back before the child.
        ran = run_plugin(DISK, name="3_disk.py", **hanging)
        assert ran.values()[f"disk.hung/mount={tmp_path}/hangs,fstype=ext4"] == 1
        assert ran.seconds < 2.5
    assert len((tmp_path / "stuck").read_text().split()) == 1


@pytest.mark.parametrize(
    ("table", "reason"), [(None, "cannot read"), ("", "is empty"), ("rubbish\n", "nothing was")]
)
def test_a_mount_table_that_cannot_be_read_is_a_reason_and_no_data(
    run_plugin: Any, fake_proc: Path, write: Any, table: str | None, reason: str
) -> None:
    if table is not None:
        write(fake_proc, {"1/mountinfo": table})
    assert reason in run_plugin(DISK, HOST_PROC=str(fake_proc)).reason()
