"""A deploy repository whose making was killed in the middle is finished, and loses nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from controller.catalog.git import Repository
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


def test_what_killed_gits_left_goes_after_an_hour_and_keeps_nobody_out(
    catalog: Catalog, make_source: Callable[..., SourceRepository]
) -> None:
    source = make_source()
    sources = parse_sources([{"url": str(source.path)}], base=source.path)
    catalog.publish(sources)
    repository = catalog.repository.path
    left = [
        "packed-refs.lock",
        "refs/heads/deploy.lock",
        "objects/00/tmp_obj_old",
        "objects/pack/tmp_pack_old",
        "objects/tmp_objdir-incoming-old/pack/x",
    ]
    for name in [*left, "objects/00/tmp_obj_young"]:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).touch()
    for name in left:
        path = repository / name
        for part in (path, *path.parents):
            if part.name.endswith(".lock") or part.name.startswith("tmp_"):
                os.utime(part, (0, 0))
    source.write("sys/ntp/60_new.sh")
    source.commit()
    assert catalog.publish(sources).changed
    assert [p.name for p in repository.rglob("*") if "tmp_" in p.name] == ["tmp_obj_young"]
    assert not list(repository.rglob("*.lock"))


def test_many_loose_objects_are_packed_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(tmp_path / "deploy.git")
    repository.ensure()
    names = [
        repository.run("hash-object", "-w", "--stdin", data=b"%d" % n).decode().strip()
        for n in range(3)
    ]
    repository.run("update-ref", "refs/releases/1", names[0])  # nothing leads to the others yet
    packs = repository.path / "objects/pack"
    repository.tidy()
    assert list(packs.iterdir()) == []
    monkeypatch.setattr("controller.catalog.git._MANY_LOOSE", -1)
    repository.tidy()
    assert len(list(packs.glob("*.pack"))) == 1
    assert len(list((repository.path / "objects").glob("??"))) == 2, "young, and nobody's yet"
    assert [repository.run("cat-file", "blob", name) for name in names] == [b"0", b"1", b"2"]
