"""A manifest plugin's parameters: the `paramSchema` entries and what a configuration comes to
(rules: 759 entries of public manifests; graphdat/relay filled in no defaults, its web form did)."""

from __future__ import annotations

import json
import math
import re

from agentplugin.paramtypes import INTEGER, READERS, Misfit, as_javascript, as_written, brief
from agentplugin.problems import Problem, error, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POLL_INTERVAL = "pollInterval"
MIN_POLL_INTERVAL = 1000
"""Milliseconds; also what counts where none, or nothing readable, is given."""

FILLED_IN = ("string", "password", "array")
"""Types of which a parameter without any value is "" or [] in param.json, as the form of the first
manager left them: public plugins ask `len(config["source"]) > 0`, and never for absence."""

_MAX_CHOICES_SHOWN = 20
_SURROGATE = re.compile("[\ud800-\udfff]")


class ConfigError(ValueError):
    """A configuration with which the plugin cannot be started; `problem` says it in full."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Param:
    """One entry of `paramSchema`, or what the elements of an array are (then without a key).

    key       what the plugin reads: `name`, or the title verbatim where there is none
    type      one of TYPES ("string" for an unknown one, which the manifest's validation names)
    choices   an enum's values, else [];  labels  what people read in place of each
    element   what an array's elements are, where its `items` say it
    default   as written, None without
    required  as written (the text "true" counts), or because the command has its macro
    """

    __slots__ = (
        "choices",
        "default",
        "description",
        "element",
        "key",
        "labels",
        "required",
        "title",
        "type",
    )

    def __init__(self, key: str, title: str, type_: str) -> None:
        self.key = key
        self.title = title
        self.type = type_
        self.choices: list[Any] = []
        self.labels: list[str] = []
        self.element: Param | None = None
        self.default: Any = None
        self.required = False
        self.description = ""

    @property
    def is_secret(self) -> bool:
        """Whether its values are shown to nobody, in no message either."""
        return self.type == "password" or (self.element is not None and self.element.is_secret)

    @property
    def type_words(self) -> str:
        """The type for people: "array of integer"."""
        return self.type if self.element is None else f"{self.type} of {self.element.type}"

    @property
    def must_be_given(self) -> bool:
        """Whether a configuration has to hold a value: no default stands in for it."""
        return self.required and self.default in (None, "")

    def read(self, value: Any) -> Any:
        """`value` as the parameter's type, leniently ("7" is an integer). Raises Misfit."""
        if self.type == "enum":
            return self._choice(value)
        if self.type == "array" and self.element is not None:
            return self._elements(self.element, READERS["array"](value))
        return READERS[self.type](value)

    def unfit(self, value: Any) -> str:
        """What to say about a value after its name, a secret's value left out; "" where it fits.

        >>> Param("port", "Port", "integer").unfit("x")
        " cannot be 'x': not an integer"
        """
        try:
            self.read(value)
        except Misfit as err:
            place = "" if err.element is None else f": its element [{err.element}]"
            if self.is_secret:
                return f"{place} cannot be what was given: {err}"
            wrong = value if err.element is None else err.value
            return f"{place} cannot be {as_written(wrong)}: {err}"
        return ""

    @staticmethod
    def _elements(element: Param, values: list[Any]) -> list[Any]:
        found = []
        for number, value in enumerate(values):
            try:
                found.append(element.read(value))
            except Misfit as err:
                raise Misfit(str(err), number, value) from None
        return found

    def _choice(self, value: Any) -> Any:
        written = brief(value)
        for choice in self.choices:
            if choice == value or brief(choice) == written:
                return choice
        known = [brief(choice) for choice in self.choices[:_MAX_CHOICES_SHOWN]]
        more = ", ..." if len(self.choices) > len(known) else ""
        raise Misfit(f"not one of {', '.join(known)}{more}")

    def __repr__(self) -> str:
        return f"Param({self.key!r}, {self.type})"


def rendered(params: list[Param], config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as a plugin reads it: schema order, defaults filled in (without one, see
    FILLED_IN), values in their type where they can be read so (else as typed), then what the schema
    does not know."""
    result: dict[str, Any] = {}
    for param in params:
        typed = config.get(param.key)
        value = param.default if typed is None else typed
        if value is None and param.type in FILLED_IN:
            value = ""
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


def first_of_each(params: list[Param]) -> list[Param]:
    """The parameters without those whose key stands a second time, which never count."""
    first: dict[str, Param] = {}
    for param in params:
        first.setdefault(param.key, param)
    return list(first.values())


def check(params: list[Param], config: dict[str, Any], path: str, where: str) -> list[Problem]:
    """What is wrong with the values of one configuration; `where` is "config" or "items[2]"."""
    problems: list[Problem] = []
    for param in first_of_each(params):
        value = config.get(param.key)
        if value is None or value == "":
            if param.must_be_given:
                problems.append(
                    error(
                        path,
                        "config-required",
                        f"{where}.{param.key} ({param.title}) is required and has no default",
                        f"give it a value of type {param.type}",
                    )
                )
            continue
        unfit = param.unfit(value)
        if unfit:
            problems.append(
                error(
                    path,
                    "config-type",
                    f"{where}.{param.key} ({param.title}){unfit}",
                    f"give it a value of type {param.type_words}",
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
    if isinstance(value, str) and INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return MIN_POLL_INTERVAL
    if isinstance(value, float) and not math.isfinite(value):
        return MIN_POLL_INTERVAL
    return max(MIN_POLL_INTERVAL, int(value))


def as_json(value: Any, path: str) -> str:
    """JSON as JSON.stringify(value, null, 3) writes it: shell plugins grep it line by line."""
    try:
        text = json.dumps(as_javascript(value), indent=3, ensure_ascii=False, allow_nan=False)
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
