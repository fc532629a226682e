"""A manifest plugin's parameters: the `paramSchema` entries and what a configuration comes to
(rules: 759 entries of public manifests; graphdat/relay filled in no defaults, its web form did)."""

from __future__ import annotations

import json
import math
import re

from agentplugin.problems import Problem, error, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TYPES = ("string", "password", "integer", "number", "boolean", "array", "enum")
POLL_INTERVAL = "pollInterval"
MIN_POLL_INTERVAL = 1000
"""Milliseconds; also what counts where none, or nothing readable, is given."""

_ALIASES = {"int": "integer", "bool": "boolean"}
_WORDS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_SURROGATE = re.compile("[\ud800-\udfff]")


class ConfigError(ValueError):
    """A configuration with which the plugin cannot be started; `problem` says it in full."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Misfit(ValueError):
    """A value that cannot be read as a parameter's type; the text says what it is instead."""


class Param:
    """One entry of `paramSchema`.

    key       what the plugin reads: `name`, or the title verbatim where there is none
    type      one of TYPES ("string" for an unknown one, which the manifest's validation names)
    choices   an enum's values, else []
    default   as written, None without;  required  as written, the text "true" counts
    """

    __slots__ = ("choices", "default", "description", "key", "required", "title", "type")

    def __init__(self, key: str, title: str, type_: str) -> None:
        self.key = key
        self.title = title
        self.type = type_
        self.choices: list[Any] = []
        self.default: Any = None
        self.required = False
        self.description = ""

    def read(self, value: Any) -> Any:
        """`value` as the parameter's type, leniently ("7" is an integer). Raises Misfit."""
        return self._choice(value) if self.type == "enum" else _READERS[self.type](value)

    def _choice(self, value: Any) -> Any:
        for choice in self.choices:
            if choice == value or str(choice) == str(value):
                return choice
        raise Misfit(f"not one of {', '.join(str(choice) for choice in self.choices)}")

    def __repr__(self) -> str:
        return f"Param({self.key!r}, {self.type})"


def known_type(written: str) -> str | None:
    """The type of TYPES that a manifest means, or None for an unknown word."""
    lowered = written.strip().lower()
    name = _ALIASES.get(lowered, lowered)
    return name if name in TYPES else None


def rendered(params: list[Param], config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as a plugin reads it: schema order, defaults filled in, values in their
    type where they can be read so (else as typed), then what the schema does not know."""
    result: dict[str, Any] = {}
    for param in params:
        typed = config.get(param.key)
        value = param.default if typed is None else typed
        if value is None or param.key in result:
            continue
        if typed is None and value == "" and param.type in ("integer", "number"):
            continue
        try:
            result[param.key] = param.read(value)
        except Misfit:
            result[param.key] = value
    for key, value in config.items():
        result.setdefault(key, value)
    return result


def check(params: list[Param], config: dict[str, Any], path: str, where: str) -> list[Problem]:
    """What is wrong with the values of one configuration; `where` is "config" or "items[2]"."""
    problems: list[Problem] = []
    for param in params:
        value = config.get(param.key)
        if value is None or value == "":
            if param.required and param.default in (None, ""):
                problems.append(
                    error(
                        path,
                        "config-required",
                        f"{where}.{param.key} ({param.title}) is required and has no default",
                        f"give it a value of type {param.type}",
                    )
                )
            continue
        try:
            param.read(value)
        except Misfit as err:
            problems.append(
                error(
                    path,
                    "config-type",
                    f"{where}.{param.key} ({param.title}) cannot be {shown(str(value))}: {err}",
                    f"give it a value of type {param.type}",
                )
            )
    known = {param.key for param in params} | {POLL_INTERVAL}
    for key in config:
        if key not in known:
            problems.append(
                warning(
                    path,
                    "config-unknown",
                    f"{where}.{key} is not in the manifest's paramSchema",
                    f"known are {', '.join(sorted(known))}",
                )
            )
    return problems


def poll_interval_ms(value: Any) -> int:
    """How often the plugin is looked after, in ms: at least MIN_POLL_INTERVAL, also for rubbish."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return MIN_POLL_INTERVAL
    return max(MIN_POLL_INTERVAL, int(value))


def as_json(value: Any, path: str) -> str:
    """JSON as JSON.stringify(value, null, 3) writes it: shell plugins grep it line by line."""
    try:
        text = json.dumps(_js(value), indent=3, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ConfigError(
            error(
                path,
                "config-type",
                "the configuration holds NaN or infinity, which JSON cannot",
                "give a finite number",
            )
        ) from None
    return _SURROGATE.sub(lambda half: f"\\u{ord(half.group()):04x}", text)


def as_text(value: Any) -> str:
    """A single value as JavaScript turns it into text. Raises Misfit for lists and objects."""
    if isinstance(value, (list, dict)):
        raise Misfit("a list or an object is not one word")
    return _text(value)


def _js(value: Any) -> Any:
    """JavaScript knows one kind of number: 5.0 is written 5."""
    if isinstance(value, dict):
        return {str(key): _js(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_js(item) for item in value]
    if isinstance(value, float) and abs(value) < 1e21 and value % 1 == 0:
        return int(value)
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, dict)) or value is None:
        raise Misfit("not text")
    return json.dumps(_js(value))


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise Misfit("not an integer")
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value % 1 == 0:
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise Misfit("not an integer")


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Misfit("not a number")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise Misfit("not a number")
    number = float(value) if isinstance(value, str) else value
    if not math.isfinite(number):
        raise Misfit("not a finite number")
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if isinstance(value, (int, str)) and word in _WORDS:
        return _WORDS[word]
    raise Misfit("neither true nor false")


def _array(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict) or value is None:
        raise Misfit("not a list")
    return [] if value == "" else [value]


_READERS: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "password": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "array": _array,
}
