"""The clock plugin against real SNTP exchanges with servers of the test's own on loopback."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CLOCK = "sys/clock/300_clock_offset.py"
EPOCH_1900 = 2208988800
Answer = Callable[[bytes], list[bytes]]


def ntp_answer(
    question: bytes,
    *,
    ahead: float = 0.0,
    stratum: int = 2,
    leap: int = 0,
    mode: int = 4,
    kiss: bytes = b"\0\0\0\0",
    origin: bytes | None = None,
) -> bytes:
    """One server's answer to a client's datagram; `ahead` of this machine's clock in seconds."""
    now = time.time() + ahead + EPOCH_1900
    stamp = struct.pack("!II", int(now) % 2**32, int(now % 1 * 2**32))
    head = struct.pack("!BBbb", leap << 6 | 4 << 3 | mode, stratum, 6, -20)
    origin = question[40:48] if origin is None else origin
    return head + bytes(8) + kiss + stamp + origin + stamp + stamp


@pytest.fixture
def ntp() -> Iterator[Callable[[Answer], str]]:
    """Starts servers that answer each datagram as told; gives their address as an argument."""
    sockets = []

    def start(answers: Answer) -> str:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        sockets.append(server)

        def serve() -> None:
            try:
                while True:
                    question, client = server.recvfrom(512)
                    for answer in answers(question):
                        server.sendto(answer, client)
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in sockets:
        server.close()


def ahead(seconds: float) -> Answer:
    return lambda question: [ntp_answer(question, ahead=seconds)]


@pytest.mark.parametrize("seconds", [0.0, 2.5, -90.25, 86400.0 * 400])
def test_the_offset_is_how_far_this_host_is_behind(
    run_plugin: Any, ntp: Any, seconds: float
) -> None:
    server = ntp(ahead(seconds))
    values = run_plugin(CLOCK, server).values()
    assert values["clock.offset.ms"] == pytest.approx(seconds * 1000, abs=50)
    assert values["clock.offset.abs.ms"] == abs(values["clock.offset.ms"])
    assert values[f"clock.server.up/server={server}"] == 1
    assert values[f"clock.server.stratum/server={server}"] == 2
    assert 0 <= values[f"clock.server.delay.ms/server={server}"] < 1000
    assert values["clock.servers.answered"] == 1


def test_the_wrap_of_ntp_seconds_in_2036_is_no_offset(run_plugin: Any, ntp: Any) -> None:
    to_2037 = 2114380800 - time.time()
    values = run_plugin(CLOCK, ntp(ahead(to_2037))).values()
    assert values["clock.offset.ms"] == pytest.approx(to_2037 * 1000, abs=50)


def test_one_wrong_server_of_three_changes_nothing(run_plugin: Any, ntp: Any) -> None:
    servers = [ntp(ahead(seconds)) for seconds in (1.0, 1.01, 5000.0)]
    values = run_plugin(CLOCK, *servers).values()
    assert values["clock.offset.ms"] == pytest.approx(1010, abs=50)
    assert values["clock.servers.answered"] == 3


def test_a_dead_server_is_told_beside_the_live_one(run_plugin: Any, ntp: Any) -> None:
    live, dead = ntp(ahead(0.0)), "nosuch.invalid"
    values = run_plugin(CLOCK, live, dead).values()
    assert values[f"clock.server.up/server={live}"] == 1
    assert values[f"clock.server.up/server={dead}"] == 0
    assert f"clock.server.offset.ms/server={dead}" not in values


def test_a_lost_datagram_is_asked_for_again(run_plugin: Any, ntp: Any) -> None:
    asked = []

    def second_time(question: bytes) -> list[bytes]:
        asked.append(question)
        return [ntp_answer(question, ahead=3.0)] if len(asked) > 1 else []

    values = run_plugin(CLOCK, ntp(second_time), name="3_clock.py").values()
    assert values["clock.offset.ms"] == pytest.approx(3000, abs=50)


def test_an_answer_to_another_question_is_not_taken(run_plugin: Any, ntp: Any) -> None:
    def forged_then_true(question: bytes) -> list[bytes]:
        forged = ntp_answer(question, ahead=7777.0, origin=b"guessed!")
        return [forged, b"short", ntp_answer(question, ahead=1.0)]

    values = run_plugin(CLOCK, ntp(forged_then_true)).values()
    assert values["clock.offset.ms"] == pytest.approx(1000, abs=50)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"stratum": 0, "kiss": b"RATE"}, "refused to serve us (kiss code RATE)"),
        ({"leap": 3}, "is not synchronised itself"),
        ({"stratum": 16}, "is not synchronised itself"),
        ({"mode": 3}, "answered with mode 3"),
    ],
)
def test_a_server_without_the_time_gives_no_data_but_a_reason(
    run_plugin: Any, ntp: Any, answer: dict[str, Any], reason: str
) -> None:
    server = ntp(lambda question: [ntp_answer(question, **answer)])
    assert f"no server told the time: {server}: {reason}" in run_plugin(CLOCK, server).reason()


def test_no_answer_ends_inside_the_step(run_plugin: Any, ntp: Any) -> None:
    ran = run_plugin(CLOCK, ntp(lambda question: []), name="3_clock.py")
    assert "no answer in time" in ran.reason()
    assert ran.seconds < 2.5


CONFIGURED = {
    "chrony": (
        "chrony/chrony.conf",
        "# pool no.invalid\npool {host} iburst port {port}\n",
    ),
    "chrony sources": ("chrony/sources.d/site.sources", "server {host} port {port}\n"),
    "chrony elsewhere": ("chrony.conf", "  server {host}:{port} \n"),
    "ntpd": ("ntp.conf", "server 127.127.1.0\nserver -4 {host}:{port} prefer\n"),
    "timesyncd": ("systemd/timesyncd.conf", "[Time]\n#NTP=no.invalid\nNTP={host}:{port}\n"),
    "timesyncd fallback": ("systemd/timesyncd.conf", "[Time]\nNTP=\nFallbackNTP={host}:{port}\n"),
    "timesyncd drop-in": ("systemd/timesyncd.conf.d/a.conf", "[Time]\nNTP={host}:{port}\n"),
}


@pytest.mark.parametrize("service", CONFIGURED)
def test_without_arguments_the_configured_server_is_asked(
    run_plugin: Any, ntp: Any, tmp_path: Path, write: Any, service: str
) -> None:
    host, port = ntp(ahead(4.0)).split(":")
    path, text = CONFIGURED[service]
    write(tmp_path / "etc", {path: text.format(host=host, port=port)})
    # An agent passes one empty argument where a script is bound without any.
    values = run_plugin(CLOCK, "", HOST_ETC=str(tmp_path / "etc")).values()
    assert values["clock.offset.ms"] == pytest.approx(4000, abs=50)


def test_without_any_server_the_reason_says_how_to_bind_it(run_plugin: Any, tmp_path: Path) -> None:
    reason = run_plugin(CLOCK, HOST_ETC=str(tmp_path)).reason()
    assert "no NTP server is given" in reason
    assert "300_clock_offset.py(ntp1.example.org" in reason


@pytest.mark.parametrize("server", ["host:0", "host:99999", "host:x", "::1", "[::1", "a/b", ":123"])
def test_what_is_no_server_is_refused_by_name(run_plugin: Any, server: str) -> None:
    assert f"{server!r} is no server" in run_plugin(CLOCK, server).reason()


TRACKING = (
    "A29FC87B,162.159.200.123,4,1795294824.12,{offset},-0.0001,0.0002,-3.1,0.0,0.1,0.01,0.002,"
    "64.4,{leap}\\n"
)


def test_chronyds_own_opinion_is_sent_too(
    run_plugin: Any, ntp: Any, shim: Any, tmp_path: Path
) -> None:
    tracking = TRACKING.format(offset="-0.000123456", leap="Normal")
    shim("chronyc", f"[ \"$*\" = '-c -n tracking' ] && printf '{tracking}'\n")
    values = run_plugin(CLOCK, HOST_ETC=str(tmp_path)).values()
    assert values["clock.chrony.offset.ms"] == -0.123
    assert values["clock.chrony.synced"] == 1
    both = run_plugin(CLOCK, ntp(ahead(1.0))).values()
    assert both["clock.offset.ms"] == pytest.approx(1000, abs=50)
    assert both["clock.chrony.synced"] == 1


def test_chronyd_that_has_no_time_says_so(run_plugin: Any, shim: Any, tmp_path: Path) -> None:
    shim("chronyc", f"printf '{TRACKING.format(offset='0.0', leap='Not synchronised')}'\n")
    assert run_plugin(CLOCK, HOST_ETC=str(tmp_path)).values()["clock.chrony.synced"] == 0


@pytest.mark.parametrize(
    "body", ["echo '506 Cannot talk to daemon'; exit 1\n", "exec sleep 60\n", "echo a,b,c\n"]
)
def test_a_chronyc_that_cannot_tell_is_no_loss(
    run_plugin: Any, ntp: Any, shim: Any, body: str
) -> None:
    shim("chronyc", body)
    ran = run_plugin(CLOCK, ntp(ahead(0.0)), name="4_clock.py")
    assert not any("chrony" in name for name in ran.values())
    assert ran.seconds < 3.5
