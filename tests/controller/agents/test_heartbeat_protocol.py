"""The heartbeat server on the wire: answers as hbs gives them, and no client costs another anything."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.agents import connection, server
from controller.agents.flow import Agents
from controller.agents.lists import save
from controller.agents.wire import Call
from controller.settings import Settings
from tests.controller.agents.conftest import KEPT, Start
from tests.controller.agents.falcon import Closed, GoClient, RpcError


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of one server for all of the wire's cases."""
    folder = tmp_path_factory.mktemp("agents")
    save(folder / "agents.json", KEPT)
    agents = Agents(
        Settings(data_dir=folder, agents_listen="127.0.0.1:0", agents_trustable="10.1.2.3,")
    )
    agents.start()
    yield agents.port
    agents.stop()


def said(port: int, *packets: bytes, pause: float = 0.0) -> bytes:
    """All that the server says to these packets, until it hangs up after our half of that."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        heard = b""
        try:
            for packet in packets:
                client.sendall(packet)
                time.sleep(pause)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # hung up on already; what it said before is still here
        try:
            while data := client.recv(65536):
                heard += data
        except ConnectionError:
            pass
        return heard


REPORT = (
    b'"Agent.ReportStatus","params":[{"Hostname":"lab-host","IP":"127.0.0.1",'
    b'"AgentVersion":"0.3.x@9349180","PluginVersion":"e83c5163316f89bfbde7d9ab23ca2e25604af290"}]'
)
MINE = b'{"method":"Agent.MinePlugins","params":[{"Hostname":"%b","Checksum":""}],"id":%b}\n'

WIRE = {
    "a heartbeat": (b'{"method":' + REPORT + b',"id":0}\n', b'{"id":0,"result":{"code":0},"error":null}\n'),
    "a heartbeat without a name": (
        b'{"method":"Agent.ReportStatus","params":[{"Hostname":""}],"id":4}\n',
        b'{"id":4,"result":{"code":1},"error":null}\n',
    ),
    "a list": (
        MINE % (b"web1", b"1"),
        b'{"id":1,"result":{"Plugins":["sys/ntp","sys/ntp/6_env.py(a,b)"],"Timestamp":1795294627},"error":null}\n',
    ),
    "an empty list": (
        MINE % (b"idle", b"2"),
        b'{"id":2,"result":{"Plugins":[],"Timestamp":1795294627},"error":null}\n',
    ),
    "what Go escapes, and what not": (
        MINE % (b"odd", b"3"),
        '{"id":3,"result":{"Plugins":["a\\u003cb\\u003e\\u0026/ünï"],"Timestamp":7},"error":null}\n'.encode(),
    ),
    "no name": (
        MINE % (b"", b"1"),
        b'{"id":1,"result":{"Plugins":null,"Timestamp":0},"error":null}\n',
    ),
    "a host that is not known": (
        MINE % (b"x<y", b"9"),
        b'{"id":9,"result":null,"error":"plugfleet: there is no host \'x\\u003cy\'"}\n',
    ),
    "who may be trusted": (
        b'{"method":"Agent.TrustableIps","params":[{}],"id":3}\n',
        b'{"id":3,"result":"10.1.2.3,","error":null}\n',
    ),
    "an unknown method": (
        b'{"method":"Agent.Nope","params":[{}],"id":6}\n',
        b'{"id":6,"result":null,"error":"rpc: can\'t find method Agent.Nope"}\n',
    ),
    "an unknown service": (
        b'{"method":"Hbs.GetStrategies","params":[{}],"id":6}\n',
        b'{"id":6,"result":null,"error":"rpc: can\'t find service Hbs.GetStrategies"}\n',
    ),
    "no method": (
        b'{"id":6}\n',
        b'{"id":6,"result":null,"error":"rpc: service/method request ill-formed: "}\n',
    ),
    "no params": (
        b'{"method":"Agent.MinePlugins","id":6}\n',
        b'{"id":6,"result":null,"error":"jsonrpc: request body missing params"}\n',
    ),
    "params of another form": (
        b'{"method":"Agent.MinePlugins","params":{"Hostname":"web1"},"id":6}\n',
        b'{"id":6,"result":null,"error":"json: cannot unmarshal object into Go value of type [1]interface {}"}\n',
    ),
    "a name that is no text": (
        b'{"method":"Agent.MinePlugins","params":[{"Hostname":7}],"id":6}\n',
        b'{"id":6,"result":null,"error":"json: cannot unmarshal number into Go struct field '
        b'AgentHeartbeatRequest.Hostname of type string"}\n',
    ),
    "an id that is a text": (
        MINE % (b"idle", b'"a<"'),
        b'{"id":"a\\u003c","result":{"Plugins":[],"Timestamp":1795294627},"error":null}\n',
    ),
    "no id": (
        b'{"method":"Agent.Nope","params":[{}]}\n',
        b'{"id":null,"result":null,"error":"rpc: can\'t find method Agent.Nope"}\n',
    ),
    "no line break": (
        (MINE % (b"idle", b"2")).rstrip(),
        b'{"id":2,"result":{"Plugins":[],"Timestamp":1795294627},"error":null}\n',
    ),
    "two on one line": (
        b'{"method":"A.b","params":[],"id":1} {"method":"A.c","params":[],"id":2}\n',
        b'{"id":1,"result":null,"error":"rpc: can\'t find service A.b"}\n'
        b'{"id":2,"result":null,"error":"rpc: can\'t find service A.c"}\n',
    ),
    "half of a Unicode pair": (
        b'{"method":"Agent.\\ud800","params":[],"id":1}\n',
        '{"id":1,"result":null,"error":"rpc: can\'t find method Agent.\ufffd"}\n'.encode(),
    ),
    "bytes that are no UTF-8": (
        b'{"method":"Agent.\xff","params":[],"id":1}\n',
        '{"id":1,"result":null,"error":"rpc: can\'t find method Agent.\ufffd"}\n'.encode(),
    ),
    "HTTP": (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "no object": (b"[1]\n", b""),
    "a method that is no text": (b'{"method":1,"params":[],"id":1}\n', b""),
    "JSON that goes too deep": (b'{"method":' + b"[" * 30_000 + b"\n", b""),
    "a number that is too long": (b'{"id":' + b"9" * 30_000 + b"}\n", b""),
    "a line that is too long": (b'{"method":"' + b"x" * 70_000 + b'"}\n', b""),
    "what is JSON in Python alone": (b'{"method":"Agent.X","params":[NaN],"id":1}\n', b""),
    "an id beyond every number": (b'{"method":"Agent.X","params":[],"id":1e999}\n', b""),
    "a TLS greeting": (bytes.fromhex("16030100c8010000c40303") + b"\0" * 60, b""),
}  # fmt: skip


@pytest.mark.parametrize("case", WIRE)
def test_it_answers_byte_for_byte_as_hbs_does(port: int, case: str) -> None:
    sent, expected = WIRE[case]
    assert said(port, sent) == expected


def test_builtin_metrics_are_none_of_ours(port: int) -> None:
    asked = b'{"method":"Agent.BuiltinMetrics","params":[{"Hostname":"web1","Checksum":"nil"}],"id":2}\n'
    pattern = (
        rb'\{"id":2,"result":\{"Metrics":\[\],"Checksum":"","Timestamp":(\d+)\},"error":null\}\n'
    )
    found = re.fullmatch(pattern, said(port, asked))
    assert found and abs(int(found[1]) - time.time()) < 10


def test_requests_may_come_in_pieces_and_in_heaps(port: int) -> None:
    one, two = MINE % (b"web1", b"1"), MINE % (b"idle", b"2")
    expected = WIRE["a list"][1] + WIRE["an empty list"][1]
    assert said(port, one + two) == expected
    assert said(port, one[:9], one[9:40], one[40:] + two[:50], two[50:], pause=0.005) == expected
    assert said(port, *(bytes([byte]) for byte in one)) == WIRE["a list"][1]
    many = b"".join(MINE % (b"idle", b"%d" % number) for number in range(1000))
    answers = said(port, many).splitlines()
    assert [json.loads(line)["id"] for line in answers] == list(range(1000))


def test_a_go_client_keeps_its_connection(port: int) -> None:
    with GoClient(port) as agent:
        for _ in range(3):
            assert agent.report("busy") == {"code": 0}
            assert agent.plugins("busy")[0] == ["app"]
        with pytest.raises(RpcError, match="there is no host 'nobody'"):
            agent.plugins("nobody")
        assert agent.plugins("idle")[0] == []


def test_a_host_that_is_not_known_is_never_told_an_empty_list(port: int) -> None:
    """A Falcon agent keeps its list after an error; an empty list would stop all its plugins."""
    with GoClient(port) as agent:
        for name in ("nobody", "WEB1", "web1 ", "' OR 1=1 --", "<script>", "x" * 10_000, "a\x00b"):
            with pytest.raises(RpcError):
                agent.plugins(name)


def quick(port: int) -> None:
    """Another client, which must get its answers as if it were alone."""
    began = time.monotonic()
    with GoClient(port) as agent:
        assert agent.plugins("web1")[1] == 1795294627
    assert time.monotonic() - began < 2


def test_half_a_line_and_a_hang_cost_nobody_else_anything(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "OWED", 0.1)
    monkeypatch.setattr(server, "_SWEEP_EVERY", 0.02)
    agents = start()
    with socket.create_connection(("127.0.0.1", agents.port), 10) as half:
        half.sendall(b'{"method":"Agent.Mine')
        quick(agents.port)
        assert half.recv(1) == b"", "it is hung up on"


@pytest.mark.parametrize(("silent", "stays"), [(0, True), (3599, True), (3601, False)])
def test_a_silent_connection_stays_for_longer_than_any_interval(silent: float, stays: bool) -> None:
    idle = Settings().agents_idle
    quiet = connection.Connection(Echo())
    quiet.connection_made(Transport())
    quiet.data_received(ASKED)
    assert quiet.late(quiet.active + silent, idle) is not stays


@pytest.mark.parametrize("sent", [b"", b"\n" * 1000, b" \n\r\n", b'{"met'])
def test_who_asks_nothing_at_all_does_not_keep_its_place(sent: bytes) -> None:
    idle = Settings().agents_idle
    silent = connection.Connection(Echo())
    silent.connection_made(Transport())
    silent.data_received(sent)
    assert not silent.late(silent.active + 29, idle)
    assert silent.late(silent.active + 31, idle)


def test_blank_lines_are_no_sign_of_life() -> None:
    idle = Settings().agents_idle
    blank = connection.Connection(Echo())
    blank.connection_made(Transport())
    blank.data_received(ASKED)
    asked = blank.active
    began = time.process_time()
    for _ in range(20):
        blank.data_received(b"\n" * 262_144)
    assert blank.active == asked
    assert time.process_time() - began < 0.4, "5 MB of them are nothing to serve"
    assert blank.late(asked + 3601, idle)


def test_who_does_not_read_is_served_no_more_than_fits() -> None:
    """What is here already is served only when its answers go on being read."""

    async def served() -> list[int]:
        deaf, transport = connection.Connection(Echo()), Transport()
        deaf.connection_made(transport)
        deaf.data_received(ASKED * 1000)
        deaf.pause_writing()
        counts = []
        for _ in range(3):
            await asyncio.sleep(0.01)
            counts.append(transport.lines)
        deaf.resume_writing()
        await asyncio.sleep(0.05)
        return [*counts, transport.lines]

    first, second, third, last = asyncio.run(served())
    assert first == second == third < 100
    assert last == 1000


ASKED = b'{"method":"A.b","params":[],"id":1}\n'


class Transport(asyncio.Transport):
    """One that counts the lines it is given."""

    lines = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.lines += bytes(data).count(b"\n")

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Reads nothing anyway."""

    def resume_reading(self) -> None:
        """Reads nothing anyway."""


class Echo:
    """A handler that lets everybody in and answers everything."""

    def opened(self, _: connection.Connection) -> bool:
        return True

    def closed(self, _: connection.Connection) -> None:
        """Counts nobody."""

    def answer(self, _: connection.Connection, call: Call) -> bytes:
        return call.id + b"\n"

    def rubbish(self, _: connection.Connection) -> None:
        raise AssertionError("these are requests")


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_addresses_that_one_client_may_have_are_counted_together(
    one: str, other: str, together: bool
) -> None:
    assert (server.counted_as(one) == server.counted_as(other)) is together


def test_a_megabyte_of_rubbish_is_hung_up_on(port: int) -> None:
    assert said(port, b"\x00" * 1_000_000) == b""
    assert said(port, b'{"x":"' + b"y" * 1_000_000) == b""
    assert said(port, b"\n" * 1_000_000) == b"", "blank lines are nothing"
    quick(port)


def test_a_flood_of_requests_leaves_others_their_turn(port: int) -> None:
    heap = b"".join(MINE % (b"web1", b"%d" % number) for number in range(20_000))
    with socket.create_connection(("127.0.0.1", port), 10) as flood:
        sender = threading.Thread(target=lambda: flood.sendall(heap), daemon=True)
        sender.start()
        for _ in range(5):
            quick(port)
        got = 0
        while got < 20_000:
            got += flood.recv(1 << 20).count(b"\n")
        sender.join(10)


def test_who_never_reads_is_not_read_either(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNREAD", 0.2)
    monkeypatch.setattr(server, "_SWEEP_EVERY", 0.02)
    agents = start()
    heap = b"".join(MINE % (b"web1", b"%d" % number) for number in range(2_000))
    with socket.create_connection(("127.0.0.1", agents.port), 10) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                deaf.sendall(heap)
    quick(agents.port)


def test_only_its_networks_may_connect(start: Start) -> None:
    agents = start(agents_networks="127.0.0.0/31, 10.0.0.0/8")
    quick(agents.port)
    with pytest.raises((Closed, ConnectionError)), GoClient(agents.port, "127.0.0.9") as stranger:
        stranger.plugins("web1")


def test_one_address_cannot_take_all_connections(start: Start) -> None:
    agents = start(agents_connections_per_address=5)
    greedy = [
        socket.create_connection(("127.0.0.1", agents.port), 10, ("127.0.0.7", 0)) for _ in range(9)
    ]
    try:
        cut = [client for client in greedy if hung_up(client)]
        assert len(cut) == 4
        quick(agents.port)
    finally:
        for client in greedy:
            client.close()
    time.sleep(0.05)
    with GoClient(agents.port, "127.0.0.7") as again:
        assert again.plugins("web1")


def hung_up(client: socket.socket) -> bool:
    client.settimeout(0.05)
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_all_connections_together_are_bounded(start: Start) -> None:
    agents = start(agents_connections=3)
    with GoClient(agents.port) as one, GoClient(agents.port) as two, GoClient(agents.port) as three:
        for agent in (one, two, three):
            assert agent.plugins("web1")
        with pytest.raises((Closed, ConnectionError)), GoClient(agents.port) as four:
            four.plugins("web1")
        assert one.plugins("web1")


def test_a_connection_that_is_reset_leaves_nothing(port: int) -> None:
    client = socket.create_connection(("127.0.0.1", port), 10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sendall(MINE % (b"web1", b"1"))
    client.close()
    quick(port)


def test_a_port_that_is_taken_is_said(start: Start, tmp_path: Path) -> None:
    taken = start().port
    again = Agents(Settings(data_dir=tmp_path, agents_listen=f"127.0.0.1:{taken}"))
    with pytest.raises(server.ListenError, match=f"port {taken}"):
        again.start()


VALID = [
    MINE % (b"web1", b"1"),
    b'{"method":' + REPORT + b',"id":0}\n',
    WIRE["who may be trusted"][0],
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
METHODS = st.sampled_from(
    [
        "Agent.ReportStatus",
        "Agent.MinePlugins",
        "Agent.TrustableIps",
        "Agent.BuiltinMetrics",
        "",
        ".",
    ]
)
FIELDS = st.dictionaries(
    st.sampled_from(["Hostname", "IP", "AgentVersion", "PluginVersion", "Checksum", "x"]), JSON
)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A request of which a part was cut, doubled or replaced."""
    line = draw(st.sampled_from(VALID))
    at = draw(st.integers(0, len(line)))
    until = draw(st.integers(at, len(line)))
    return line[:at] + draw(st.binary(max_size=20)) * draw(st.integers(0, 3)) + line[until:]


SENT = st.one_of(
    st.binary(max_size=300),
    mangled(),
    st.builds(
        lambda method, params, number: json.dumps(
            {"method": method, "params": params, "id": number}
        ).encode() + b"\n",
        METHODS | st.text(max_size=20),
        st.lists(FIELDS, max_size=2) | JSON,
        JSON,
    ),
)  # fmt: skip


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(SENT, min_size=1, max_size=4))
def test_whatever_comes_is_answered_as_json_or_hung_up_on(port: int, packets: list[bytes]) -> None:
    for line in said(port, *packets).splitlines():
        answer = json.loads(line)
        assert list(answer) == ["id", "result", "error"]
        assert (answer["result"] is None) != (answer["error"] is None)
    assert said(port, MINE % (b"web1", b"1")) == WIRE["a list"][1]
