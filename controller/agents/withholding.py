"""What a host is not told because its agent would die of it (facts: agentplugin.agents).

Publishing, binding and deploying refuse such a thing; but a host may come into a hostgroup, be adopted, or
get another agent afterwards. A list names directories and scripts, no more: so a directory in which
one script ends the agent is held back whole. That goes for the newest release, and for the one that
the host's plugin directory is at. What an agent only skips, or never has data of, it is told.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import structlog
from sqlalchemy import select

from agentplugin import agents, names
from agentplugin.bindings import BindingError, parse_binding
from controller.agents.planned import List, Planned, Plans
from controller.bindings.agents import Running, of_host
from controller.catalog.errors import CatalogError
from controller.catalog.flow import Publisher
from controller.catalog.models import ReleaseRow
from controller.catalog.tree import GitTree
from controller.errors import PlugfleetError
from controller.fleet.models import AgentKind

log = structlog.get_logger(__name__)


class Danger(NamedTuple):
    """A file that agents die of, and the code of the finding that says so."""

    path: str
    code: str


class Held(NamedTuple):
    """A list, without what the agent would die of; the other parts as in Planned."""

    list: List
    withheld: str
    fits: frozenset[str] | None
    risky: bool


class Looked:
    """One release: what of it agents die of, by what could be bound.

    Args:
        findings: of the lint.
        tree: reads the release's tree, for links and for what is a file; None where that is not possible.
    """

    def __init__(
        self, findings: Iterable[Mapping[str, Any]], tree: Callable[[], GitTree | None]
    ) -> None:
        self._tree = cache(tree)
        self._by_place: dict[str, set[Danger]] = {}
        for finding in findings:
            path, code = finding["path"], finding["code"]
            if agents.kills(code, agents.FALCON):
                for place in (path, posixpath.dirname(path) or "."):
                    self._by_place.setdefault(place, set()).add(Danger(path, code))
        self._known: dict[str, frozenset[Danger]] = {}

    def dangers(self, text: str) -> frozenset[Danger]:
        """What some agent that is told this binding would die of."""
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = frozenset(self._find(text))
        return known

    def _find(self, text: str) -> set[Danger]:
        try:
            path = parse_binding(text).path
        except BindingError:
            # Kept before a rule of today; publishing refuses it by that.
            return set()
        # A script "0" is no plugin of its directory, but one if it is bound by itself.
        named = names.refusal(posixpath.basename(path), path, file_bound=True)
        alone = named is not None and agents.kills(named.code, agents.FALCON)
        if not alone and not self._by_place:
            return set()
        tree, places = self._tree(), {path}
        if tree is not None:
            places.add(tree.real(path) or ".")
        found = {danger for place in places for danger in self._by_place.get(place, ())}
        if alone and named is not None and (tree is None or tree.isfile(path)):
            found.add(Danger(path, named.code))
        return found


class Guard:
    """Holds back from hosts' lists what their agents would die of; remembers releases that it looked at."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._looked: dict[str, Looked] = {}
        self._half_read: set[str] = set()

    @property
    def unsure(self) -> bool:
        """Whether something of a release could not be read, so that lists may hold what they should not."""
        return bool(self._half_read)

    def apply(self, plans: Plans) -> Plans:
        """Plans with the lists as agents may be told them; call it without a session, for git may be asked.

        Raises:
            PlugfleetError: the database does not answer.
        """
        heads = {planned.landed for planned in plans.hosts.values()}
        at = {commit for commit in heads | {plans.wanted} if commit in plans.numbers}
        self._look_at(at)
        known: dict[tuple[object, ...], Held] = {}
        hosts = {}
        for host_id, planned in plans.hosts.items():
            commits = {plans.wanted, planned.landed} & at
            key = (
                planned.list.digest,
                planned.takes_lists,
                planned.version,
                planned.said,
                frozenset(commits),
            )
            held = known.get(key)
            if held is None:
                held = known[key] = _held(planned, [self._looked[commit] for commit in commits])
            hosts[host_id] = planned._replace(**held._asdict())
        return Plans(hosts, plans.numbers, plans.wanted, frozenset(at))

    def _look_at(self, commits: set[str]) -> None:
        """Have just these releases' findings; what could not be read is tried again the next time."""
        kept = commits - self._half_read
        self._half_read.clear()
        self._looked = {c: looked for c, looked in self._looked.items() if c in kept}
        new = commits - self._looked.keys()
        if not new:
            return
        with self._publisher.database.read() as session:
            rows = session.scalars(select(ReleaseRow).where(ReleaseRow.commit.in_(new))).all()
        for row in rows:
            self._looked[row.commit] = Looked(self._findings(row), self._tree_of(row.commit))
        for commit in new - self._looked.keys():  # nobody deletes releases, but a restore may
            self._looked[commit] = Looked((), lambda: None)

    def _findings(self, row: ReleaseRow) -> list[dict[str, Any]]:
        try:
            return self._publisher.problems(row)
        except (CatalogError, PlugfleetError) as error:
            log.warning("a release cannot be linted", release=row.number, error=str(error))
            self._half_read.add(row.commit)
            return []

    def _tree_of(self, commit: str) -> Callable[[], GitTree | None]:
        def tree() -> GitTree | None:
            try:
                return self._publisher.tree(commit)
            except (CatalogError, PlugfleetError) as error:
                log.warning("a release's tree cannot be read", commit=commit, error=str(error))
                self._half_read.add(commit)
                return None

        return tree


def _held(planned: Planned, releases: list[Looked]) -> Held:
    texts = planned.list.texts
    dangers = {text: _all_dangers(releases, text) for text in texts}
    dangers = {text: found for text, found in dangers.items() if found}
    if not dangers:
        return Held(planned.list, "", None, False)
    running, versions = _versions(planned, planned.version)
    dropped = _dropped(dangers, versions)
    told = List.of(text for text in texts if text not in dropped)
    fits = {
        name
        for name, sample in agents.REPORTS.items()
        if _dropped(dangers, _versions(planned, sample)[1]) <= dropped
    }
    said = ""
    if planned.version or planned.said:
        said = "; ".join(
            f"{text}, as of {danger.path} [{danger.code}]: {running.agent}, which "
            f"{agents.harm(danger.code, versions)}"
            for text in sorted(dropped)
            for danger in sorted(dangers[text])
            if agents.kills(danger.code, versions)
        )
    return Held(told, said, None if len(fits) == len(agents.REPORTS) else frozenset(fits), True)


def _all_dangers(releases: Iterable[Looked], text: str) -> frozenset[Danger]:
    return frozenset().union(*[looked.dangers(text) for looked in releases])


def _dropped(dangers: Mapping[str, Iterable[Danger]], versions: tuple[str, ...]) -> set[str]:
    return {
        text
        for text, found in dangers.items()
        if any(agents.kills(danger.code, versions) for danger in found)
    }


def _versions(planned: Planned, reported: str) -> tuple[Running, tuple[str, ...]]:
    """What a host's agent may be if it reports that; where nobody knows yet, it may be any."""
    kind = AgentKind.FALCON if planned.takes_lists else AgentKind.EXECUTOR
    running = Running(*of_host(kind.value, reported, planned.said), hosts=1)
    unknown = (agents.MASTER,) if running.reported else agents.FALCON
    return running, running.versions or unknown
