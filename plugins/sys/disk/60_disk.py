#!/usr/bin/env python3
"""Space, inodes and read-only state of every mounted filesystem; a mount that hangs harms nothing.

Arguments: mount points, to look at these only and to learn when one of them is not mounted.
Source: /proc/1/mountinfo, /etc/fstab, statvfs(3) (HOST_PROC and HOST_ETC move /proc and /etc).
Skipped: kernel filesystems, container layers, images that are full by nature, and second mounts
of the same filesystem.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import socket
import stat
import sys
import time
import zlib

# --- what every Python script of this tree agrees with the agent on (plugins/README.md) ---
TYPE_CHECKING = False  # typing itself would cost milliseconds on every run
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def fail(reason: str) -> NoReturn:
    """Leave with one line of reason on stderr, no data and exit code 1."""
    line = f"{os.path.basename(sys.argv[0])}: {' '.join(reason.split())}\n"
    os.write(2, line.encode("utf-8", "backslashreplace"))
    os._exit(1)  # a thread that is stuck in a name look-up must not hold the exit up


def step_of(path: str) -> int:
    """Return the step in seconds that a script's file name begins with, as the agent reads it."""
    head = os.path.basename(path).split("_", 1)[0]
    head = head[1:] if head.startswith("+") else head
    if not (head.isascii() and head.isdigit() and int(head) > 0):
        fail("the file name must begin with its step in seconds and a _, as in 60_name.py")
    return int(head)


STEP = step_of(sys.argv[0])
ENDPOINT = os.environ.get("FALCON_ENDPOINT") or os.uname().nodename


def arguments() -> list[str]:
    """Return the binding's arguments; an agent passes one empty argument when there are none."""
    given = [text.strip() for text in sys.argv[1:] if text.strip()]
    if given[:1] == ["--help"]:
        print(__doc__)
        sys.exit(0)
    return given


def within(limit: float) -> float:
    """Return the seconds to work in: `limit`, or less where the step's timeout comes sooner."""
    return min(limit, max(0.2, (STEP - 0.5) * 0.6))


def tag(text: str) -> str:
    """Return `text` as a tag's value: none of Falcon's own signs, 160 bytes at most."""
    kept = (c if c.isprintable() and c not in ',= "\\' else "_" for c in text)
    clean = "".join(kept).encode("utf-8")
    if len(clean) > 160:
        return f"{clean[:150].decode('utf-8', 'ignore')}-{zlib.crc32(clean):08x}"
    return clean.decode("utf-8") or "_"


def row(metric: str, value: float, kind: str = "GAUGE", **tags: str) -> dict[str, object]:
    """Return one metric; `kind` is GAUGE, or COUNTER for a number that only grows."""
    return {
        "endpoint": ENDPOINT,
        "metric": metric,
        "value": value,
        "step": STEP,
        "counterType": kind,
        "tags": ",".join(f"{name}={tag(text)}" for name, text in tags.items()),
        "timestamp": int(time.time()),
    }


def push(rows: list[dict[str, object]]) -> NoReturn:
    """Print all metrics as one JSON list and leave; stdout carries nothing else."""
    if not rows:
        fail("nothing was measured")
    data = json.dumps(rows, allow_nan=False).encode("ascii") + b"\n"
    while data:
        data = data[os.write(1, data) :]
    os._exit(0)


def run(main: Callable[[], NoReturn]) -> NoReturn:
    """Run `main`; what nobody foresaw becomes one line of reason too."""
    try:
        main()
    except Exception as error:
        fail(f"unexpected {type(error).__name__}: {error}")


# --- end of the agreement ---

SKIPPED_TYPES = {
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
    "devtmpfs", "efivarfs", "fusectl", "fuse.lxcfs", "hugetlbfs", "iso9660", "mqueue", "nsfs",
    "proc", "pstore", "ramfs", "rootfs", "rpc_pipefs", "securityfs", "selinuxfs", "squashfs",
    "sysfs", "tracefs", "udf",
}  # fmt: skip
SKIPPED_BELOW = (
    "/dev/", "/proc/", "/run/credentials/", "/run/docker/", "/run/netns/", "/run/user/", "/snap/",
    "/sys/", "/var/lib/containers/", "/var/lib/docker/", "/var/lib/kubelet/", "/var/snap/",
)  # fmt: skip
LOCAL_TYPES = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "tmpfs", "vfat", "xfs", "zfs"}
MANY_DEVICES = {"bcachefs", "btrfs"}  # each subvolume has a device number of its own
ANSWER_WITHIN = 3.0  # seconds; a mount that needs longer for statvfs counts as hung
ALL_WITHIN = 20.0  # seconds for all mounts together, however many hang


class Mount:
    """One line of mountinfo, and what statvfs said about it (no sizes: nothing useful)."""

    __slots__ = ("device", "failed", "fstype", "hung", "options", "path", "sizes", "super_options")

    def __init__(
        self, device: str, path: str, fstype: str, options: set[str], super_options: set[str]
    ) -> None:
        self.device = device
        self.path = path
        self.fstype = fstype
        self.options = options
        self.super_options = super_options
        self.sizes: list[int] | None = None
        self.hung = False
        self.failed = False


def unescaped(text: str) -> str:
    """Undo the kernel's octal escapes (a space is \\040)."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def read_mounts() -> list[Mount]:
    """Return all mounts in mount order, seen from process 1 where that may be read.

    The agent's own view may be a sandbox (systemd's ProtectSystem) in which all is read-only.
    """
    proc = os.environ.get("HOST_PROC", "/proc")
    lines: list[str] = []
    for process in ("1", "self"):
        path = os.path.join(proc, process, "mountinfo")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().split("\n")
            break
        except OSError as error:
            reason = f"cannot read {path}: {error.strerror}"
    if not any(lines):
        fail(reason if not lines else f"{path} is empty")
    mounts = []
    for line in lines:
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if separator and len(left) >= 6 and len(right) >= 3:
            mounts.append(
                Mount(
                    left[2],
                    unescaped(left[4]),
                    right[0],
                    set(left[5].split(",")),
                    set(right[2].split(",")),
                )
            )
    return mounts


def visible(mounts: list[Mount]) -> dict[str, Mount]:
    """Return the mount that each path leads to: of two on one path the later hides the earlier."""
    return {mount.path: mount for mount in mounts}


def skipped(mount: Mount) -> bool:
    """Tell whether a mount is the kernel's, a container's layer, or full by nature."""
    if mount.path == "/dev/shm":
        return False
    return (
        mount.fstype in SKIPPED_TYPES
        or (mount.fstype == "overlay" and mount.path != "/")
        or (mount.path + "/").startswith(SKIPPED_BELOW)
    )


def worth_reporting(mounts: list[Mount]) -> list[Mount]:
    """Leave out what is skipped; of several mounts of one filesystem keep the shortest path."""
    kept: dict[str, Mount] = {}
    for mount in sorted(visible(mounts).values(), key=lambda mount: (len(mount.path), mount.path)):
        if not skipped(mount):
            kept.setdefault(mount.device, mount)
    return list(kept.values())


def writable_in_fstab() -> set[str]:
    """Return the mount points that /etc/fstab wants writable."""
    path = os.path.join(os.environ.get("HOST_ETC", "/etc"), "fstab")
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            entries = [line.split() for line in file if not line.lstrip().startswith("#")]
    except OSError:
        return set()  # a host without one says nothing about what it wants
    return {
        unescaped(words[1])
        for words in entries
        if len(words) >= 4 and "ro" not in words[3].split(",")
    }


def sizes(mount: Mount) -> str:
    """Return statvfs's numbers as words, or the word that says why there are none."""
    try:
        found = os.stat(mount.path)
        device = f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}"
        # A sandboxed agent may see another filesystem there, or a file of a container.
        if not stat.S_ISDIR(found.st_mode) or (
            device != mount.device and mount.fstype not in MANY_DEVICES
        ):
            return "elsewhere"
        numbers = os.statvfs(mount.path)
    except OSError as error:
        return "elsewhere" if error.errno in (errno.EACCES, errno.ENOENT) else "error"
    return (
        f"{numbers.f_frsize} {numbers.f_blocks} {numbers.f_bfree} {numbers.f_bavail} "
        f"{numbers.f_files} {numbers.f_ffree}"
    )


def look(mounts: list[Mount], pipe: int) -> None:
    """In a child: write one line before and one after each statvfs; never returns."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        # A child that hangs in the kernel cannot be killed. If it held the agent's pipe, the agent
        # would wait for it until the timeout and throw all metrics away.
        os.dup2(quiet, descriptor)
    for index, mount in enumerate(mounts):
        os.write(pipe, b"%d\n" % index)
        # The name is held as long as the process lives: where an earlier run still hangs, this
        # one waits here, can be killed, and adds no second process that cannot.
        name = f"\0plugfleet-disk-{os.getuid()}-{zlib.crc32(mount.path.encode('utf-8', 'replace'))}"
        guard = socket.socket(socket.AF_UNIX)
        while True:
            try:
                guard.bind(name)
                break
            except OSError:
                time.sleep(0.05)
        os.write(pipe, b"%d %s\n" % (index, sizes(mount).encode("ascii")))
        guard.close()
    os._exit(0)


class Look:
    """A child that is looking at some mounts, and how far it has come."""

    __slots__ = ("at", "buffer", "mounts", "pid", "pipe", "since")

    def __init__(self, mounts: list[Mount]) -> None:
        self.mounts = mounts
        self.at = 0
        self.buffer = b""
        self.since = time.monotonic()
        self.pipe, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            look(mounts, write_end)
        os.close(write_end)

    def take(self, data: bytes) -> None:
        """Take what the child has written."""
        self.since = time.monotonic()
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            words = line.decode("ascii").split(" ")
            self.at = int(words[0])
            if len(words) > 1:
                mount = self.mounts[self.at]
                mount.failed = words[1] == "error"
                mount.sizes = [int(word) for word in words[1:]] if len(words) == 7 else None
                self.at += 1

    def end(self) -> list[Mount]:
        """Kill the child, without waiting: it may be stuck in the kernel. Returns what is left."""
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.pipe)
        return self.mounts[self.at :]


def measure(mounts: list[Mount]) -> None:
    """Fill in sizes; local filesystems share one child, each other has its own."""
    last_call = time.monotonic() + within(ALL_WITHIN)
    patience = min(ANSWER_WITHIN, within(ALL_WITHIN) / 2)
    groups = [[mount for mount in mounts if mount.fstype in LOCAL_TYPES]]
    groups += [[mount] for mount in mounts if mount.fstype not in LOCAL_TYPES]
    looks = [Look(group) for group in groups if group]
    while looks:
        until = min(last_call, min(one.since for one in looks) + patience)
        wait = max(0.0, until - time.monotonic())
        ready = select.select([one.pipe for one in looks], [], [], wait)[0]
        for one in list(looks):
            data = os.read(one.pipe, 4096) if one.pipe in ready else b""
            if data:
                one.take(data)
                continue
            now = time.monotonic()
            hung = now - one.since >= patience
            if one.pipe in ready or hung or now >= last_call:
                looks.remove(one)
                left = one.end()
                if left and hung:
                    left[0].hung = True
                    if left[1:] and now < last_call:
                        looks.append(Look(left[1:]))


def percent(used: int, whole: int) -> float:
    """Return used of whole in percent, as df(1) counts."""
    return round(100.0 * used / whole, 2)


def rows_of(mount: Mount, wanted_writable: set[str]) -> list[dict[str, object]]:
    """Return the metrics of one mount."""
    tags = {"mount": mount.path, "fstype": mount.fstype}
    rows = [row("disk.hung", int(mount.hung), **tags), row("disk.error", int(mount.failed), **tags)]
    # The kernel's ways to say "I stopped writing after an error": the filesystem has become
    # read-only below a mount that nobody made read-only; since Linux 6.15 ext4 says it in a word.
    stopped = "emergency_ro" in mount.super_options or (
        "ro" in mount.super_options and "ro" not in mount.options
    )
    read_only = stopped or "ro" in mount.options
    unwanted = stopped or (read_only and mount.path in wanted_writable)
    rows.append(row("disk.readonly", int(read_only), **tags))
    rows.append(row("disk.readonly.unwanted", int(unwanted), **tags))
    if mount.sizes is None:
        return rows
    size, blocks, free, available, inodes, free_inodes = mount.sizes
    used = blocks - free
    if used + available > 0:
        rows.append(row("disk.used.percent", percent(used, used + available), **tags))
        rows.append(row("disk.free.bytes", available * size, **tags))
        rows.append(row("disk.total.bytes", blocks * size, **tags))
    if inodes > 0:  # btrfs and some others have no fixed number of inodes
        rows.append(row("disk.inodes.used.percent", percent(inodes - free_inodes, inodes), **tags))
    return rows


def main() -> NoReturn:
    mounts = read_mounts()
    wanted = list(dict.fromkeys(text.rstrip("/") or "/" for text in arguments()))
    chosen = worth_reporting(mounts)
    rows = []
    if wanted:
        there = visible(mounts)
        chosen = [there[path] for path in wanted if path in there]
        rows = [row("disk.mounted", int(path in there), mount=path) for path in wanted]
    measure(chosen)
    writable = writable_in_fstab()
    for mount in chosen:
        # A filesystem without any block (an empty automount, some FUSE ones) has nothing to fill.
        if wanted or mount.hung or mount.sizes is None or mount.sizes[1] > 0:
            rows += rows_of(mount, writable)
    push(rows)


if __name__ == "__main__":
    run(main)
