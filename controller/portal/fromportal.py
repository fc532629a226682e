"""We follow the portal: hostgroups, hosts and bindings are made, changed and taken away by the services
of each domain, in one transaction. A plan is the same work, taken back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import service as bindings
from controller.bindings.models import BindingRow
from controller.catalog.tree import GitTree
from controller.database import counters
from controller.database.chunks import chunks
from controller.errors import Conflict, Invalid
from controller.fleet import hostgroups, importing, members
from controller.fleet.importformats import Entry, Given, Place
from controller.fleet.models import AgentKind, Host, Hostgroup, Membership
from controller.fleet.schemas import HostgroupPatch, HostImport
from controller.portal import owned
from controller.portal.content import Content
from controller.portal.models import Kind, Side
from controller.portal.owned import Thing
from controller.portal.schemas import Step

_MANY = 3  # things that go are no more than somebody's change
_FOREIGN = "the portal has it not, and no sync brought it; --prune takes it away"


@dataclass
class Follower:
    """Makes us what a portal is.

    Attributes:
        content: what it holds; things that turn out not to be possible are left out of it.
        portal: its URL; empty for a dump of no portal that we know.
        only: names of hostgroups to follow; empty is all.
        tree: of the newest release, or None where nothing was published yet.
        broken: what is wrong with bindings in that, by plugin.
    """

    session: Session
    by: Principal
    vault: Vault
    content: Content
    portal: str
    only: Collection[str] = ()
    tree: GitTree | None = None
    broken: Mapping[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take_over(self) -> None:
        """Add all that the portal has, hosts included; nothing is taken away.

        Raises:
            PlugfleetError: it cannot be; then nothing was changed.
        """
        counters.lock(self.session, counters.PLANS)
        self._add(make_hosts=True)

    def follow(self, *, prune: bool, empty: bool, accept_loss: bool) -> None:
        """Add what the portal has, and take away what it had and has no more.

        Args:
            prune: in hostgroups that are on both sides, take away all that the portal has not.
            empty: whether the portal holds no hostgroup at all.
            accept_loss: also where most of what syncs brought would go.

        Raises:
            Conflict: the portal is empty, though it was not before, or has lost most of what it held.
            PlugfleetError: as `take_over`.
        """
        counters.lock(self.session, counters.PLANS)
        brought = owned.read(self.session, self.portal, Side.HERE, self.only)
        if brought and empty:
            raise Conflict(
                "the portal holds no hostgroup of those that it held; following it would stop all its plugins",
                hint="does portal_user see them? Delete ours by hand if that is what you want",
            )
        self._add(make_hosts=False)
        self._take_away(brought, prune)
        if not accept_loss:
            self._refuse_loss(brought)

    def _refuse_loss(self, brought: set[Thing]) -> None:
        """Follow no portal whose tables were restored in part, or that leaves out what it cannot read."""
        for kind in (Kind.MEMBER, Kind.BINDING):
            had = {thing for thing in brought if thing.kind is kind}
            gone = [
                thing
                for step in self.steps
                if step.action == "remove"
                for thing in (Thing(step.hostgroup, kind, name) for name in step.names)
                if step.kind == kind and thing in had
            ]
            if len(gone) >= _MANY and len(gone) * 2 > len(had):
                raise Conflict(
                    f"the portal has {len(gone)} of the {len(had)} {kind}s that syncs brought no more; "
                    "nothing was changed",
                    hint="is it whole? If that is what you want, sync with accept_loss (--accept-loss)",
                )

    def _add(self, *, make_hosts: bool) -> None:
        known = self._leave_out(make_hosts)
        given = Given(hostgroups={name: HostgroupPatch() for name in self.content.groups})
        joined: dict[str, list[str]] = {}
        for name, taken in self.content.groups.items():
            for host in taken.hosts:
                joined.setdefault(host, []).append(name)
        for host, names in joined.items():
            given.entries[host] = Entry(Place(), self._host(host, names, new=host not in known))
        planned = importing.plan(self.session, self.by, self.vault, given, make_hostgroups=True)
        importing.store(self.session, self.by, self.vault, given, planned)
        self._step("create", "host", "", list(planned.created))
        for name in planned.new_hostgroups:
            self._step("create", "hostgroup", name)
        for name, hosts in planned.joins.items():
            self._step("add", "member", name, hosts)
        made = {Thing(name, Kind.HOSTGROUP) for name in planned.new_hostgroups}
        made |= {
            Thing(n, Kind.MEMBER, host) for n, hosts in planned.joins.items() for host in hosts
        }
        self._note(made | self._bind())

    def _host(self, name: str, groups: list[str], *, new: bool) -> HostImport:
        if not new:
            return HostImport(name=name, hostgroups=groups)
        address = self.content.addresses.get(name, "")
        return HostImport(
            name=name, hostgroups=groups, address=address, agent_kind=AgentKind.FALCON
        )

    def _leave_out(self, make_hosts: bool) -> set[str]:
        """Take out of the content what cannot be; gives the names of hosts that there are."""
        content = self.content
        named = {host for taken in content.groups.values() for host in taken.hosts}
        known = self._hosts({*named, *content.groups})
        known |= self._by_our_names(named - known)
        groups = set(self.session.scalars(select(Hostgroup.name)))
        for name in sorted(known & content.groups.keys() - groups):
            content.skip(Kind.HOSTGROUP, name, "", "a host has that name; Ansible cannot hold both")
            del content.groups[name]
        groups |= content.groups.keys()
        for name, taken in content.groups.items():
            for host in list(taken.hosts):
                if host in known:
                    continue
                if host in groups:
                    reason = "a hostgroup has that name; Ansible cannot hold both"
                elif make_hosts:
                    continue
                else:
                    reason = "there is no such host here; `plugfleet portal import` makes it"
                content.skip(Kind.MEMBER, name, host, reason)
                del taken.hosts[host]
        return known

    def _by_our_names(self, strangers: set[str]) -> set[str]:
        """Call hosts of the portal as we do where only the case differs: to it they are one."""
        ours = {
            name.casefold(): name
            for some in chunks(sorted({name.casefold() for name in strangers}))
            for name in self.session.scalars(
                select(Host.name).where(func.lower(Host.name).in_(some))
            )
        }
        for taken in self.content.groups.values() if ours else ():
            taken.hosts = {
                ours.get(host.casefold(), host) if host in strangers else host: None
                for host in taken.hosts
            }
        return set(ours.values())

    def _hosts(self, names: Collection[str]) -> set[str]:
        return {
            name
            for some in chunks(names)
            for name in self.session.scalars(select(Host.name).where(Host.name.in_(some)))
        }

    def _bind(self) -> set[Thing]:
        there = self._bound()
        made = set()
        for name, taken in self.content.groups.items():
            for plugin in taken.plugins:
                if plugin in self.broken:
                    where = f"{plugin} of hostgroup {name}"
                    self.notes.append(f"{where} would not run: {self.broken[plugin]}")
                if (name, plugin) in there:
                    continue
                try:
                    bindings.create(
                        self.session,
                        self.by,
                        self.vault,
                        # What no release has is bound all the same, and told above.
                        None if plugin in self.broken else self.tree,
                        hostgroup=name,
                        plugin=plugin,
                        config=None,
                        secrets={},
                    )
                except Invalid as error:
                    self.content.skip(Kind.BINDING, name, plugin, error.message)
                    continue
                self._step("add", "binding", name, [plugin])
                made.add(Thing(name, Kind.BINDING, plugin))
        if self.broken:
            self.notes.append(
                "publishing is refused while something is bound that the tree does not have: "
                "add it to a source, or remove the binding"
            )
        return made

    def _bound(self) -> dict[tuple[str, str], BindingRow]:
        rows = self.session.execute(select(Hostgroup.name, BindingRow).join(BindingRow.hostgroup))
        return {(name, row.plugin): row for name, row in rows}

    def _take_away(self, brought: set[Thing], prune: bool) -> None:
        followed = self.content.groups.keys() | {thing.hostgroup for thing in brought}
        for (name, plugin), row in sorted(self._bound().items(), key=itemgetter(0)):
            there = self.content.groups.get(name)
            # What has a configuration could not be in a portal.
            if name not in followed or row.config is not None or row.secrets:
                continue
            if there and plugin in there.plugins:
                continue
            if self._goes(Thing(name, Kind.BINDING, plugin), brought, prune and there is not None):
                bindings.delete(self.session, self.by, self.vault, row.id, None)
                self._step("remove", "binding", name, [plugin])
        for name, hosts in self._members(followed).items():
            there = self.content.groups.get(name)
            leave = [
                host
                for host in hosts
                if not (there and host in there.hosts)
                and self._goes(Thing(name, Kind.MEMBER, host), brought, prune and there is not None)
            ]
            if leave:
                group = hostgroups.hold(self.session, self.by, name)
                members.change(self.session, self.by, group, [], leave)
                self._step("remove", "member", name, leave)
        self._end(brought, prune)
        self.session.flush()
        # Also what people took away here: if they make it again, it is theirs.
        owned.forget(self.session, self.portal, Side.HERE, brought - self._there(followed))

    def _there(self, names: Collection[str]) -> set[Thing]:
        """All that there is of hostgroups now."""
        groups = self.session.scalars(select(Hostgroup.name))
        found = {Thing(name, Kind.HOSTGROUP) for name in groups}
        found |= {Thing(name, Kind.BINDING, plugin) for name, plugin in self._bound()}
        for name, hosts in self._members(names).items():
            found |= {Thing(name, Kind.MEMBER, host) for host in hosts}
        return found

    def _members(self, names: Collection[str]) -> dict[str, list[str]]:
        """Members by name of hostgroups."""
        found: dict[str, list[str]] = {}
        query = (
            select(Hostgroup.name, Host.name)
            .join(Membership, Membership.hostgroup_id == Hostgroup.id)
            .join(Host, Host.id == Membership.host_id)
            .where(Membership.by_name)
            .order_by(Hostgroup.name, Host.name)
        )
        for group, host in self.session.execute(query):
            if group in names:
                found.setdefault(group, []).append(host)
        return found

    def _goes(self, thing: Thing, brought: set[Thing], prune: bool) -> bool:
        """Whether something that the portal has not is taken away; that it stays is told."""
        if prune or thing in brought:
            return True
        self.content.skip(thing.kind, thing.hostgroup, thing.name, _FOREIGN)
        return False

    def _end(self, brought: set[Thing], prune: bool) -> None:
        """Hostgroups that a sync made and that the portal has no more."""
        there = set(self.session.scalars(select(Hostgroup.name)))
        for name in sorted(thing.hostgroup for thing in brought if thing.kind is Kind.HOSTGROUP):
            if name in self.content.groups or name not in there:
                continue
            if prune:
                group = hostgroups.hold(self.session, self.by, name)
                hostgroups.delete(self.session, self.by, self.vault, group, force=True)
                self._step("delete", "hostgroup", name)
            else:
                reason = "a sync made it, and the portal has it no more; --prune deletes it"
                self.content.skip(Kind.HOSTGROUP, name, "", reason)

    def _note(self, made: set[Thing]) -> None:
        if self.portal:
            owned.note(self.session, self.portal, Side.HERE, made)

    def _step(self, action: str, kind: str, group: str, names: Collection[str] = ()) -> None:
        if names or kind == "hostgroup":
            fields = {"action": action, "kind": kind, "hostgroup": group, "names": sorted(names)}
            self.steps.append(Step.model_validate(fields | {"result": "done"}))
