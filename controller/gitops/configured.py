"""Configurations of a document: their secrets, which it only names, and what the newest release says of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from agentplugin.manifest import Manifest
from controller.auth.vault import Vault
from controller.bindings import releasing
from controller.bindings.configs import Finding, Manifests, check_filled
from controller.bindings.merging import ITEMS, Form, identity
from controller.bindings.models import BindingRow, OverrideRow
from controller.bindings.places import REFERENCE, is_drawn
from controller.bindings.sealing import Stored, blanked, references
from controller.bindings.wanted import Wanted, wanted
from controller.catalog.tree import GitTree
from controller.gitops.schemas import BindingSpec


def key_of(spec: BindingSpec) -> str:
    """What tells a binding from the others of its hostgroup.

    Raises:
        Invalid: it has no form.
    """
    return check(spec, None, Manifests(None)).form.key


def check(spec: BindingSpec, tree: GitTree | None, manifests: Manifests) -> Wanted:
    """Hold a binding against a tree, but not its configuration against its manifest.

    Raises:
        Invalid: no agent could run it.
    """
    return wanted(
        tree,
        manifests,
        plugin=spec.plugin,
        config=with_named(spec.config, spec.secrets, None),
        secrets={},
        format=spec.format,
        step=spec.step,
        lenient=True,
    )


def with_named(
    config: Mapping[str, Any] | None,
    names: Iterable[str],
    old: Stored | None,
    manifest: Manifest | None = None,
) -> dict[str, Any] | None:
    """A document's configuration with a reference for each secret that it names.

    A document names secrets as they were called when it was written, by its author perhaps. An item that is
    there already keeps its own, whatever the document calls them. An item that is not takes what it names if
    no other item has it: one that was copied has no value yet.
    """
    given = {name: {REFERENCE: name} for name in names if "/" not in name}
    if config is None and not given:
        return None
    whole = {**given, **(config or {})}
    there = (old.config if old else None) or {}
    at_top = {name for name in (old.secrets if old else ()) if "/" not in name}
    for key, value in whole.items():
        if isinstance(value, list) and isinstance(there.get(key), list):
            array = manifest.param_array if manifest is not None and key == ITEMS else None
            titles = array.item_title if array else ()
            whole[key] = _with_own(value, there[key], titles, at_top)
        elif key in there and _otherwise(value) == _otherwise(there[key]):
            whole[key] = there[key]
    return whole


def _with_own(
    items: list[Any], there: list[Any], titles: Sequence[str], at_top: Collection[str]
) -> list[Any]:
    """The items of a document with the references of the items that they are.

    Args:
        there: the items so far.
        at_top: names of secrets that are no item's.
    """
    same = {identity(item) for item in there}
    alike, titled = _by(_otherwise, there), _by(lambda item: _titled(item, titles), there)
    wanted, named = _by(_otherwise, items), _by(lambda item: _titled(item, titles), items)
    result, new = list(items), []
    for number, item in enumerate(items):
        whole, title = _otherwise(item), _titled(item, titles)
        if identity(item) in same:
            continue
        if len(alike.get(whole, ())) == len(wanted[whole]) == 1:
            result[number] = alike[whole][0]
        elif title and len(titled.get(title, ())) == len(named[title]) == 1:
            own = titled[title][0]
            result[number] = {
                key: own[key] if _is_reference(value) and _is_reference(own.get(key)) else value
                for key, value in item.items()
            }
        else:
            new.append(number)
    taken = {name for n, item in enumerate(result) if n not in new for name in references(item)}
    taken |= set(at_top)
    authored = {name for item in there for name in references(item) if not is_drawn(name)}
    for number in new:
        # What an author called a secret says little of whose it is: with another title it is another item's.
        more = authored if isinstance(items[number], Mapping) else ()
        result[number] = _renamed(items[number], taken.union(more))
        taken |= references(result[number])
    return result


def _renamed(value: Any, taken: Collection[str]) -> Any:
    """A new item of a document; a secret that is another item's gets a name of its own."""
    if _is_reference(value):
        name = value[REFERENCE]
        while name in taken:
            name = f"copy/{name}"
        return {REFERENCE: name}
    if isinstance(value, Mapping):
        return {key: _renamed(part, taken) for key, part in value.items()}
    return [_renamed(part, taken) for part in value] if isinstance(value, list) else value


def _by(key: Callable[[Any], str], items: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _otherwise(item: Any) -> str:
    """What an item is but for its secrets."""
    return identity(blanked(item))


def _titled(item: Any, titles: Sequence[str]) -> str:
    """What people know an item by; empty where it has no title."""
    values = [item.get(title) for title in titles] if isinstance(item, Mapping) else []
    return identity(blanked(values)) if any(v not in (None, "") for v in values) else ""


def _is_reference(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and value.keys() == {REFERENCE}
        and isinstance(value[REFERENCE], str)
    )


def missing(vault: Vault, row: BindingRow | OverrideRow, names: Iterable[str]) -> list[str]:
    """The secrets that are named and have no value yet, by their paths."""
    stored = Stored(row.config, vault.open(row.secrets))
    there = {*stored.known(), *stored.paths()}
    return sorted({*stored.gaps(), *(name for name in names if name not in there)})


def findings(
    session: Session, vault: Vault, row: BindingRow, manifests: Manifests
) -> list[Finding]:
    """What the manifest says of a binding's configuration, with what its hosts have from elsewhere."""
    tree = Stored(row.config, vault.open(row.secrets)).tree()
    form = Form(row.key, row.plugin, row.format, row.step, tree)
    group = row.hostgroup
    forms = partial(releasing.on_hosts, session, vault, group.id, group.name, form)
    return check_filled(form, forms, manifests)
