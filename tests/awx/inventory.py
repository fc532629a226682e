"""What an inventory holds: taken over from its source, cut into slices, and given to a job.

A slice takes every n-th host of the whole inventory, before the limit (`get_script_data` of
awx/main/models/inventory.py).
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping
from typing import Any

from tests.awx.launching import variables
from tests.awx.store import Object, Store


def hosts(store: Store, job: Object) -> list[str]:
    """The hosts that a job's inventory has, after slicing and before its limit."""
    found = store.find("hosts", inventory=job["inventory"], enabled=True)
    names = sorted(host["name"] for host in found)
    if job["job_slice_count"] > 1:
        return names[job["job_slice_number"] - 1 :: job["job_slice_count"]]
    return names


def limited(store: Store, job: Object) -> list[str]:
    """The hosts that a job runs on."""
    own = hosts(store, job)
    if not job["limit"]:
        return own
    members = {
        group["name"]: {
            store.get("hosts", number)["name"]
            for number in store.linked("groups", group["id"], "hosts")
        }
        for group in store.find("groups", inventory=job["inventory"])
    }
    return matching(own, job["limit"], members)


def matching(own: list[str], limit: str, groups: Mapping[str, set[str]]) -> list[str]:
    """The hosts that a pattern of Ansible's takes, as far as names, groups, `!`, `&`, `*` and `[n]` go."""
    known: set[str] = set(own)
    taken: set[str] = set()
    parts = [part for part in re.split(r"[,:]", limit) if part]
    for part in sorted(parts, key=lambda part: part[0] in "!&"):
        name = part.lstrip("!&")
        cut = re.fullmatch(r"(.+)\[(\d+)\]", name)
        name = cut[1] if cut else name
        meant = known if name == "all" else groups.get(name, set()) & known
        # Most of a long limit are plain names.
        meant = meant | ({name} & known)
        if set(name) & set("*?["):
            meant = meant | {host for host in known if fnmatch.fnmatch(host, name)}
        meant = set(sorted(meant)[int(cut[2]) :][:1]) if cut else meant
        if part[0] == "!":
            taken -= meant
        elif part[0] == "&":
            taken &= meant
        else:
            taken |= meant
    return [host for host in own if host in taken]


def take(store: Store, source: Object, found: dict[str, Any]) -> None:
    """Make an inventory what its source says, all of it with `overwrite`.

    Hosts that are known stay the same, and turned off where somebody has turned them off (`inventory_import`).
    """
    number = source["inventory"]
    hostvars = dict(found.get("_meta", {}).get("hostvars", {}))
    for group in found.values():
        for host in group.get("hosts", []):
            hostvars.setdefault(host, {})
    with store.lock:
        known = {host["name"]: host for host in store.find("hosts", inventory=number)}
        if source["overwrite"]:
            for name in known.keys() - hostvars.keys():
                store.remove("hosts", known[name]["id"])
            for group in store.find("groups", inventory=number):
                store.remove("groups", group["id"])
        ids = {}
        for name, own in hostvars.items():
            if name not in known:
                known[name] = store.add("hosts", {"name": name, "inventory": number})
            known[name]["variables"] = json.dumps(own)
            ids[name] = known[name]["id"]
        for name, group in found.items():
            own_vars = json.dumps(group.get("vars", {}))
            if name == "all":
                # AWX up to 24.6.1 adds and changes only (`_update_inventory` of inventory_import).
                whole = store.get("inventories", number)
                kept = variables(whole["variables"]) | group.get("vars", {})
                whole["variables"] = json.dumps(kept)
            elif name not in ("_meta", "ungrouped"):
                values = {"name": name, "inventory": number, "variables": own_vars}
                linked = store.linked("groups", store.add("groups", values)["id"], "hosts")
                linked.extend(ids[host] for host in group.get("hosts", []))


def script(store: Store, job: Object) -> Object:
    """A job's inventory in Ansible's script form."""
    kept = set(hosts(store, job))
    own = store.find("hosts", inventory=job["inventory"])
    names = {host["id"]: host["name"] for host in own}
    whole = store.get("inventories", job["inventory"])
    document: Object = {
        "_meta": {
            "hostvars": {h["name"]: variables(h["variables"]) for h in own if h["name"] in kept}
        },
        "all": {"hosts": sorted(kept), "vars": variables(whole["variables"])},
    }
    for group in store.find("groups", inventory=job["inventory"]):
        linked = [names[number] for number in store.linked("groups", group["id"], "hosts")]
        document[group["name"]] = {
            "hosts": [name for name in linked if name in kept],
            "vars": variables(group["variables"]),
        }
    return document
