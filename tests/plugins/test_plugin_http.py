"""The HTTP plugin against real web servers on loopback, well behaved and not."""

from __future__ import annotations

import base64
import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from plugin_certificates import Authority, server_context

HTTP = "net/http/60_http_check.py"


class Pages(http.server.BaseHTTPRequestHandler):
    """A few pages; what was asked for is kept in the server's `asked`."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]  # set by the fixture
        path = self.path.partition("?")[0]
        if path in ("/moved", "/round"):
            self.send_response(302)
            self.send_header("Location", "/ok" if path == "/moved" else "/round")
            self.end_headers()
        elif path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("=")[2])
            self.end_headers()
        elif path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"short")
        elif path == "/drip":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(0.1)
        elif path == "/big":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 3_000_000)
        else:
            status = int(path[1:]) if path[1:].isdigit() else 200
            body = b"all is well, really"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., http.server.ThreadingHTTPServer]]:
    """Starts web servers with Pages, over TLS when a certificate is given."""
    servers = []

    def start(certificate: Any = None) -> http.server.ThreadingHTTPServer:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        server.asked = []  # type: ignore[attr-defined]  # what Pages keeps
        server.daemon_threads = True
        server.handle_error = lambda *_ignored: None  # type: ignore[method-assign]  # refused handshakes
        if certificate is not None:
            context = server_context(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(serve: Any) -> str:
    return f"http://127.0.0.1:{serve().server_address[1]}"


def tagged(values: dict[str, float], url: str) -> dict[str, float]:
    """The values of one check, by metric."""
    return {name.split("/url=")[0]: value for name, value in values.items() if name.endswith(url)}


def test_a_page_that_answers_is_up(run_plugin: Any, site: str) -> None:
    values = tagged(run_plugin(HTTP, f"{site}/ok").values(), "/ok")
    assert 0 < values.pop("http.latency.ms") < 5000
    assert values == {"http.up": 1, "http.error": 0, "http.status": 200, "http.size.bytes": 19}


@pytest.mark.parametrize(
    ("page", "options", "up", "error", "status"),
    [
        ("/404", [], 0, 6, 404),
        ("/503", [], 0, 6, 503),
        ("/204", [], 1, 0, 204),
        ("/401", ["status=401"], 1, 0, 401),
        ("/ok", ["status=204"], 0, 6, 200),
        ("/ok", ["text=all is well%2C really"], 1, 0, 200),
        ("/ok", ["text=all%20is%20ill"], 0, 7, 200),
        ("/503", ["status=503", "text=well"], 1, 0, 503),
        ("/moved", [], 1, 0, 200),
        ("/moved", ["status=302"], 1, 0, 302),
        ("/ok", ["status=302"], 0, 6, 200),
        ("/round", [], 0, 6, 302),
    ],
)
def test_what_is_asked_of_a_page_decides(
    run_plugin: Any, site: str, page: str, options: list[str], up: int, error: int, status: int
) -> None:
    values = tagged(run_plugin(HTTP, f"{site}{page}", *options).values(), page)
    found = (values["http.up"], values["http.error"], values["http.status"])
    assert found == (up, error, status)


def test_what_keeps_an_answer_away_is_told_by_number(
    run_plugin: Any, serve: Any, site: str, silent: int, refusing: int, authority: Authority
) -> None:
    secure = serve(authority.issue("localhost", 30)).server_address[1]
    urls = {
        "http://nosuch.invalid/": 1,
        f"http://127.0.0.1:{refusing}/": 2,
        f"http://127.0.0.1:{silent}/": 3,
        f"{site}/drip": 3,
        f"https://localhost:{secure}/": 4,
        f"{site}/cut": 5,
        f"{site}/away?to=file:///etc/passwd": 6,
        f"{site}/away?to=ftp://127.0.0.1/": 5,
    }
    ran = run_plugin(HTTP, *urls, name="4_http.py")
    values = ran.values()
    found = {url: values[f"http.error/url={url.replace('=', '_')}"] for url in urls}
    assert found == urls
    assert ran.seconds < 3.5


@pytest.mark.parametrize("page", ["", "/drip"])
def test_no_whole_answer_ends_inside_the_step(
    run_plugin: Any, site: str, silent: int, page: str
) -> None:
    ran = run_plugin(HTTP, site + page if page else f"http://127.0.0.1:{silent}", name="3_http.py")
    assert 3 in ran.values().values()
    assert ran.seconds < 2.5


def test_certificates_are_verified_unless_told_otherwise(
    run_plugin: Any, serve: Any, authority: Authority
) -> None:
    port = serve(authority.issue("localhost", 30)).server_address[1]
    url = f"https://localhost:{port}/"
    assert run_plugin(HTTP, url).values()[f"http.error/url={url}"] == 4
    assert run_plugin(HTTP, url, "verify=no").values()[f"http.up/url={url}"] == 1
    known = run_plugin(HTTP, url, SSL_CERT_FILE=str(authority.path)).values()
    assert known[f"http.up/url={url}"] == 1


def test_a_password_is_sent_to_its_server_alone_and_never_becomes_a_tag(
    run_plugin: Any, serve: Any
) -> None:
    first, second = serve(), serve()
    there = f"http://127.0.0.1:{second.server_address[1]}/ok"
    url = f"http://me:s%2Cecret@127.0.0.1:{first.server_address[1]}/away?to={there}"
    ran = run_plugin(HTTP, url)
    assert 200 in ran.values().values()
    assert b"ecret" not in ran.stdout
    login = "Basic " + base64.b64encode(b"me:s,ecret").decode()
    assert [word for _, word in first.asked] == [login]
    assert [word for _, word in second.asked] == [None]


def test_the_environments_proxy_is_not_used(run_plugin: Any, site: str, refusing: int) -> None:
    proxy = f"http://127.0.0.1:{refusing}"
    values = run_plugin(HTTP, f"{site}/ok", http_proxy=proxy, HTTP_PROXY=proxy).values()
    assert tagged(values, "/ok")["http.up"] == 1


def test_no_more_than_a_mebibyte_is_read(run_plugin: Any, site: str) -> None:
    values = tagged(run_plugin(HTTP, f"{site}/big").values(), "/big")
    assert values["http.size.bytes"] == 1024 * 1024


def test_a_name_takes_the_urls_place(run_plugin: Any, site: str) -> None:
    values = run_plugin(HTTP, f"{site}/ok?token=abc", "name=shop front", f"{site}/ok").values()
    assert values["http.up/url=shop_front"] == 1
    assert not any("abc" in name for name in values)


def test_a_long_url_makes_a_tag_that_transfer_takes(run_plugin: Any, site: str) -> None:
    long = [f"{site}/ok?{'x' * 3000}{end}" for end in "ab"]
    assert sum(name.startswith("http.up") for name in run_plugin(HTTP, *long).values()) == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([""], "no URL is given: bind it with some, as 60_http_check.py(http://localhost/"),
        (["localhost/x"], "'localhost/x' comes before any URL"),
        (["text=ok"], "'text=ok' comes before any URL"),
        (["http://"], "'http://' is no URL"),
        (["http://a:port/"], "'http://a:port/' is no URL"),
        (["http://a/ä"], "is no URL: write http://host/path, and %XX"),
        (["http://a/x y"], "is no URL"),
        (["http://a/", "status=2xx"], "'status=2xx' is neither a URL nor"),
        (["http://a/", "text="], "'text=' is neither a URL nor"),
        (["http://a/", "verify=yes"], "'verify=yes' is neither a URL nor"),
        (["http://a/", "http://a/"], "two checks would be told apart by nothing (http://a/)"),
        (["http://a/?b=c", "http://a/?b_c"], "two checks would be told apart by nothing"),
    ],
)
def test_wrong_arguments_are_named(run_plugin: Any, arguments: list[str], reason: str) -> None:
    assert reason in run_plugin(HTTP, *arguments).reason()
