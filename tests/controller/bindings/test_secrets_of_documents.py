"""Secrets of documents that are applied again and again: an item keeps its own, and no other one's; on both
databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentplugin.manifest import parse
from controller.bindings.sealing import plain, settle, store
from controller.catalog.tree import GitTree
from controller.database.engine import Database
from controller.gitops.configured import with_named
from tests.controller.bindings.httpcheck import PASSWORD, PORT, URL, bind, http, manifest
from tests.controller.server import Api


def apply(api: Api, document: Any, status: int = 200, **query: Any) -> Any:
    return api.send("POST", "configuration/apply", status, json=document, params=query)


def passwords(api: Api) -> dict[str, str | None]:
    told = api.get("inventory", params={"secrets": True})["all"]["vars"]["plugin_bindings"]["web"]
    return {item["url"]: item.get("password") for item in told[0]["config"]["items"]}


def document(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"hostgroups": {"web": {"bindings": [http(*items)]}}, **more}


def test_no_document_gives_an_item_the_password_of_another_one(watched: Api) -> None:
    bind(watched, **http(*({"url": u, "password": f"pw-{u}"} for u in "abc")))
    (entry,) = watched.get("configuration")["hostgroups"]["web"]["bindings"]
    a, b, c = entry["config"]["items"]
    apply(watched, document(b, c))
    assert passwords(watched) == {"b": "pw-b", "c": "pw-c"}
    # The file is edited again, and has the names of before the first item went.
    apply(watched, document({**b, "port": 1}, {**c, "port": 2}))
    assert passwords(watched) == {"b": "pw-b", "c": "pw-c"}
    plan = apply(watched, document(a, {**c, "port": 3}, {**b, "port": 3}))
    assert passwords(watched) == {"a": None, "b": "pw-b", "c": "pw-c"}
    assert plan["notes"] == [
        "httpcheck of hostgroup web has no value for its secrets items/0/password"
    ]
    copied = apply(watched, document(b, c, {**b, "url": "copy"}))
    assert passwords(watched) == {"b": "pw-b", "c": "pw-c", "copy": None}
    assert copied["notes"][0].endswith("items/2/password")
    # A person who writes a file calls secrets by places, or all of them the same.
    place = {"$secret": "items/0/password"}
    for name in (place, {"$secret": "password"}):
        for port in (3, 4):
            again = [{"url": u, "port": port, "password": name} for u in "bc"]
            apply(watched, document(*again))
            assert passwords(watched) == {"b": "pw-b", "c": "pw-c"}
    assert apply(watched, document(*again))["changes"] == []
    # Its place was another one's when somebody else took an item out: no If-Match is needed.
    for wrong in ({"$secret": []}, {"$secret": 5}, {"$secret": "a", "b": 1}):
        apply(watched, document({"url": "d", "password": wrong}), 422)
    (row,) = watched.get("bindings")["items"]
    stale = {"config": {"items": [{"url": "b", "password": place}]}}
    watched.send("PATCH", f"bindings/{row['id']}", 422, json=stale)


def test_a_password_that_is_given_as_a_text_is_a_change_of_its_own(watched: Api) -> None:
    items = [{"url": "a", "password": "first"}, {"url": "b", "password": "other"}]
    over = {"overrides": {"w1": {"mysql": {"config": {"password": "first"}}}}}
    apply(watched, document(*items, **over))
    assert apply(watched, document(*items, **over))["changes"] == []
    items[0]["password"] = "second"
    over["overrides"]["w1"]["mysql"]["config"]["password"] = "second"
    path = "configuration/apply"
    dry = watched.client.post(path, json=document(*items, **over), params={"dry_run": True})
    changed = dry.json()["changes"]
    assert [(change["kind"], change["fields"][-1]) for change in changed] == [
        ("binding", {"field": "secrets changed", "before": [], "after": ["items/0/password"]}),
        ("override", {"field": "secrets changed", "before": [], "after": ["password"]}),
    ]
    headers = {"If-Match": dry.headers["etag"]}
    watched.send("POST", path, 200, json=document(*items, **over), headers=headers)
    assert passwords(watched) == {"a": "second", "b": "other"}
    watched.send("POST", path, 412, json=document(*items, **over), headers=headers)


def test_one_and_true_are_two_values(watched: Api) -> None:
    made = bind(watched, **http({"url": "a"}))
    put = ("PUT", "hosts/w1/overrides?plugin=httpcheck")
    for value in (1, True, 1.0):
        config = {"items": [{"url": "a", "on": value}]}
        for method, path in (("PATCH", f"bindings/{made['id']}"), put):
            found = watched.send(method, path, 200, json={"config": config})["config"]
            assert repr(found) == repr(config)
    config["items"][0]["on"] = True
    both = {"overrides": {"w1": {"httpcheck": {"config": config}}}}
    changes = apply(watched, document(*config["items"], **both), dry_run=True)["changes"]
    assert [change["kind"] for change in changes] == ["binding", "override"]


def test_no_transaction_waits_for_git(watched: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    writing: list[bool] = []
    read: list[int] = []
    begin, look = Database.write, GitTree.read

    @contextmanager
    def write(database: Database, *, wait: bool = True) -> Iterator[Any]:
        with begin(database, wait=wait) as session:
            writing.append(True)
            try:
                yield session
            finally:
                writing.pop()

    def reading(tree: GitTree, path: str) -> bytes:
        read.append(len(writing))
        return look(tree, path)

    monkeypatch.setattr(Database, "write", write)
    monkeypatch.setattr(GitTree, "read", reading)
    bind(watched, **http({"url": "a"}))
    watched.send("PUT", "hosts/w1/overrides?plugin=mysql", 200, json={"config": {"url": "x"}})
    assert read == [0, 0]


_EDITS = st.lists(
    st.tuples(
        st.integers(0, 9),  # which of the states so far the file was written out from
        st.lists(st.sampled_from("abcd"), unique=True),  # the items that are left, in this order
        st.sampled_from(["", "abcd", "places", "one name"]),  # who gets another port; other names
        st.booleans(),  # whether the first item is copied to a new one
    ),
    max_size=6,
)


@given(_EDITS)
@settings(max_examples=150, deadline=None)
def test_whatever_is_edited_an_item_has_its_own_password_or_none(edits: Any) -> None:
    watching = parse(manifest(URL, PORT, PASSWORD))
    items = [{"url": url, "password": f"pw-{url}"} for url in "abcd"]
    states = [store(settle({"items": items}, {}, watching))]
    for number, (since, left, how, copied) in enumerate(edits):
        then = {item["url"]: item for item in (states[since % len(states)].config or {})["items"]}
        edited = [dict(then[url]) for url in left if url in then]
        if copied and edited:
            edited.append({**edited[0], "url": f"new-{number}"})
        for place, item in enumerate(edited):
            if item["url"] in how:
                item["port"] = number
            name = {"places": f"items/{place}/password", "one name": "password"}.get(how)
            item.update({"password": {"$secret": name}} if name else {})
        now = states[-1]
        wanted = with_named({"items": edited}, (), now, watching)
        applied = store(settle(wanted, {}, watching, old=now, lenient=True))
        missing = {}
        for place, item in enumerate(plain(applied.tree())["items"]):
            own = f"pw-{item['url']}"
            assert item.get("password", own) == own
            missing |= {} if "password" in item else {f"items/{place}/password": own}
        states.append(store(settle(applied.config, missing, watching, old=applied)))
