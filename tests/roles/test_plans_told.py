"""Which plan a host was brought to, by an inventory that may be of another release than the run's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader

from roles.plugin_sync.action_plugins.plugin_visit import brought_plans

BROUGHT = {"number": 8, "commit": "8" * 40}
NEWER = {"number": 9, "commit": "9" * 40}


@pytest.mark.parametrize(
    ("named", "plan", "told"),
    [
        (BROUGHT, "D8", "D8"),
        (NEWER, "D9", ""),
        ({**BROUGHT, "commit": "0" * 40}, "D0", ""),
        (None, "D8", ""),
        (BROUGHT, None, ""),
    ],
    ids=["the same", "a newer release", "another catalogue's", "no release", "no plan"],
)
def test_a_plan_is_told_only_by_an_inventory_of_the_release_that_was_brought(
    tmp_path: Path, named: dict[str, Any] | None, plan: str | None, told: str
) -> None:
    own = {"plugfleet_plan": plan} if plan else {}
    everything = {"vars": {"plugin_source_release": named} if named else {}, "hosts": {"a": own}}
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps({"all": everything}))
    inventory = InventoryManager(loader=DataLoader(), sources=[str(file)])
    assert brought_plans(inventory, ["a"], BROUGHT) == {"a": told}


def test_a_run_without_a_release_brings_no_plan(tmp_path: Path) -> None:
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps({"all": {"hosts": {"a": {"plugfleet_plan": "D8"}}}}))
    inventory = InventoryManager(loader=DataLoader(), sources=[str(file)])
    assert brought_plans(inventory, ["a"], None) == {"a": ""}
