"""A manifest's fields in their right types: what public manifests write is understood (`tags` as a
comma list, `int` for integer), what is of a wrong type is said and counts as absent."""

from __future__ import annotations

from agentplugin.parameters import Misfit, Param, known_type
from agentplugin.problems import ERROR, WARNING, Problem, error, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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

    def text(self, name: str, essential: bool = False) -> str:
        """A text field, "" where it is absent."""
        value = self.raw.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        self._wrong(name, "text", value, essential)
        return ""

    def texts(self, name: str, essential: bool = False) -> list[str]:
        """A list of texts, [] where it is absent."""
        value = self.raw.get(name)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return list(value)
        self._wrong(name, "a list of texts", value, essential)
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
            self._wrong("unsupportedPlatforms", 'a list of {"osFamily": "..."}', value, False)
        return [name for name in names if isinstance(name, str)]

    def param_array(self) -> ParamArray | None:
        """`paramArray`, or None where the plugin watches one thing."""
        value = self.raw.get("paramArray")
        if value is None:
            return None
        if not isinstance(value, dict):
            self._wrong("paramArray", "an object", value, True)
            return None
        titles = value.get("itemTitle", [])
        titles = [titles] if isinstance(titles, str) else titles
        known = isinstance(titles, list) and all(isinstance(title, str) for title in titles)
        if not known:
            self._wrong("paramArray.itemTitle", "a list of texts", titles, False)
        schema_title = value.get("schemaTitle", "")
        return ParamArray(
            list(titles) if known else [], schema_title if isinstance(schema_title, str) else ""
        )

    def params(self) -> list[Param]:
        """`paramSchema`: every entry that can be given a key."""
        value = self.raw.get("paramSchema")
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong("paramSchema", "a list", value, True)
            return []
        params: list[Param] = []
        for number, entry in enumerate(value):
            where = f"paramSchema[{number}]"
            if not isinstance(entry, dict):
                self._wrong(where, "an object", entry, True)
                continue
            param = self._param(where, entry)
            if param is not None:
                self._check_repeated(where, param, params)
                params.append(param)
        return params

    def _param(self, where: str, entry: dict[str, Any]) -> Param | None:
        title = entry.get("title")
        key = entry.get("name", title)
        if not isinstance(key, str) or not key:
            self.problems.append(
                error(
                    self.path,
                    "manifest-param-nameless",
                    f"{where} has neither a name nor a title, so no value can reach the plugin",
                    "give it a name",
                )
            )
            return None
        type_, choices = self._type(where, entry.get("type"))
        param = Param(key, title if isinstance(title, str) else key, type_)
        param.choices = choices
        param.default = entry.get("default")
        # Two public manifests write "true" in quotes.
        param.required = str(entry.get("required", False)).lower() == "true"
        description = entry.get("description")
        param.description = description if isinstance(description, str) else ""
        self._check_default(where, param)
        return param

    def _type(self, where: str, written: Any) -> tuple[str, list[Any]]:
        """The type and, for an enum, its values (the second of each [label, value])."""
        if isinstance(written, str):
            type_ = known_type(written)
            if type_ is not None and type_ != "enum":
                return type_, []
        elif isinstance(written, dict) and isinstance(written.get("enum"), list):
            pairs = written["enum"]
            if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
                return "enum", [pair[1] for pair in pairs]
        self.problems.append(
            warning(
                self.path,
                "manifest-param-type",
                f"{where}.type {shown(str(written))} is not known: its values are taken as text",
                'use string, password, integer, number, boolean, array or {"enum": [...]}',
            )
        )
        return "string", []

    def _check_default(self, where: str, param: Param) -> None:
        if param.default is None or param.default == "":
            return
        try:
            param.read(param.default)
        except Misfit as err:
            self.problems.append(
                warning(
                    self.path,
                    "manifest-default-type",
                    f"{where}.default {shown(str(param.default))} does not fit type {param.type}: "
                    f"{err}",
                    f"write a default of type {param.type}",
                )
            )

    def _check_repeated(self, where: str, param: Param, params: list[Param]) -> None:
        if any(other.key == param.key for other in params):
            self.problems.append(
                warning(
                    self.path,
                    "manifest-param-twice",
                    f"{where} is a second parameter {shown(param.key)}: only the first counts",
                    "give each parameter a name of its own",
                )
            )

    def _wrong(self, name: str, wanted: str, value: Any, essential: bool) -> None:
        self.problems.append(
            Problem(
                self.path,
                None,
                ERROR if essential else WARNING,
                "manifest-field-type",
                f"{name} is {shown(str(value))}, not {wanted}: it counts as absent",
                f"write {wanted}",
            )
        )
