"""What the lint corrects by itself in a tree on disk, and what it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentplugin.fixes import apply, corrected
from agentplugin.lint import lint_tree

SH = "#!/bin/sh\necho '[]'\n"
CRLF = SH.replace("\n", "\r\n")
ELF = b"\x7fELF\x02\x01\x01\0"


def fix(root: Path) -> list[tuple[str, str]]:
    """Correct what can be; returns what was left."""
    report = lint_tree(str(root))
    wanted: dict[str, list[str]] = {}
    for found in report.fixes:
        if not found.left:
            wanted.setdefault(found.path, []).append(found.name)
    for path, names in wanted.items():
        apply(str(root), path, names)
    return [(found.path, found.name) for found in report.fixes if found.left]


@pytest.mark.parametrize(
    ("before", "mode", "after"),
    [
        (SH, 0o644, SH),
        (CRLF, 0o755, SH),
        (CRLF, 0o640, SH),
        ("#!/bin/sh\necho '[]'\r\n", 0o755, SH),
        (SH.rstrip(), 0o755, SH),
        (CRLF.rstrip(), 0o600, SH),
    ],
)
def test_a_script_is_corrected_once_and_for_all(
    plant: Callable[..., Path], before: str, mode: int, after: str
) -> None:
    root = plant({"s/60_a.sh": (before, mode)})
    found = lint_tree(str(root)).problems
    assert found and all(problem.fixable for problem in found)
    assert fix(root) == []
    script = root / "s/60_a.sh"
    assert script.read_bytes() == after.encode()
    # Who may read it may execute it, and nobody else.
    assert script.stat().st_mode & 0o777 == mode | (mode & 0o444) >> 2
    report = lint_tree(str(root))
    assert (report.problems, report.fixes) == ([], [])
    assert os.listdir(root / "s") == ["60_a.sh"]


def test_a_program_and_a_manifests_command_get_their_execute_bit(
    plant: Callable[..., Path],
) -> None:
    manifest = '{"command": "./run.sh", "metrics": ["A"]}'
    root = plant(
        {
            "s/60_a": (ELF, 0o644),
            "m/plugin.json": (manifest, 0o644),
            "m/run.sh": (SH, 0o644),
        }
    )
    assert fix(root) == []
    assert os.access(root / "s/60_a", os.X_OK) and os.access(root / "m/run.sh", os.X_OK)
    assert not os.access(root / "m/plugin.json", os.X_OK)
    assert (root / "s/60_a").read_bytes() == ELF


def test_what_cannot_be_corrected_is_left_and_said(plant: Callable[..., Path]) -> None:
    root = plant(
        {
            "lib/a.sh": (SH, 0o644),
            "s/60_link.sh": "-> ../lib/a.sh",
            "s/60_archive.sh": (SH + "exit\r\n\0\1\2", 0o755),
            "s/60_data": ("a,b\n", 0o644),
        }
    )
    before = {path: path.read_bytes() for path in root.rglob("60_*")}
    assert fix(root) == [
        ("s/60_archive.sh", "final-newline"),
        ("s/60_archive.sh", "line-ends"),
        ("s/60_data", "execute-bit"),
        ("s/60_link.sh", "execute-bit"),
    ]
    assert {path: path.read_bytes() for path in root.rglob("60_*")} == before
    assert not os.access(root / "lib/a.sh", os.X_OK)
    hints = {problem.path: problem.hint for problem in lint_tree(str(root)).problems}
    assert "it is a link" in hints["s/60_link.sh"] and "../lib/a.sh" in hints["s/60_link.sh"]
    assert "NUL" in hints["s/60_archive.sh"]


def test_a_link_that_took_the_files_place_is_not_followed(plant: Callable[..., Path]) -> None:
    root = plant({"s/60_a.sh": "-> ../lib.sh", "lib.sh": (SH, 0o644)})
    with pytest.raises(OSError):
        apply(str(root), "s/60_a.sh", ["execute-bit"])
    assert not os.access(root / "lib.sh", os.X_OK)


def test_nobody_elses_file_is_used_or_removed(
    plant: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plant({"s/60_a.sh": (CRLF, 0o755), "s/60_a.sh.plugfleet-fix": ("mine", 0o644)})

    def refuse(*_: str) -> None:
        raise PermissionError("no")

    with monkeypatch.context() as broken, pytest.raises(PermissionError):
        broken.setattr(os, "replace", refuse)
        apply(str(root), "s/60_a.sh", ["line-ends"])
    assert (root / "s/60_a.sh").read_bytes() == CRLF.encode()
    apply(str(root), "s/60_a.sh", ["line-ends"])
    assert (root / "s/60_a.sh").read_bytes() == SH.encode()
    assert (root / "s/60_a.sh.plugfleet-fix").read_text() == "mine"
    assert sorted(os.listdir(root / "s")) == ["60_a.sh", "60_a.sh.plugfleet-fix"]


def test_a_lone_carriage_return_is_content() -> None:
    assert corrected(b"a\rb\r\nc", ["line-ends", "final-newline"]) == b"a\rb\nc\n"
