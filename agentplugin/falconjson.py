"""JSON as Go's decoder reads it into a list of metrics (source: encoding/json and Open-Falcon,
common/model/metric.go): where it returns an error the agent sends nothing of the batch."""

from __future__ import annotations

import json
import math

from agentplugin.problems import ERROR, INFO, WARNING, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Fields = dict[str, Any]
    """One item's known fields in Falcon's spelling; what was absent or null is not in it."""

    Items = list[Fields | None]
    """The list's items in order, None for a null."""

    Say = Callable[..., None]
    """say(index | None, severity, code, message, hint, line=None)"""

_INT64 = 1 << 63
_LONGEST_NUMBER = 400
_SPACE = " \t\r\n"
_TEXT_FIELDS = ("endpoint", "metric", "counterType", "tags")
_FIELDS = {
    name.lower(): name
    for name in ("endpoint", "metric", "value", "step", "counterType", "tags", "timestamp")
}
_SPELLED = {name: name for name in _FIELDS.values()}
_PRINT_ONE_LIST = "print one JSON list and nothing else; messages belong on stderr"


class _NotANumber(ValueError):
    """NaN, Infinity or -Infinity stands in the text."""


def decode(stdout: bytes | str, say: Say) -> Items | None:
    """The items of a plugin's stdout, or None where the whole batch is lost; `say` hears why."""
    text = _text(stdout, say)
    if text is None:
        return None
    top = _parse(text, say)
    if top is None:
        return None
    unknown: set[str] = set()
    items: Items = []
    sound = True
    for index, item in enumerate(top):
        if item is None:
            items.append(None)
        elif isinstance(item, tuple):
            fields = _fields(item, index, unknown, say)
            sound = sound and fields is not None
            items.append(fields)
        else:
            sound = False
            say(
                index,
                ERROR,
                "item-not-an-object",
                f"{kind(item)} stands where an object must: the agent loses the whole batch",
                'write each value as {"metric": ..., "value": ...}',
            )
    return items if sound else None


def _text(stdout: bytes | str, say: Say) -> str | None:
    if isinstance(stdout, str):
        text = stdout
    else:
        try:
            text = stdout.decode("utf-8")
        except UnicodeDecodeError as err:
            text = stdout.decode("utf-8", "replace")
            say(
                None,
                WARNING,
                "not-utf8",
                f"the output is not UTF-8 at byte {err.start}: the agent replaces such bytes by "
                "U+FFFD",
                "print UTF-8, or ASCII alone",
            )
    if not text:
        say(
            None,
            ERROR,
            "no-output",
            "the plugin printed nothing: the agent sends nothing, and logs it only in debug mode",
            "print the list, or say on stderr why there is no data and exit 1",
        )
        return None
    if not text.strip(_SPACE):
        say(
            None,
            ERROR,
            "blank-output",
            "the plugin printed white space only: the agent logs 'unexpected end of JSON input'",
            "print the list, or nothing at all",
        )
        return None
    if text[0] == "\ufeff":
        say(
            None,
            ERROR,
            "byte-order-mark",
            "the output begins with a byte order mark: the agent loses the whole batch",
            "print UTF-8 without a byte order mark",
            1,
        )
        return None
    return text


def _parse(text: str, say: Say) -> list[Any] | None:
    try:
        top = json.loads(
            text, parse_constant=_refuse_constant, parse_int=_integer, object_pairs_hook=tuple
        )
    except _NotANumber as err:
        say(
            None,
            ERROR,
            "nan-literal",
            f"{err} is no JSON number: the agent loses the whole batch",
            "leave such a value out; in Python json.dumps(..., allow_nan=False) tells you",
        )
        return None
    except json.JSONDecodeError as err:
        _say_syntax(text, err, say)
        return None
    except (RecursionError, MemoryError):
        say(
            None,
            ERROR,
            "nested-too-deep",
            "the output nests too many lists or objects",
            "print one flat list of objects",
        )
        return None
    if isinstance(top, list):
        if not top:
            _say_empty("[]", say)
        return top
    if top is None:
        _say_empty("null", say)
        return []
    hint = "put it into a list: [{...}]" if isinstance(top, tuple) else _PRINT_ONE_LIST
    say(
        None,
        ERROR,
        "not-a-list",
        f"the output is {kind(top)}, not a list: the agent loses the whole batch",
        hint,
    )
    return None


def _say_empty(what: str, say: Say) -> None:
    say(
        None,
        WARNING,
        "empty-list",
        f"the output is {what}: it holds no value",
        "print values, or say on stderr why there are none and exit 1",
    )


def _say_syntax(text: str, err: json.JSONDecodeError, say: Say) -> None:
    first_line = text.strip(_SPACE).split("\n", 1)[0]
    at = f"line {err.lineno} column {err.colno}"
    if err.msg.startswith("Extra data"):
        say(
            None,
            ERROR,
            "text-after-list",
            f"text follows the JSON at {at}: {shown(text[err.pos :].split(chr(10), 1)[0])}; the "
            "agent "
            "loses the whole batch",
            _PRINT_ONE_LIST,
            err.lineno,
        )
    elif text.lstrip(_SPACE)[0] not in "[{" and text.rstrip(_SPACE)[-1] == "]" and "[" in text:
        say(
            None,
            ERROR,
            "text-before-list",
            f"text stands before the list: {shown(first_line)}; the agent loses the whole batch",
            _PRINT_ONE_LIST,
            err.lineno,
        )
    else:
        say(
            None,
            ERROR,
            "not-json",
            f"the output is not JSON ({err.msg} at {at}): {shown(_around(text, err.pos))}; the "
            "agent "
            "loses the whole batch",
            _PRINT_ONE_LIST,
            err.lineno,
        )


def _around(text: str, position: int) -> str:
    """The piece of one line that a syntax error stands in."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start : end if end >= 0 else len(text)]
    return line[max(0, position - start - 30) :]


def _fields(
    item: tuple[tuple[str, Any], ...], index: int, unknown: set[str], say: Say
) -> Fields | None:
    """An item's fields as Go fills its struct: the last of equal keys wins, null is nothing."""
    fields: Fields = {}
    sound = True
    seen: set[str] = set()
    for key, value in item:
        name = _SPELLED.get(key) or _FIELDS.get(_folded(key))
        if name is None:
            if key not in unknown:
                unknown.add(key)
                say(
                    index,
                    INFO,
                    "unknown-key",
                    f"{shown(key)} is no Falcon field: it is ignored",
                    "fields are endpoint, metric, value, step, counterType, tags, timestamp",
                )
            continue
        if name in seen:
            say(
                index,
                WARNING,
                "duplicate-key",
                f"{shown(key)} stands there twice: the last one counts",
                "print each field once",
            )
        seen.add(name)
        if value is None:
            if name == "value":
                fields.pop(name, None)
            continue
        if not _fits(name, value, index, say):
            sound = False
        fields[name] = value
    return fields if sound else None


def _fits(name: str, value: Any, index: int, say: Say) -> bool:
    """Whether Go can store this JSON value in this field; if not, its reason is said."""
    if isinstance(value, float) and math.isinf(value):
        return _misfit(
            index,
            "number-out-of-range",
            f"{name} is a number beyond every range",
            "leave the value out when it makes no sense",
            say,
        )
    if name == "value":
        return True
    if name in _TEXT_FIELDS:
        if isinstance(value, str):
            return True
        hint = 'write "tags": "mount=/data,disk=sda"' if name == "tags" else "put it in quotes"
        return _misfit(index, "field-type", f"{name} is {kind(value)}, not text", hint, say)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _misfit(
            index,
            "field-type",
            f"{name} is {kind(value)}, not an integer",
            "print a plain integer, without quotes",
            say,
        )
    if isinstance(value, float):
        return _misfit(
            index,
            "field-not-integer",
            f"{name} is {value!r}, Go takes an integer there and nothing with '.' or 'e'",
            "round it: int(time.time())",
            say,
        )
    if not -_INT64 <= value < _INT64:
        return _misfit(
            index, "number-out-of-range", f"{name} does not fit into 64 bits", "print seconds", say
        )
    return True


def _misfit(index: int, code: str, message: str, hint: str, say: Say) -> bool:
    say(index, ERROR, code, f"{message}: the agent loses the whole batch", hint)
    return False


def _folded(key: str) -> str:
    """Go's case folding of field names: it also takes U+017F for "s" and U+212A for "k"."""
    return key.lower().replace("\u017f", "s")


def kind(value: Any) -> str:
    """A JSON value's kind in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def _refuse_constant(text: str) -> None:
    raise _NotANumber(text)


def _integer(text: str) -> int | float:
    """An integer, or infinity for one that no field holds: int() of a megabyte takes seconds."""
    return int(text) if len(text) <= _LONGEST_NUMBER else math.inf
