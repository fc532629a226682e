"""The rows of a portal's database that are of interest, and what they come to."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from controller.portal.sql import DumpError

NEEDED = {
    "grp": ("id", "grp_name"),
    "host": ("id", "hostname", "ip"),
    "grp_host": ("grp_id", "host_id"),
    "plugin_dir": ("grp_id", "dir"),
}
"""The columns that we need of each table; an address can be missing."""
_USUAL = "falcon_portal"


@dataclass
class Dump:
    """What a dump holds.

    Attributes:
        hosts: names of each hostgroup's hosts, by its name.
        plugins: texts of each hostgroup's bindings.
        addresses: of hosts.
        notes: what a person has to know.
    """

    hosts: dict[str, list[str]] = field(default_factory=dict)
    plugins: dict[str, list[str]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Tables:
    """The rows of one database."""

    groups: dict[int, str] = field(default_factory=dict)
    hosts: dict[int, tuple[str, str]] = field(default_factory=dict)
    members: array[int] = field(default_factory=lambda: array("q"))  # group, host, group, host, ...
    plugins: list[tuple[int, str]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def clear(self, table: str) -> None:
        """A table is made anew."""
        match table:
            case "grp":
                self.groups.clear()
            case "host":
                self.hosts.clear()
            case "grp_host":
                self.members = array("q")
            case "plugin_dir":
                self.plugins.clear()

    def add(self, table: str, values: list[str | None]) -> None:
        """Take one row over.

        Raises:
            ValueError: it has no number where one must be.
        """
        texts = [value or "" for value in values]
        if table == "grp":
            self.groups[_number(texts[0])] = texts[1]
        elif table == "host":
            self.hosts[_number(texts[0])] = (texts[1], texts[2] if len(texts) > 2 else "")
        elif table == "grp_host":
            self.members.extend((_number(texts[0]), _number(texts[1])))
        else:
            self.plugins.append((_number(texts[0]), texts[1]))


def portal_of(databases: dict[str, Tables]) -> Tables:
    """The database that is a portal's.

    Raises:
        DumpError: none is, or several are.
    """
    found = {name: tables for name, tables in databases.items() if "grp" in tables.seen}
    if len(found) > 1 and _USUAL in found:
        return found[_USUAL]
    if len(found) > 1:
        raise DumpError(
            f"it holds several portals: {', '.join(sorted(found))}; dump one database alone"
        )
    for tables in found.values():
        return tables
    raise DumpError(
        "it holds no table `grp` of a portal: dump it with "
        "`mysqldump --default-character-set=utf8mb4 falcon_portal grp host grp_host plugin_dir`"
    )


def put_together(tables: Tables) -> Dump:
    """Names in place of numbers."""
    dump = Dump()
    for name in tables.groups.values():
        dump.hosts.setdefault(name, [])
        dump.plugins.setdefault(name, [])
    lost = unheld = 0
    members = iter(tables.members)
    joined: set[int] = set()
    for group, host in zip(members, members, strict=True):
        if group in tables.groups and host in tables.hosts:
            dump.hosts[tables.groups[group]].append(tables.hosts[host][0])
            joined.add(host)
        else:
            lost += 1
    for group, text in tables.plugins:
        if group in tables.groups:
            dump.plugins[tables.groups[group]].append(text)
        else:
            unheld += 1
    dump.addresses = {
        name: address for name, address in (tables.hosts[host] for host in joined) if address
    }
    alone = len(tables.hosts) - len(joined)
    for number, what in (
        (lost, "memberships of hosts or hostgroups that are not in the dump"),
        (unheld, "bindings of hostgroups that are not in the dump"),
        (alone, "hosts in no hostgroup"),
    ):
        if number:
            dump.notes.append(f"left out: {number} {what}")
    missing = sorted(NEEDED.keys() - tables.seen)
    if missing:
        dump.notes.append(f"the dump has no table {', '.join(missing)}")
    return dump


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(text)
    return int(text[:20])
