"""Applying a document: its bindings are held against the newest release, then it is made so.

Git is asked before the transaction, not in it. A plan is the work itself, taken back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import service as bindings
from controller.catalog.tree import GitTree
from controller.database.engine import Database
from controller.errors import Invalid, PreconditionFailed
from controller.gitops.schemas import Configuration
from controller.gitops.service import Outcome, bindings_of, make_so
from controller.web import etags


@dataclass(frozen=True)
class Applier:
    """Applies documents.

    Attributes:
        newest_tree: gives the tree of the newest release, or None where nothing was published.
    """

    database: Database
    vault: Vault
    newest_tree: Callable[[], GitTree | None]

    def plan(self, by: Principal, wanted: Configuration, *, prune: bool) -> Outcome:
        """What applying a document would change.

        Raises:
            PlugfleetError: it could not be applied; `fields` name the places in the document.
        """
        problems = self._problems(wanted)
        try:
            with self.database.write() as session:
                outcome = self._make_so(session, by, wanted, problems, prune=prune)
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
        problems = self._problems(wanted)
        with self.database.write() as session:
            outcome = self._make_so(session, by, wanted, problems, prune=prune)
            if if_match is not None and not etags.matches(if_match, version(outcome)):
                raise PreconditionFailed(
                    "what there is was changed since the plan was made; nothing was changed now",
                    hint="look at the plan again",
                )
        return outcome

    def _problems(self, wanted: Configuration) -> dict[str, str]:
        """What would not work in the newest release's tree: why, by the binding's place."""
        tree = self.newest_tree()
        if tree is None:
            return {}
        problems = {}
        for place, spec in bindings_of(wanted):
            try:
                secrets = dict.fromkeys(spec.secrets, "")
                bindings.normal(spec.plugin, tree, spec.config, secrets)
            except Invalid as error:
                problems[place] = error.message
        return problems

    def _make_so(
        self,
        session: Session,
        by: Principal,
        wanted: Configuration,
        problems: Mapping[str, str],
        *,
        prune: bool,
    ) -> Outcome:
        outcome = make_so(session, by, self.vault, wanted, prune=prune)
        # Where sources change, the newest release says nothing of the tree that is to be; then
        # publishing holds every binding against it.
        found = [] if outcome.moves_sources else [p for p in outcome.bound if p in problems]
        if found:
            more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
            raise Invalid(
                f"{problems[found[0]]}{more}; nothing was changed",
                fields=[{"field": f"body.{place}", "message": problems[place]} for place in found],
            )
        return outcome


class _TakeBack(Exception):
    """Ends a transaction that was only to see what it would do."""


def version(outcome: Outcome) -> str:
    """What a plan is known by when it is agreed to: a digest of its changes."""
    told = [change.model_dump(mode="json") for change in outcome.changes]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
