"""How files of hosts changed, or would, as unified diffs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from controller.cli import output

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def show_diffs(results: Iterable[Mapping[str, Any]]) -> None:
    """Print the diffs of deployments' results, equal ones once with all their hosts."""
    hosts: dict[str, list[str]] = {}
    for result in results:
        text = "\n".join(line for entry in result["diff"] for line in _lines(entry))
        if text:
            hosts.setdefault(text, []).append(result["host"])
    for text, names in hosts.items():
        output.say(f"\n{', '.join(names)}:", "bold")
        for line in text.splitlines():
            output.say(line, _STYLES.get(line[:1], ""))


def _lines(entry: Mapping[str, Any]) -> Iterator[str]:
    if entry.get("prepared"):
        yield from str(entry["prepared"]).splitlines()
        return
    yield from difflib.unified_diff(
        str(entry.get("before", "")).splitlines(),
        str(entry.get("after", "")).splitlines(),
        entry.get("before_header") or "before",
        entry.get("after_header") or "after",
        lineterm="",
    )
