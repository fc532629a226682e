"""Making the overrides of single hosts what a document says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import overrides
from controller.bindings.configs import Manifests
from controller.bindings.models import OverrideRow
from controller.bindings.sealing import Stored
from controller.gitops import configured
from controller.gitops.outcome import Outcome, at
from controller.gitops.schemas import OverrideSpec


def apply(
    session: Session,
    by: Principal,
    vault: Vault,
    wanted: Mapping[str, Mapping[str, OverrideSpec]],
    manifests: Manifests,
    outcome: Outcome,
    *,
    prune: bool,
) -> None:
    """Change what differs; arguments as of `service.make_so`.

    Raises:
        PlugfleetError: an override cannot be so; `fields` name its place in the document.
    """
    query = select(OverrideRow).options(joinedload(OverrideRow.host)).order_by(OverrideRow.plugin)
    left = {(row.host.name, row.plugin): row for row in session.scalars(query)}
    for host, plugins in wanted.items():
        for plugin, spec in plugins.items():
            place = f"overrides.{host}.{plugin}"
            with at(place, f"host {host}"):
                key = overrides.normal(plugin)
                row = left.pop((host, key), None)
                before = {} if row is None else _shown(vault, row)
                old = None if row is None else _stored(vault, row)
                row = overrides.put(
                    session,
                    by,
                    vault,
                    None,
                    host,
                    key,
                    config=configured.with_named(spec.config, spec.secrets, old, manifests.of(key))
                    or {},
                    secrets={},
                    manifests=manifests,
                    lenient=True,
                )
                action = "change" if before else "create"
                after = _shown(vault, row)
                given = () if old is None else _stored(vault, row).given_since(old)
                if outcome.note(action, "override", f"{host}: {key}", before, after, given):
                    outcome.laid_over.append((place, row))
                if missing := configured.missing(vault, row, spec.secrets):
                    outcome.notes.append(
                        f"{key} of host {host} has no value for its secrets {', '.join(missing)}"
                    )
    for (host, key), row in left.items():
        if prune:
            outcome.note("delete", "override", f"{host}: {key}", _shown(vault, row), {})
            overrides.remove(session, by, vault, host, key)
        else:
            outcome.not_named.append(f"override of {key} on host {host}")


def _shown(vault: Vault, row: OverrideRow) -> dict[str, Any]:
    return {"config": row.config, "secrets": _stored(vault, row).paths()}


def _stored(vault: Vault, row: OverrideRow) -> Stored:
    return Stored(row.config, vault.open(row.secrets))
