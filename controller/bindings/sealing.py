"""Secret values in configurations: taken out before they are kept, put back where a host needs them.

Each is kept, encrypted, by its path in the configuration: `password`, `items/0/password`, with `~1` for a
slash in a name and `~0` for `~` (as in RFC 6901). At the top a secret is left out of what is kept and shown;
further down, and where it was named but not given yet, `{"$secret": "items/0/password"}` stands in its
place. In memory each is a `Sealed`, which says nothing of its value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentplugin.manifest import Manifest, Param
from controller.errors import Invalid

REFERENCE = "$secret"
Tree = dict[str, Any]
"""A configuration with `Sealed` values in it."""
_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Sealed:
    """A secret value; None is one that was named and not given yet."""

    value: Any = field(repr=False)


@dataclass(frozen=True)
class Stored:
    """A configuration as it is kept: without secret values, and those by their paths."""

    config: dict[str, Any] | None = None
    secrets: Mapping[str, Any] = field(default_factory=dict)

    def tree(self) -> Tree | None:
        """Both together; None where nothing is configured."""
        if self.config is None and not self.secrets:
            return None
        tree: Tree = _put_back(self.config or {}, self.secrets)
        for path, value in self.secrets.items():
            if "/" not in path:
                tree[_unescaped(path)] = Sealed(value)
        return tree

    def known(self) -> dict[str, Any]:
        """Every secret by its path, None for those that have no value yet."""
        return {_text(path): sealed.value for path, sealed in _sealed(self.tree() or {})}


def store(tree: Mapping[str, Any] | None) -> Stored:
    """A configuration as it is kept."""
    if tree is None:
        return Stored()
    config = {
        key: value
        for key, value in tree.items()
        if not isinstance(value, Sealed) or value.value is None
    }
    secrets = {_text(path): s.value for path, s in _sealed(tree) if s.value is not None}
    return Stored(_referred(config, ()), secrets)


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
    return sorted(_text(path) for path, _ in _sealed(tree or {}))


def key_of(path: str) -> str:
    """The key at which a secret stands in JSON: `password` for `items/0/password`."""
    named = [part for part in path.split("/") if not part.isdecimal()]
    return _unescaped(named[-1]) if named else path


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
        config: it may refer to secrets of the old one by `{"$secret": path}`, wherever they stand now.
        changes: secrets to set by path; null takes one away. Those of the top that are not named stay.
        manifest: what it calls a password is sealed, whatever field it came in.
        old: what is there so far.
        field: where the configuration stands in the request.
        lenient: take a reference to what is not there as a secret that has no value yet.

    Raises:
        Invalid: a reference, or a path of a change, leads nowhere.
    """
    known = (old or Stored()).known()
    if config is None and not changes and not known:
        return None
    tree: Tree = _resolved(dict(config or {}), known, field, lenient=lenient)
    for path, value in known.items():
        parts = _parts(path)
        if len(parts) == 1:
            tree.setdefault(str(parts[0]), Sealed(value))
        # What was secret does not become public by being sent as a text.
        _seal_at(tree, parts)
    for path, value in changes.items():
        _change(tree, path, value, f"{field}_secrets")
    if manifest is not None:
        seal_passwords(tree, manifest)
    return tree if tree or config is not None else None


def seal_passwords(tree: Tree, manifest: Manifest) -> bool:
    """Seal the plain values of a manifest's password parameters; says whether there was one."""
    before = len(list(_sealed(tree)))
    items = tree.get("items") if manifest.param_array is not None else None
    places = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    for place in places if manifest.param_array is not None else [tree]:
        for param in manifest.param_schema:
            if param.is_secret and param.key in place:
                place[param.key] = _sealed_value(param, place[param.key])
    return len(list(_sealed(tree))) > before


def _sealed_value(param: Param, value: Any) -> Any:
    if value is None or value == "" or isinstance(value, Sealed):
        return value
    if isinstance(value, list) and param.type == "array":
        return [part if isinstance(part, Sealed) else Sealed(part) for part in value]
    return Sealed(value)


def _sealed(tree: Any, path: _Path = ()) -> Iterator[tuple[_Path, Sealed]]:
    if isinstance(tree, Sealed):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _sealed(value, (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _sealed(value, (*path, number))


def _referred(tree: Any, path: _Path) -> Any:
    if isinstance(tree, Sealed):
        return {REFERENCE: _text(path)}
    if isinstance(tree, Mapping):
        return {key: _referred(value, (*path, key)) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_referred(value, (*path, number)) for number, value in enumerate(tree)]
    return tree


def _put_back(tree: Any, secrets: Mapping[str, Any]) -> Any:
    if isinstance(tree, Mapping):
        if tree.keys() == {REFERENCE}:
            return Sealed(secrets.get(tree[REFERENCE]))
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
    path = tree[REFERENCE]
    if len(tree) == 1 and isinstance(path, str) and (lenient or path in known):
        return Sealed(known.get(path))
    have = f"there are {', '.join(sorted(known))}" if known else "there is none"
    message = f"{place.removeprefix('body.')} refers to a secret that is not there; {have}"
    raise Invalid(
        message,
        hint="give the value itself: it is stored encrypted where the manifest calls it a password, "
        "or by its path in config_secrets",
        fields=[{"field": place, "message": message}],
    )


def _seal_at(tree: Any, parts: Sequence[str | int]) -> None:
    holder = _holder(tree, parts)
    if holder is None:
        return
    last = _last(holder, parts)
    value = holder[last] if last is not None else None
    if value is not None and value != "" and not isinstance(value, Sealed):
        holder[last] = Sealed(value)


def _change(tree: Tree, path: str, value: Any, field: str) -> None:
    parts = _parts(path)
    holder = _holder(tree, parts)
    last = None if holder is None else _last(holder, parts, new=True)
    if last is None:
        message = f"{path!r} leads nowhere in the configuration"
        raise Invalid(
            message,
            hint="name a key of it, or a path such as items/0/password",
            fields=[{"field": f"{field}.{path}", "message": message}],
        )
    assert holder is not None
    if value is not None:
        holder[last] = Sealed(value)
    elif isinstance(holder, list):
        holder[last] = Sealed(None)  # the others keep their places
    else:
        holder.pop(last, None)


def _holder(tree: Any, parts: Sequence[str | int]) -> Any:
    """The object or list that a path's last part is in, or None."""
    for number in range(len(parts) - 1):
        last = _last(tree, parts[: number + 1])
        if last is None:
            return None
        tree = tree[last]
    return tree if isinstance(tree, dict | list) else None


def _last(holder: Any, parts: Sequence[str | int], *, new: bool = False) -> Any:
    """A path's last part as its holder's key or index; None where the holder has no such."""
    part = str(parts[-1])
    if isinstance(holder, list):
        fits = part.isdecimal() and len(part) < 10 and int(part) < len(holder)
        return int(part) if fits else None
    return part if isinstance(holder, dict) and (new or part in holder) else None


def _text(path: _Path) -> str:
    return "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _parts(path: str) -> list[str]:
    return [_unescaped(part) for part in path.split("/")]


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
