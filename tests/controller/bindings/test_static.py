"""Static bindings: form, union over a host's groups, and what a release must hold for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentplugin.plans import FsTree, resolve
from controller.bindings.configs import Manifests
from controller.bindings.static import (
    BindingsError,
    bindings_of,
    check_bindings,
    check_hostgroups,
    listed_keys,
    merged_of,
    parse_bindings,
    parse_overrides,
    problems_of,
)


@pytest.fixture
def tree(tmp_path: Path) -> FsTree:
    for name in ("sys/ntp/600_ntp.py", "sys/disk/60_disk.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return FsTree(str(tmp_path))


def test_a_host_runs_the_union_over_its_groups_once() -> None:
    bindings = {"all": ["sys/ntp"], "web": ["sys/ntp", "sys/disk"], "db": ["other"]}
    assert bindings_of(["all", "web"], bindings) == ["sys/disk", "sys/ntp"]


def test_configurations_are_merged_in_the_order_of_the_groups() -> None:
    first, second = ({"plugin": "h", "config": {"a": n, f"only{n}": n}} for n in (1, 2))
    bindings: dict[str, list[Any]] = {"all": ["h"], "web": [first], "db": [second]}
    (merged,) = bindings_of(["all", "db", "web"], bindings, {"h": {"only2": None}})
    assert merged == {"plugin": "h", "config": {"a": 1, "only1": 1}}


MANIFEST = """{"name": "h", "command": "./h", "metrics": ["M"], "paramSchema": [
    {"title": "Url", "name": "url", "type": "string", "required": true},
    {"title": "Port", "name": "port", "type": "integer"}]}"""


def test_configurations_are_held_against_manifests(tree: FsTree) -> None:
    folder = Path(tree.root, "h")
    folder.mkdir()
    (folder / "plugin.json").write_text(MANIFEST)

    def bound(**config: Any) -> dict[str, list[Any]]:
        return {"web": [{"plugin": "h", "config": config}]}

    (warning,) = check_bindings(bound(url="a", colour="red"), tree)
    assert "hostgroup 'web': h: config.colour is not in" in warning
    with pytest.raises(BindingsError, match=r"'web': h: config\.port") as refused:
        check_bindings(bound(url="a", port="x"), tree)
    assert "no host was touched" in str(refused.value)
    merged = merged_of(["web"], bound(), {"h": {"port": "x"}})
    assert [text.split()[1] for text in problems_of(merged, Manifests(tree))] == [
        "config.url",
        "config.port",
    ]


def test_names_of_nothing_are_not_kept(tree: FsTree) -> None:
    manifests = Manifests(tree)
    assert manifests.of("h") is None
    folder = Path(tree.root, "h")
    folder.mkdir()
    (folder / "plugin.json").write_text(MANIFEST)
    known = manifests.of("h")
    assert known is not None and manifests.of("h") is known


def test_what_is_only_missing_stops_no_other_host(tree: FsTree) -> None:
    folder = Path(tree.root, "h")
    folder.mkdir()
    (folder / "plugin.json").write_text(MANIFEST)
    bindings: dict[str, list[Any]] = {
        "all": ["h"],
        "db": [{"plugin": "h", "config": {"url": "a"}}],
        "web": [{"plugin": "h", "config": {"port": 1}}],
    }
    override = {"h": {"url": "b"}}

    def told(**hosts: Any) -> list[str]:
        given = {name: of for name, of in hosts.items()}
        return [line.split("'")[1] for line in check_bindings(bindings, tree, given.__getitem__)]

    bare, own, other = (["all", "web"], {}), (["all", "web"], override), (["all", "db", "web"], {})
    assert told(all=[own, other], web=[own, other], db=[other]) == []
    assert told(all=[own, bare], web=[own, bare], db=[]) == ["all", "web"]
    assert told(all=[], web=[], db=[]) == ["all", "web"]


@pytest.mark.parametrize("value", [["h"], "h", {"h": 5}, {5: {}}])
def test_malformed_overrides_are_refused(value: Any) -> None:
    with pytest.raises(BindingsError, match="plugin_config_overrides"):
        parse_overrides(value)


def test_a_script_bound_by_itself_is_not_run_again_by_its_directory(tree: FsTree) -> None:
    keys = listed_keys(resolve(["sys/ntp", "sys/ntp/600_ntp.py(a,b)"], tree))
    assert keys == ["sys/ntp/600_ntp.py(a,b)"]


def test_every_binding_that_names_nothing_is_refused_at_once(tree: FsTree) -> None:
    with pytest.raises(BindingsError) as refused:
        check_bindings({"web": ["sys/ntpp", "sys/disk"], "db": ["nowhere"]}, tree)
    message = str(refused.value)
    assert "no host was touched" in message
    assert "'web'" in message and "sys/ntpp" in message
    assert "'db'" in message and "nowhere" in message


def test_a_directory_without_scripts_is_a_warning(tree: FsTree) -> None:
    (warning,) = check_bindings({"web": ["sys"]}, tree)
    assert "'web'" in warning


def test_a_hostgroup_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    check_hostgroups({"web": []}, ["all", "web"])
    with pytest.raises(BindingsError, match=r"'webb' \(did you mean 'web'\?\), 'zzz'"):
        check_hostgroups({"webb": [], "zzz": []}, ["all", "web"])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["sys/ntp"], "must map hostgroups"),
        (None, "not nothing"),
        ({"web": "sys/ntp"}, r"plugin_bindings\['web'\] must be a list"),
        ({"web": None}, "not nothing"),
    ],
)
def test_malformed_bindings_name_the_hostgroup(value: Any, reason: str) -> None:
    with pytest.raises(BindingsError, match=reason):
        parse_bindings(value)
