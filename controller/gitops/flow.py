"""Applying a document: its bindings are held against the newest release, then it is made so.

Git is asked before the transaction, not in it. A plan is the work itself, taken back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import configs, overrides
from controller.bindings.configs import Finding, Manifests, manifests_of
from controller.bindings.sealing import blanked
from controller.bindings.wanted import need_newest
from controller.catalog.tree import GitTree
from controller.database.engine import Database
from controller.errors import Invalid, PreconditionFailed
from controller.gitops import configured
from controller.gitops.outcome import Outcome
from controller.gitops.schemas import Configuration
from controller.gitops.service import bindings_of, make_so
from controller.settings import Settings
from controller.web import etags


@dataclass(frozen=True)
class Applier:
    """Applies documents.

    Attributes:
        settings: the controller's, which say whether there is an AWX for schedules.
        newest_tree: gives the tree of the newest release, or None where nothing was published.
    """

    settings: Settings
    database: Database
    vault: Vault
    newest_tree: Callable[[], GitTree | None]

    def plan(self, by: Principal, wanted: Configuration, *, prune: bool) -> Outcome:
        """What applying a document would change.

        Raises:
            PlugfleetError: it could not be applied; `fields` name the places in the document.
        """
        known = self._known(wanted)
        try:
            with self.database.write() as session:
                outcome = self._make_so(session, by, wanted, known, prune=prune)
                session.flush()
                raise _TakeBack
        except _TakeBack:
            return outcome

    def apply(
        self, by: Principal, wanted: Configuration, *, prune: bool, if_match: str | None
    ) -> Outcome:
        """Make things so, all or nothing.

        Args:
            if_match: version of the plan that was agreed to, or None.

        Raises:
            PreconditionFailed: what there is has changed since that plan was made.
            PlugfleetError: as `plan`.
        """
        known = self._known(wanted)
        with self.database.write() as session:
            outcome = self._make_so(session, by, wanted, known, prune=prune)
            if if_match is not None and not etags.matches(if_match, version(outcome)):
                raise PreconditionFailed(
                    "what there is was changed since the plan was made; nothing was changed now",
                    hint="look at the plan again",
                )
        return outcome

    def _known(self, wanted: Configuration) -> _Known:
        """Read what of the newest release the document is held against."""
        tree = self.newest_tree()
        manifests = manifests_of(tree)
        problems = {}
        for place, spec in bindings_of(wanted):
            try:
                configured.check(spec, tree, manifests)
            except Invalid as error:
                problems[place] = error.message
        for plugins in (wanted.overrides or {}).values():
            for plugin in plugins:
                manifests.of(plugin)
        return _Known(tree, manifests, problems)

    def _make_so(
        self,
        session: Session,
        by: Principal,
        wanted: Configuration,
        known: _Known,
        *,
        prune: bool,
    ) -> Outcome:
        outcome = make_so(
            session, by, self.settings, self.vault, wanted, known.manifests, prune=prune
        )
        need_newest(session, known.tree)
        # Where sources change, the newest release says nothing of the tree that is to be; then
        # publishing holds every binding against it.
        if outcome.moves_sources:
            return outcome
        session.flush()
        fields = []
        for place, row in outcome.bound:
            if place in known.problems:
                fields.append({"field": f"body.{place}", "message": known.problems[place]})
                continue
            found = configured.findings(session, self.vault, row, known.manifests)
            fields += _wrong(place, found)
            told = configs.not_started(known.manifests, row.plugin)
            told += configs.warnings(found)
            outcome.notes += [f"{row.hostgroup.name}: {warning}" for warning in told]
        for place, over in outcome.laid_over:
            found = overrides.findings(session, self.vault, known.manifests, over.host, over)
            fields += _wrong(place, found)
            outcome.notes += [f"{over.host.name}: {w}" for w in configs.warnings(found)]
        if fields:
            more = f"; and {len(fields) - 1} more" if len(fields) > 1 else ""
            message = f"{fields[0]['message']}{more}; nothing was changed"
            raise Invalid(message, fields=fields)
        return outcome


@dataclass(frozen=True)
class _Known:
    """What the newest release says of a document.

    Attributes:
        tree: its own; None where nothing was published yet.
        problems: why a binding would not work in its tree, by the binding's place.
    """

    tree: GitTree | None
    manifests: Manifests
    problems: Mapping[str, str]


def _wrong(place: str, found: Sequence[Finding]) -> list[dict[str, Any]]:
    """What is wrong with a configuration, where it stands in the document."""
    return [
        {"field": f"body.{place}.{finding.place}", "message": str(finding)}
        for finding in found
        if finding.is_error
    ]


class _TakeBack(Exception):
    """Ends a transaction that was only to see what it would do."""


def version(outcome: Outcome) -> str:
    """What a plan is known by when it is agreed to: a digest of its changes.

    New secrets are given other names each time; those of before count.
    """
    told = [change.model_dump(mode="json") for change in outcome.changes]
    for change in told:
        for entry in change["fields"]:
            entry["after"] = blanked(entry["after"])
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
