"""Every code that a finding can have is documented, and the documents name no other."""

from __future__ import annotations

import re

from finding_codes import PACKAGE, codes_in

from agentplugin import metrics

DOCS = PACKAGE.parent / "docs"
OUTPUT_MODULES = ("falconjson", "metrics", "transferrules")


def documented(page: str) -> dict[str, str]:
    """Code -> the rest of its table row."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([a-z0-9-]+)` \|(.*)\|$", text, re.MULTILINE))


def test_every_output_code_is_in_metrics_md() -> None:
    assert set(documented("metrics.md")) == codes_in(*OUTPUT_MODULES)


def test_every_other_code_is_in_lint_md() -> None:
    assert set(documented("lint.md")) == codes_in() - codes_in(*OUTPUT_MODULES)


def test_every_row_says_what_it_costs_and_what_to_do() -> None:
    for page, columns in (("lint.md", 3), ("metrics.md", 2)):
        for code, row in documented(page).items():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)]
            assert len(cells) >= columns and all(cells), code


def test_docstring_of_the_metrics_module_lists_every_output_code() -> None:
    assert metrics.__doc__ is not None
    listed = set(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)+|filled", metrics.__doc__))
    assert codes_in(*OUTPUT_MODULES) <= listed


def test_the_scan_for_codes_sees_every_kind_of_finding() -> None:
    assert {"step-overflow", "crlf", "binding-empty", "filled", "field-type", "null-item",
            "manifest-field-type", "more-problems", "too-long"} <= codes_in()  # fmt: skip
