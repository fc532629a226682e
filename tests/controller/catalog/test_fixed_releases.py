"""Publishing with `fix`: what is corrected, where it is recorded, and what is left; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import delete

from controller.catalog import releases
from controller.catalog.deps import publisher_of
from controller.catalog.models import ReleaseBundle, ReleaseRow
from tests.controller.server import Api
from tests.controller.sources import SCRIPT, SourceRepository, publish

MakeSource = Callable[..., SourceRepository]
FIXES = [
    {"path": "sys/ntp/60_bit.sh", "fix": "execute-bit"},
    {"path": "sys/ntp/60_ends.sh", "fix": "line-ends"},
    {"path": "sys/ntp/60_last.sh", "fix": "final-newline"},
]


def faulty(make_source: MakeSource) -> SourceRepository:
    source = make_source()
    source.write("sys/ntp/60_bit.sh", mode=0o644)
    source.write("sys/ntp/60_ends.sh", SCRIPT.replace("\n", "\r\n"))
    source.write("sys/ntp/60_last.sh", SCRIPT.rstrip())
    source.commit()
    return source


def refused(api: Api, source: SourceRepository, **body: Any) -> Any:
    if not api.get("sources")["items"]:
        added = {"name": "plugins", "url": str(source.path), "ref": "main"}
        api.send("POST", "sources", 201, json=added)
    return api.send("POST", "releases", 422, json=body)


def test_a_release_is_corrected_only_if_asked_and_says_which_files(
    api: Api, make_source: MakeSource
) -> None:
    source = faulty(make_source)
    problem = refused(api, source)
    assert {entry["field"] for entry in problem["fields"]} == {
        "sys/ntp/60_bit.sh",
        "sys/ntp/60_ends.sh",
    }
    dry = api.send("POST", "releases", 200, json={"fix": True, "dry_run": True})
    assert (dry["fixes"], dry["unfixed"], dry["release"]) == (FIXES, [], None)
    before = source.git("rev-parse", "HEAD"), source.git("status", "--porcelain")
    answer = publish(api, source, fix=True)
    assert (answer["fixes"], answer["problems"]) == (FIXES, [])
    assert api.get("releases/1")["fixes"] == FIXES
    assert api.get("releases")["items"][0]["fixes"] == FIXES
    assert api.get("audit", params={"kind": "release"})["items"][0]["after"]["fixes"] == FIXES
    repository = api.context.catalog.repository
    message = repository.text("log", "-1", "--format=%B", "deploy")
    assert "Plugin-Fix: line-ends sys/ntp/60_ends.sh" in message
    listed = repository.text("ls-tree", "-r", "deploy").splitlines()
    assert [line[:6] for line in listed] == ["100755"] * 4
    for name in ("bit", "ends", "last"):
        blob = repository.run("cat-file", "blob", f"deploy:sys/ntp/60_{name}.sh")
        assert blob == SCRIPT.encode()
    # The source is as it was.
    assert before == (source.git("rev-parse", "HEAD"), "")


def test_the_same_sources_with_the_same_fixes_make_no_new_release(
    api: Api, make_source: MakeSource
) -> None:
    source = faulty(make_source)
    first = publish(api, source, fix=True)
    again = api.send("POST", "releases", 200, json={"fix": True})
    assert (again["changed"], again["tree"]) == (False, first["tree"])
    # Corrected in the source, it is the very same tree.
    source.write("sys/ntp/60_bit.sh")
    source.write("sys/ntp/60_ends.sh")
    source.write("sys/ntp/60_last.sh")
    source.commit()
    assert not api.send("POST", "releases", 200, json={})["changed"]


def test_a_clean_tree_needs_no_fix_and_records_none(api: Api, make_source: MakeSource) -> None:
    answer = publish(api, make_source(), fix=True)
    assert (answer["fixes"], answer["unfixed"], api.get("releases/1")["fixes"]) == ([], [], [])


def test_fixes_outlive_a_rollback_and_a_lost_row(api: Api, make_source: MakeSource) -> None:
    source = faulty(make_source)
    publish(api, source, fix=True)
    source.write("sys/ntp/60_more.sh")
    source.commit()
    publish(api, source, fix=True)
    api.send("POST", "releases/rollback", 201, json={"number": 1})
    assert api.get("releases/3")["fixes"] == FIXES
    with api.context.database.write() as session:
        session.execute(delete(ReleaseBundle).where(ReleaseBundle.number == 3))
        session.execute(delete(ReleaseRow).where(ReleaseRow.number == 3))
    publisher_of(api.context).sync()
    assert api.get("releases/3")["fixes"] == FIXES


def test_what_cannot_be_fixed_is_left_and_said(api: Api, make_source: MakeSource) -> None:
    source = make_source()
    source.write("sys/ntp/60_archive.sh", SCRIPT + "exit\n\0\1")
    source.commit()
    answer = publish(api, source, fix=True)
    (left,) = answer["unfixed"]
    assert (left["path"], left["fix"], answer["fixes"]) == (
        "sys/ntp/60_archive.sh",
        "final-newline",
        [],
    )
    assert "NUL" in left["left"]


def test_a_fix_that_leaves_an_error_publishes_nothing(api: Api, make_source: MakeSource) -> None:
    source = faulty(make_source)
    source.write("lib/a.sh", mode=0o644)
    (source.path / "sys/ntp/60_link.sh").symlink_to("../../lib/a.sh")
    source.write("sys/ntp/60_data", "a,b\n", 0o644)
    source.commit()
    problem = refused(api, source, fix=True)
    assert {entry["field"] for entry in problem["fields"]} == {
        "sys/ntp/60_data",
        "sys/ntp/60_link.sh",
    }
    assert releases.head(api.context.catalog.repository) is None


def test_line_ends_that_git_puts_there_are_left_and_said(api: Api, make_source: MakeSource) -> None:
    source = make_source("source", "")
    source.write("sys/60_a.py", "#!/usr/bin/env python3\nprint('[]')\n")
    source.write(".gitattributes", "*.py text eol=crlf\n", 0o644)
    source.commit()
    problem = refused(api, source, fix=True)
    assert [entry["field"] for entry in problem["fields"]] == ["sys/60_a.py"]


def test_a_source_lint_says_what_is_fixable(api: Api, make_source: MakeSource) -> None:
    source = faulty(make_source)
    api.send("POST", "sources", 201, json={"name": "s", "url": str(source.path), "ref": "main"})
    report = api.send("POST", "sources/s/lint", 200, json={})
    assert [{"path": f["path"], "fix": f["fix"]} for f in report["fixes"]] == FIXES
    assert all(problem["fixable"] for problem in report["problems"])
