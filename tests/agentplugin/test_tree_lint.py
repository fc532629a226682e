"""The lint of a tree: each code provoked once by a tree on disk, and what a clean tree looks like."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from finding_codes import codes_in

from agentplugin.lint import Report, lint_tree, summary
from controller.catalog.manifestschema import faults

SH = "#!/bin/sh\necho '[]'\n"


def manifest(**fields: object) -> tuple[str, int]:
    return json.dumps({"command": "python3 a.py", "metrics": ["A"], **fields}), 0o644


def manifest_tree(**fields: object) -> dict[str, object]:
    return {"m/plugin.json": manifest(**fields), "m/a.py": ("pass\n", 0o644)}


def params(*entries: Mapping[str, object]) -> dict[str, object]:
    return manifest_tree(paramSchema=list(entries))


def defined(definitions: object) -> dict[str, object]:
    return {**manifest_tree(), "m/metrics.json": (json.dumps(definitions), 0o644)}


DEEP = "/".join(["d" * 50] * 6)

# code: (tree, path of the finding, severity)
CASES: dict[str, tuple[Mapping[str, object], str, str]] = {
    "step-not-positive": ({"s/0_a.sh": SH}, "s/0_a.sh", "error"),
    "step-overflow": ({"s/9223372037_a.sh": SH}, "s/9223372037_a.sh", "error"),
    "step-very-long": ({"s/20180101_a.sh": SH}, "s/20180101_a.sh", "warning"),
    "leftover-file": ({"s/60_a.py~": SH}, "s/60_a.py~", "error"),
    "documentation-as-plugin": ({"s/300_README.md": ("x", 0o644)}, "s/300_README.md", "error"),
    "looks-like-step-script": ({"s/60.py": SH}, "s/60.py", "warning"),
    "runnable-without-step": ({"s/ntp.sh": SH}, "s/ntp.sh", "info"),
    "same-step-and-name": ({"s/60_a.py": SH, "s/060_a.sh": SH}, "s/60_a.py", "warning"),
    "separate-plugin-directory": ({"s/60_a.sh": SH, "s/t/u/60_b.sh": SH}, "s/t/u", "info"),
    "name-control-character": ({"s/60_a\nb": SH}, "s/60_a\nb", "error"),
    "name-not-utf8": ({"s/60_\udcff": SH}, "s/60_\\xff", "error"),
    "name-parentheses": ({"s(x)/60_a.sh": SH}, "s(x)", "error"),
    "name-outer-space": ({"s/60_a.sh ": SH}, "s/60_a.sh ", "warning"),
    "name-too-long": ({"s/60_" + "a" * 240: SH}, "s/60_" + "a" * 240, "error"),
    "path-too-long": ({f"{DEEP}/60_a.sh": SH}, DEEP, "warning"),
    "not-executable": ({"s/60_a.sh": (SH, 0o644)}, "s/60_a.sh", "error"),
    "empty-script": ({"s/60_a.sh": ""}, "s/60_a.sh", "error"),
    "no-shebang": ({"s/60_a.sh": "echo"}, "s/60_a.sh", "error"),
    "shebang-byte-order-mark": ({"s/60_a": "\ufeff" + SH}, "s/60_a", "error"),
    "shebang-crlf": ({"s/60_a": "#!/bin/sh\r\n"}, "s/60_a", "error"),
    "crlf": ({"s/60_a": "#!/bin/sh\necho\r\n"}, "s/60_a", "error"),
    "no-final-newline": ({"s/60_a": "#!/bin/sh\necho"}, "s/60_a", "info"),
    "prints-null": ({"s/60_a": "#!/bin/sh\necho '[null]'\n"}, "s/60_a", "warning"),
    "shebang-not-absolute": ({"s/60_a": "#!python3\n"}, "s/60_a", "error"),
    "shebang-without-program": ({"s/60_a": "#!/usr/bin/env\n"}, "s/60_a", "error"),
    "shebang-env-arguments": ({"s/60_a": "#!/usr/bin/env sh -e\n"}, "s/60_a", "error"),
    "shebang-too-long": ({"s/60_a": "#!/" + "a" * 200 + "\n"}, "s/60_a", "warning"),
    "interpreter-python2": ({"s/60_a": "#!/usr/bin/python2\n"}, "s/60_a", "warning"),
    "interpreter-ambiguous": ({"s/60_a": "#!/usr/bin/env python\n"}, "s/60_a", "warning"),
    "unusual-interpreter": ({"s/60_a": "#!/usr/bin/env nosuchlang\n"}, "s/60_a", "warning"),
    "python-syntax": ({"s/60_a": "#!/usr/bin/python3\nprint 1\n"}, "s/60_a", "error"),
    "binary-plugin": ({"s/60_a": b"\x7fELF"}, "s/60_a", "info"),
    "symlink-absolute": ({"s/60_a": "-> /bin/sh"}, "s/60_a", "error"),
    "symlink-leaves-tree": ({"s/l": "-> ../../up"}, "s/l", "error"),
    "symlink-dangling": ({"s/60_a": "-> gone"}, "s/60_a", "error"),
    "symlink-to-directory": ({"s/60_a": "-> ../t", "t/x": ""}, "s/60_a", "error"),
    "lfs-pointer": (
        {"s/60_a": ("version https://git-lfs.github.com/spec/v1\n", 0o644)},
        "s/60_a",
        "error",
    ),
    "submodules": ({".gitmodules": ("", 0o644)}, ".gitmodules", "error"),
    "nested-repository": ({"s/.git/HEAD": ""}, "s/.git", "error"),
    "gitattributes": ({"s/.gitattributes": ("*.py filter=x\n", 0o644)}, "s/.gitattributes",
                      "warning"),
    "compiled-leftovers": ({"s/__pycache__/60_a.pyc": ""}, "s/__pycache__", "warning"),
    "large-file": ({"s/data": (b"x" * 1_100_000, 0o644)}, "s/data", "warning"),
    "world-writable": ({"s/60_a.sh": (SH, 0o777)}, "s/60_a.sh", "warning"),
    "set-user-id": ({"s/60_a.sh": (SH, 0o4755)}, "s/60_a.sh", "warning"),
    "manifest-not-json": ({"m/plugin.json": ("{", 0o644)}, "m/plugin.json", "error"),
    "manifest-duplicate-key": (
        {"m/plugin.json": ('{"command": "a", "command": "b", "metrics": ["A"]}', 0o644)},
        "m/plugin.json",
        "warning",
    ),
    "manifest-field-type": (manifest_tree(metrics="A"), "m/plugin.json", "error"),
    "manifest-no-command": (manifest_tree(command=""), "m/plugin.json", "error"),
    "manifest-command-quote": (manifest_tree(command='a "b'), "m/plugin.json", "error"),
    "manifest-command-spaces": (manifest_tree(command="a  b"), "m/plugin.json", "warning"),
    "manifest-command-file-missing": (
        manifest_tree(command="node gone.js"),
        "m/plugin.json",
        "warning",
    ),
    "manifest-command-not-on-path": (
        {**manifest_tree(command="a.sh x"), "m/a.sh": SH},
        "m/plugin.json",
        "warning",
    ),
    "manifest-command-not-executable": (
        manifest_tree(command="./a.py"),
        "m/plugin.json",
        "error",
    ),
    "manifest-unsupported-runtime": (
        manifest_tree(command="boundary-meter a.py"),
        "m/plugin.json",
        "info",
    ),
    "manifest-no-metrics": (manifest_tree(metrics=[]), "m/plugin.json", "warning"),
    "manifest-metric-name": (manifest_tree(metrics=["A B"]), "m/plugin.json", "warning"),
    "manifest-metric-twice": (manifest_tree(metrics=["A", "a"]), "m/plugin.json", "warning"),
    "manifest-param-nameless": (params({"type": "string"}), "m/plugin.json", "error"),
    "manifest-param-twice": (
        params({"name": "a", "type": "string"}, {"name": "a", "type": "string"}),
        "m/plugin.json",
        "warning",
    ),
    "manifest-param-type": (params({"name": "a", "type": "?"}), "m/plugin.json", "warning"),
    "manifest-default-type": (
        params({"name": "a", "type": "integer", "default": "x"}),
        "m/plugin.json",
        "warning",
    ),
    "manifest-macro-unknown": (manifest_tree(command="a $(b)"), "m/plugin.json", "warning"),
    "manifest-macro-form": (manifest_tree(command="a $(b-c)"), "m/plugin.json", "warning"),
    "manifest-password-argument": (
        manifest_tree(command="a $(p)", paramSchema=[{"name": "p", "type": "password"}]),
        "m/plugin.json",
        "warning",
    ),
    "manifest-secret-as-text": (
        params({"name": "password", "type": "string"}),
        "m/plugin.json",
        "warning",
    ),
    "manifest-platform": (manifest_tree(unsupportedPlatforms=["Linux"]), "m/plugin.json", "info"),
    "manifest-post-extract": (manifest_tree(postExtract="x"), "m/plugin.json", "info"),
    "manifest-disabled": (manifest_tree(disabled=True), "m/plugin.json", "info"),
    "manifest-icon-missing": (manifest_tree(icon="icon.png"), "m/plugin.json", "warning"),
    "manifest-icon-format": (
        {**manifest_tree(icon="a.py")},
        "m/plugin.json",
        "warning",
    ),
    "manifest-param-count": (
        params(*({"name": str(number), "type": "string"} for number in range(1001))),
        "m/plugin.json",
        "error",
    ),
    "manifest-command-character": (manifest_tree(command="a\0"), "m/plugin.json", "error"),
    "manifest-post-extract-network": (
        manifest_tree(postExtract="pip install x"),
        "m/plugin.json",
        "warning",
    ),
    "manifest-dashboard": (manifest_tree(dashboards=["", 5]), "m/plugin.json", "warning"),
    "manifest-dashboard-metric": (
        manifest_tree(dashboards=[{"layout": "d-g-B=0-0-1-1"}]),
        "m/plugin.json",
        "warning",
    ),
    "manifest-schema": (manifest_tree(secure="yes"), "m/plugin.json", "warning"),
    "manifest-too-large": (manifest_tree(x="y" * (4 << 20)), "m/plugin.json", "error"),
    "manifest-more-problems": (
        manifest_tree(metrics=[f"M{number // 2}" for number in range(300)]),
        "m/plugin.json",
        "warning",
    ),
    "manifest-npm-gone": (
        manifest_tree(postExtract="npm install graphdat-plugin-tools@0.0.1"),
        "m/plugin.json",
        "warning",
    ),
    "manifest-python2": (
        {**manifest_tree(command="python a.py"), "m/a.py": ("print 1\n", 0o644)},
        "m/a.py",
        "warning",
    ),
    "metrics-json-shape": (defined([{"unit": "percent"}]), "m/metrics.json", "warning"),
    "metric-unit": (defined({"A": {"unit": "x"}}), "m/metrics.json", "warning"),
    "metric-aggregate": (defined({"A": {"defaultAggregate": "ave"}}), "m/metrics.json", "info"),
    "metric-undefined": (defined({}), "m/plugin.json", "warning"),
    "metric-unlisted": (defined({"A": {}, "B": {}}), "m/metrics.json", "warning"),
    "metrics-json-broken": (
        {**manifest_tree(), "m/metrics.json": ("{,", 0o644)},
        "m/metrics.json",
        "warning",
    ),
    "param-json-committed": (
        {**manifest_tree(), "m/param.json": ("{}", 0o644)},
        "m/param.json",
        "warning",
    ),
    "step-script-in-manifest": ({**manifest_tree(), "m/lib/60_a": SH}, "m/lib/60_a", "warning"),
}  # fmt: skip

LINT_MODULES = (
    "companions",
    "content",
    "dashboards",
    "definitionchecks",
    "entrychecks",
    "lint",
    "manifest",
    "manifestchecks",
    "manifestcode",
    "manifestfields",
    "manifestfolder",
    "manifestjson",
    "manifestparams",
    "names",
    "nulloutput",
    "pythonsyntax",
    "shebangs",
    "treescan",
)
# Said elsewhere, or (no-plugins, unreadable, special-file) provoked by tests of their own below.
NOT_IN_A_PLAIN_TREE = {
    "config-items",
    "interpreter-missing",
    "no-plugins",
    "script-unreadable",
    "special-file",
    "unreadable",
}


def found(report: Report) -> list[tuple[str, str, str]]:
    return [(problem.code, problem.path, problem.severity) for problem in report.problems]


@pytest.mark.parametrize("code", CASES)
def test_tree_has_just_this_finding(plant: Callable[..., Path], code: str) -> None:
    tree, path, severity = CASES[code]
    report = lint_tree(str(plant({**tree, "good/60_fine.sh": SH})), faults)
    assert (code, path, severity) in found(report)
    graver = [entry for entry in found(report) if entry[0] != code and entry[2] == "error"]
    assert graver == [], "one fault must not be told as several errors"
    assert all(problem.message and problem.hint for problem in report.problems)


def test_every_code_of_the_lint_is_provoked_here() -> None:
    assert codes_in(*LINT_MODULES) - set(CASES) == NOT_IN_A_PLAIN_TREE


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({}, True),
        ({"README.md": ("text", 0o644), "app/lib.py": ("x = 1\n", 0o644)}, True),
        ({".git/60_a.sh": SH}, True),
        ({"app/60.sh": SH}, True),
        ({"app/60_a.sh": SH}, False),
        (manifest_tree(), False),
        # There was meant to be a plugin, and what is wrong with it is said.
        ({"app/0_a.sh": SH}, False),
        ({"m/plugin.json": ("{", 0o644)}, False),
    ],
)
def test_tree_in_which_nothing_is_a_plugin_is_warned_of(
    plant: Callable[..., Path], tree: Mapping[str, object], said: bool
) -> None:
    report = lint_tree(str(plant(tree)))
    assert (("no-plugins", ".", "warning") in found(report)) == said
    assert not said or "error" not in {severity for *_, severity in found(report)}


def test_clean_tree_lists_its_plugins_and_nothing_else(plant: Callable[..., Path]) -> None:
    root = plant(
        {
            "sys/ntp/600_ntp.py": "#!/usr/bin/env python3\nprint('[]')\n",
            "sys/load/60_load.sh": SH,
            "sys/lib.py": ("x = 1\n", 0o644),
            "README.md": ("text", 0o644),
            ".gitattributes": ("*.sh text eol=lf\n# *.py filter=x\n", 0o644),
            ".gitignore": ("*.pyc\n", 0o644),
            "web/plugin.json": manifest(name="Web", paramSchema=[{"name": "u", "type": "string"}]),
            "web/a.py": ("pass\n", 0o644),
            "alias/60_load.sh": "-> ../sys/load/60_load.sh",
        }
    )
    report = lint_tree(str(root))
    assert found(report) == []
    assert report.as_dict() == {
        "plugins": [
            {"path": "alias/60_load.sh", "kind": "step-script", "step": 60,
             "directory": "alias", "interpreter": "sh"},
            {"path": "sys/load/60_load.sh", "kind": "step-script", "step": 60,
             "directory": "sys/load", "interpreter": "sh"},
            {"path": "sys/ntp/600_ntp.py", "kind": "step-script", "step": 600,
             "directory": "sys/ntp", "interpreter": "python3"},
            {"path": "web", "kind": "manifest", "step": None, "name": "Web",
             "command": "python3 a.py", "runtime": "command", "metrics": ["A"],
             "parameters": ["u"], "items": False},
        ],
        "problems": [], "fixes": [],
    }  # fmt: skip
    assert (
        summary(report.plugins, [])
        == "3 step scripts, 1 manifest plugin: 0 errors, 0 warnings, 0 notes"
    )


def test_findings_are_sorted_by_place_and_have_the_promised_fields(
    plant: Callable[..., Path],
) -> None:
    report = lint_tree(str(plant({"b/0_x": SH, "a/60_x": "echo", "a/0_y": SH})))
    entries = report.as_dict()["problems"]
    assert [entry["path"] for entry in entries] == ["a/0_y", "a/60_x", "b/0_x"]
    assert all(
        list(entry) == ["path", "line", "severity", "code", "message", "hint", "fixable"]
        for entry in entries
    )
    json.dumps(report.as_dict()).encode("ascii")


def test_one_file_can_have_several_findings(plant: Callable[..., Path]) -> None:
    report = lint_tree(str(plant({"60_x": ("echo", 0o666)})))
    assert sorted(problem.code for problem in report.problems) == [
        "no-shebang",
        "not-executable",
        "world-writable",
    ]


def test_git_folder_of_a_checkout_is_no_part_of_the_tree(plant: Callable[..., Path]) -> None:
    root = plant({".git/60_hook": "x", "60_a.sh": SH, "l": "-> .git/60_hook"})
    assert found(lint_tree(str(root))) == [("symlink-leaves-tree", "l", "error")]


def test_repository_that_is_one_manifest_plugin_can_be_linted(plant: Callable[..., Path]) -> None:
    report = lint_tree(str(plant({"plugin.json": manifest(), "a.py": ("pass", 0o644)})))
    assert found(report) == []
    assert [plugin["path"] for plugin in report.plugins] == ["."]


def test_device_or_pipe_is_refused_and_never_opened(plant: Callable[..., Path]) -> None:
    root = plant({"s/60_a.sh": SH})
    os.mkfifo(root / "s" / "60_pipe")
    os.mkfifo(root / "s" / "plugin.json")
    report = lint_tree(str(root))
    assert found(report).count(("special-file", "s/60_pipe", "error")) == 1


@pytest.mark.parametrize(
    ("line", "alters"),
    [("*.py filter=lfs -text", True), ("*.py ident", True), ("*.txt eol=crlf", True),
     ("* working-tree-encoding=UTF-16", True), ("VERSION export-subst", True),
     ("[attr]big filter=x", True), ("* text=auto", False), ("*.sh text eol=lf", False),
     ("* -ident !filter", False), ("# * ident", False), ("", False)],
)  # fmt: skip
def test_attributes_count_only_where_git_would_change_a_file(
    plant: Callable[..., Path], line: str, alters: bool
) -> None:
    root = plant({".gitattributes": (f"\n{line}\n", 0o644), "60_fine.sh": SH})
    expected = [("gitattributes", 2)] if alters else []
    got = lint_tree(str(root)).problems
    assert [(problem.code, problem.line) for problem in got] == expected


def test_scripts_are_told_from_modules_and_data(plant: Callable[..., Path]) -> None:
    root = plant(
        {
            "60_good": SH,
            "60 _a": SH,
            "6e1_a": SH,
            "0x10_a": (SH, 0o644),
            "60-a.py": SH,
            "2024-report.csv": ("1,2", 0o644),
            "lib.py": (SH, 0o644),
            "data": ("x", 0o755),
            ".hidden": SH,
        }
    )
    assert {(entry[1], entry[0]) for entry in found(lint_tree(str(root)))} == {
        (name, "looks-like-step-script") for name in ("60 _a", "6e1_a", "0x10_a", "60-a.py")
    }


def test_links_in_a_circle_end(plant: Callable[..., Path]) -> None:
    root = plant({"a/loop": "-> ../a", "a/x": "-> y", "a/y": "-> x", "a/60_a.sh": SH})
    assert found(lint_tree(str(root))) == [
        ("symlink-dangling", "a/x", "error"),
        ("symlink-dangling", "a/y", "error"),
    ]


@pytest.fixture
def unprivileged() -> list[str]:
    """A command line that runs the lint as nobody where the tests run as root."""
    return (
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if not os.getuid() else []
    )


def test_file_or_folder_that_cannot_be_read_is_a_finding(
    tmp_path_factory: pytest.TempPathFactory, unprivileged: list[str]
) -> None:
    root = tmp_path_factory.mktemp("readable", numbered=True)
    for folder in [root, *root.parents]:
        if len(folder.parts) > 2:  # below /tmp
            folder.chmod(0o755)
    (root / "s").mkdir(mode=0o755)
    for name in ("60_a.sh", "plugin.json", "x.sh"):
        (root / "s" / name).write_text(SH)
        (root / "s" / name).chmod(0)
    (root / "closed").mkdir(mode=0)
    try:
        run = subprocess.run(
            [*unprivileged, "/usr/bin/python3", "-c",
             "import sys, json; from agentplugin.lint import lint_tree;"
             "print(json.dumps(lint_tree(sys.argv[1]).as_dict()))", str(root)],
            cwd="/", env={"PYTHONPATH": str(_importable(root)), "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
    finally:
        (root / "closed").chmod(0o755)
    problems = json.loads(run.stdout)["problems"]
    assert sorted(entry["path"] for entry in problems if entry["code"] == "unreadable") == [
        "closed",
        "s/60_a.sh",
        "s/plugin.json",
        "s/x.sh",
    ]


def _importable(root: Path) -> Path:
    """A copy of the package where every user can read it."""
    import shutil

    package = Path(__file__).resolve().parents[2] / "agentplugin"
    target = root.parent / f"{root.name}-package"
    shutil.copytree(package, target / "agentplugin", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755)
    return target


def test_nothing_of_the_tree_is_executed(plant: Callable[..., Path], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    root = plant({
        "60_a.py": f"#!/usr/bin/python3\nopen({str(mark)!r}, 'w')\n",
        "60_b.sh": f"#!/bin/sh\ntouch {mark}\n",
        "m/plugin.json": manifest(command=f"touch {mark}", postExtract=f"touch {mark}"),
    })  # fmt: skip
    assert "error" not in {severity for *_, severity in found(lint_tree(str(root)))}
    assert not mark.exists()


def test_root_that_is_no_directory_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("gone", "file"):
        with pytest.raises(OSError):
            lint_tree(str(tmp_path / name))


def test_thousand_plugins_take_little_time(plant: Callable[..., Path]) -> None:
    script = "#!/usr/bin/env python3\nimport json\nprint(json.dumps([]))\n"
    root = plant({f"d{i % 50}/60_{i}.py": script for i in range(1000)})
    started = time.process_time()
    assert len(lint_tree(str(root)).plugins) == 1000
    assert time.process_time() - started < 3
