"""Releases over REST: publishing, the hold after a rollback, bundles, and what a crash leaves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from controller.agents.models import AgentRow
from controller.app import open_context
from controller.auth.models import Scope
from controller.catalog import bundles, fetching, releases
from controller.catalog.deps import publisher_of
from controller.catalog.models import ReleaseBundle, ReleaseRow
from controller.catalog.publish import Catalog
from controller.catalog.sources import Source
from controller.catalog.urls import SourceUrl
from controller.database import counters
from controller.fleet.models import Host
from controller.web.deps import Context
from tests.controller.server import Api, serving
from tests.controller.sources import SourceRepository, publish

MakeSource = Callable[..., SourceRepository]


def rows(context: Context) -> list[tuple[int, str]]:
    with context.database.read() as session:
        query = select(ReleaseRow.number, ReleaseRow.commit).order_by(ReleaseRow.number)
        return [(number, commit) for number, commit in session.execute(query)]


def line(context: Context) -> list[tuple[int, str]]:
    return [(r.number, r.commit) for r in releases.history(context.catalog.repository)][::-1]


def test_a_release_is_published_with_its_sources_changes_and_findings(
    api: Api, make_source: MakeSource
) -> None:
    source = make_source()
    source.write("sys/ntp/90000_slow.sh")
    commit = source.commit()
    with api.context.database.write() as session:
        session.add(Host(name="h1"))
        before = counters.count(session, counters.PLANS)
    answer = publish(api, source)
    assert answer["changed"] and answer["release"]["number"] == 1
    shown = api.get("releases/1")
    assert shown["sources"] == [
        {"path": "", "url": str(source.path), "ref": "main", "commit": commit}
    ]
    assert shown["by"] == "admin"
    assert shown["changes"] == ["A sys/ntp/600_ntp.py", "A sys/ntp/90000_slow.sh"]
    assert [problem["path"] for problem in shown["problems"]] == ["sys/ntp/90000_slow.sh"]
    assert [row["number"] for row in api.get("releases")["items"]] == [1]
    assert api.get("audit", params={"kind": "release"})["items"][0]["action"] == "release.publish"
    with api.context.database.read() as session:
        assert session.scalars(select(Host.wanted_release)).one() == 1
        assert counters.count(session, counters.PLANS) > before


def test_publishing_what_is_published_makes_no_release(api: Api, make_source: MakeSource) -> None:
    source = make_source()
    publish(api, source)
    again = api.send("POST", "releases", 200, json={})
    assert (again["changed"], again["release"]["number"]) == (False, 1)


def test_a_dry_run_publishes_nothing(api: Api, make_source: MakeSource) -> None:
    api.send("POST", "sources", 201, json={"name": "s", "url": str(make_source().path)})
    answer = api.send("POST", "releases", 200, json={"dry_run": True})
    assert (answer["changed"], answer["release"]) == (True, None)
    assert answer["changes"] == ["A sys/ntp/600_ntp.py"]
    assert rows(api.context) == line(api.context) == []


def test_publishing_needs_a_source_and_an_unlimited_operator(api: Api) -> None:
    assert "no source" in api.send("POST", "releases", 409, json={})["detail"]
    for token in (api.token_of(Scope.VIEWER), api.token_of(Scope.OPERATOR, ["all"])):
        assert api.connect(token).post("releases", json={}).status_code == 403


def test_lint_errors_are_told_by_their_files(api: Api, make_source: MakeSource) -> None:
    source = make_source()
    source.write("sys/ntp/0_kills.py")
    source.commit()
    api.send("POST", "sources", 201, json={"name": "s", "url": str(source.path)})
    problem = api.send("POST", "releases", 422, json={})
    assert [entry["field"] for entry in problem["fields"]] == ["sys/ntp/0_kills.py"]


def test_what_a_binding_names_must_be_in_the_release(api: Api, make_source: MakeSource) -> None:
    source = make_source()
    publish(api, source)
    api.send("POST", "bindings", 201, json={"hostgroup": "all", "plugin": "sys/ntp"})
    source.git("mv", "sys/ntp", "sys/time")
    source.commit()
    problem = api.send("POST", "releases", 422, json={})
    assert "hostgroup all" in problem["detail"] and "'sys/ntp'" in problem["detail"]
    assert len(line(api.context)) == 1


def test_a_binding_made_while_sources_are_fetched_counts_too(
    api: Api, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source()
    publish(api, source)
    source.git("mv", "sys/ntp", "sys/time")
    source.commit()

    def slow(*args: Any, **options: Any) -> Any:
        api.send("POST", "bindings", 201, json={"hostgroup": "all", "plugin": "sys/ntp"})
        return fetching.fetch(*args, **options)

    monkeypatch.setattr("controller.catalog.publish.fetch", slow)
    problem = api.send("POST", "releases", 422, json={})
    assert "hostgroup all" in problem["detail"] and "'sys/ntp'" in problem["detail"]
    assert len(line(api.context)) == 1


def test_the_same_request_sent_again_gets_the_first_answer(
    api: Api, make_source: MakeSource
) -> None:
    source = make_source()
    headers = {"Idempotency-Key": "deploy-7"}
    api.send("POST", "sources", 201, json={"name": "s", "url": str(source.path), "ref": "main"})
    first = api.client.post("releases", json={}, headers=headers)
    source.write("sys/ntp/60_new.sh")
    source.commit()
    again = api.client.post("releases", json={}, headers=headers)
    assert (first.status_code, first.headers["location"]) == (201, "/api/v1/releases/1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert len(rows(api.context)) == 1


def test_a_rollback_is_a_new_release_with_the_old_tree(api: Api, make_source: MakeSource) -> None:
    source = make_source()
    first = publish(api, source)
    source.write("sys/ntp/60_new.sh")
    source.commit()
    publish(api, source)
    dry = api.send("POST", "releases/rollback", 200, json={"number": 1, "dry_run": True})
    assert dry["changes"] == ["D sys/ntp/60_new.sh"] and len(rows(api.context)) == 2
    back = api.send("POST", "releases/rollback", 201, json={"number": 1})["release"]
    assert (back["number"], back["rollback_to"]) == (3, 1)
    assert back["tree"] == first["release"]["tree"]
    assert rows(api.context) == line(api.context)
    assert "newest is 3" in api.send("POST", "releases/rollback", 404, json={"number": 9})["detail"]


def rolled_back(api: Api, make_source: MakeSource) -> SourceRepository:
    """A controller that went back from release 2, which added a faulty script, to release 1."""
    source = make_source()
    publish(api, source)
    source.write("sys/ntp/60_faulty.sh")
    source.commit()
    publish(api, source)
    api.send("POST", "releases/rollback", 201, json={"number": 1})
    return source


def test_after_a_rollback_unchanged_sources_are_not_published_again(
    api: Api, make_source: MakeSource
) -> None:
    source = rolled_back(api, make_source)
    for body in ({}, {"dry_run": True}):
        problem = api.send("POST", "releases", 409, json=body)
        assert "would undo the rollback" in problem["detail"] and "force" in problem["hint"]
    assert len(line(api.context)) == 3
    forced = publish(api, source, force=True)
    assert forced["changes"] == ["A sys/ntp/60_faulty.sh"]
    source.write("sys/ntp/60_more.sh")
    source.commit()
    assert publish(api, source)["release"]["number"] == 5


def test_a_corrected_source_is_published_after_a_rollback(
    api: Api, make_source: MakeSource
) -> None:
    source = rolled_back(api, make_source)
    source.write("sys/ntp/60_faulty.sh", "#!/bin/sh\necho '[]'\n")
    source.commit()
    assert publish(api, source)["release"]["number"] == 4


def test_a_source_pinned_to_the_old_commit_is_not_held(api: Api, make_source: MakeSource) -> None:
    source = rolled_back(api, make_source)
    old = source.git("rev-parse", "HEAD~1")
    api.send("PATCH", "sources/plugins", 200, json={"ref": old})
    assert not api.send("POST", "releases", 200, json={})["changed"]


def test_another_sources_change_does_not_bring_back_what_was_rolled_back(
    api: Api, make_source: MakeSource
) -> None:
    rolled_back(api, make_source)
    other = make_source("other", "60_other.sh")
    body = {"name": "other", "url": str(other.path), "path": "other", "ref": "main"}
    api.send("POST", "sources", 201, json=body)
    assert "is at" in api.send("POST", "releases", 409, json={})["detail"]


def crashed(context: Context, source: SourceRepository) -> str:
    """Publish as a controller does that dies before it tells its database; returns the commit.

    No agent is there yet that anything would harm.
    """
    published = context.catalog.publish([as_source(source)], by="ann", judge=lambda found, _: [])
    assert published.release
    return published.release.commit


def as_source(source: SourceRepository) -> Source:
    return Source("", SourceUrl(str(source.path)), "main")


def test_a_release_that_a_crash_kept_from_the_database_is_adopted(
    api: Api, make_source: MakeSource
) -> None:
    source = make_source()
    publish(api, source)
    source.write("sys/ntp/60_new.sh")
    source.commit()
    commit = crashed(api.context, source)
    assert not api.send("POST", "releases", 200, json={})["changed"]
    adopted = api.get("releases/2")
    assert (adopted["commit"], adopted["by"]) == (commit, "ann")
    assert adopted["changes"] == ["A sys/ntp/60_new.sh"]


def test_a_starting_controller_adopts_too(context: Context, make_source: MakeSource) -> None:
    commit = crashed(context, make_source())
    publisher_of(context).sync_at_start()
    assert rows(context) == [(1, commit)]


def test_of_adopted_releases_the_newest_is_linted_and_the_others_when_asked_for(
    api: Api, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source()
    source.write("sys/ntp/90000_slow.sh")
    for number in range(3):
        source.write(f"sys/ntp/60_{number}.sh")
        source.commit()
        crashed(api.context, source)
    linted: list[str] = []
    lint = Catalog.problems

    def noted(self: Catalog, tree: str) -> Any:
        linted.append(tree)
        return lint(self, tree)

    monkeypatch.setattr(Catalog, "problems", noted)
    publisher_of(api.context).sync()
    assert linted == [api.get("releases")["items"][0]["tree"]]
    for number in (1, 3):
        found = api.get(f"releases/{number}")["problems"]
        assert [problem["path"] for problem in found] == ["sys/ntp/90000_slow.sh"]


def test_an_adopted_release_is_linted_before_it_comes_back(
    api: Api, make_source: MakeSource
) -> None:
    source = make_source("source", "sys/bad/60_a.sh")
    source.write("sys/bad/60_a.sh", mode=0o644)
    source.commit()
    for number in range(2):
        source.write(f"sys/ok/60_{number}.sh")
        source.commit()
        crashed(api.context, source)
    publisher_of(api.context).sync()
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    host = {"name": "web1", "agent_kind": "falcon", "hostgroups": ["web"]}
    api.send("POST", "hosts", 201, json=host)
    with api.context.database.write() as session:
        (host_id,) = session.scalars(select(Host.id))
        session.add(AgentRow(host_id=host_id, version="5.1.2", listed="", stamp=1))
    source.write("sys/bad/60_a.sh", mode=0o755)
    source.commit()
    publish(api, source)
    api.send("POST", "bindings", 201, json={"hostgroup": "web", "plugin": "sys/bad"})
    problem = api.send("POST", "releases/rollback", 422, json={"number": 1})
    assert "sys/bad/60_a.sh" in problem["detail"] and "5.1.2" in problem["detail"]


def test_reports_of_the_lint_are_kept_for_the_trees_seen_last(
    catalog: Catalog, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.catalog.lintreports._MOST_REPORTS", 2)
    source = make_source()
    folder = catalog.folder / "lint"
    folder.mkdir(parents=True)
    (folder / f"{'1' * 40}-older.report.json").write_text("{}")
    trees = []
    for number in range(3):
        source.write(f"sys/ntp/60_{number}.sh")
        source.commit()
        trees.append(catalog.publish([as_source(source)]).tree)
    assert {file.name[:40] for file in folder.iterdir()} == set(trees[1:])


def another(context: Context, folder: Path) -> Context:
    """A second controller on the same database, with a catalog folder of its own."""
    return replace(context, catalog=Catalog(folder / "another"))


def test_a_controller_that_lost_its_catalog_folder_makes_it_whole(
    api: Api, make_source: MakeSource, tmp_path: Path
) -> None:
    source = rolled_back(api, make_source)
    second = another(api.context, tmp_path)
    publisher_of(second).sync()
    assert line(second) == rows(api.context) == line(api.context)
    source.write("sys/ntp/60_more.sh")
    source.commit()
    crashed(second, source)
    publisher_of(second).sync()
    publisher_of(api.context).sync()
    assert line(api.context) == line(second) == rows(api.context)
    assert len(rows(api.context)) == 4


def test_of_two_controllers_that_publish_at_once_one_is_told_and_follows(
    api: Api, make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source()
    publish(api, source)
    second = another(api.context, tmp_path)
    publisher_of(second).sync()
    source.write("sys/ntp/60_a.sh")
    source.commit()
    lost = crashed(second, source)
    source.write("sys/ntp/60_b.sh")
    source.commit()
    publish(api, source)
    publisher_of(second).sync()
    assert line(second) == rows(api.context)
    # What the database never had was handed to no host, but is not thrown away either.
    assert lost in second.catalog.repository.text("for-each-ref", "refs/displaced")


def test_a_release_of_another_controller_can_be_bound_and_planned(
    api: Api, make_source: MakeSource, tmp_path: Path
) -> None:
    publish(api, make_source())
    tree = publisher_of(another(api.context, tmp_path)).newest_tree()
    assert tree is not None and tree.isfile("sys/ntp/600_ntp.py")


def fetch(api: Api, folder: Path, number: int, have: str = "") -> tuple[int, Catalog]:
    """Take a release's bundle into an empty or known folder; returns the bundle's size too."""
    response = api.client.get(f"releases/{number}/bundle", params={"have": have})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-git-bundle"
    file = folder / "got.bundle"
    file.write_bytes(response.content)
    catalog = Catalog(folder / "node")
    catalog.repository.ensure()
    bundles.take(catalog.repository, number, dict(rows(api.context))[number], file)
    return len(response.content), catalog


def test_a_bundle_brings_what_is_missing(api: Api, make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source()
    source.write("sys/big", "#!/bin/sh\n" + "".join(f"echo {n}\n" for n in range(20_000)), 0o644)
    source.commit()
    publish(api, source)
    source.write("sys/ntp/60_new.sh")
    source.commit()
    publish(api, source)
    commits = dict(rows(api.context))
    whole, _ = fetch(api, tmp_path, 1)
    delta, catalog = fetch(api, tmp_path, 2, commits[1])
    assert delta < whole / 10
    assert catalog.repository.has_commit(commits[2])
    unknown, _ = fetch(api, tmp_path, 2, "0" * 40)
    newest, _ = fetch(api, tmp_path, 2, commits[2])
    assert min(unknown, newest) > whole / 2
    assert api.get("releases/3/bundle", 404)["code"] == "not-found"
    assert api.get("releases/2/bundle", 422, params={"have": "main"})


def test_a_bundle_is_there_though_the_folder_was_lost(
    api: Api, make_source: MakeSource, tmp_path: Path
) -> None:
    publish(api, make_source())
    subprocess.run(["rm", "-rf", api.context.catalog.folder], check=True)
    assert fetch(api, tmp_path, 1)[0]


def test_a_database_without_bundles_says_what_is_missing(api: Api, make_source: MakeSource) -> None:
    publish(api, make_source())
    with api.context.database.write() as session:
        session.execute(delete(ReleaseBundle))
    subprocess.run(["rm", "-rf", api.context.catalog.folder], check=True)
    problem = api.send("GET", "releases/1/bundle", 422)
    assert "release 1" in problem["detail"]


@pytest.mark.parametrize("number", ["0", "-1", "x", "99999999999999999999"])
def test_a_number_that_is_none_is_refused(api: Api, number: str) -> None:
    api.get(f"releases/{number}", 422)


def test_a_publish_that_another_run_holds_up_is_told_to_wait(
    settings: Any, make_source: MakeSource
) -> None:
    opened = open_context(settings)
    slow = replace(opened, catalog=Catalog(opened.catalog.folder, wait=0.2))
    with serving(slow) as api:
        api.send("POST", "sources", 201, json={"name": "s", "url": str(make_source().path)})
        with Catalog(opened.catalog.folder).locked():
            problem = api.send("POST", "releases", 409, json={})
        assert "another publish" in problem["detail"]
        api.send("POST", "releases", 201, json={})
