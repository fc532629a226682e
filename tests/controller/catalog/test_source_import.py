"""Importing sources: a list, and a repository of submodules from a real git server; all or none."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.auth.models import Scope
from controller.catalog.errors import SourceError
from controller.catalog.git import Repository
from controller.catalog.submodules import read_submodules, resolved_url
from tests.controller.server import Api
from tests.controller.sources import SourceRepository
from tests.fleet import GitServer

MakeSource = Callable[..., SourceRepository]
TOKEN = "glpat-S3cr3t"


def imported(api: Api, status: int = 200, **body: Any) -> Any:
    return api.send("POST", "sources/import", status, json=body)


def actions(report: Any) -> dict[str, str]:
    return {line["path"]: line["action"] for line in report["sources"]}


def listed(**refs: str) -> list[dict[str, str]]:
    return [{"path": p, "url": f"/srv/{p}.git", "ref": ref} for p, ref in refs.items()]


def test_a_list_is_imported_again_and_again(api: Api) -> None:
    sources = [*listed(cpu="main", disk="main"), {"path": "team/net", "url": "/srv/net"}]
    dry = imported(api, sources=sources, dry_run=True)
    assert (dry["created"], dry["dry_run"]) == (3, True)
    assert api.get("sources")["items"] == []
    assert imported(api, sources=sources)["created"] == 3
    rows = {row["name"]: row for row in api.get("sources")["items"]}
    assert {name: row["path"] for name, row in rows.items()} == {
        "cpu": "cpu",
        "disk": "disk",
        "team.net": "team/net",
    }
    again = imported(api, sources=sources)
    assert (again["unchanged"], again["created"], again["changed"]) == (3, 0, 0)
    moved = imported(api, sources=listed(cpu="v2", load="main"))
    assert actions(moved) == {"cpu": "changed", "load": "new"}
    assert moved["sources"][0]["changes"] == [{"field": "ref", "before": "main", "after": "v2"}]
    assert len(api.get("sources")["items"]) == 4
    log = [entry["action"] for entry in api.get("audit", params={"kind": "source"})["items"]]
    assert sorted(log) == ["source.create"] * 4 + ["source.update"]
    under = imported(api, sources=listed(cpu="main"), under="public")
    assert actions(under) == {"public/cpu": "new"}
    assert under["sources"][0]["name"] == "public.cpu"


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"path": "a", "url": "ext::sh -c id"}, "remote helper"),
    ({"path": "b", "url": "plugins"}, "relative path"),
    ({"path": "../c", "url": "/srv/c"}, "must stay inside"),
    ({"path": "d", "url": "/srv/d", "ref": "a..b"}, "not a branch"),
    ({"path": "x/", "url": "/srv/e"}, "body.sources.0 has the path 'x' too"),
    ({"path": "there", "url": "/srv/e", "name": "other"}, "'kept' is mounted at 'there'"),
    ({"path": "g", "url": f"http://u:{TOKEN}@h/x"}, "unencrypted"),
]


def test_one_that_is_refused_keeps_all_from_being_imported(api: Api) -> None:
    api.send("POST", "sources", 201, json={"name": "kept", "url": "/srv/kept", "path": "there"})
    good = {"path": "x", "url": "/srv/x"}
    bad = [entry for entry, _ in REFUSED]
    dry = imported(api, sources=[good, *bad], dry_run=True)
    assert (dry["created"], dry["refused"]) == (1, len(bad))
    for line, (_, why) in zip(dry["sources"][1:], REFUSED, strict=True):
        assert why in line["message"]
    problem = imported(api, 422, sources=[good, *bad])
    assert [field["field"] for field in problem["fields"]] == [
        f"body.sources.{number + 1}" for number in range(len(bad))
    ]
    assert [row["name"] for row in api.get("sources")["items"]] == ["kept"]
    assert imported(api, sources=[good, *bad], skip_refused=True)["created"] == 1
    # A name says which source is meant, wherever it was mounted.
    moved = imported(api, sources=[{"path": "new", "url": "/srv/e", "name": "kept"}])
    assert [change["field"] for change in moved["sources"][0]["changes"]] == ["path", "url"]
    assert TOKEN not in str([dry, problem, api.get("sources"), api.get("audit")])


def test_credentials_are_kept_and_never_told(api: Api) -> None:
    entry = {"path": "x", "url": f"https://ops:{TOKEN}@git.example.com/x.git"}
    assert imported(api, sources=[entry])["created"] == 1
    assert imported(api, sources=[entry])["unchanged"] == 1
    plain = {"path": "x", "url": "https://git.example.com/x.git"}
    assert imported(api, sources=[plain])["unchanged"] == 1
    other = imported(
        api, sources=[{**plain, "credentials": {"username": "ops", "password": "another"}}]
    )
    assert other["sources"][0]["changes"] == [
        {"field": "credentials", "before": None, "after": None}
    ]
    elsewhere = {"path": "x", "url": "https://elsewhere.example.com/x.git"}
    assert "names another server" in imported(api, 422, sources=[elsewhere])["detail"]
    assert TOKEN not in str([other, api.get("sources"), api.get("audit")])


def test_who_may_import_and_what_a_request_is(api: Api) -> None:
    for token in (api.token_of(Scope.OPERATOR), api.token_of(Scope.ADMIN, ["all"])):
        answer = api.connect(token).post("sources/import", json={"sources": listed(a="main")})
        assert answer.status_code == 403
    both = {"sources": listed(a="m"), "repository": {"url": "/x"}}
    for wrong in ({}, {"sources": []}, both):
        imported(api, 422, **wrong)
    for url in ("contrib", "ext::id", f"http://u:{TOKEN}@h/x"):
        problem = imported(api, 422, repository={"url": url})
        assert problem["fields"][0]["field"] == "body.repository" and TOKEN not in str(problem)
    key = {"Idempotency-Key": "once"}
    body = {"sources": listed(a="main")}
    first = api.send("POST", "sources/import", 200, json=body, headers=key)
    assert api.send("POST", "sources/import", 200, json=body, headers=key) == first
    assert first["created"] == 1


class Contrib:
    """A repository of submodules like the public catalogue, on a git server with its plugins."""

    def __init__(self, folder: Path, make: MakeSource) -> None:
        self.plugins = {name: make(name, f"60_{name}.sh") for name in ("cpu", "disk")}
        self.repository = make("contrib", "README.md")
        self.pins = {name: source.git("rev-parse", "HEAD") for name, source in self.plugins.items()}
        sources = {"contrib": self.repository, **self.plugins}
        self.server = GitServer({n: s.path for n, s in sources.items()}, folder)
        self.modules = {f"plugins/{name}": f"../{name}.git" for name in self.plugins}

    def commit(self, **pins: str) -> None:
        """Name the submodules, and pin those of `pins` ("" takes a pin away)."""
        text = "".join(
            f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'
            for path, url in self.modules.items()
        )
        self.repository.write(".gitmodules", text, 0o644)
        for name, commit in pins.items():
            place = f"plugins/{name}"
            if commit:
                pin = f"160000,{commit},{place}"
                self.repository.git("update-index", "--add", "--cacheinfo", pin)
            else:
                self.repository.git("update-index", "--force-remove", place)
        self.repository.git("add", ".gitmodules")
        self.repository.git("commit", "--quiet", "-m", "pins")

    @property
    def request(self) -> dict[str, str]:
        return {"url": self.server.url("contrib"), "ref": "main"}


@pytest.fixture
def contrib(tmp_path: Path, make_source: MakeSource) -> Iterator[Contrib]:
    made = Contrib(tmp_path / "server", make_source)
    with made.server:
        yield made


def test_submodules_become_sources_pinned_by_commit(api: Api, contrib: Contrib) -> None:
    contrib.commit(**contrib.pins)
    report = imported(api, repository=contrib.request, under="public", fetch=True)
    assert actions(report) == {"public/cpu": "new", "public/disk": "new"}
    row = api.get("sources/public.cpu")
    assert (row["url"], row["ref"]) == (contrib.server.url("cpu"), contrib.pins["cpu"])
    fetched = contrib.server.packs("cpu")
    api.send("POST", "releases", 201, json={})
    assert contrib.server.packs("cpu") == fetched == 1
    offered = api.get("plugins")["items"]
    assert [plugin["path"] for plugin in offered] == ["public/cpu", "public/disk"]
    again = imported(api, repository=contrib.request, under="public", fetch=True)
    assert again["unchanged"] == 2 and contrib.server.packs("cpu") == fetched

    # The pin is moved, to a commit that is no longer the newest of its branch.
    contrib.plugins["disk"].write("30_more.sh")
    pinned = contrib.plugins["disk"].commit()
    contrib.plugins["disk"].commit()
    contrib.commit(disk=pinned)
    moved = imported(api, repository=contrib.request, under="public")
    assert actions(moved) == {"public/cpu": "same", "public/disk": "changed"}
    assert moved["sources"][1]["changes"][0]["after"] == pinned
    changes = api.send("POST", "releases", 201, json={})["changes"]
    assert changes == ["A public/disk/30_more.sh"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_each_submodule_that_cannot_be_taken_says_why(api: Api, contrib: Contrib) -> None:
    commit = "5" * 40
    contrib.modules |= {
        "plugins/helper": "ext::sh -c id",
        "plugins/option": "--upload-pack=id",
        "plugins/local": "/srv/secret",
        "plugins/file": "file:///srv/secret",
        "plugins/up": "../../../up.git",
        "plugins/nourl": "",
        "other/disk": "../disk.git",
        "plugins/nopin": "../cpu.git",
        "plugins/gone": "../gone.git",
    }
    contrib.commit(
        **contrib.pins,
        **dict.fromkeys(("helper", "option", "local", "file", "up", "nourl", "gone"), commit),
        unnamed=commit,
    )
    contrib.repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},other/disk")
    contrib.commit(cpu=commit)
    report = imported(api, repository=contrib.request, fetch=True, dry_run=True)
    refused = {
        line["place"].partition(" ")[2]: line["message"]
        for line in report["sources"]
        if line["action"] == "refused"
    }
    for place, why in {
        "plugins/helper": "remote helper",
        "plugins/option": "dash",
        "plugins/local": "controller's own machine",
        "plugins/file": "controller's own machine",
        "plugins/up": "above the top folder",
        "plugins/nourl": "names no url",
        "plugins/nopin": "no commit is pinned",
        "plugins/unnamed": "does not name it",
        "plugins/disk": "submodule other/disk has the path 'disk' too",
        "plugins/gone": "could not be fetched",
        "plugins/cpu": f"has no commit {commit} on any branch or tag",
        "other/disk": "has no commit",
    }.items():
        assert why in refused.pop(place, ""), (place, report["sources"])
    assert not refused
    problem = imported(api, 422, repository=contrib.request)
    assert "nothing was imported" in problem["detail"]
    assert api.get("sources")["items"] == []


def test_what_holds_no_submodules_is_refused(make_source: MakeSource) -> None:
    source = make_source()
    repository = Repository(source.path / ".git")
    with pytest.raises(SourceError, match="holds no submodules"):
        read_submodules(repository, source.commit(), "https://h/x.git")
    source.write(".gitmodules", "[submodule\n", 0o644)
    with pytest.raises(SourceError, match=r"\.gitmodules cannot be read"):
        read_submodules(repository, source.commit(), "https://h/x.git")
    named = source.path / "named-file"
    named.write_text('[submodule "x"]\n\tpath = plugins/x\n\turl = https://h/LOCAL\n')
    source.write(".gitmodules", f"[include]\n\tpath = {named}\n", 0o644)
    with pytest.raises(SourceError, match="holds no submodules"):
        read_submodules(repository, source.commit(), "https://h/x.git")
    (source.path / ".gitmodules").unlink()
    (source.path / ".gitmodules").symlink_to("/etc/passwd")
    with pytest.raises(SourceError, match="is no file"):
        read_submodules(repository, source.commit(), "https://h/x.git")


RELATIVE = [
    ("https://h.example.com/a/contrib.git", "../b.git"),
    ("https://h.example.com/a/contrib.git/", "../../b/c.git"),
    ("https://h.example.com:8443/a/contrib.git", "./nested.git"),
    ("ssh://git@h/a/contrib", ".././b"),
    ("git@h:a/contrib.git", "../b.git"),
    ("git@h:/srv/a/contrib.git", "../../b.git/"),
    ("/srv/git/contrib", "../b"),
    ("file:///srv/git/contrib", "../b"),
    ("https://h/a/contrib.git", "https://other/b.git"),
]


def test_relative_urls_are_resolved_as_git_does(make_source: MakeSource) -> None:
    source = make_source()
    expected = {}
    for number, (base, url) in enumerate(RELATIVE):
        source.write(".gitmodules", f'[submodule "m"]\n\tpath = m{number}\n\turl = {url}\n', 0o644)
        source.git("update-index", "--add", "--cacheinfo", f"160000,{'5' * 40},m{number}")
        subprocess.run(["git", "remote", "remove", "origin"], cwd=source.path, capture_output=True)
        source.git("remote", "add", "origin", base)
        source.git("submodule", "--quiet", "init", f"m{number}")
        expected[base, url] = source.git("config", "submodule.m.url")
        source.git("config", "--unset-all", "submodule.m.url")
    assert {(base, url): resolved_url(url, base) for base, url in RELATIVE} == expected


@pytest.mark.parametrize("base", ["https://h/contrib.git", "git@h:contrib.git", "/contrib"])
def test_a_relative_url_cannot_lead_to_another_server(base: str) -> None:
    with pytest.raises(SourceError, match="above the top folder"):
        resolved_url("../../evil.example.com/x.git", base)
