"""In which line of a JSON text something stands, for findings that were made on what it says."""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def part(key: str | int) -> str:
    """One step of a JSON pointer (RFC 6901): `/key`, with what would read as another step escaped."""
    return "/" + str(key).replace("~", "~0").replace("/", "~1")


def lines(text: str, pointers: Iterable[str]) -> dict[str, int]:
    """The line, from 1, of each of these JSON pointers that is in the text, which must be valid JSON.

    Of a key that stands twice, the last one's, which counts.
    """
    wanted = set(pointers)
    found: dict[str, int] = {}
    # For each object or array around: whether it is an object, and the step to what is read of it.
    around: list[tuple[bool, str | int]] = []
    at_key = False
    line, last = 1, 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in "}]":
            around.pop()
            at_key = False
        elif token == ",":
            at_key, step = around[-1]
            if isinstance(step, int):
                around[-1] = (False, step + 1)
        elif token != ":":
            line += text.count("\n", last, match.start())
            last = match.start()
            if at_key:
                around[-1] = (True, json.loads(token))
            if at_key or not around or not around[-1][0]:
                pointer = "".join([part(step) for _, step in around])
                if pointer in wanted:
                    found[pointer] = line
            at_key = False
            if token in "{[":
                around.append((token == "{", "" if token == "{" else 0))
                at_key = token == "{"
    return found
