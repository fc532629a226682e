"""What a manifest's folder holds beside it: icon, metrics.json, package.json, Python of another age."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agentplugin import definitions
from agentplugin.lint import lint_tree
from agentplugin.problems import Problem

MODULES = "graphdat-plugin-tools"


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")


@pytest.fixture
def lint(plant: Callable[..., Path]) -> Callable[..., list[Problem]]:
    """The findings on the plugin `m` with these files and manifest fields."""

    def findings(files: Mapping[str, str | bytes], **fields: Any) -> list[Problem]:
        raw = {"command": "python3 a.py", "metrics": ["A"], **fields}
        plain: dict[str, str | bytes] = {"plugin.json": json.dumps(raw), "a.py": "pass\n", **files}
        tree = {f"m/{name}": (content, 0o644) for name, content in plain.items()}
        return lint_tree(str(plant(tree))).problems

    return findings


def said(problems: list[Problem]) -> list[tuple[str, str, int | None]]:
    return [(problem.code, problem.path, problem.line) for problem in problems]


@pytest.mark.parametrize(
    ("icon", "content", "code", "words"),
    [
        ("icon.png", png(48, 48), "", ""),
        ("img/../icon.png", png(48, 48), "", ""),
        ("icon.png", png(64, 48), "manifest-icon-format", "is 64x48 pixels"),
        ("icon.png", png(48, 48) + b"x" * 300_000, "manifest-icon-format", "bytes, more than"),
        ("icon.png", b"\xff\xd8\xff\xe0JFIF" + b"x" * 40, "manifest-icon-format", "is no PNG"),
        ("icon.png", png(48, 48)[:20], "manifest-icon-format", "is no PNG"),
        ("icon.png", b"", "manifest-icon-format", "is no PNG"),
        ("Icon.png", png(48, 48), "manifest-icon-missing", "'Icon.png'"),
        ("../m/icon.png", png(48, 48), "", ""),
        ("../../outside.png", png(48, 48), "manifest-icon-missing", "outside.png"),
        ("/etc/hostname", png(48, 48), "manifest-icon-missing", "/etc/hostname"),
        ("icon\0.png", png(48, 48), "manifest-icon-missing", "x00"),
        ("\ud800.png", png(48, 48), "manifest-icon-missing", "ud800"),
        (".", png(48, 48), "manifest-icon-missing", "'.'"),
    ],
)
def test_icon_is_a_png_of_48_pixels_in_the_folder(
    lint: Callable[..., list[Problem]], tmp_path: Path, icon: str, content: bytes, code: str, words: str
) -> None:  # fmt: skip
    (tmp_path / "outside.png").write_bytes(png(48, 48))
    found = [problem for problem in lint({"icon.png": content}, icon=icon)]
    assert [problem.code for problem in found] == ([code] if code else [])
    assert not code or words in found[0].message


@pytest.mark.parametrize(
    ("shape", "codes"),
    [
        ({"a": {"unit": "percent", "defaultAggregate": "AVG"}}, []),
        ({"result": [{"name": "A", "unit": "Duration", "defaultAggregate": "max"}]}, []),
        ([{"name": "a", "unit": None}], []),
        ({"A": {"unit": "bytes"}}, [("metric-unit", "info")]),
        ({"A": {"unit": "furlong"}}, [("metric-unit", "warning")]),
        ({"A": {"unit": 5}}, [("metric-unit", "warning")]),
        ({"A": {"defaultAggregate": "ave"}}, [("metric-aggregate", "info")]),
        ({"A": {"defaultAggregate": "median"}}, [("metric-aggregate", "warning")]),
        ({"A": {}, "B": 5}, [("metrics-json-shape", "warning")]),
        ({"result": ["A"]}, [("metric-undefined", "warning"), ("metrics-json-shape", "warning")]),
        ("A", [("metric-undefined", "warning"), ("metrics-json-shape", "warning")]),
        ({"B": {}}, [("metric-undefined", "warning"), ("metric-unlisted", "warning")]),
    ],
)
def test_definitions_in_three_shapes_are_held_against_the_manifest(
    lint: Callable[..., list[Problem]], shape: Any, codes: list[tuple[str, str]]
) -> None:
    found = lint({"metrics.json": json.dumps(shape)})
    assert sorted((problem.code, problem.severity) for problem in found) == sorted(codes)


def test_many_names_are_told_in_one_finding(lint: Callable[..., list[Problem]]) -> None:
    metrics = [f"M{number}" for number in range(50)]
    (problem,) = lint({"metrics.json": "{}"}, metrics=metrics)
    assert problem.message.startswith("metrics lists 'M0', 'M1', 'M10', 'M11', 'M12' and 45 more")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{\n"A": {},\n}', 2),
        (b'{"A": "\xff"}', 1),
        (b"", 1),
        (b"[" * 20_000, 1),
        (b'"' + b"x" * (1 << 20) + b'"', None),
    ],
)
def test_broken_definitions_are_named_by_line_and_used_by_nobody(
    lint: Callable[..., list[Problem]], content: bytes, line: int | None
) -> None:
    found = said([p for p in lint({"metrics.json": content}) if p.code != "large-file"])
    assert found == [("metrics-json-broken", "m/metrics.json", line)]
    if line is not None:
        with pytest.raises(ValueError):
            definitions.read(content)


def test_byte_order_mark_before_definitions_does_no_harm(
    lint: Callable[..., list[Problem]],
) -> None:
    content = b'\xef\xbb\xbf{"A": {}}'
    assert lint({"metrics.json": content}) == [] and "A" in definitions.read(content)


DEPENDS = json.dumps({"dependencies": {MODULES: "0.0.1"}})


@pytest.mark.parametrize(
    ("command", "files", "told"),
    [
        ("npm install", {"package.json": DEPENDS}, True),
        ("npm install", {"package.json": "\ufeff" + DEPENDS}, True),
        (f"npm install {MODULES}@0.0.1", {}, True),
        ("npm install", {"package.json": '{"dependencies": {"request": "*"}}'}, False),
        ("npm install", {"package.json": '{"dependencies": [1]}'}, False),
        ("npm install", {"package.json": "[{,"}, False),
        ("npm install", {}, False),
        ("npm install", {"package.json": DEPENDS, f"node_modules/{MODULES}/package.json": "{}"}, False),
        ("sh post.sh", {"package.json": DEPENDS}, False),
    ],
)  # fmt: skip
def test_npm_install_of_a_package_that_is_gone_is_told_with_both_ways_out(
    lint: Callable[..., list[Problem]], command: str, files: dict[str, str], told: bool
) -> None:
    found = [p for p in lint(files, postExtract=command) if p.code == "manifest-npm-gone"]
    assert len(found) == told
    for problem in found:
        assert "executor.node_modules" in problem.hint and "executor.node_path" in problem.hint


OLD = "import os\nprint 'x'\n"


@pytest.mark.parametrize(
    ("command", "files", "found"),
    [
        ("python a.py", {"a.py": OLD}, [("manifest-python2", "m/a.py", 2)]),
        ("python -u a.py", {"a.py": OLD}, [("manifest-python2", "m/a.py", 2)]),
        ("pyenv/bin/python a.py", {"a.py": OLD, "pyenv/bin/python": b"\x7fELF"},
         [("manifest-command-not-executable", "m/plugin.json", 1), ("manifest-python2", "m/a.py", 2)]),
        ("python a.py", {"a.py": "print('x')\n"}, []),
        ("python a.py", {"a.py": "import urllib2\n"}, [("manifest-python2", "m/a.py", 1)]),
        ("python a.py", {"a.py": "from StringIO import StringIO\n"},
         [("manifest-python2", "m/a.py", 1)]),
        ("python a.py", {"a.py": "try:\n import urllib2\nexcept ImportError:\n urllib2 = None\n"}, []),
        ("python a.py", {"a.py": "x = 1\nfor i in xrange(3): pass\n"},
         [("manifest-python2", "m/a.py", 2)]),
        ("python a.py", {"a.py": "xrange = range\nfor i in xrange(3): pass\n"}, []),
        ("python a.py", {"a.py": "import urllib\nurllib.urlencode({})\n"},
         [("manifest-python2", "m/a.py", 2)]),
        ("python a.py", {"a.py": "import urllib.parse\nurllib.parse.urlencode({})\n"}, []),
        ("python a.py", {"a.py": "d = {}\nif d.has_key(1): pass\n"}, [("manifest-python2", "m/a.py", 2)]),
        ("python a.py", {"a.py": "for k in {}.iteritems(): pass\n"}, [("manifest-python2", "m/a.py", 1)]),
        ("python a.py", {"a.py": "import six\nsix.iteritems({})\n"}, []),
        ("python a.py", {"a.py": "import sys\nd = {}\nif sys.version_info < (3,):\n import urllib2\n"
                                 "i = d.iteritems() if PY2 else d.items()\n"}, []),
        ("python a.py", {"a.py": "import thread\n"}, [("manifest-python2", "m/a.py", 1)]),
        ("python a.py", {"a.py": "import thread\n", "thread.py": "x = 1\n"}, []),
        ("python a.py", {"a.py": "from functools import reduce\nreduce(max, [1])\n"}, []),
        ("python3 a.py", {"a.py": OLD}, [("python-syntax", "m/a.py", 2)]),
        ("python3 a.py", {"a.py": "import urllib2\n"}, [("manifest-python2", "m/a.py", 1)]),
        ("python2.7 a.py", {"a.py": OLD}, [("manifest-python2", "m/plugin.json", 1)]),
        # What it imports of its own folder, and of theirs.
        ("python a.py", {"a.py": "import lib\n", "lib.py": "import pkg\n", "pkg/__init__.py": OLD,
                         "unused.py": OLD}, [("manifest-python2", "m/pkg/__init__.py", 2)]),
        ("python s/a.py", {"s/a.py": "import lib\n", "s/lib.py": OLD, "lib.py": OLD},
         [("manifest-python2", "m/s/lib.py", 2)]),
        ("python a.py", {"a.py": "import b\n", "b.py": "import a\n"}, []),
        ("python gone.py", {}, [("manifest-command-file-missing", "m/plugin.json", 1)]),
        ("python ../../a.py", {}, [("manifest-command-file-missing", "m/plugin.json", 1)]),
        ("python -c 1", {}, []),
        ("node a.js", {"a.js": "print 1\n"}, []),
        ("boundary-meter a.py", {"a.py": OLD}, [("manifest-unsupported-runtime", "m/plugin.json", 1)]),
    ],
)  # fmt: skip
def test_python_2_is_told_where_hosts_have_none(
    lint: Callable[..., list[Problem]],
    command: str,
    files: dict[str, str],
    found: list[tuple[str, str, int]],
) -> None:
    assert sorted(said(lint(files, command=command))) == sorted(found)


def test_python_of_a_post_extract_is_looked_at_too(lint: Callable[..., list[Problem]]) -> None:
    found = said(lint({"post.py": OLD}, postExtract="python post.py"))
    assert ("manifest-python2", "m/post.py", 2) in found


def test_python_that_nests_deep_or_is_no_text_is_no_crash(
    lint: Callable[..., list[Problem]],
) -> None:
    for source in (b"x = " + b"(" * 5000, b"x = 1\0", b"\xff\xfe", b"-" * 100_000 + b"1",
                   b"a" + b".b" * 50_000):  # fmt: skip
        assert {p.code for p in lint({"a.py": source}, command="python a.py")} <= {
            "manifest-python2"
        }


def test_link_out_of_the_folder_is_no_file_of_the_plugin(plant: Callable[..., Path]) -> None:
    tree = plant({
        "m/plugin.json": ('{"command": "python a.py", "metrics": ["A"]}', 0o644),
        "m/a.py": "-> ../lib/a.py",
        "lib/a.py": (OLD, 0o644),
    })  # fmt: skip
    found = lint_tree(str(tree)).problems
    assert [problem.code for problem in found] == ["manifest-command-file-missing"]
