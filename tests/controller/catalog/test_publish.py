"""From sources to releases, with real git repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.catalog import releases
from controller.catalog.errors import ComposeError, LintError, ReleaseError, SourceError
from controller.catalog.publish import Catalog
from controller.catalog.sources import Source, parse_sources
from controller.catalog.tree import GitTree
from tests.controller.sources import SourceRepository

MakeSource = Callable[..., SourceRepository]


def sources(*items: dict[str, Any]) -> list[Source]:
    return parse_sources(list(items), base=Path("/"))


def of(repository: SourceRepository, **more: str) -> dict[str, Any]:
    return {"url": str(repository.path), **more}


def test_the_first_release_holds_the_sources_files(
    catalog: Catalog, make_source: MakeSource
) -> None:
    published = catalog.publish(sources(of(make_source())))
    assert published.changed
    assert published.release is not None
    assert published.release.number == 1
    assert published.changes == ["A sys/ntp/600_ntp.py"]


def test_publishing_twice_makes_one_release(catalog: Catalog, make_source: MakeSource) -> None:
    wanted = sources(of(make_source()))
    first = catalog.publish(wanted)
    second = catalog.publish(wanted)
    assert not second.changed
    assert second.release == first.release


def test_the_deploy_line_only_moves_forward_even_to_older_trees(
    catalog: Catalog, make_source: MakeSource
) -> None:
    source = make_source()
    old = catalog.publish(sources(of(source))).release
    source.write("sys/ntp/60_new.sh")
    source.commit()
    new = catalog.publish(sources(of(source))).release
    back = catalog.rollback(1).release
    assert old and new and back
    assert (back.number, back.rollback_to, back.tree) == (3, 1, old.tree)
    parents = catalog.repository.text("rev-list", "--parents", "deploy").split("\n")
    assert parents[0].split() == [back.commit, new.commit]
    assert parents[1].split() == [new.commit, old.commit]


def test_a_rollback_to_an_unknown_release_names_the_newest(
    catalog: Catalog, make_source: MakeSource
) -> None:
    catalog.publish(sources(of(make_source())))
    with pytest.raises(ReleaseError, match="no release 9; the newest is 1"):
        catalog.rollback(9)


def test_a_dry_run_moves_nothing(catalog: Catalog, make_source: MakeSource) -> None:
    published = catalog.publish(sources(of(make_source())), dry_run=True)
    assert published.changed
    assert releases.head(catalog.repository) is None


def test_the_commit_names_the_sources_commits(catalog: Catalog, make_source: MakeSource) -> None:
    source = make_source()
    commit = source.git("rev-parse", "HEAD")
    release = catalog.publish(sources(of(source, path="ops", ref="main")), by="Ann\nEve").release
    assert release is not None
    message = catalog.repository.text("log", "-1", "--format=%B", release.commit)
    assert f"Plugin-Source: ops {source.path} main {commit}" in message
    assert "Plugin-By: Ann Eve" in message
    assert releases.head(catalog.repository) == release


def test_sources_are_mounted_side_by_side_and_inside_each_other(
    catalog: Catalog, make_source: MakeSource
) -> None:
    published = catalog.publish(
        sources(
            of(make_source("inner", "60_inner.sh"), path="sys/extra"),
            of(make_source("base", "sys/ntp/600_ntp.py")),
            of(make_source("deep", "kept/60_deep.sh"), path="deep", subdir="kept"),
        )
    )
    assert published.changes == [
        "A deep/60_deep.sh",
        "A sys/extra/60_inner.sh",
        "A sys/ntp/600_ntp.py",
    ]


def test_two_sources_with_the_same_files_are_refused(
    catalog: Catalog, make_source: MakeSource
) -> None:
    one = of(make_source("one", "sys/ntp/600_ntp.py"))
    two = of(make_source("two", "600_ntp.py"), path="sys/ntp")
    for order in ((one, two), (two, one)):
        with pytest.raises(ComposeError, match=r"both have 'sys/ntp/600_ntp\.py'"):
            catalog.publish(sources(*order))


def test_a_file_is_not_dropped_for_another_sources_folder(
    catalog: Catalog, make_source: MakeSource
) -> None:
    one = of(make_source("one", "sys"))
    two = of(make_source("two", "60_two.sh"), path="sys")
    for order in ((one, two), (two, one)):
        with pytest.raises(ComposeError, match="both have 'sys"):
            catalog.publish(sources(*order))


def test_a_missing_subdir_is_named(catalog: Catalog, make_source: MakeSource) -> None:
    with pytest.raises(ComposeError, match="has no folder 'nowhere'"):
        catalog.publish(sources(of(make_source(), subdir="nowhere")))


def test_lint_errors_keep_a_release_from_being_made(
    catalog: Catalog, make_source: MakeSource
) -> None:
    source = make_source()
    source.write("sys/ntp/0_kills.py")
    source.commit()
    with pytest.raises(LintError, match=r"sys/ntp/0_kills\.py") as refused:
        catalog.publish(sources(of(source)))
    assert refused.value.problems
    assert releases.head(catalog.repository) is None


def test_a_script_without_execute_bit_is_refused(catalog: Catalog, make_source: MakeSource) -> None:
    source = make_source()
    source.write("sys/ntp/60_plain.sh", mode=0o644)
    source.commit()
    with pytest.raises(LintError, match=r"60_plain\.sh"):
        catalog.publish(sources(of(source)))


def test_lfs_pointers_are_refused(catalog: Catalog, make_source: MakeSource) -> None:
    source = make_source()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
    source.write("sys/ntp/60_big.sh", pointer)
    source.commit()
    with pytest.raises(LintError, match="lfs"):
        catalog.publish(sources(of(source)))


def test_submodules_are_refused(catalog: Catalog, make_source: MakeSource) -> None:
    other, source = make_source("other"), make_source()
    source.git("-c", "protocol.file.allow=always", "submodule", "add", str(other.path), "sub")
    source.commit()
    with pytest.raises(ComposeError, match="'sub' is a git submodule"):
        catalog.publish(sources(of(source)))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/etc/passwd", "out of the plugin tree"),
        ("../../../etc/passwd", "out of the plugin tree"),
        ("missing.py", "not in the plugin tree"),
        ("60_link.py", "circle"),
    ],
)
def test_symlinks_that_leave_the_tree_are_refused(
    catalog: Catalog, make_source: MakeSource, target: str, reason: str
) -> None:
    source = make_source()
    (source.path / "sys/ntp/60_link.py").symlink_to(target)
    source.commit()
    with pytest.raises(ComposeError, match=reason):
        catalog.publish(sources(of(source)))


def test_symlinks_inside_the_tree_are_followed(catalog: Catalog, make_source: MakeSource) -> None:
    source = make_source()
    (source.path / "sys/ntp/60_link.py").symlink_to("../ntp/600_ntp.py")
    (source.path / "alias").symlink_to("sys/ntp")
    source.commit()
    published = catalog.publish(sources(of(source)))
    tree = GitTree(catalog.repository, published.tree)
    assert tree.listdir("alias") == ["600_ntp.py", "60_link.py"]
    assert tree.read("alias/60_link.py") == tree.read("sys/ntp/600_ntp.py")


def test_hooks_and_filters_of_a_source_never_run(
    catalog: Catalog, make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source()
    ran = tmp_path / "ran"
    for hook in ("post-checkout", "reference-transaction", "pre-receive", "post-index-change"):
        source.write(f".git/hooks/{hook}", f"#!/bin/sh\ntouch {ran}\n")
    source.git("config", "filter.evil.smudge", f"touch {ran}")
    source.git("config", "core.fsmonitor", f"touch {ran}")
    source.write(".gitattributes", "*.sh filter=evil\n", 0o644)
    source.write("sys/ntp/60_a.sh")
    subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "add", "--all"],
        cwd=source.path,
        check=True,
    )
    source.git("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "commit", "-qm", "x")
    ran.unlink(missing_ok=True)
    catalog.publish(sources(of(source)))
    assert not ran.exists()


def test_a_ref_that_is_not_there_is_named(catalog: Catalog, make_source: MakeSource) -> None:
    with pytest.raises(SourceError, match="'gone' could not be fetched"):
        catalog.publish(sources(of(make_source(), ref="gone")))


def test_a_tag_and_a_commit_can_be_deployed(catalog: Catalog, make_source: MakeSource) -> None:
    source = make_source()
    first = source.git("rev-parse", "HEAD")
    source.git("tag", "v1")
    source.write("sys/ntp/60_later.sh")
    source.commit()
    catalog.publish(sources(of(source)))
    back = catalog.publish(sources(of(source, ref="v1")))
    assert back.changes == ["D sys/ntp/60_later.sh"]
    again = catalog.publish(sources(of(source, ref=first)))
    assert not again.changed


def test_a_folder_that_somebody_else_committed_to_is_refused(
    catalog: Catalog, make_source: MakeSource
) -> None:
    release = catalog.publish(sources(of(make_source()))).release
    assert release is not None
    foreign = catalog.repository.run(
        "commit-tree", release.tree, "-p", release.commit, data=b"by hand\n",
        env={"GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x@x", "GIT_COMMITTER_NAME": "x",
             "GIT_COMMITTER_EMAIL": "x@x"},
    )  # fmt: skip
    catalog.repository.run("update-ref", "refs/heads/deploy", foreign.decode().strip())
    with pytest.raises(ReleaseError, match="is not a release"):
        catalog.publish(sources(of(make_source("two"))))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "at least one"),
        ({}, "must be a list"),
        (["x"], r"plugin_sources\[0\] must be a mapping"),
        ([{"path": "x"}], "has no url"),
        ([{"url": "/x", "branch": "y"}], r"unknown keys \['branch'\]"),
        ([{"url": "/x", "ref": 1.0}], r"plugin_sources\[0\].ref must be a text"),
        ([{"url": "/x", "path": "../up"}], "must stay inside"),
        ([{"url": "/x", "path": "a/.GIT"}], "must stay inside"),
        ([{"url": "/x", "path": "a"}, {"url": "/y", "path": "a/"}], "both mounted"),
        ([{"url": "/x"}, {"url": "ext::sh"}], r"plugin_sources\[1\]: .*remote helper"),
    ],
)
def test_malformed_sources_name_the_entry_and_the_field(value: Any, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        parse_sources(value, base=Path("/"))
