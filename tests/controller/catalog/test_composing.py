"""Composing sources: what is mounted apart makes the same tree as what is merged file by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controller.catalog import compose
from controller.catalog.errors import ComposeError
from controller.catalog.git import Repository
from controller.catalog.sources import FetchedSource, Source
from controller.catalog.urls import SourceUrl
from tests.controller.sources import SourceRepository

MakeSource = Callable[..., SourceRepository]


def mounted(path: str, commit: str, subdir: str = "") -> FetchedSource:
    return FetchedSource(Source(path, SourceUrl("/srv/x"), subdir=subdir), commit)


@pytest.mark.parametrize(
    ("paths", "apart"),
    [
        (["cpu", "disk"], True),
        (["a/b/c", "a/b/d", "a-b", "a.b", "ab", "ü x/y", "a/c"], True),
        (["team/empty"], True),
        (["", "sys"], False),
        (["a", "a/b/c"], False),
    ],
)
def test_sources_make_the_tree_that_their_files_at_their_paths_make(
    make_source: MakeSource, tmp_path: Path, paths: list[str], apart: bool
) -> None:
    source = make_source(script="60_x.sh")
    source.write("deep/er/y.txt")
    full = source.commit()
    source.git("rm", "-rq", ".")
    empty = source.commit()
    commits = [empty if path == "team/empty" else full for path in paths]
    subdirs = ["deep" if number % 2 else "" for number in range(len(paths))]
    sources = [mounted(*entry) for entry in zip(paths, commits, subdirs, strict=True)]
    if not apart:  # what both have would clash
        sources[0] = mounted(paths[0], full, "deep/er")
    wanted = SourceRepository(tmp_path / "wanted")
    for fetched in sources:
        prefix, subdir = fetched.source.path, fetched.source.subdir
        top = {"": ["60_x.sh", "deep/er/y.txt"], "deep": ["er/y.txt"], "deep/er": ["y.txt"]}[subdir]
        for name in top if fetched.commit == full else []:
            wanted.write(f"{prefix}/{name}".lstrip("/"))
    wanted.commit()
    made = compose.compose(Repository(source.path / ".git"), sources)
    assert made == wanted.git("rev-parse", "HEAD^{tree}")


@pytest.mark.parametrize("subdir", ["nothing", "60_x.sh", " tree 5", "deep/er/y.txt"])
def test_a_folder_that_a_source_has_not_is_refused(make_source: MakeSource, subdir: str) -> None:
    source = make_source(script="60_x.sh")
    repository = Repository(source.path / ".git")
    with pytest.raises(ComposeError, match="has no folder"):
        compose.compose(repository, [mounted("a", source.commit(), subdir), mounted("b", "HEAD")])
