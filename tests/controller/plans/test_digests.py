"""Digests of plans: another one for each plan."""

from __future__ import annotations

from itertools import product

from controller.auth.vault import Vault, new_key
from controller.bindings.merging import Layer, identity, merge
from controller.plans.facts import Bound, Facts, Group


def test_whoever_has_another_configuration_has_another_digest() -> None:
    vault = Vault([new_key()])
    ports = {2: 1, 3: 2, 4: 1, 5: 2}
    groups = {1: Group(1, "all", {}, "")} | {
        number: Group(number, f"g{number}", {}, "", [Bound(number, "m", {"port": port}, "", "m")])
        for number, port in ports.items()
    }
    facts = Facts(vault, groups, (1, "c" * 40))
    plans: dict[str, set[str]] = {}
    for chosen in product((False, True), repeat=len(ports)):
        ids = tuple(number for number, is_in in zip(ports, chosen, strict=True) if is_in)
        shared = facts.shared(ids)
        layers = [Layer(b.form(vault).entry, g.name) for g in shared.groups for b in g.bindings]
        digest = facts.host_digest(
            shared, address="", agent_kind="executor", variables={}, secrets=""
        )
        plan = identity([merged.binding for merged in merge(layers, {})])
        plans.setdefault(digest, set()).add(plan)
    assert {len(same) for same in plans.values()} == {1}
