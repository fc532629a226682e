"""Reading what a release offers out of git: which folders are plugins, and where they came from."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from agentplugin.manifest import parse
from controller.catalog.git import Repository
from controller.catalog.tree import GitTree
from controller.plugins import pages
from controller.plugins.offered import MANIFEST, Offered, Offers, storable
from tests.controller.plugins.conftest import PNG
from tests.controller.sources import SourceRepository

MakeSource = Callable[..., SourceRepository]


def offers(
    source: SourceRepository, sources: list[dict[str, str]] | None = None
) -> dict[str, Offered]:
    repository = Repository(source.path / ".git")
    commit = source.commit()
    tree = GitTree(repository, commit)
    return dict(Offers().of(commit, tree, repository, sources or []))


def manifest(**fields: Any) -> str:
    return json.dumps({"command": "x", "metrics": ["M"], **fields})


def test_folders_with_a_manifest_or_step_scripts_are_plugins_and_nothing_else(
    make_source: MakeSource,
) -> None:
    source = make_source(script="")
    for path in (
        "sys/ntp/600_ntp.py",
        "sys/ntp/60_more.sh",
        "sys/ntp/lib/helper.py",
        "sys/ntp/lib/ext/30_deep.sh",
        "sys/0_kills.sh",
        "docs/index.md",
        "check/60_not_a_step.sh",
        "check/node_modules/other/plugin.json",
        "broken/plugin.json",
    ):
        source.write(path)
    source.write("check/plugin.json", manifest(name="Check", tags=["a", "b"], version="1.0"))
    found = offers(source)
    assert {path: plugin.kind for path, plugin in found.items()} == {
        "sys/ntp": "scripts",
        "sys/ntp/lib/ext": "scripts",
        "check": "manifest",
        "broken": "manifest",
    }
    assert [(s.name, s.step) for s in found["sys/ntp"].scripts] == [
        ("600_ntp.py", 600),
        ("60_more.sh", 60),
    ]
    check = found["check"]
    assert (check.title, check.tags, check.version) == ("Check", ("a", "b"), "1.0")
    assert found["broken"].title == ""


def test_a_tree_that_is_a_plugin_itself_is_called_by_a_dot(make_source: MakeSource) -> None:
    source = make_source(script="")
    source.write("plugin.json", manifest(name="All"))
    source.write("sys/60_x.sh")
    assert [(p.path, p.title) for p in offers(source).values()] == [(".", "All")]


def test_a_plugin_comes_from_the_source_that_is_mounted_nearest_and_has_it(
    make_source: MakeSource,
) -> None:
    base, team = make_source("base", "sys/load/60_load.sh"), make_source("team", "")
    team.write("plugins/ntp/600_ntp.py")
    tree = make_source("tree", "sys/load/60_load.sh")
    tree.write("sys/ntp/600_ntp.py")
    tree.write("web/plugin.json", manifest())
    tree.git("fetch", "--quiet", str(base.path), "main:base")
    tree.git("fetch", "--quiet", str(team.path), f"{team.commit()}:team")
    sources = [
        {"path": path, "url": f"/{name}", "ref": "main", "commit": tree.git("rev-parse", name)}
        for path, name in (("", "base"), ("sys", "team"), ("web", "team"))
    ]
    found = offers(tree, sources)
    origins = {path: (plugin.source or {})["url"] for path, plugin in found.items()}
    assert origins == {"sys/load": "/base", "sys/ntp": "/team", "web": "/team"}


def test_ten_thousand_files_are_read_at_once(make_source: MakeSource) -> None:
    source = make_source(script="")
    source.write("script.sh", "#!/bin/sh\n")
    source.write("plugin.json", manifest(name="M"))
    script, plugin = (source.git("hash-object", "-w", n) for n in ("script.sh", "plugin.json"))
    entries = [
        f"100755 {script}\tteam{folder % 10}/p{folder}/{number + 1}_x.sh\n"
        for folder in range(250)
        for number in range(40)
    ]
    entries += [f"100644 {plugin}\tm{number}/plugin.json\n" for number in range(250)]
    entries += [f"120000 {script}\tlinks/l{number}\n" for number in range(250)]
    repository = Repository(source.path / ".git")
    repository.run("update-index", "--index-info", data="".join(entries).encode())
    tree = repository.text("write-tree")
    began, children = time.process_time(), os.times().children_user
    found = Offers().of(tree, GitTree(repository, tree), repository, [])
    assert len(found) == 500
    # Of all CPUs' time: whatever else the machine does meanwhile does not count.
    assert time.process_time() - began + os.times().children_user - children < 5


ICONS: list[tuple[str, dict[str, bytes], bool]] = [
    ("icon.png", {"icon.png": PNG}, True),
    ("./img/i.png", {"img/i.png": PNG}, True),
    ("icon.png", {}, False),
    ("icon.png", {"icon.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}, False),
    ("icon.png", {"icon.png": PNG[:8] + b"<script>alert(1)</script>"}, False),
    ("icon.png", {"icon.png": PNG + b"\0" * 300_000}, False),
    ("../other/icon.png", {"../other/icon.png": PNG}, False),
    ("/check/icon.png", {"icon.png": PNG}, False),
    ("a\0b", {}, False),
]


def test_an_icon_is_a_png_of_the_plugins_own_folder(make_source: MakeSource) -> None:
    source = make_source(script="")
    cases = []
    for number, (icon, files, is_one) in enumerate(ICONS):
        folder = f"case{number}/check"
        for name, content in files.items():
            source.write(f"{folder}/{name}", content)
        source.write(f"{folder}/plugin.json", manifest(icon=icon))
        cases.append((folder, parse(manifest(icon=icon)), is_one))
    tree = GitTree(Repository(source.path / ".git"), source.commit())
    for folder, read, is_one in cases:
        found = pages.icon(tree, Offered(folder, MANIFEST), read)
        assert (found is not None) is is_one, (folder, read.icon)
        assert found is None or found.content == PNG


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": ["\ud800", 1.5, None, True]}, {"a": ["?", 1.5, None, True]}),
        ({"\ud800": float("nan")}, {"?": None}),
    ],
)
def test_what_json_cannot_carry_is_replaced(value: Any, stored: Any) -> None:
    assert storable(value) == stored


def test_what_is_nested_too_deeply_is_left_out() -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    assert len(json.dumps(storable(deep))) < 200
