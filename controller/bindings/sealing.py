"""Secret values in configurations: taken out before they are kept, put back where a host needs them.

At the top of a configuration a secret is kept by its name, and left out of what is shown. Further down
`{"$secret": "3f9a1c2b/password"}` stands in its place, and it is kept by that name, which was drawn for it and
goes with it: a place would be another secret's after an item was taken out, and whoever wrote the place down
before, as documents in git do, would hand it over. The path of a secret (see places) says only where it stands
at the moment. In memory each is a `Sealed`, which says nothing of its value.
"""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentplugin.manifest import Manifest, Param
from controller.bindings.places import (
    REFERENCE,
    Path,
    Sealed,
    holder_of,
    last_of,
    parts_of,
    sealed_in,
    text_of,
    unescaped,
)
from controller.errors import Invalid

Tree = dict[str, Any]
"""A configuration with `Sealed` values in it."""


@dataclass(frozen=True)
class Stored:
    """A configuration as it is kept: without secret values, and those by their names."""

    config: dict[str, Any] | None = None
    secrets: Mapping[str, Any] = field(default_factory=dict)

    def tree(self) -> Tree | None:
        """Both together; None where nothing is configured."""
        if self.config is None and not self.secrets:
            return None
        tree: Tree = _put_back(self.config or {}, self.secrets)
        for path, value in self.secrets.items():
            if "/" not in path:
                tree[unescaped(path)] = Sealed(value)
        return tree

    def known(self) -> dict[str, Any]:
        """Every secret by its name, None for those that have no value yet."""
        found = sealed_in(self.tree() or {})
        return {sealed.name if path[1:] else text_of(path): sealed.value for path, sealed in found}

    def paths(self) -> list[str]:
        """Where the secrets stand that have a value."""
        found = sealed_in(self.tree() or {})
        return sorted(text_of(path) for path, sealed in found if sealed.value is not None)

    def gaps(self) -> list[str]:
        """Where those stand that have none yet."""
        found = sealed_in(self.tree() or {})
        return sorted(text_of(path) for path, sealed in found if sealed.value is None)

    def given_since(self, before: Stored) -> list[str]:
        """Where the secrets stand that have another value than before, or are new."""
        known, at = before.known(), self.tree() or {}
        given = []
        for path, sealed in sealed_in(at):
            name = sealed.name if path[1:] else text_of(path)
            same = name in known and _json(known[name]) == _json(sealed.value)
            if sealed.value is not None and not same:
                given.append(text_of(path))
        return sorted(given)


def store(tree: Mapping[str, Any] | None) -> Stored:
    """A configuration as it is kept; secrets without a name, or with that of another value, get one."""
    if tree is None:
        return Stored()
    kept: dict[str, Any] = {}
    config = {
        key: _referred(value, (key,), kept)
        for key, value in tree.items()
        if not isinstance(value, Sealed) or value.value is None
    }
    at_top = {
        text_of((key,)): value.value
        for key, value in tree.items()
        if isinstance(value, Sealed) and value.value is not None
    }
    return Stored(config, at_top | {name: v for name, v in kept.items() if v is not None})


def plain(tree: Any) -> Any:
    """A configuration with its secret values; those that were never given are left out."""
    if isinstance(tree, Sealed):
        return tree.value
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items() if value != Sealed(None)}
    if isinstance(tree, list):
        return [plain(value) for value in tree if value != Sealed(None)]
    return tree


def without_secrets(tree: Any) -> Any:
    """A configuration as whoever must not know the secrets is told it: as if they were not there."""
    if isinstance(tree, Mapping):
        return {k: without_secrets(v) for k, v in tree.items() if not isinstance(v, Sealed)}
    if isinstance(tree, list):
        return [without_secrets(v) for v in tree if not isinstance(v, Sealed)]
    return tree


def names(tree: Mapping[str, Any] | None) -> list[str]:
    """The paths of the secrets in a configuration."""
    return sorted(text_of(path) for path, _ in sealed_in(tree or {}))


def settle(
    config: Mapping[str, Any] | None,
    changes: Mapping[str, Any],
    manifest: Manifest | None,
    *,
    old: Stored | None = None,
    field: str = "body.config",
    lenient: bool = False,
) -> Tree | None:
    """A configuration as somebody sent it, with its secrets sealed.

    Args:
        config: it may refer to secrets of the old one by `{"$secret": name}`, wherever they stand now.
        changes: secrets to set by path; null takes one away. Those of the top that are not named stay.
        manifest: what it calls a password is sealed, whatever field it came in.
        old: what is there so far.
        field: where the configuration stands in the request.
        lenient: take a reference to what is not there as a secret that has no value yet.

    Raises:
        Invalid: a reference, or a path of a change, leads nowhere.
    """
    before = (old or Stored()).tree() or {}
    known = (old or Stored()).known()
    if config is None and not changes and not known:
        return None
    tree: Tree = _resolved(dict(config or {}), known, field, lenient=lenient)
    for place, sealed in sealed_in(before):
        if len(place) == 1:
            tree.setdefault(str(place[0]), sealed)
        # What was secret does not become public by being sent as a text.
        _seal_at(tree, [str(part) for part in place])
    for path, value in changes.items():
        _change(tree, path, value, f"{field}_secrets")
    if manifest is not None:
        seal_passwords(tree, manifest)
    _name_again(tree, before)
    return tree if tree or config is not None else None


def seal_passwords(tree: Tree, manifest: Manifest) -> bool:
    """Seal the plain values of a manifest's password parameters; says whether there was one."""
    before = len(list(sealed_in(tree)))
    items = tree.get("items") if manifest.param_array is not None else None
    places = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    for place in [tree, *places]:  # one that stands beside the items by mistake is a secret too
        for param in manifest.param_schema:
            if param.is_secret and param.key in place:
                place[param.key] = _sealed_value(param, place[param.key])
    return len(list(sealed_in(tree))) > before


def _sealed_value(param: Param, value: Any) -> Any:
    if value is None or value == "" or isinstance(value, Sealed):
        return value
    if isinstance(value, list) and param.type == "array":
        return [part if isinstance(part, Sealed) else Sealed(part) for part in value]
    return Sealed(value)


def _referred(tree: Any, path: Path, kept: dict[str, Any]) -> Any:
    """A part of a configuration with references for its secrets, which are put into `kept` by their names."""
    if isinstance(tree, Sealed):
        name = tree.name if path[1:] else text_of(path)
        if path[1:] and (not name or kept.setdefault(name, tree.value) != tree.value):
            name = _drawn(path)
        kept[name] = tree.value
        return {REFERENCE: name}
    if isinstance(tree, Mapping):
        return {key: _referred(value, (*path, key), kept) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_referred(value, (*path, number), kept) for number, value in enumerate(tree)]
    return tree


def _drawn(path: Path) -> str:
    """A name for a secret that no other one has or had."""
    keys = [part for part in path if isinstance(part, str)]
    return f"{random.token_hex(4)}/{text_of(tuple(keys[-1:]))}"


def _name_again(tree: Tree, before: Tree) -> None:
    """Give secrets that were sent as texts the names that they have: what was sent twice is no change.

    A value alone does not say whose it is: all around it must be as it was, too.
    """
    used = {sealed.name for _, sealed in sealed_in(tree)}
    free: dict[tuple[Path, str, str], list[str]] = {}
    for path, sealed in sealed_in(before):
        if path[1:] and sealed.value is not None and sealed.name not in used:
            free.setdefault(_surroundings(before, path, sealed), []).append(sealed.name)
    for path, sealed in list(sealed_in(tree)):
        if path[1:] and not sealed.name:
            names = free.get(_surroundings(tree, path, sealed))
            parts = [str(part) for part in path]
            holder = holder_of(tree, parts)
            if names:
                holder[last_of(holder, parts)] = replace(sealed, name=names.pop(0))


def _surroundings(tree: Tree, path: Path, sealed: Sealed) -> tuple[Path, str, str]:
    """Where in its item a secret stands, what the item is otherwise, and the secret's value."""
    around, inner = tree[str(path[0])], path[1:]
    if isinstance(around, list) and path[2:]:
        around, inner = around[int(path[1])], path[2:]
    return (path[0], *inner), _json(blanked(around)), _json(sealed.value)


def blanked(value: Any) -> Any:
    """A part of a configuration as it is but for its secrets."""
    if isinstance(value, Sealed) or (isinstance(value, Mapping) and value.keys() == {REFERENCE}):
        return {REFERENCE: ""}
    if isinstance(value, Mapping):
        return {key: blanked(part) for key, part in value.items()}
    return [blanked(part) for part in value] if isinstance(value, list) else value


def references(value: Any) -> set[str]:
    """The names of the secrets that a part of a configuration refers to."""
    if isinstance(value, Mapping):
        name = value.get(REFERENCE)
        own = {name} if isinstance(name, str) else set()
        return own.union(*(references(part) for part in value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _put_back(tree: Any, secrets: Mapping[str, Any]) -> Any:
    if isinstance(tree, Mapping):
        if tree.keys() == {REFERENCE}:
            return Sealed(secrets.get(tree[REFERENCE]), tree[REFERENCE])
        return {key: _put_back(value, secrets) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_put_back(value, secrets) for value in tree]
    return tree


def _resolved(tree: Any, known: Mapping[str, Any], place: str, *, lenient: bool) -> Any:
    if isinstance(tree, list):
        return [
            _resolved(value, known, f"{place}[{number}]", lenient=lenient)
            for number, value in enumerate(tree)
        ]
    if not isinstance(tree, Mapping):
        return tree
    if REFERENCE not in tree:
        return {
            key: _resolved(value, known, f"{place}.{key}", lenient=lenient)
            for key, value in tree.items()
        }
    name = tree[REFERENCE]
    if len(tree) == 1 and isinstance(name, str) and (lenient or name in known):
        # Names without a slash are those of the top.
        return Sealed(known.get(name), name if "/" in name else f"named/{name}")
    have = f"there are {', '.join(sorted(known))}" if known else "there is none"
    message = f"{place.removeprefix('body.')} refers to a secret that is not there; {have}"
    raise Invalid(
        message,
        hint="give the value itself: it is stored encrypted where the manifest calls it a password, "
        "or by its path in config_secrets",
        fields=[{"field": place, "message": message}],
    )


def _seal_at(tree: Any, parts: Sequence[str | int]) -> None:
    holder = holder_of(tree, parts)
    if holder is None:
        return
    last = last_of(holder, parts)
    value = holder[last] if last is not None else None
    if value is not None and value != "" and not isinstance(value, Sealed):
        holder[last] = Sealed(value)


def _change(tree: Tree, path: str, value: Any, field: str) -> None:
    parts = parts_of(path)
    holder = holder_of(tree, parts)
    last = None if holder is None else last_of(holder, parts, new=True)
    if last is None:
        message = f"{path!r} leads nowhere in the configuration"
        raise Invalid(
            message,
            hint="name a key of it, or a path such as items/0/password",
            fields=[{"field": f"{field}.{path}", "message": message}],
        )
    assert holder is not None
    there = holder[last] if isinstance(holder, list) else holder.get(last)
    if value is not None:
        shared = isinstance(there, Sealed) and _times(tree, there.name) > 1
        name = there.name if isinstance(there, Sealed) and not shared else ""
        holder[last] = Sealed(value, name)
    elif isinstance(holder, list):
        holder[last] = Sealed(None)  # the others keep their places
    else:
        holder.pop(last, None)


def _times(tree: Tree, name: str) -> int:
    return sum(sealed.name == name for _, sealed in sealed_in(tree))
