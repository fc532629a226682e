"""The objects that the stand-in holds, and the ways in which AWX's lists find them.

Rules of lists: awx/api/pagination.py (25 a page, 200 at most) and awx/api/filters.py (lookups, order).
"""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tests.awx.kinds import KINDS, TEMPLATES, Kind

Object = dict[str, Any]
_PAGE = 25
_MOST = 200
_LOOKUPS: dict[str, Callable[[Any, str], bool]] = {
    "exact": lambda value, given: _text(value) == given,
    "iexact": lambda value, given: _text(value).lower() == given.lower(),
    "gt": lambda value, given: value is not None and _number(value) > _number(given),
    "gte": lambda value, given: value is not None and _number(value) >= _number(given),
    "lt": lambda value, given: value is not None and _number(value) < _number(given),
    "lte": lambda value, given: value is not None and _number(value) <= _number(given),
    "in": lambda value, given: _text(value) in given.split(","),
    "contains": lambda value, given: given in _text(value),
    "icontains": lambda value, given: given.lower() in _text(value).lower(),
    "startswith": lambda value, given: _text(value).startswith(given),
    "isnull": lambda value, given: (value is None) == (given.lower() in ("1", "true")),
}
_NOT_FILTERS = {"page", "page_size", "order_by", "format", "no_truncate", "search", "limit"}
# awx/main/models, prevent_search: looking for them would tell what they hold.
_NOT_SEARCHED = {"extra_vars", "inputs", "survey_spec", "notification_configuration", "extra_data"}


# What goes with its organisation; the others lose it (`on_delete` in awx/main/models).
_GO_WITH_ORGANIZATION = {
    "credentials",
    "execution_environments",
    "notification_templates",
    "teams",
}


class Refused(Exception):
    """A request that AWX answers with an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


class Store:
    """All objects, by kind and id.

    Attributes:
        lock: hold it while several objects are changed together.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._tables: dict[str, dict[int, Object]] = defaultdict(dict)
        self._numbers: dict[str, Iterable[int]] = defaultdict(lambda: count(1))
        self._links: dict[tuple[str, int, str], list[int]] = defaultdict(list)

    def add(self, path: str, values: Mapping[str, Any]) -> Object:
        """Make an object with a new id."""
        kind = KINDS[path]
        with self.lock:
            number = next(iter(self._numbers[kind.shared_ids or path]))
            now = moment()
            made: Object = {"id": number, "type": kind.type, "created": now, "modified": now}
            made |= {name: _copy(value) for name, value in kind.fields.items()} | dict(values)
            self._tables[path][number] = made
            return made

    def all(self, path: str) -> list[Object]:
        """Every object of a kind, oldest first."""
        with self.lock:
            return list(self._tables[path].values())

    def get(self, path: str, number: int) -> Object:
        """The object of an id.

        Raises:
            Refused: there is none.
        """
        try:
            return self._tables[path][int(number)]
        except (KeyError, ValueError, TypeError):
            raise Refused(404, {"detail": "Not found."}) from None

    def template(self, number: int) -> tuple[str, Object]:
        """Path and object of what `unified_job_template` means."""
        for path in TEMPLATES:
            if number in self._tables[path]:
                return path, self._tables[path][number]
        raise Refused(404, {"detail": "Not found."})

    def find(self, path: str, **values: Any) -> list[Object]:
        """The objects with these values."""
        return [o for o in self.all(path) if all(o.get(k) == v for k, v in values.items())]

    def remove(self, path: str, number: int) -> None:
        """Remove an object and what belongs to it."""
        with self.lock:
            self.get(path, number)
            del self._tables[path][number]
            for other in KINDS.values():
                for name, referred in other.refers.items():
                    if referred != path:
                        continue
                    for found in self.find(other.path, **{name: number}):
                        if path == "organizations":
                            goes = other.path in _GO_WITH_ORGANIZATION
                        else:
                            goes = name in other.required
                        if goes:
                            self.remove(other.path, found["id"])
                        else:
                            found[name] = None
            if path in TEMPLATES:
                for schedule in self.find("schedules", unified_job_template=number):
                    self.remove("schedules", schedule["id"])
            for (kind, of, sub), linked in list(self._links.items()):
                if (kind, of) == (path, number):
                    del self._links[kind, of, sub]
                elif KINDS[kind].many.get(sub) == path and number in linked:
                    linked.remove(number)

    def linked(self, path: str, number: int, sub: str) -> list[int]:
        """Ids that are linked to an object; to be changed in place."""
        return self._links[path, number, sub]


def conflict(store: Store, kind: Kind, values: Mapping[str, Any], own: int | None = None) -> None:
    """Refuse a second object of the same name.

    Raises:
        Refused: there is one.
    """
    # A field without a value is different from every other, as in SQL.
    if not kind.unique or any(values.get(name) in ("", None) for name in kind.unique):
        return
    for found in store.find(kind.path, **{name: values.get(name) for name in kind.unique}):
        if found["id"] != own:
            # Where the name alone must be unique, the error stands at its field.
            names = [name.replace("_", " ").capitalize() for name in kind.unique]
            said = f"{kind.label} with this {' and '.join(names)} already exists."
            raise Refused(400, {kind.unique[0] if len(kind.unique) == 1 else "__all__": [said]})


def page(objects: list[Object], path: str, query: str, fields: Iterable[str] = ()) -> Object:
    """One page of a list, as `count`, `next`, `previous` and `results`.

    Raises:
        Refused: a filter or page that there is not.
    """
    given = parse_qsl(query, keep_blank_values=True)
    options = dict(given)
    known = set(fields).union(*(o.keys() for o in objects[:1]))
    for name, value in given:
        if name not in _NOT_FILTERS:
            objects = _filtered(objects, name, value, known)
    for name in reversed([n for n in options.get("order_by", "").split(",") if n]):
        objects = sorted(
            objects, key=lambda o: _sortable(o.get(name.lstrip("-"))), reverse=name[0] == "-"
        )
    size = min(int(options.get("page_size") or _PAGE), _MOST)
    number = int(options.get("page") or 1)
    pages = max(1, -(-len(objects) // size))
    if not 1 <= number <= pages:
        raise Refused(404, {"detail": "Invalid page."})

    def address(other: int) -> str | None:
        if not 1 <= other <= pages:
            return None
        return f"{path}?{urlencode([*((k, v) for k, v in given if k != 'page'), ('page', other)])}"

    return {
        "count": len(objects),
        "next": address(number + 1),
        "previous": address(number - 1),
        "results": objects[(number - 1) * size : number * size],
    }


def _filtered(objects: list[Object], given: str, value: str, known: set[str]) -> list[Object]:
    name, _, lookup = given.removeprefix("not__").partition("__")
    if name in _NOT_SEARCHED:
        raise Refused(403, {"detail": f"Filtering on {name} is not allowed."})
    if known and name not in known:
        raise Refused(400, {"detail": f"Model has no field named '{name}'"})
    parts = lookup.split("__") if lookup else ["exact"]
    if parts[-1] not in _LOOKUPS:
        parts.append("exact")
    try:
        return [
            o
            for o in objects
            if _LOOKUPS[parts[-1]](_within(o, name, parts[:-1]), value) != given.startswith("not__")
        ]
    except ValueError:
        raise Refused(400, {"detail": f"Field '{name}' expected a number"}) from None


def _within(o: Object, name: str, further: list[str]) -> Any:
    """The value of `organization__name`, which the summary of an object has."""
    if not further:
        return o.get(name)
    return o.get("summary_fields", {}).get(name, {}).get(further[0])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Any) -> float:
    if re.match(r"\d{4}-\d\d-\d\dT", str(value)):
        return datetime.fromisoformat(str(value)).timestamp()
    return float(value)


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value)) if isinstance(value, (dict, list)) else value


def moment() -> str:
    """Now, as AWX writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
