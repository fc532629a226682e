"""`plugfleet lint` as people and programs call it: exit codes, JSON, table, wrong use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SH = "#!/bin/sh\necho '[]'\n"


def plugfleet(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controller.cli", *words],
        cwd=str(ROOT),
        env={**os.environ, "COLUMNS": "120", **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_clean_tree_exits_0_and_says_what_is_there(plant: Callable[..., Path]) -> None:
    run = plugfleet("lint", str(plant({"60_a.sh": SH})))
    assert (run.returncode, run.stderr) == (0, "")
    assert "1 step script, 0 manifest plugins: 0 errors, 0 warnings, 0 notes" in run.stdout


def test_warnings_alone_exit_0(plant: Callable[..., Path]) -> None:
    run = plugfleet("lint", str(plant({"60_a": "#!/usr/bin/env python\n"})))
    assert run.returncode == 0 and "interpreter-ambiguous" in run.stdout


def test_folder_without_plugins_exits_0_and_says_so(plant: Callable[..., Path]) -> None:
    run = plugfleet("lint", "--json", str(plant({})))
    report = json.loads(run.stdout)
    assert (run.returncode, report["plugins"]) == (0, [])
    assert [entry["code"] for entry in report["problems"]] == ["no-plugins"]


def test_errors_exit_1_and_are_shown_with_place_reason_and_remedy(
    plant: Callable[..., Path],
) -> None:
    root = plant({"s/60_a.sh": "echo", "s/[bold]0_x": SH, "s/0_x": SH, "m/plugin.json": "{,"})
    run = plugfleet("lint", str(root))
    assert run.returncode == 1 and run.stderr == ""
    for piece in ("s/60_a.sh:1", "no-shebang", "exec format error", "#!/bin/sh", "s/0_x", "3 errors",
                  "m/plugin.json:1"):  # fmt: skip
        assert piece in run.stdout, piece
    assert "\x1b[" not in run.stdout


def test_caret_stands_under_the_place_in_a_narrow_terminal_too(
    plant: Callable[..., Path],
) -> None:
    manifest = '{\r\n\t"description": "' + "x" * 200 + '",\r\n\t"metrics": ["A", "B",],\r\n}\r\n'
    long_line = '{"description": "' + "x" * 200 + '" "metrics": []}'
    root = plant({"m/plugin.json": manifest, "n/plugin.json": long_line})
    run = plugfleet("lint", str(root), COLUMNS="80")
    lines = run.stdout.splitlines()
    for caret, char in [(row, line.index("^")) for row, line in enumerate(lines) if "^" in line]:
        assert lines[caret - 1][char] in ',"'
        assert max(map(len, lines[caret - 1 : caret + 1])) <= 80
    assert run.stdout.count("^") == 2
    found = json.loads(plugfleet("lint", str(root), "--json").stdout)["problems"]
    assert [problem["line"] for problem in found] == [3, 1]
    assert all(problem["message"].endswith("^") for problem in found)


def test_json_is_the_report_and_nothing_else(plant: Callable[..., Path]) -> None:
    run = plugfleet("lint", "--json", str(plant({"s/60_a.sh": "echo", "s/60_b": SH})))
    report = json.loads(run.stdout)
    assert run.returncode == 1
    assert [plugin["path"] for plugin in report["plugins"]] == ["s/60_a.sh", "s/60_b"]
    assert [
        (entry["path"], entry["line"], entry["severity"], entry["code"])
        for entry in report["problems"]
    ] == [("s/60_a.sh", 1, "error", "no-shebang")]


def test_findings_are_judged_for_the_agents_that_are_named(plant: Callable[..., Path]) -> None:
    root = str(plant({"s/0_a.sh": SH, "s/60_b.sh": SH}))
    dying = plugfleet("lint", root, "--agent", "0.2.1", "--agent", "executor")
    assert dying.returncode == 1 and "agent 0.2.1, which dies of it" in dying.stdout
    borne = plugfleet("lint", root, "--agent", "executor", "--json")
    (problem,) = json.loads(borne.stdout)["problems"]
    assert (borne.returncode, problem["severity"]) == (0, "warning")
    assert problem["agents"] == "no error for agent executor"
    unknown = plugfleet("lint", root, "--agent", "0.9")
    assert unknown.returncode == 2 and "v0.2.1, v0.3, master, executor" in unknown.stderr


def test_fixing_says_what_was_mended_and_what_was_left(plant: Callable[..., Path]) -> None:
    root = plant({"s/60_a.sh": (SH, 0o644), "s/60_b.sh": SH[:-1], "s/60_c.sh": "-> 60_d",
                  "s/60_d": (SH, 0o644), "s/60_e": ("x\n", 0o644)})  # fmt: skip
    before = plugfleet("lint", str(root))
    assert before.returncode == 1 and "not-executable, fixable" in before.stdout
    run = plugfleet("lint", str(root), "--fix", "--json")
    found = json.loads(run.stdout)
    assert [(fix["path"], fix["fix"]) for fix in found["fixed"]] == [
        ("s/60_a.sh", "execute-bit"), ("s/60_b.sh", "final-newline"), ("s/60_d", "execute-bit"),
    ]  # fmt: skip
    assert [(fix["path"], fix["left"][:10]) for fix in found["fixes"]] == [("s/60_e", "it neither")]
    assert run.returncode == 1  # s/60_e is still wrong
    again = plugfleet("lint", str(root), "--fix")
    assert "not fixed s/60_e: execute-bit: it neither" in again.stdout
    assert "\nfixed" not in again.stdout and os.access(root / "s/60_a.sh", os.X_OK)


@pytest.mark.parametrize(
    "words", [("lint",), ("lint", "/no/such/dir"), ("lint", ".", "--nope"), ("lnit", "."), ()]
)
def test_wrong_use_exits_2_with_one_clear_message(words: tuple[str, ...]) -> None:
    run = plugfleet(*words)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr + run.stdout
    if "/no/such/dir" in words:
        assert run.stderr.startswith("plugfleet: cannot read /no/such/dir: No such file")
        assert run.stdout == ""


def test_names_that_look_like_markup_or_are_not_utf8_are_shown_as_they_are(
    plant: Callable[..., Path],
) -> None:
    run = plugfleet("lint", str(plant({"s/0_[red]x": SH, "s/60_\udcff": SH})), LC_ALL="C.UTF-8")
    assert run.returncode == 1
    assert "0_[red]x" in run.stdout and "60_\\xff" in run.stdout


def test_ascii_terminal_is_no_reason_to_fail(plant: Callable[..., Path]) -> None:
    run = plugfleet(
        "lint", str(plant({"s/0_é": SH})), LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert run.returncode == 1
    assert "Traceback" not in run.stderr


def test_reader_that_stops_early_gets_no_traceback(plant: Callable[..., Path]) -> None:
    root = plant({f"s/0_{number}": SH for number in range(400)})
    with subprocess.Popen(
        [sys.executable, "-m", "controller.cli", "lint", str(root)],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_help_names_the_exit_codes() -> None:
    run = plugfleet("lint", "--help")
    assert run.returncode == 0 and "--json" in run.stdout and "Exit code" in run.stdout
