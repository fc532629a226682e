"""plugin.json as strict JSON: an error names line and column and points at the place. Three of 175
public manifests are broken (a trailing comma, a missing one, an open string); none is repaired."""

from __future__ import annotations

import json
import re

from agentplugin.problems import Problem, error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MAX_EXCERPT = 44  # fits the column that `plugfleet lint` has for it in 80 characters
_MAX_REPEATED = 100


class ManifestError(ValueError):
    """A plugin.json that is no JSON object.

    path, line, column (both from 1), message (one line), hint;  excerpt: the line and a caret under
    the place, "" where there is none. str() is all of it.
    """

    def __init__(
        self, path: str, line: int, column: int, message: str, hint: str, excerpt: str = ""
    ) -> None:
        self.path = path
        self.line = line
        self.column = column
        self.message = message
        self.hint = hint
        self.excerpt = excerpt
        tail = f"\n{excerpt}" if excerpt else ""
        super().__init__(f"{self.in_one_line}{tail}")

    @property
    def in_one_line(self) -> str:
        """All but the excerpt."""
        return f"{self.path}:{self.line}:{self.column}: {self.message} ({self.hint})"

    def as_problem(self) -> Problem:
        """The same as a finding of the lint, line, column and caret in the message."""
        message = f"line {self.line} column {self.column}: {self.message}"
        if self.excerpt:
            message += "\n" + self.excerpt
        return error(self.path, "manifest-not-json", message, self.hint, self.line)


def load(text: str | bytes, path: str) -> tuple[dict[str, Any], list[str]]:
    """The JSON object and the keys that stand twice in one object. Raises ManifestError."""
    raw, repeated = read(text, path)
    if not isinstance(raw, dict):
        raise ManifestError(
            path, 1, 1, f"the manifest is {_kind(raw)}, not an object", "write {...} around it all"
        )
    return raw, repeated


def read(text: str | bytes, path: str) -> tuple[Any, list[str]]:
    """Any JSON value and the keys that stand twice in one object. Raises ManifestError."""
    if isinstance(text, bytes):
        text = _decoded(text, path)
    if text.startswith("\ufeff"):
        raise ManifestError(
            path, 1, 1, "a byte order mark stands before the JSON", "save without a byte order mark"
        )
    repeated: list[str] = []
    try:
        raw = json.loads(text, parse_constant=_refuse, object_pairs_hook=_counting(repeated))
    except json.JSONDecodeError as err:
        raise _syntax_error(text, path, err) from None
    except _Constant as err:
        line, column = _place(text, _outside_strings(text, str(err)))
        raise ManifestError(
            path, line, column, f"{err} is no JSON value", "write a number, or null"
        ) from None
    except (RecursionError, ValueError):
        raise ManifestError(
            path, 1, 1, "the JSON nests too deep, or holds a number too long", "write it flat"
        ) from None
    return raw, repeated[:_MAX_REPEATED]


class _Constant(Exception):
    """NaN or Infinity stands in the text."""


def _outside_strings(text: str, word: str) -> int:
    """Where a word stands that is no part of a string."""
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|' + re.escape(word), text):
        if match.group() == word:
            return match.start()
    return 0


def _refuse(text: str) -> None:
    raise _Constant(text)


def _counting(repeated: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """A hook that builds the objects and notes the keys that one object has twice."""

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            left = dict.fromkeys(result)
            repeated.extend(sorted({key for key, _ in pairs if left.pop(key, key) is not None}))
        return result

    return build


def _decoded(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as err:
        before = data[: err.start].decode("utf-8")
        line, column = _place(before, len(before))
        raise ManifestError(
            path, line, column, f"byte 0x{data[err.start]:02x} is not UTF-8", "save as UTF-8"
        ) from None


def _syntax_error(text: str, path: str, err: json.JSONDecodeError) -> ManifestError:
    """Says what is likely wrong, in words that do not change with the Python version."""
    position = err.pos
    before = text[:position].rstrip()
    found = text[position : position + 1]
    if not text.strip():
        return ManifestError(path, 1, 1, "the file is empty", "write the manifest")
    if not found:
        message, hint = "the file ends too early", "close every bracket and quote"
    elif before.endswith(",") and found in ("}", "]"):
        position = len(before) - 1
        message, hint = f"a comma stands before the closing '{found}'", "remove the comma"
    elif err.msg.startswith("Illegal trailing comma"):
        message, hint = "a comma stands before a closing bracket", "remove the comma"
    elif found == ":" and _open_list(before):
        line = _place(text, _open_list(before) - 1)[0]
        message = f"a key stands in a list: the one that opens on line {line} is not closed"
        hint = "close it with ] before the key"
    elif err.msg.startswith("Expecting ',' delimiter"):
        message, hint = "a comma or a closing bracket is missing before this", "add it"
    elif err.msg.startswith(("Unterminated string", "Invalid control character")):
        message, hint = "a string does not end on its line", 'close it with "'
    elif err.msg.startswith("Expecting property name"):
        message, hint = 'a key in "double quotes" must stand here', "quote the key"
    elif err.msg.startswith("Extra data"):
        message, hint = "text goes on after the end of the JSON", "remove it"
    else:
        message, hint = f"not JSON ({err.msg})", "mend the syntax"
    line, column = _place(text, position)
    return ManifestError(path, line, column, message, hint, _excerpt(text, position))


def _open_list(text: str) -> int:
    """Where the innermost bracket that is open at the end of `text` stands, from 1, if it is a [; 0
    else."""
    opened: list[int] = []
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', text):
        if match.group() in "[{":
            opened.append(match.end())
        elif match.group() in "]}":
            del opened[-1:]
    return opened[-1] if opened and text[opened[-1] - 1] == "[" else 0


def _place(text: str, position: int) -> tuple[int, int]:
    """Line and column of a position, both from 1."""
    start = text.rfind("\n", 0, position) + 1
    return text.count("\n", 0, position) + 1, position - start + 1


def _excerpt(text: str, position: int) -> str:
    """The line of a position and a caret under it; tabs become spaces, a long line is cut."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start : end if end >= 0 else len(text)].rstrip("\r")
    shift = max(0, position - start - _MAX_EXCERPT + 10)
    piece = "".join(char if char.isprintable() else " " for char in line[shift:])[:_MAX_EXCERPT]
    return f"  {piece}\n  {' ' * (position - start - shift)}^"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "true or false", str: "text", list: "a list"}.get(type(value), "a number")
