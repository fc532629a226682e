"""A manifest's `paramSchema` read entry by entry (rules: 759 entries of 172 public manifests, 36 of
them without a name, some with `int` for integer, "true" for true, defaults of another type)."""

from __future__ import annotations

import re

from agentplugin.parameters import Param
from agentplugin.paramtypes import ALIASES, TYPES, as_written, brief, known_type
from agentplugin.problems import Problem, error, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPE_WORDS = tuple(name for name in (*TYPES, *ALIASES) if name != "enum")
"""What `type` may say, whatever its case; an enum is an object."""

ELEMENT_WORDS = tuple(name for name in TYPE_WORDS if name != "array")
"""What an array's `items` may say as their `type`."""

_SECRET = re.compile(
    r"(?:^|[^a-z])(?:password|passwd|passphrase|secret|token|(?:secret|private|api)[_ -]?key)$",
    re.I,
)

_HOW = 'use string, password, integer, number, boolean, array or {"enum": [["Label", "value"]]}'
_HOW_ELEMENT = 'write "items": {"type": "string"}, or integer, number, boolean, {"enum": [...]}'


class ParamReader:
    """Reads entries of one paramSchema; `problems` gathers what was wrong, with pointers."""

    __slots__ = ("_keys", "path", "problems")

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        self._keys: set[str] = set()

    def read(self, number: int, entry: dict[str, Any]) -> Param | None:
        """The parameter, or None for one that no value can reach."""
        where, pointer = f"paramSchema[{number}]", f"/paramSchema/{number}"
        title, key = entry.get("title"), entry.get("name")
        if key is None or key == "":
            key = title
        if not isinstance(key, str) or not key:
            self.problems.append(
                error(
                    self.path,
                    "manifest-param-nameless",
                    f"{where} has neither a name nor a title, so no value can reach the plugin",
                    "give it a name",
                    pointer=pointer,
                )
            )
            return None
        param = self._typed(where, pointer, entry, key)
        param.title = title if isinstance(title, str) else key
        param.default = entry.get("default")
        # Two public manifests write "true" in quotes.
        param.required = brief(entry.get("required")).strip().lower() == "true"
        description = entry.get("description")
        param.description = description if isinstance(description, str) else ""
        self._check_default(where, pointer, param)
        self._check_repeated(where, pointer, param)
        self._check_secret(where, pointer, param)
        return param

    def _typed(self, where: str, pointer: str, entry: dict[str, Any], key: str) -> Param:
        """The parameter with its type, an array with what it holds."""
        param = self._of_type(key, entry.get("type"), TYPE_WORDS)
        if param is None:
            self._unknown_type(f"{where}.type", f"{pointer}/type", entry.get("type"), _HOW)
            return Param(key, key, "string")
        items = entry.get("items")
        if param.type == "array" and items is not None:
            written = items.get("type") if isinstance(items, dict) else items
            param.element = self._of_type("", written, ELEMENT_WORDS)
            if param.element is None:
                place = (f"{where}.items", f"{pointer}/items")
                self._unknown_type(*place, written, _HOW_ELEMENT)
        return param

    def _of_type(self, key: str, written: Any, known: tuple[str, ...]) -> Param | None:
        """A parameter of a type as it is written, or None where that is not known."""
        if isinstance(written, str):
            type_ = known_type(written)
            return Param(key, key, type_) if type_ in known else None
        pairs = written.get("enum") if isinstance(written, dict) else None
        if not isinstance(pairs, list) or not pairs:
            return None
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            return None
        param = Param(key, key, "enum")
        param.labels = [brief(pair[0]) for pair in pairs]
        param.choices = [pair[1] for pair in pairs]
        return param

    def _unknown_type(self, where: str, pointer: str, written: Any, hint: str) -> None:
        what = "is missing" if written is None else f"{as_written(written)} is not known"
        self.problems.append(
            warning(
                self.path,
                "manifest-param-type",
                f"{where} {what}: its values are taken as they come",
                hint,
                pointer=pointer,
            )
        )

    def _check_default(self, where: str, pointer: str, param: Param) -> None:
        if param.default is None or param.default == "":
            return
        unfit = param.unfit(param.default)
        if unfit:
            self.problems.append(
                warning(
                    self.path,
                    "manifest-default-type",
                    f"{where}.default{unfit}",
                    f"write a default of type {param.type_words}",
                    pointer=f"{pointer}/default",
                )
            )

    def _check_secret(self, where: str, pointer: str, param: Param) -> None:
        if param.type != "string" or not _SECRET.search(param.key):
            return
        self.problems.append(
            warning(
                self.path,
                "manifest-secret-as-text",
                f"{where} {shown(param.key)} is of type string: its value is stored and shown as "
                "plain text",
                'write "type": "password" if it is one: it is then encrypted and shown to nobody',
                pointer=f"{pointer}/type",
            )
        )

    def _check_repeated(self, where: str, pointer: str, param: Param) -> None:
        if param.key in self._keys:
            self.problems.append(
                warning(
                    self.path,
                    "manifest-param-twice",
                    f"{where} is a second parameter {shown(param.key)}: only the first counts",
                    "give each parameter a name of its own",
                    pointer=pointer,
                )
            )
        self._keys.add(param.key)
