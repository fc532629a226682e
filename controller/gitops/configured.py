"""Configurations of a document: their secrets, which it only names, and what the newest release says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.bindings import releasing
from controller.bindings.configs import Finding, Manifests, check_filled
from controller.bindings.merging import Form, identity
from controller.bindings.models import BindingRow, OverrideRow
from controller.bindings.sealing import REFERENCE, Stored
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
    config: Mapping[str, Any] | None, names: Iterable[str], old: Stored | None
) -> dict[str, Any] | None:
    """A document's configuration with a reference for each secret that it names.

    A document refers to secrets by the place that they had when it was written. It is applied again and
    again, so an item that is there already keeps its own secrets, wherever it and they stood then.
    """
    given = {name: {REFERENCE: name} for name in names if "/" not in name}
    if config is None and not given:
        return None
    whole = {**given, **(config or {})}
    if old is None or not isinstance(whole.get("items"), list):
        return whole
    there: dict[str, list[Any]] = {}
    for item in (old.config or {}).get("items") or []:
        there.setdefault(_without_places(item), []).append(item)
    items = []
    for item in whole["items"]:
        alike = there.get(_without_places(item))
        items.append(alike.pop(0) if alike else item)
    return whole | {"items": items}


def missing(vault: Vault, row: BindingRow | OverrideRow, names: Iterable[str]) -> list[str]:
    """The secrets that are named and have no value yet."""
    known = Stored(row.config, vault.open(row.secrets)).known()
    unknown = {name for name in names if name not in known}
    return sorted(unknown | {path for path, value in known.items() if value is None})


def findings(
    session: Session, vault: Vault, row: BindingRow, manifests: Manifests
) -> list[Finding]:
    """What the manifest says of a binding's configuration, with the overrides that there are."""
    tree = Stored(row.config, vault.open(row.secrets)).tree()
    form = Form(row.key, row.plugin, row.format, row.step, tree)
    overrides = releasing.overrides_by_key(session, vault, row.key).get(row.key, {})
    hosts = releasing.hosts_of(session, row.hostgroup.id, row.hostgroup.name) if overrides else ()
    return check_filled(form, releasing.of_every_host(hosts, overrides), manifests)


def _without_places(item: Any) -> str:
    """What an item is but for where its secrets are kept."""
    return identity(_blanked(item))


def _blanked(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {REFERENCE}:
            return {REFERENCE: ""}
        return {key: _blanked(part) for key, part in value.items()}
    return [_blanked(part) for part in value] if isinstance(value, list) else value
