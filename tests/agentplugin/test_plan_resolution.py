"""From bindings and a tree to what runs: the real agent's rules, with every silent skip said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentplugin.planned import Resolution
from agentplugin.plans import FsTree, resolve

SH = "#!/bin/sh\n"
MANIFEST = ('{"command": "python3 a.py", "metrics": ["A"]}', 0o644)


@pytest.fixture
def root(plant: Callable[..., Path]) -> Path:
    return plant(
        {
            "sys/ntp/60_a.py": SH,
            "sys/ntp/300_b.sh": SH,
            "sys/ntp/lib.py": SH,
            "sys/ntp/sub/60_deep.sh": SH,
            "sys/60": SH,
            "sys/plain.sh": SH,
            "bad/0_kill.sh": SH,
            "bad/60_a.py~": SH,
            "bad/60_ok.sh": SH,
            "empty/README.md": "",
            "httpcheck/plugin.json": MANIFEST,
            "links/60_out": "-> ../../outside.sh",
            "links/60_in": "-> ../sys/ntp/60_a.py",
            "links/60_dir": "-> ../sys",
            "links/far": "-> ../../",
        }
    )


def planned(found: Resolution) -> list[tuple[str, int, list[str]]]:
    return [(script.key, script.step, script.args) for script in found.scripts]


def codes(found: Resolution) -> list[str]:
    return [problem.code for problem in found.problems]


def test_directory_binding_takes_its_own_files_and_no_sub_directory(root: Path) -> None:
    found = resolve(["sys/ntp"], FsTree(str(root)))
    assert planned(found) == [("sys/ntp/300_b.sh", 300, []), ("sys/ntp/60_a.py", 60, [])]
    assert codes(found) == []


def test_script_bound_twice_with_other_arguments_runs_twice(root: Path) -> None:
    found = resolve(["sys/ntp/60_a.py(a,b)", "sys/ntp/60_a.py(c)"], FsTree(str(root)))
    assert planned(found) == [
        ("sys/ntp/60_a.py(a,b)", 60, ["a", "b"]),
        ("sys/ntp/60_a.py(c)", 60, ["c"]),
    ]


def test_script_bound_by_itself_is_not_run_again_with_its_directory(root: Path) -> None:
    expected = [("sys/ntp/300_b.sh", 300, []), ("sys/ntp/60_a.py(a)", 60, ["a"])]
    for bindings in (["sys/ntp", "/sys/ntp/60_a.py(a)"], ["sys/ntp/60_a.py(a)", "sys/ntp/"]):
        assert planned(resolve(bindings, FsTree(str(root)))) == expected


def test_script_bound_without_arguments_has_the_key_the_agent_shows(root: Path) -> None:
    assert planned(resolve(["sys/60"], FsTree(str(root)))) == [("sys/60()", 60, [])]


def test_same_binding_twice_runs_once(root: Path) -> None:
    found = resolve(["sys/ntp", "/sys/ntp/", "sys/ntp"], FsTree(str(root)))
    assert len(found.scripts) == 2


def test_refused_name_is_left_out_and_its_siblings_run(root: Path) -> None:
    found = resolve(["bad"], FsTree(str(root)))
    assert planned(found) == [("bad/60_ok.sh", 60, [])]
    assert codes(found) == ["step-not-positive", "leftover-file"]


@pytest.mark.parametrize(
    ("binding", "code"),
    [
        ("sys/gone", "binding-not-found"),
        ("sys/gone/60_a.py(a)", "binding-not-found"),
        ("../outside", "binding-leaves-tree"),
        ("sys/ntp(a)", "binding-directory-arguments"),
        ("sys/plain.sh", "script-without-step"),
        ("bad/0_kill.sh", "step-not-positive"),
        ("empty", "directory-without-plugins"),
        ("httpcheck/plugin.json", "binding-not-a-script"),
        ("httpcheck(a)", "binding-directory-arguments"),
        ("links/far", "binding-not-found"),
        ({"plugin": "sys/ntp", "config": {}}, "binding-not-a-manifest"),
        ({"plugin": "sys/60", "config": {}}, "binding-not-a-manifest"),
        ({"plugin": "httpcheck(a)"}, "binding-not-a-manifest"),
        ({"plugin": "httpcheck", "config": []}, "binding-wrong-type"),
        ({"plugin": 5}, "binding-wrong-type"),
        ({}, "binding-wrong-type"),
        (None, "binding-wrong-type"),
        (7, "binding-wrong-type"),
    ],
)
def test_bad_binding_is_named_and_the_others_still_run(
    root: Path, binding: object, code: str
) -> None:
    found = resolve([binding, "sys/ntp"], FsTree(str(root)))  # type: ignore[list-item]
    assert codes(found) == [code]
    assert found.problems[0].severity == ("warning" if code.startswith("directory") else "error")
    assert len(found.scripts) == 2
    assert not found.manifests


def test_link_out_of_the_tree_or_to_a_directory_is_never_run(root: Path) -> None:
    found = resolve(["links"], FsTree(str(root)))
    assert planned(found) == [("links/60_in", 60, [])]
    assert [(problem.code, problem.severity) for problem in found.problems] == [
        ("directory-named-like-a-plugin", "info"),
        ("script-not-a-file", "error"),
    ]


def test_folder_with_a_manifest_is_a_manifest_plugin_with_its_configuration(root: Path) -> None:
    entries = ["httpcheck", {"plugin": "/httpcheck/", "config": {"url": "http://a"}}]
    for bindings in (entries, entries[::-1]):
        found = resolve(bindings, FsTree(str(root)))
        assert [(plugin.key, plugin.config) for plugin in found.manifests] == [
            ("httpcheck", {"url": "http://a"})
        ]
        assert codes(found) == []


def test_two_configurations_of_one_manifest_plugin_are_said(root: Path) -> None:
    found = resolve(
        [{"plugin": "httpcheck", "config": {"url": url}} for url in ("a", "b")], FsTree(str(root))
    )
    assert found.manifests[0].config == {"url": "a"}
    assert codes(found) == ["binding-config-conflict"]


@pytest.mark.parametrize(
    "bindings",
    [
        [{"plugin": "httpcheck", "config": {}, "format": "nagios"}, {"plugin": "httpcheck", "config": {"a": 1}}],
        [{"plugin": "sys/60", "config": {"args": args}, "format": "nagios"} for args in (["a,b"], ["a", "b"])],
        [{"plugin": "sys/60", "config": {}, "format": name} for name in ("nagios", "prometheus")],
        ["sys/60(a)", {"plugin": "sys/60", "config": {"args": ["a"]}, "format": "nagios"}],
    ],
)  # fmt: skip
def test_two_ways_to_run_what_has_one_name_are_said(root: Path, bindings: list[Any]) -> None:
    found = resolve(bindings, FsTree(str(root)))
    assert codes(found) == ["binding-config-conflict"]
    assert len(found.manifests) + len(found.scripts) == 1


def test_a_plain_binding_leaves_the_format_of_another_alone(root: Path) -> None:
    found = resolve(
        [{"plugin": "httpcheck", "config": {}, "format": "nagios"}, "httpcheck"], FsTree(str(root))
    )
    assert [plugin.format.name for plugin in found.manifests] == ["nagios"] and not found.problems


def test_top_of_the_tree_can_be_bound(plant: Callable[..., Path]) -> None:
    found = resolve(["."], FsTree(str(plant({"60_top.sh": SH}))))
    assert planned(found) == [("60_top.sh", 60, [])]


def test_tree_reads_only_what_is_inside(root: Path) -> None:
    (root.parent / "outside.sh").write_text(SH)
    tree = FsTree(str(root))
    assert tree.read("sys/60") == SH.encode()
    assert not tree.isfile("links/60_out")
    for path in ("links/60_out", "../outside.sh", "gone"):
        with pytest.raises(OSError):
            tree.read(path)
    with pytest.raises(OSError):
        tree.listdir("links/far")


def test_tree_below_a_link_is_the_tree_it_points_to(root: Path) -> None:
    link = root.parent / "current"
    link.symlink_to(root)
    assert len(resolve(["sys/ntp"], FsTree(str(link))).scripts) == 2
