#!/usr/bin/env python3
"""Offset of this host's clock against NTP servers, and whether a time service keeps it.

Arguments: NTP servers as host, host:port or [v6]:port. Without any, up to four of those that
chrony, ntpd or systemd-timesyncd are configured with (HOST_ETC moves /etc). Each is asked once by
SNTP (RFC 4330); the median counts. Where chronyc is installed, chronyd's own opinion is sent too.
A positive offset means that this host is behind. Only reads the clock, never sets it.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
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

EPOCH_1900 = 2208988800  # seconds from NTP's epoch to Unix's
ERA = 2**32  # NTP's seconds wrap in February 2036
NOT_SYNCHRONISED = 3  # leap indicator of a server that has no time itself
TIME_ERROR = 5  # adjtimex(2): the kernel's clock is not synchronised
MOST_DEFAULT_SERVERS = 4


class Answer:
    """What one server said: offset and round trip in seconds."""

    __slots__ = ("delay", "offset", "stratum")

    def __init__(self, offset: float, delay: float, stratum: int) -> None:
        self.offset = offset
        self.delay = delay
        self.stratum = stratum


def host_port(text: str, port: int) -> tuple[str, int]:
    """Split host, host:port, [v6] or [v6]:port; `port` is what holds when none is given."""
    match = re.match(r"(?:\[([^][]+)\]|([^][:/]+))(?::([0-9]{1,5}))?\Z", text)
    if match is None or not 0 < int(match.group(3) or port) < 65536:
        fail(f"{text!r} is no server: write host, host:port or [v6]:port")
    return match.group(1) or match.group(2), int(match.group(3) or port)


def bracketed(name: str) -> str:
    """Return a name as an argument: a bare IPv6 address needs its brackets."""
    return f"[{name}]" if name.count(":") > 1 else name


def lines_of(*patterns: str) -> list[str]:
    """Return the lines of every readable file below /etc that matches."""
    etc = os.environ.get("HOST_ETC", "/etc")
    lines = []
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(glob.escape(etc), pattern))):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    lines.extend(file.read().splitlines())
            except OSError:
                continue
    return lines


def configured_servers() -> list[str]:
    """Return the servers that this host's own time service is configured with, in its order."""
    servers: list[str] = []
    for line in lines_of(
        "chrony/chrony.conf",
        "chrony/conf.d/*.conf",
        "chrony/sources.d/*.sources",
        "chrony.conf",
        "chrony.d/*.conf",
        "ntpsec/ntp.conf",
        "ntp.conf",
    ):
        words = line.split()
        if words[:1] in (["server"], ["pool"], ["peer"]):
            # 127.127.x.y is how ntpd writes a radio clock: nothing answers there.
            names = [word for word in words[1:] if not word.startswith(("-", "127.127."))]
            port = words[words.index("port") + 1 :][:1] if "port" in words else []
            servers += [":".join([bracketed(name), *port]) for name in names[:1]]
    wanted: dict[str, list[str]] = {}
    for line in lines_of("systemd/timesyncd.conf", "systemd/timesyncd.conf.d/*.conf"):
        key, _, value = line.strip().partition("=")
        if key.strip() in ("NTP", "FallbackNTP"):
            # systemd's rule: an empty assignment forgets the earlier ones.
            earlier = wanted.get(key.strip(), []) if value.strip() else []
            wanted[key.strip()] = earlier + value.split()
    servers += map(bracketed, wanted.get("NTP") or wanted.get("FallbackNTP") or [])
    return list(dict.fromkeys(servers))[:MOST_DEFAULT_SERVERS]


def seconds_of(high: int, low: int, near: float) -> float:
    """Return an NTP timestamp as Unix seconds, in the era that lies nearest to `near`."""
    seconds = high - EPOCH_1900 + low / ERA
    return seconds + round((near - seconds) / ERA) * ERA


def ask(address: tuple[int, int, int, str, object], timeout: float) -> Answer:
    """Ask one address (as of getaddrinfo) once; raises OSError or ValueError with the reason."""
    family, kind, proto, _, target = address
    nonce = os.urandom(8)  # not our time: a server needs it only to give it back
    with socket.socket(family, kind, proto) as sock:
        sock.connect(target)  # type: ignore[arg-type]  # typeshed: four shapes of address
        started, sent = time.monotonic(), time.time()
        sock.send(b"\x23" + bytes(39) + nonce)  # version 4, mode 3 (client)
        while True:
            sock.settimeout(max(0.001, timeout - (time.monotonic() - started)))
            data = sock.recv(1024)
            # Elapsed time by the monotonic clock: the real one may be stepped meanwhile.
            received = sent + (time.monotonic() - started)
            if len(data) >= 48 and data[24:32] == nonce:
                break  # else: not the answer to our question
    fields = struct.unpack("!BBBb11I", data[:48])
    leap, mode, stratum = fields[0] >> 6, fields[0] & 7, fields[1]
    if mode != 4:
        raise ValueError(f"answered with mode {mode}, which is no server's answer")
    if stratum == 0:
        kiss = data[12:16].decode("ascii", "replace").strip("\0")
        raise ValueError(f"refused to serve us (kiss code {kiss})")
    if leap == NOT_SYNCHRONISED or stratum > 15:
        raise ValueError("is not synchronised itself")
    arrived = seconds_of(fields[11], fields[12], sent)
    left_there = seconds_of(fields[13], fields[14], sent)
    offset = ((arrived - sent) + (left_there - received)) / 2
    return Answer(offset, max(0.0, (received - sent) - (left_there - arrived)), stratum)


def ask_all(servers: list[str], limit: float) -> dict[str, Answer | str]:
    """Ask every server at once; returns each one's answer, or the reason why there is none."""
    results: dict[str, Answer | str] = {}
    deadline = time.monotonic() + limit

    def work(server: str, host: str, port: int) -> None:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            results[server] = f"the name cannot be resolved ({error.args[-1]})"
            return
        # Datagrams get lost and IPv6 may lead nowhere: another address, or the same once more.
        tries = addresses[:3] if len(addresses) > 1 else addresses * 2
        for address in tries:
            try:
                results[server] = ask(address, limit * 0.9 / len(tries))
                return
            except (OSError, ValueError) as error:
                late = isinstance(error, socket.timeout)
                results[server] = "no answer in time" if late else str(error.args[-1])

    threads = []
    for server in servers:
        host, port = host_port(server, 123)
        threads.append(threading.Thread(target=work, args=(server, host, port), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {server: results.get(server, "no answer in time") for server in servers}


def kernel_synced() -> bool | None:
    """Tell whether any time service disciplines the kernel's clock; None when it can't be asked."""
    try:
        import ctypes

        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (ImportError, OSError, AttributeError):
        return None
    return None if state < 0 else state != TIME_ERROR


def chrony_opinion(limit: float) -> list[dict[str, object]]:
    """Return what chronyd itself thinks, where chronyc is installed and may ask it."""
    program = shutil.which("chronyc")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "-c", "-n", "tracking"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limit,
            env=dict(os.environ, LC_ALL="C"),
        )
        # Fields as of chronyc(1), "tracking": the 5th is the offset in seconds, the last the leap.
        fields = done.stdout.decode("ascii", "replace").strip().split(",")
        offset, leap = float(fields[4]), fields[13]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return []
    return [
        row("clock.chrony.offset.ms", round(offset * 1000, 3)),
        row("clock.chrony.synced", int(leap != "Not synchronised")),
    ]


def median(numbers: list[float]) -> float:
    """Return the middle of the numbers, so that one wrong server of three changes nothing."""
    ordered, half = sorted(numbers), len(numbers) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def main() -> NoReturn:
    servers = list(dict.fromkeys(arguments())) or configured_servers()
    chrony = chrony_opinion(within(6.0) / 4)
    if not servers and not chrony:
        fail(
            "no NTP server is given, and none is configured for chrony, ntpd or systemd-timesyncd: "
            "bind it with servers, as 300_clock_offset.py(ntp1.example.org,ntp2.example.org)"
        )
    rows: list[dict[str, object]] = []
    answers = []
    reasons = []
    for server, answer in ask_all(servers, within(6.0) * 3 / 4).items():
        if isinstance(answer, str):
            reasons.append(f"{server}: {answer}")
            rows.append(row("clock.server.up", 0, server=server))
            continue
        answers.append(answer)
        rows += [
            row("clock.server.up", 1, server=server),
            row("clock.server.offset.ms", round(answer.offset * 1000, 3), server=server),
            row("clock.server.delay.ms", round(answer.delay * 1000, 3), server=server),
            row("clock.server.stratum", answer.stratum, server=server),
        ]
    if not answers and not chrony:
        fail("no server told the time: " + "; ".join(reasons))
    if answers:
        offset = round(median([answer.offset for answer in answers]) * 1000, 3)
        rows += [row("clock.offset.ms", offset), row("clock.offset.abs.ms", abs(offset))]
        rows.append(row("clock.servers.answered", len(answers)))
    synced = kernel_synced()
    if synced is not None:
        rows.append(row("clock.synced", int(synced)))
    if reasons and sys.stderr.isatty():
        print("\n".join(reasons), file=sys.stderr)
    push(rows + chrony)


if __name__ == "__main__":
    run(main)
