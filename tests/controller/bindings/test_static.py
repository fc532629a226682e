"""Static bindings: form, union over a host's groups, and what a release must hold for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentplugin.plans import FsTree, resolve
from controller.bindings.static import (
    BindingsError,
    bindings_of,
    check_bindings,
    check_hostgroups,
    listed_keys,
    parse_bindings,
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
