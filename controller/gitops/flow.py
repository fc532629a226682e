"""Applying a document: plan it, hold its bindings against the newest release, then make it so.

The plan is the work itself, taken back. Git is asked between the two transactions, in none. The
second one comes to the plan that was shown, or is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import service as bindings
from controller.catalog.tree import GitTree
from controller.database.engine import Database
from controller.errors import Invalid, PlugfleetError, PreconditionFailed
from controller.gitops.schemas import Configuration
from controller.gitops.service import Outcome, make_so
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
        try:
            with self.database.write() as session:
                outcome = make_so(session, by, self.vault, wanted, prune=prune)
                session.flush()
                raise _TakeBack
        except _TakeBack:
            pass
        # Where sources change, the newest release says nothing of the tree that is to be; then
        # publishing holds every binding against it.
        if outcome.bound and not outcome.moves_sources:
            self._check(outcome)
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
        planned = self.plan(by, wanted, prune=prune)
        if if_match is not None and not etags.matches(if_match, version(planned)):
            raise _moved()
        with self.database.write() as session:
            outcome = make_so(session, by, self.vault, wanted, prune=prune)
            if version(outcome) != version(planned):
                raise _moved()
        return outcome

    def _check(self, outcome: Outcome) -> None:
        tree = self.newest_tree()
        if tree is None:
            return
        fields, first = [], ""
        for place, spec in outcome.bound:
            try:
                bindings.normal(spec.plugin, tree, spec.config, dict.fromkeys(spec.secrets, ""))
            except Invalid as error:
                first = first or error.message
                fields.append({"field": f"body.{place}", "message": error.message})
        if fields:
            more = f"; and {len(fields) - 1} more" if len(fields) > 1 else ""
            raise Invalid(f"{first}{more}; nothing was changed", fields=fields)


class _TakeBack(Exception):
    """Ends a transaction that was only to see what it would do."""


def version(outcome: Outcome) -> str:
    """What a plan is known by when it is agreed to: a digest of its changes."""
    told = [change.model_dump(mode="json") for change in outcome.changes]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _moved() -> PlugfleetError:
    return PreconditionFailed(
        "what there is was changed since the plan was made; nothing was changed now",
        hint="look at the plan again",
    )
