"""Scripts that print a list with `null` in it, told from their text: a Falcon agent with default_tags
ends on the first such line (measured)."""

from __future__ import annotations

import re

from agentplugin.problems import Problem, warning

_NULL_ITEM = rb"\[\s*(?:null\s*[,\]]|[^'\"\[\]]*,\s*null\s*[,\]])"
# Only where a literal is printed: a "null" that is compared with, or stands in a value, is no output.
_PRINTED = re.compile(
    rb"^(?!\s*(?:#|//|--)).*?\b(?:echo|printf|print|puts|say|write|console\.log)\b\s*"
    rb"(?:-[neE]+\s+)?\(?\s*[rbf]?['\"]?" + _NULL_ITEM,
    re.MULTILINE,
)
_DUMPED = re.compile(
    rb"^(?!\s*#).*?\bjson\.dumps?\(\s*\[\s*(?:None\s*[,\]]|[^\[\]]*,\s*None\s*[,\]])",
    re.MULTILINE,
)


def null_problem(path: str, source: bytes) -> Problem | None:
    """The first line that prints a list with an item that is null, or None."""
    found = [match for match in (_PRINTED.search(source), _DUMPED.search(source)) if match]
    if not found:
        return None
    start = min(match.start() for match in found)
    return warning(
        path,
        "prints-null",
        "this prints a list with null in it: the data store drops the item, and an Open-Falcon "
        "agent whose cfg.json has default_tags ends, with every plugin of the host",
        "leave the item out; print [] where there is nothing",
        line=source.count(b"\n", 0, start) + 1,
    )
