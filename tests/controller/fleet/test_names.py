"""Hosts and hostgroups share one space of names: Ansible's inventory cannot hold both of one name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.controller.server import Api


@pytest.fixture
def taken(api: Api) -> Api:
    """A host `h` and a hostgroup `g`."""
    api.send("POST", "hosts", 201, json={"name": "h"})
    api.send("POST", "hostgroups", 201, json={"name": "g"})
    return api


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("hosts", {"name": "g"}, "hostgroup 'g'"),
        ("hostgroups", {"name": "h"}, "host 'h'"),
        ("hosts/import?format=json", [{"name": "new"}, {"name": "g"}], "hostgroup 'g'"),
        ("hosts/import?format=ansible", "[h]\nnew\n", "host 'h'"),
        ("hosts/import?format=ansible", "[both]\nboth\n", "host 'both'"),
        ("configuration/apply", {"hostgroups": {"new": {}, "h": {}}}, "host 'h'"),
        ("configuration/apply?dry_run=true", {"hostgroups": {"h": {}}}, "host 'h'"),
    ],
)
def test_a_name_of_the_other_kind_is_refused_and_named(
    taken: Api, path: str, body: Any, named: str
) -> None:
    before = (taken.get("hosts"), taken.get("hostgroups"))
    sent = {"content": body} if isinstance(body, str) else {"json": body}
    problem = taken.send("POST", path, 409, **sent)
    assert f"there is a {named}" in problem["detail"], problem
    assert (taken.get("hosts"), taken.get("hostgroups")) == before


def test_a_name_is_free_again_when_the_other_is_gone(taken: Api) -> None:
    taken.send("DELETE", "hosts/h", 204)
    taken.send("POST", "hostgroups", 201, json={"name": "h"})


def test_of_two_that_take_a_name_at_once_one_gets_it(api: Api) -> None:
    def make(kind: str) -> int:
        return api.connect(api.token).post(kind, json={"name": "x"}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(make, ["hosts", "hostgroups"] * 4))
    assert sorted(statuses) == [201] + [409] * 7
