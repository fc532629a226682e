"""Values as the types that a manifest's parameters have, read leniently (rules: 759 parameters of
public manifests, whose defaults are often of another type than they say)."""

from __future__ import annotations

import json
import math
import re

from agentplugin.problems import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TYPES = ("string", "password", "integer", "number", "boolean", "array", "enum")
ALIASES = {"int": "integer", "bool": "boolean"}
_WORDS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")


class Misfit(ValueError):
    """A value that cannot be read as a parameter's type; the text says what it is instead.

    element  the number of the array's element that is at fault, else None;  value  that element
    """

    def __init__(self, message: str, element: int | None = None, value: Any = None) -> None:
        super().__init__(message)
        self.element = element
        self.value = value


def known_type(written: str) -> str | None:
    """The type of TYPES that a manifest means, or None for an unknown word."""
    lowered = written.strip().lower()
    name = ALIASES.get(lowered, lowered)
    return name if name in TYPES else None


def brief(value: Any) -> str:
    """The beginning of any JSON value as text, however large or deep it is."""
    try:
        return str(value)[:200]
    except RecursionError:
        return "something nested too deep"


def as_written(value: Any) -> str:
    """A JSON value fit for one line of a message, text in quotes and everything else without."""
    if isinstance(value, str):
        return shown(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = brief(value)
    return text if text.isprintable() and len(text) <= 60 else shown(text)


def as_text(value: Any) -> str:
    """A single value as JavaScript turns it into text. Raises Misfit for lists and objects."""
    if isinstance(value, (list, dict)):
        raise Misfit("a list or an object is not one word")
    return _text(value)


def as_javascript(value: Any) -> Any:
    """A JSON value with JavaScript's numbers, which are of one kind: 5.0 becomes 5."""
    if isinstance(value, dict):
        return {str(key): as_javascript(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_javascript(item) for item in value]
    if isinstance(value, float) and abs(value) < 1e21 and value % 1 == 0:
        return int(value)
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, dict)) or value is None:
        raise Misfit("not text")
    return json.dumps(as_javascript(value))


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise Misfit("not an integer")
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value % 1 == 0:
        return int(value)
    if isinstance(value, str) and INTEGER.fullmatch(value):
        return int(value)
    raise Misfit("not an integer")


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Misfit("not a number")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise Misfit("not a number")
    number = float(value) if isinstance(value, str) else value
    if isinstance(number, float) and not math.isfinite(number):
        raise Misfit("not a finite number")
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (int, str)) else ""
    if word in _WORDS:
        return _WORDS[word]
    raise Misfit("neither true nor false")


def _array(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict) or value is None:
        raise Misfit("not a list")
    return [] if value == "" else [value]


READERS: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "password": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "array": _array,
}
