"""A deploy repository whose making was killed in the middle is finished, and loses nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping

import pytest

from controller.catalog.publish import Catalog
from controller.catalog.sources import parse_sources
from tests.controller.sources import SourceRepository


@pytest.mark.parametrize(
    "present",
    [
        {},
        {"description": "x\n"},
        {"HEAD": "ref: refs/heads/master\n"},
        {"HEAD": "ref: refs/heads/master\n", "refs/": "", "config.lock": ""},
        {"HEAD.lock": "", "objects/": ""},
        {"HEAD": "", "config": "", "objects/": "", "refs/": ""},
    ],
)
def test_a_repository_whose_making_was_killed_is_finished_and_keeps_its_objects(
    catalog: Catalog,
    make_source: Callable[..., SourceRepository],
    present: Mapping[str, str],
) -> None:
    source = make_source()
    repository = catalog.repository.path
    repository.mkdir(parents=True)
    for name, text in present.items():
        if name.endswith("/"):
            (repository / name).mkdir()
        else:
            (repository / name).write_text(text)
    if "objects/" in present:
        shutil.copytree(source.path / ".git/objects", repository / "objects", dirs_exist_ok=True)
    kept = {path.relative_to(repository) for path in repository.glob("objects/??/*")}
    published = catalog.publish(parse_sources([{"url": str(source.path)}], base=repository))
    assert published.changed
    assert all((repository / path).exists() for path in kept)
    assert catalog.newest() == published.release
