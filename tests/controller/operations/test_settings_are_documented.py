"""docs/controller-settings.md holds every setting with its variable and default, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from controller.settings import Settings

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/controller-settings.md"
ROW = re.compile(r"^\| `(\w+)` \| `(PLUGFLEET_\w+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def test_every_setting_stands_in_the_document_and_nothing_else_does() -> None:
    rows = ROW.findall(DOCUMENT.read_text())
    assert [name for name, *_ in rows] == list(Settings.model_fields)
    for name, variable, _, meaning in rows:
        assert variable == f"PLUGFLEET_{name.upper()}"
        assert meaning == Settings.model_fields[name].description


def test_defaults_are_the_real_ones() -> None:
    for name, _, default, _ in ROW.findall(DOCUMENT.read_text()):
        real = Settings.model_fields[name].default
        if name in ("project_dir", "concurrent_runs"):
            continue  # this checkout, and as many as there are cores
        shown = "" if real in ("", None) else f"`{real}`"
        assert default == shown, name
