"""Plugins over REST: the list, one plugin's page, form and icon, and who is told what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controller.auth.models import Scope
from tests.controller.plugins.conftest import write_http_check
from tests.controller.server import Api
from tests.controller.sources import SourceRepository

MakeSource = Callable[..., SourceRepository]


@pytest.fixture
def catalogue(api: Api, make_source: MakeSource) -> Api:
    """Two sources: `sys/ntp` with two scripts, and `httpcheck`; three hosts in two hostgroups."""
    base, check = make_source("base"), make_source("check", "")
    base.write("sys/ntp/60_offset.py")
    base.commit()
    write_http_check(check, "")
    check.commit()
    for name, source, path in (("base", base, ""), ("check", check, "httpcheck")):
        body = {"name": name, "url": str(source.path), "ref": "main", "path": path}
        api.send("POST", "sources", 201, json=body)
    api.send("POST", "releases", 201, json={})
    for group in ("web", "db"):
        api.send("POST", "hostgroups", 201, json={"name": group})
    for host, groups in (("web1", ["web"]), ("both", ["web", "db"]), ("db1", ["db"])):
        api.send("POST", "hosts", 201, json={"name": host, "hostgroups": groups})
    return api


def bind(api: Api, hostgroup: str, plugin: str, **more: Any) -> int:
    body = {"hostgroup": hostgroup, "plugin": plugin, **more}
    return int(api.send("POST", "bindings", 201, json=body)["id"])


def paths(api: Api, **params: Any) -> list[str]:
    return [row["path"] for row in api.get("plugins", params=params)["items"]]


def test_before_the_first_release_nothing_is_offered(api: Api) -> None:
    assert api.get("plugins") == {"items": [], "next": None}
    assert "nothing was published" in api.get("plugins/page", 404, params={"path": "x"})["detail"]


def test_a_release_s_plugins_are_listed_with_who_runs_them(catalogue: Api) -> None:
    for group, plugin in (("web", "sys/ntp"), ("db", "sys/ntp/60_offset.py(a,b)")):
        bind(catalogue, group, plugin)
    config = {"items": [{"url": "http://127.0.0.1/"}]}
    bind(catalogue, "all", "httpcheck", config=config)
    check, ntp = catalogue.get("plugins")["items"]
    assert (ntp["path"], ntp["kind"], ntp["name"]) == ("sys/ntp", "scripts", "ntp")
    assert [script["step"] for script in ntp["scripts"]] == [600, 60]
    assert (ntp["hostgroups"], ntp["hosts"]) == (2, 3)
    assert (check["kind"], check["title"], check["version"]) == (
        "manifest",
        "HTTP check",
        "0.9.0_2",
    )
    assert check["tags"] == ["http", "Web"]
    assert (check["hostgroups"], check["hosts"]) == (1, 3)
    release = catalogue.get("releases/1")
    assert [check["source"], ntp["source"]] == sorted(
        release["sources"], key=lambda source: str(source["path"] == "")
    )
    limited = catalogue.connect(catalogue.token_of(Scope.VIEWER, ["db"]))
    rows = limited.get("plugins").json()["items"]
    assert [(row["hostgroups"], row["hosts"]) for row in rows] == [(0, 2), (1, 2)]
    shown = limited.get("plugins/page", params={"path": "sys/ntp"}).json()
    assert [row["hostgroup"] for row in shown["bindings"]] == ["db"]

    assert paths(catalogue, q="servers WHETHER") == paths(catalogue, tag="web") == ["httpcheck"]
    assert paths(catalogue, kind="scripts") == ["sys/ntp"] == paths(catalogue, q="NTP")
    assert paths(catalogue, sort="-kind") == ["sys/ntp", "httpcheck"]
    for sort in ("path", "-version"):
        first = catalogue.get("plugins", params={"limit": 1, "sort": sort})
        params = {"limit": 1, "sort": sort, "cursor": first["next"]}
        second = catalogue.get("plugins", params=params)
        assert second["next"] is None
        pages = [row["path"] for row in first["items"] + second["items"]]
        assert pages == paths(catalogue, sort=sort)
    for bad in ({"sort": "hosts"}, {"cursor": "e30"}, {"kind": "x"}, {"release": 0}):
        catalogue.get("plugins", 422, params=bad)
    catalogue.get("plugins", 404, params={"release": 9})


def test_a_plugin_s_page_says_all_that_is_known_of_it(catalogue: Api, png: bytes) -> None:
    config = {"items": [{"url": "http://127.0.0.1/"}]}
    number = bind(catalogue, "web", "httpcheck", config=config)
    page = catalogue.get("plugins/page", params={"path": "httpcheck"})
    assert (page["release"], page["command"], page["has_icon"]) == (1, "python3 check.py", True)
    assert page["unsupported_platforms"] == ["Windows"]
    assert [(m["name"], m["unit"], m["aggregate"]) for m in page["metrics"]] == [
        ("HTTP_TIME", "duration", "avg"),
        ("HTTP_OK", None, None),
    ]
    assert page["dashboards"][0]["graphs"][0]["metric"] == "HTTP_TIME"
    assert page["readme"] == "# HTTP <b>check</b>\n"
    assert all(finding["path"].startswith("httpcheck") for finding in page["findings"])
    assert page["bindings"] == [
        {"binding": number, "plugin": "httpcheck", "hostgroup": "web", "hosts": 2}
    ]
    assert page["health"] == {}
    form = catalogue.get("plugins/form", params={"path": "/httpcheck/"})
    assert page["form"] == form
    assert form["multiple"] and [field["key"] for field in form["fields"]] == ["url", "password"]
    assert [field["secret"] for field in form["fields"]] == [False, True]
    assert "json_schema" in form

    answer = catalogue.client.get("plugins/icon", params={"path": "httpcheck"})
    assert answer.content == png and answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    again = catalogue.client.get(
        "plugins/icon",
        params={"path": "httpcheck"},
        headers={"If-None-Match": answer.headers["etag"]},
    )
    assert again.status_code == 304 and not again.content

    scripts = catalogue.get("plugins/page", params={"path": "sys/ntp"})
    assert (scripts["form"], scripts["metrics"], scripts["has_icon"]) == (None, [], False)
    for route in ("form", "icon"):
        catalogue.get(f"plugins/{route}", 404, params={"path": "sys/ntp"})
    for path in ("sys", "httpcheck/check.py", "../x", "nothing"):
        problem = catalogue.get("plugins/page", 404, params={"path": path})
        assert "has no plugin" in problem["detail"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_older_release_shows_what_it_offered(
    api: Api, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(script="")
    write_http_check(source, "old")
    source.commit()
    body = {"name": "base", "url": str(source.path), "ref": "main"}
    api.send("POST", "sources", 201, json=body)
    api.send("POST", "releases", 201, json={})
    source.git("mv", "old", "new")
    source.commit()
    api.send("POST", "releases", 201, json={})
    assert paths(api) == ["new"] and paths(api, release=1) == ["old"]
    assert api.get("plugins/page", params={"path": "old", "release": 1})["release"] == 1

    # What was read once is not read again: without git the list is still there.
    monkeypatch.setenv("PATH", "/nowhere")
    assert paths(api, q="http") == ["new"]
