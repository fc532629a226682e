"""The process that answers as the agent: whose it is, and whether it was started since (proc(5)).

Times are counted from the host's boot, so a wall clock that jumps does not matter.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
import time

_LISTENING = "0A"
_MAPPED = bytes(10) + b"\xff\xff"  # an IPv4 address as an IPv6 one


def now() -> str:
    """This moment, as `started_since` takes it."""
    return f"{_boot()} {time.clock_gettime(time.CLOCK_BOOTTIME):.2f}"


def listener(listen: str) -> int | None:
    """The process that gets what is sent to host:port; None where there is none, or it may not be
    seen.
    """
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        return None
    sockets = {f"socket:[{inode}]" for inode in _inodes(host.strip("[]"), int(port))}
    if not sockets:
        return None
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for entry in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{entry}") in sockets:
                    return int(pid)
        except OSError:
            continue
    return None


def answers(listen: str) -> bool:
    """Whether anybody listens on host:port."""
    host, _, port = listen.rpartition(":")
    try:
        socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), 2).close()
    except (OSError, ValueError):
        return False
    return True


def started_since(pid: int, moment: str) -> bool:
    """Whether a process was started after a moment that `now` gave, maybe before a reboot."""
    boot, _, seconds = moment.partition(" ")
    if boot != _boot():
        return True
    began = _began(pid)
    return began is not None and began > float(seconds)


def age(pid: int) -> float:
    """Seconds since a process was started; 0 if it has ended."""
    began = _began(pid)
    return 0 if began is None else time.clock_gettime(time.CLOCK_BOOTTIME) - began


def name_of(pid: int) -> str:
    """A process's name, as far as the kernel keeps it (15 bytes); "" if it has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def user_of(pid: int) -> str:
    """The name, or the number, of the user that a process runs as; "" if it has ended."""
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def folder_of(pid: int) -> str:
    """A process's working directory; "" where it may not be seen."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with; {} where it may not be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            pairs = [os.fsdecode(pair).partition("=") for pair in file.read().split(b"\0")]
    except OSError:
        return {}
    return {name: value for name, found, value in pairs if found}


def has_ended(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in ("Z", "X")
    except (OSError, IndexError):
        return True


def writes_to(pid: int, path: str) -> bool:
    """Whether a process has the file as its output or its errors."""
    try:
        return path in [os.readlink(f"/proc/{pid}/fd/{number}") for number in (1, 2)]
    except OSError:
        return False


def _began(pid: int) -> float | None:
    """Seconds from the host's boot to the start of a process; None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The 22nd field; the second, a name in brackets, may hold anything.
            return int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _inodes(host: str, port: int) -> set[str]:
    """Inodes of the sockets that get what is sent to a host and port."""
    listening: dict[str, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as file:
                rows = [line.split() for line in file]
        except OSError:
            continue
        for row in rows[1:]:
            address, _, number = row[1].partition(":")
            if row[3] == _LISTENING and int(number, 16) == port:
                listening.setdefault(address, set()).add(row[9])
    if not listening:
        return set()
    return next((listening[name] for name in _addresses(host) if name in listening), set())


def _addresses(host: str) -> list[str]:
    """What a socket may listen on to be reached at a host, as the kernel's tables write it.

    The one that the kernel prefers comes first: the very address, then all of its kind.
    """
    try:
        found = socket.getaddrinfo(host or "127.0.0.1", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    exact, wild = [], []
    for family, _, _, _, address in found:
        packed = socket.inet_pton(family, str(address[0]).partition("%")[0])
        exact.append(packed)
        if family == socket.AF_INET:
            exact.append(_MAPPED + packed)
            wild.append(bytes(4))
        wild.append(bytes(16))
    return [_written(packed) for packed in exact + wild]


def _written(packed: bytes) -> str:
    """An address as /proc/net/tcp has it: words of 32 bits in the host's byte order."""
    words = [packed[start : start + 4] for start in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
