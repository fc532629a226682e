"""A manifest's `command` as an argument vector (rules: graphdat/relay, its word splitting and its
macros; departure: words are split first, so a value with spaces stays one argument)."""

from __future__ import annotations

import re

from agentplugin.parameters import ConfigError
from agentplugin.paramtypes import Misfit, as_text
from agentplugin.problems import Problem, error, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

METER_COMMANDS = ("boundary-meter", "truesight-meter", "truesight-luvit")
"""First words that mean the later meter's Lua runtime, which no distribution packages."""

MACRO = re.compile(r"\$\(([A-Za-z0-9_#]*)(\??)\)")

_NODE = "node"
_EXPOSE_GC = "--expose-gc"


def split_words(command: str) -> list[str]:
    """Splits at single spaces; only `"` quotes, nothing escapes, two spaces give an empty word."""
    words: list[str] = []
    word = ""
    quoted = False
    for char in command:
        if char == " " and not quoted:
            words.append(word)
            word = ""
        elif char == '"':
            quoted = not quoted
        else:
            word += char
    words.append(word)
    return words


def macros(command: str) -> list[tuple[str, bool]]:
    """The macros of a command in order: (name, whether it may be missing)."""
    return [(name, bool(optional)) for name, optional in MACRO.findall(command)]


def unfilled(command: str, values: dict[str, Any], path: str) -> list[Problem]:
    """A warning for each macro that has no value and needs one: so the plugin cannot start."""
    lowered = {key.lower(): value for key, value in values.items()}
    names = dict.fromkeys(name for name, optional in macros(command) if not optional)
    return [
        warning(path, "config-macro-missing", *_what_is_missing(name, lowered))
        for name in names
        if lowered.get(name.lower()) is None
    ]


def argv(command: str, values: dict[str, Any], path: str) -> list[str]:
    """The command's words with `$(name)` replaced; names match whatever their case.

    A list standing alone as a word becomes several words. Raises ConfigError for a missing value.
    """
    lowered = {key.lower(): value for key, value in values.items()}
    words: list[str] = []
    for word in split_words(command):
        alone = MACRO.fullmatch(word)
        value = lowered.get(alone.group(1).lower()) if alone else None
        if isinstance(value, list):
            words.extend(_plain(item, word, path) for item in value)
        else:
            words.append(MACRO.sub(lambda match: _expanded(match, lowered, path), word))
    if words[0] == _NODE:
        words.insert(1, _EXPOSE_GC)
    return words


def _expanded(match: re.Match[str], lowered: dict[str, Any], path: str) -> str:
    name, optional = match.groups()
    value = lowered.get(name.lower())
    if isinstance(value, list):
        return " ".join(_plain(item, match.group(), path) for item in value)
    if value is not None:
        return _plain(value, match.group(), path)
    if optional:
        return ""
    raise ConfigError(error(path, "config-macro-missing", *_what_is_missing(name, lowered)))


def _what_is_missing(name: str, lowered: dict[str, Any]) -> tuple[str, str]:
    """Message and hint about a macro without a value."""
    items = lowered.get("items")
    each = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    if name.lower() in {key.lower() for item in each for key in item}:
        why = "each item has one of its own, while one process serves all items"
        hint = "a command can name only what is beside items: let the plugin read param.json"
    else:
        why, hint = f"the configuration has no {shown(name)}", f"give {name} a value"
    return f"the command needs $({name}), and {why}", hint


def _plain(value: Any, macro: str, path: str) -> str:
    try:
        return as_text(value)
    except Misfit as err:
        raise ConfigError(
            error(
                path,
                "config-type",
                f"the command needs {macro} as text: {err}",
                "give a text or a number",
            )
        ) from None
