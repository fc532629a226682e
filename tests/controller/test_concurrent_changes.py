"""Many who change one thing at once: no change is lost, and nobody gets a 5xx; on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from tests.controller.server import Api

THREADS, ROUNDS = 8, 4


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """What eight threads return that begin at the same moment."""
    barrier = Barrier(THREADS)

    def begin(number: int) -> Any:
        barrier.wait(10)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("PATCH", "hosts/web1", "variables"),
        ("PUT", "hostgroups/web", "variables"),
        ("PATCH", "bindings/1", "config"),
    ],
)
def test_no_change_is_lost_where_each_says_what_it_read(
    api: Api, method: str, path: str, field: str
) -> None:
    api.send("POST", "hosts", 201, json={"name": "web1", "variables": {"n": 0}})
    api.send("POST", "hostgroups", 201, json={"name": "web", "variables": {"n": 0}})
    body = {"hostgroup": "web", "plugin": "httpcheck", "config": {"n": 0}}
    assert api.send("POST", "bindings", 201, json=body)["id"] == 1

    def count_up(_: int) -> list[int]:
        client = api.connect(api.token)
        statuses = []
        for _round in range(ROUNDS):
            read = client.get(path)
            condition = {"If-Match": read.headers["ETag"]}
            body = {field: {"n": read.json()[field]["n"] + 1}}
            statuses.append(client.request(method, path, json=body, headers=condition).status_code)
        return statuses

    statuses = Counter(status for found in at_once(count_up) for status in found)
    assert statuses.keys() <= {200, 412}, statuses
    assert api.get(path)[field]["n"] == statuses[200] >= ROUNDS
    entries = api.get("audit", params={"name": path.split("/")[1], "limit": 500})["items"]
    assert sum(entry["action"].endswith(".update") for entry in entries) == statuses[200]


def test_members_and_labels_that_change_at_once_are_all_kept(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hostgroups", 201, json={"name": "ruled", "rule": "role=web"})
    for number in range(THREADS):
        api.send("POST", "hosts", 201, json={"name": f"web{number}"})

    def change(number: int) -> list[int]:
        client = api.connect(api.token)
        name = f"web{number}"
        hosts = [{"name": name, "labels": {"role": "web"}}]
        return [
            client.post("hostgroups/web/members", json={"add": [name]}).status_code,
            client.post("hosts/import?format=json", json=hosts).status_code,
            client.patch("hostgroups/web", json={"variables": {name: 1}}).status_code,
        ]

    assert at_once(change) == [[200] * 3] * THREADS
    for hostgroup in ("web", "ruled"):
        assert api.get(f"hostgroups/{hostgroup}")["hosts"] == THREADS
    assert len(api.get("hostgroups/web")["variables"]) == THREADS


def test_of_those_who_delete_one_thing_at_once_one_does(api: Api) -> None:
    api.send("POST", "hosts", 201, json={"name": "web1"})
    statuses = at_once(lambda _: api.connect(api.token).delete("hosts/web1").status_code)
    assert sorted(statuses) == [204] + [404] * (THREADS - 1)
