"""A manifest's fields in their right types: what public manifests write is understood (`tags` as a
comma list, `int` for integer), what is of a wrong type is said and counts as absent."""

from __future__ import annotations

from agentplugin.manifestparams import ParamReader
from agentplugin.paramtypes import as_written
from agentplugin.problems import ERROR, WARNING, Problem, error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.parameters import Param

TEXT = "text"
TEXTS = "a list of texts"
TEXT_OR_TEXTS = "a text or a list of texts"
PLATFORMS = 'a list of {"osFamily": "..."}'
OBJECT = "an object"
LIST = "a list"

TYPES = {
    "name": TEXT,
    "description": TEXT,
    "version": TEXT,
    "icon": TEXT,
    "command": TEXT,
    "command_lua": TEXT,
    "postExtract": TEXT,
    "postInstall": TEXT,
    "metrics": TEXTS,
    "ignore": TEXT_OR_TEXTS,
    "tags": TEXT_OR_TEXTS,
    "unsupportedPlatforms": PLATFORMS,
    "paramArray": OBJECT,
    "paramSchema": LIST,
}
"""The type of each field that is read here; null is the same as an absent field."""

MAX_PARAMS = 1000
"""Parameters of one manifest; public ones have at most some dozen."""

ESSENTIAL = ("command", "metrics", "paramArray", "paramSchema")
"""Fields without which something else would run than was meant: a wrong type is an error."""


class ParamArray:
    """`paramArray`: the plugin watches many items, each with the schema's parameters.

    item_title: keys whose values name an item;  schema_title: what an item is called
    """

    __slots__ = ("item_title", "schema_title")

    def __init__(self, item_title: list[str], schema_title: str) -> None:
        self.item_title = item_title
        self.schema_title = schema_title


class Fields:
    """Reads one manifest object; `problems` gathers what was wrong."""

    __slots__ = ("path", "problems", "raw")

    def __init__(self, path: str, raw: dict[str, Any]) -> None:
        self.path = path
        self.raw = raw
        self.problems: list[Problem] = []

    def text(self, name: str) -> str:
        """A text field, "" where it is absent."""
        value = self.raw.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        self._wrong(name, TYPES[name], value)
        return ""

    def texts(self, name: str) -> list[str]:
        """A list of texts, [] where it is absent."""
        value = self.raw.get(name)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return list(value)
        self._wrong(name, TYPES[name], value)
        return []

    def text_or_texts(self, name: str) -> list[str]:
        """A text or a list of them; a text is one entry and never split."""
        value = self.raw.get(name)
        return [value] if isinstance(value, str) else self.texts(name)

    def comma_list(self, name: str) -> list[str]:
        """A text of comma separated words, or a list of them."""
        words = [
            word for entry in self.text_or_texts(name) for word in entry.split(",") if word.strip()
        ]
        return [word.strip() for word in words]

    def platforms(self) -> list[str]:
        """`unsupportedPlatforms`: the osFamily of each entry."""
        value = self.raw.get("unsupportedPlatforms")
        if value is None:
            return []
        names = [
            item.get("osFamily") if isinstance(item, dict) else item
            for item in (value if isinstance(value, list) else [None])
        ]
        if not all(isinstance(name, str) for name in names):
            self._wrong("unsupportedPlatforms", PLATFORMS, value)
        return [name for name in names if isinstance(name, str)]

    def param_array(self) -> ParamArray | None:
        """`paramArray`, or None where the plugin watches one thing."""
        value = self.raw.get("paramArray")
        if value is None:
            return None
        if not isinstance(value, dict):
            self._wrong("paramArray", OBJECT, value)
            return None
        titles = value.get("itemTitle")
        titles = [] if titles is None else [titles] if isinstance(titles, str) else titles
        known = isinstance(titles, list) and all(isinstance(title, str) for title in titles)
        if not known:
            self._wrong("paramArray.itemTitle", TEXTS, titles, "/paramArray/itemTitle")
        schema_title = value.get("schemaTitle")
        return ParamArray(
            list(titles) if known else [], schema_title if isinstance(schema_title, str) else ""
        )

    def params(self) -> list[Param]:
        """`paramSchema`: every entry that can be given a key."""
        value = self.raw.get("paramSchema")
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong("paramSchema", LIST, value)
            return []
        params: list[Param] = []
        reader = ParamReader(self.path, self.problems)
        if len(value) > MAX_PARAMS:
            self.problems.append(
                error(
                    self.path,
                    "manifest-param-count",
                    f"paramSchema has {len(value)} parameters: the first {MAX_PARAMS} are read",
                    "let the plugin read what it needs from a file of its own",
                    pointer="/paramSchema",
                )
            )
        for number, entry in enumerate(value[:MAX_PARAMS]):
            if not isinstance(entry, dict):
                self._wrong(f"paramSchema[{number}]", OBJECT, entry, f"/paramSchema/{number}")
                continue
            param = reader.read(number, entry)
            if param is not None:
                params.append(param)
        return params

    def _wrong(self, where: str, wanted: str, value: Any, pointer: str = "") -> None:
        field = where.partition(".")[0].partition("[")[0]
        severe = field in ESSENTIAL and "." not in where
        self.problems.append(
            Problem(
                self.path,
                None,
                ERROR if severe else WARNING,
                "manifest-field-type",
                f"{where} is {as_written(value)}, not {wanted}: it counts as absent",
                f"write {wanted}",
                pointer or f"/{field}",
            )
        )
