"""Syncs and imports: the portal is asked outside of transactions, and what differs is changed.

A plan is made anew before it is carried out; the version of the one that was agreed to can be given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings.configs import manifests_of
from controller.bindings.wanted import wanted
from controller.catalog.tree import GitTree
from controller.database.base import now
from controller.database.engine import Database
from controller.errors import Conflict, Invalid, PlugfleetError, PreconditionFailed
from controller.portal import content as contents
from controller.portal import owned, runs, toportal
from controller.portal.carrying import Carrier
from controller.portal.client import Portal
from controller.portal.content import Content
from controller.portal.fromportal import Follower
from controller.portal.models import Side
from controller.portal.schemas import Direction, ImportRequest, PortalReport, SyncRequest
from controller.settings import Settings
from controller.web import etags


@dataclass(frozen=True)
class Syncer:
    """Carries out syncs and imports.

    Attributes:
        newest_tree: gives the tree of the newest release, or None where nothing was published.
    """

    settings: Settings
    database: Database
    vault: Vault
    newest_tree: Callable[[], GitTree | None]

    def sync(self, by: Principal, wanted: SyncRequest, if_match: str | None) -> PortalReport:
        """Bring one side in step with the other, or say what that would change.

        Args:
            if_match: version of the plan that was agreed to, or None.

        Raises:
            PreconditionFailed: the plan is another one by now.
            Conflict: no portal is set, or a sync is under way.
            PortalError: it cannot be read; nothing was changed.
            PlugfleetError: what the portal has cannot be; nothing was changed.
        """
        by.need_whole_fleet("a sync with the portal")
        with self._portal() as portal:
            if wanted.direction is Direction.TO_PORTAL:
                return self._to_portal(by, portal, wanted, if_match)
            with self.database.read() as session:
                brought = owned.read(session, portal.url, Side.HERE, wanted.hostgroups)
            held = contents.read(portal, wanted.hostgroups, contents.members_of(brought))
        return self._follow(
            by,
            contents.take(held.content),
            self._report(by, "from-portal"),
            lambda follower: follower.follow(
                prune=wanted.prune, empty=not held.groups, accept_loss=wanted.accept_loss
            ),
            only=wanted.hostgroups,
            dry_run=wanted.dry_run,
            if_match=if_match,
        )

    def take_over(self, by: Principal, wanted: ImportRequest, if_match: str | None) -> PortalReport:
        """Add all that a portal has, or say what that would be.

        Raises:
            PlugfleetError: as `sync`.
        """
        by.need_whole_fleet("importing a portal")
        given = wanted.content
        if given is None:
            with self._portal() as portal:
                given = contents.read(portal, ()).content
        report = self._report(by, "import")
        if wanted.content is not None:
            report.portal = ""
        return self._follow(
            by,
            contents.take(given),
            report,
            Follower.take_over,
            only=(),
            dry_run=wanted.dry_run,
            if_match=if_match,
        )

    def _portal(self) -> Portal:
        settings = self.settings
        if not settings.portal_url:
            raise Conflict(
                "no portal is set",
                hint="set portal_url, portal_user and portal_token of the controller (docs/portal.md)",
            )
        return Portal(settings.portal_url, settings.portal_user, settings.portal_token)

    def _report(self, by: Principal, kind: str) -> PortalReport:
        fields = {
            "kind": kind,
            "portal": self.settings.portal_url,
            "by": by.name,
            "status": "planned",
            "started": now(),
        }
        return PortalReport.model_validate(fields)

    def _to_portal(
        self, by: Principal, portal: Portal, wanted: SyncRequest, if_match: str | None
    ) -> PortalReport:
        report = self._report(by, "to-portal")
        if wanted.dry_run:
            self._compare(portal, wanted, report)
            return report
        with self.database.write() as session:
            # Before the portal is looked at: two that saw the same would both bind what is missing.
            runs.begin(session, by, report)
        try:
            works = self._compare(portal, wanted, report)
            _agreed(report, if_match)
        except BaseException:
            with self.database.write() as session:
                runs.take_back(session, report)
            raise
        with self.database.write() as session:
            runs.keep(session, report)
        portal.begin_changing()
        carrier = Carrier(portal, self.database, by)
        try:
            for work in works:
                if work.steps or work.stale:
                    carrier.carry_out(work)
        except PlugfleetError as error:
            report.reason = error.message
        for step in report.steps:
            step.result = "not done" if step.result == "planned" else step.result
        undone = report.reason or any(step.result != "done" for step in report.steps)
        with self.database.write() as session:
            runs.end(session, report, "failed" if undone else "done")
        return report

    def _compare(
        self, portal: Portal, wanted: SyncRequest, report: PortalReport
    ) -> list[toportal.Work]:
        """What there is to do in the portal; the report tells it."""
        with self.database.read() as session:
            ours = toportal.read(session, portal.url, wanted.hostgroups)
        seen, others = toportal.look(portal, ours)
        works = toportal.plan(ours, seen, prune=wanted.prune)
        report.steps = [step for work in works for step in work.steps]
        report.skipped, report.skipped_in_all = runs.shortened(ours.left.skipped)
        report.notes = list(_notes(ours, others, wanted.hostgroups))
        return works

    def _follow(
        self,
        by: Principal,
        content: Content,
        report: PortalReport,
        work: Callable[[Follower], None],
        *,
        only: Collection[str],
        dry_run: bool,
        if_match: str | None,
    ) -> PortalReport:
        tree = self.newest_tree()
        broken = _broken({p for taken in content.groups.values() for p in taken.plugins}, tree)
        try:
            with self.database.write() as session:
                if not dry_run:
                    runs.begin(session, by, report)
                portal = report.portal
                follower = Follower(session, by, self.vault, content, portal, only, tree, broken)
                work(follower)
                report.steps, report.notes = follower.steps, follower.notes
                report.skipped, report.skipped_in_all = runs.shortened(content.skipped)
                if dry_run:
                    session.flush()
                    raise _TakeBack
                _agreed(report, if_match)
                runs.end(session, report, "done")
        except _TakeBack:
            for step in report.steps:
                step.result = "planned"
        return report


class _TakeBack(Exception):
    """Ends a transaction that was only to see what it would do."""


def version(report: PortalReport) -> str:
    """What a plan is known by when it is agreed to: a digest of its steps."""
    told = [[step.action, step.kind, step.hostgroup, step.names] for step in report.steps]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _broken(plugins: Iterable[str], tree: GitTree | None) -> dict[str, str]:
    """What is wrong in the newest release with plugins that are to be bound."""
    found: dict[str, str] = {}
    for plugin in sorted(plugins) if tree else ():
        try:
            wanted(tree, manifests_of(tree), plugin=plugin, config=None, secrets={})
        except Invalid as error:
            found[plugin] = error.message
    return found


def _agreed(report: PortalReport, if_match: str | None) -> None:
    if if_match is not None and not etags.matches(if_match, version(report)):
        raise PreconditionFailed(
            "one of the sides was changed since the plan was made; nothing was changed now",
            hint="look at the plan again",
        )


def _notes(ours: toportal.Ours, others: int, only: Collection[str]) -> Iterable[str]:
    if others and not only:
        yield f"hostgroups of the portal that are not here, left alone: {others}"
    if ours.executors:
        yield (
            "hosts with our executor, which get their plugins from here and are not put into the "
            f"portal: {ours.executors}"
        )
    if ours.bound_to_all:
        yield (
            "bindings of the hostgroup 'all', which a portal does not have; bind them to others: "
            f"{ours.bound_to_all}"
        )
