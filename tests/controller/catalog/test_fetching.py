"""Fetching sources: by commit from servers that answer to names only, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controller.catalog.errors import SourceError
from controller.catalog.fetching import fetch
from controller.catalog.git import Repository
from controller.catalog.sources import Source
from controller.catalog.urls import SourceUrl
from tests.controller.sources import SourceRepository

MakeSource = Callable[..., SourceRepository]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "deploy.git")
    made.ensure()
    return made


@pytest.fixture
def old_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of git's protocol 0 servers give only what a branch or tag points at (git-config(1),
    uploadpack.allowAnySHA1InWant)."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[protocol]\n\tversion = 0\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def source_of(made: SourceRepository, ref: str, path: str = "") -> Source:
    return Source(path, SourceUrl(f"file://{made.path}"), ref)


@pytest.mark.usefixtures("old_protocol")
def test_a_commit_comes_with_the_branches_where_a_server_refuses_it_by_itself(
    repository: Repository, make_source: MakeSource
) -> None:
    made = make_source()
    old = made.commit()
    made.git("checkout", "--quiet", "-b", "side")
    on_side = made.commit()
    made.commit()
    for commit in (old, on_side):
        [fetched] = fetch(repository, [source_of(made, commit)], timeout=10)
        assert fetched.commit == commit and repository.has_commit(commit)
    assert "refs/fetched" not in repository.text("for-each-ref")
    with pytest.raises(SourceError, match=r"has no commit 5{40} on any branch or tag"):
        fetch(repository, [source_of(made, "5" * 40)], timeout=10)


def test_every_source_that_does_not_answer_is_named(
    repository: Repository, make_source: MakeSource, tmp_path: Path
) -> None:
    made = make_source()
    gone = [Source(f"p{n}", SourceUrl(str(tmp_path / f"gone{n}"))) for n in range(7)]
    with pytest.raises(SourceError) as caught:
        fetch(repository, [source_of(made, "main"), *gone], timeout=10)
    assert all(f"gone{number} at" in str(caught.value) for number in range(5))
    assert str(caught.value).endswith("; and 2 more")


def test_many_sources_come_at_once_and_each_keeps_its_commit(
    repository: Repository, make_source: MakeSource
) -> None:
    made = [make_source(f"s{number}") for number in range(12)]
    sources = [source_of(one, "main", f"p{number}") for number, one in enumerate(made)]
    fetched = fetch(repository, [*sources, *sources], timeout=10)
    assert [entry.commit for entry in fetched] == [one.git("rev-parse", "HEAD") for one in made] * 2
    assert len(repository.text("for-each-ref").splitlines()) == 12
