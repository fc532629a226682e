"""Sources over REST: what may be one, what is never shown, and linting them; on both databases."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controller.auth.models import Scope
from controller.web.deps import Context
from tests.controller.server import Api, serving
from tests.controller.sources import SourceRepository
from tests.fleet import GitHttpServer

MakeSource = Callable[..., SourceRepository]
TOKEN = "glpat-S3cr3t"
PRIVATE: dict[str, Any] = {
    "name": "private",
    "url": "https://git.example.com/x.git",
    "path": "private",
}


def test_a_source_is_added_changed_and_removed(api: Api) -> None:
    made = api.send(
        "POST", "sources", 201, json={"name": "ops", "url": "/srv/git/ops", "path": "/sys/"}
    )
    assert (made["path"], made["ref"], made["has_credentials"]) == ("sys", "HEAD", False)
    changed = api.send("PATCH", "sources/ops", 200, json={"ref": "stable"})
    assert (changed["url"], changed["ref"]) == ("/srv/git/ops", "stable")
    assert [row["name"] for row in api.get("sources")["items"]] == ["ops"]
    api.send("DELETE", "sources/ops", 204)
    api.get("sources/ops", 404)
    log = api.get("audit", params={"kind": "source"})["items"]
    assert [entry["action"] for entry in log] == ["source.delete", "source.update", "source.create"]
    assert (log[1]["before"]["ref"], log[1]["after"]["ref"]) == ("HEAD", "stable")


def test_a_lost_update_is_refused(api: Api) -> None:
    api.send("POST", "sources", 201, json={"name": "ops", "url": "/srv/ops"})
    old = api.client.get("sources/ops").headers["etag"]
    api.send("PATCH", "sources/ops", 200, json={"ref": "a"}, headers={"If-Match": old})
    api.send("PATCH", "sources/ops", 412, json={"ref": "b"}, headers={"If-Match": old})
    api.send("DELETE", "sources/ops", 412, headers={"If-Match": old})
    assert api.get("sources/ops")["ref"] == "a"


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"url": "ext::sh -c id"}, "body.url"),
    ({"url": "--upload-pack=id"}, "body.url"),
    ({"url": "plugins"}, "body.url"),
    ({"url": "~root/plugins"}, "body.url"),
    ({"url": "https://u:p@h/x", "credentials": {"password": "q"}}, "body.credentials"),
    ({"url": "http://u:p@h/x"}, "body.url"),
    ({"url": "http://h/x", "credentials": {"password": "q"}}, "body.credentials"),
    ({"url": "git@h:x", "credentials": {"password": "q"}}, "body.credentials"),
    ({"url": "/x", "path": "../up"}, "body.path"),
    ({"url": "/x", "path": "a/.git"}, "body.path"),
    ({"url": "/x", "subdir": "../up"}, "body.subdir"),
    ({"url": "/x", "ref": "a..b"}, "body.ref"),
    ({"url": "/x", "ref": ""}, "body.ref"),
    ({"url": "/x\u202ey"}, "body.url"),
    ({"url": "/" + "x" * 10_000}, "body.url"),
    ({"url": "/x", "name": "a/b"}, "body.name"),
    ({"url": "/x", "branch": "main"}, "body.branch"),
    ({}, "body.url"),
]


def test_what_cannot_be_a_source_is_refused_by_its_field(api: Api) -> None:
    for body, field in REFUSED:
        problem = api.send("POST", "sources", 422, json={"name": "bad", **body})
        assert field in [entry["field"] for entry in problem["fields"]], body
    assert api.get("sources")["items"] == []


def test_two_sources_cannot_have_one_name_or_one_path(api: Api) -> None:
    api.send("POST", "sources", 201, json={"name": "one", "url": "/x", "path": "sys"})
    api.send("POST", "sources", 409, json={"name": "one", "url": "/y", "path": "other"})
    refused = api.send("POST", "sources", 409, json={"name": "two", "url": "/y", "path": "sys/"})
    assert "'one'" in refused["detail"]
    api.send("POST", "sources", 201, json={"name": "two", "url": "/y"})
    api.send("PATCH", "sources/two", 409, json={"path": "sys"})


@pytest.mark.parametrize("in_url", [False, True])
def test_credentials_go_in_and_never_come_out(api: Api, in_url: bool) -> None:
    body = PRIVATE | {"credentials": {"username": "ops", "password": TOKEN}}
    if in_url:
        body = PRIVATE | {"url": f"https://ops:{TOKEN}@git.example.com/x.git"}
    made = api.send("POST", "sources", 201, json=body)
    assert made["has_credentials"] and made["url"] == PRIVATE["url"]
    api.send("PATCH", "sources/private", 200, json={"ref": "main"})
    seen = str([made, api.get("sources"), api.get("sources/private"), api.get("audit")])
    assert TOKEN not in seen
    gone = api.send("PATCH", "sources/private", 200, json={"credentials": None})
    assert not gone["has_credentials"]


def test_credentials_are_not_sent_to_another_server(api: Api) -> None:
    body = PRIVATE | {"credentials": {"username": "ops", "password": TOKEN}}
    api.send("POST", "sources", 201, json=body)
    refused = api.send(
        "PATCH", "sources/private", 422, json={"url": "https://elsewhere.example.com/x.git"}
    )
    assert refused["fields"][0]["field"] == "body.credentials"
    api.send("PATCH", "sources/private", 200, json={"url": "https://git.example.com/y.git"})


def test_only_admins_change_sources(api: Api) -> None:
    operator = api.connect(api.token_of(Scope.OPERATOR))
    assert operator.post("sources", json={"name": "x", "url": "/x"}).status_code == 403
    limited = api.connect(api.token_of(Scope.ADMIN, ["all"]))
    assert limited.post("sources", json={"name": "x", "url": "/x"}).status_code == 403


def test_a_source_is_linted_at_a_ref_without_being_published(
    api: Api, make_source: MakeSource
) -> None:
    source = make_source()
    source.git("branch", "good")
    source.write("sys/ntp/0_kills.py")
    bad = source.commit()
    body = {"name": "ops", "url": str(source.path), "ref": "main", "path": "team"}
    api.send("POST", "sources", 201, json=body)
    report = api.send("POST", "sources/ops/lint", 200, json={})
    assert (report["clean"], report["commit"]) == (False, bad)
    assert "team/sys/ntp/0_kills.py" in [problem["path"] for problem in report["problems"]]
    report = api.send("POST", "sources/ops/lint", 200, json={"ref": "good"})
    assert report["clean"]
    assert [plugin["path"] for plugin in report["plugins"]] == ["team/sys/ntp/600_ntp.py"]
    assert api.get("releases")["items"] == []
    refs = api.context.catalog.repository.text("for-each-ref", "refs/lint")
    assert refs == ""


@pytest.mark.parametrize(
    ("ref", "said"), [("gone", "could not be fetched"), ("-x", "not a branch"), ("a b", "not a")]
)
def test_a_ref_that_is_not_there_is_named(
    api: Api, make_source: MakeSource, ref: str, said: str
) -> None:
    api.send("POST", "sources", 201, json={"name": "ops", "url": str(make_source().path)})
    assert said in api.send("POST", "sources/ops/lint", 422, json={"ref": ref})["detail"]


@contextmanager
def hanging() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"git://127.0.0.1:{server.getsockname()[1]}/x.git"


@contextmanager
def answering(status: int, header: tuple[str, str]) -> Iterator[str]:
    """A web server that gives one answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header(*header)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/x.git"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("server", "said"),
    [
        (hanging, "no answer within 1 s"),
        (partial(answering, 302, ("Location", "http://127.0.0.1:9/y.git/info/refs")), "redirects"),
        (partial(answering, 301, ("Location", "file:///etc/passwd")), "redirects"),
        (partial(answering, 401, ("WWW-Authenticate", 'Basic realm="git"')), "user and a password"),
        (partial(answering, 500, ("X-Nothing", "here")), "could not be fetched"),
    ],
    ids=["hangs", "redirects", "redirects-to-a-file", "needs-a-password", "fails"],
)
def test_a_server_that_gives_no_source_is_told_in_time(
    context: Context, server: Callable[[], AbstractContextManager[str]], said: str
) -> None:
    context.settings.source_timeout = 1
    with serving(context) as api, server() as url:
        api.send("POST", "sources", 201, json={"name": "far", "url": url})
        began = time.monotonic()
        assert said in api.send("POST", "sources/far/lint", 422, json={})["detail"]
        assert said in api.send("POST", "releases", 422, json={})["detail"]
        assert time.monotonic() - began < 10


# What the database is makes no difference here, and it takes seconds.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_servers_that_hang_hold_up_no_more_than_a_few_lints(context: Context) -> None:
    context.settings.source_timeout = 2
    with serving(context) as api, hanging() as url, ThreadPoolExecutor(8) as pool:
        api.send("POST", "sources", 201, json={"name": "far", "url": url})
        lints = [pool.submit(api.client.post, "sources/far/lint", json={}) for _ in range(8)]
        codes = sorted(lint.result().status_code for lint in lints)
    assert codes == [409, 409, 409, 409, 422, 422, 422, 422]


def test_a_private_source_is_fetched_and_its_token_is_nowhere(
    api: Api, make_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repositories = {"plugins": make_source().path}
    with GitHttpServer(repositories, tmp_path / "https", users={"ops": TOKEN}) as server:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(server.authority))
        credentials = {"username": "ops", "password": TOKEN}
        body = {"name": "private", "url": server.url("plugins"), "credentials": credentials}
        api.send("POST", "sources", 201, json=body)
        published = api.send("POST", "releases", 201, json={})
        wrong = credentials | {"password": "wr0ng-t0ken"}
        api.send("PATCH", "sources/private", 200, json={"credentials": wrong})
        refused = api.send("POST", "releases", 422, json={})
    assert "could not be fetched" in refused["detail"]
    seen = str([published, refused, api.get("releases/1"), api.get("audit")])
    data = api.context.settings.data_dir
    files = [path for path in data.rglob("*") if path.is_file() and path.suffix != ".db-shm"]
    written = "".join(path.read_bytes().decode("latin-1") for path in files)
    for secret in (TOKEN, "wr0ng-t0ken"):
        assert secret not in seen + written
