"""Secrets in configurations: by names of their own, moved with their items, and said by no message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentplugin.manifest import Manifest, parse
from controller.bindings.configs import check
from controller.bindings.places import Sealed, key_of
from controller.bindings.sealing import Stored, plain, settle, store, without_secrets
from controller.errors import Invalid


def manifest(*params: dict[str, Any], several: bool = False) -> Manifest:
    schema = [{"title": param["name"].title(), **param} for param in params]
    array = {"paramArray": {"itemTitle": ["url"], "schemaTitle": "Item"}} if several else {}
    raw = {"name": "h", "command": "./h", "metrics": ["M"], "paramSchema": schema, **array}
    return parse(json.dumps(raw))


PASSWORD = {"name": "password", "type": "password"}
TOKENS = {"name": "tokens", "type": "array", "items": {"type": "password"}}
ITEMS = manifest(
    {"name": "url", "type": "string", "required": True},
    {"name": "port", "type": "integer"},
    PASSWORD,
    TOKENS,
    several=True,
)
FLAT = manifest({"name": "user", "type": "string"}, PASSWORD, TOKENS)


def ref(path: str) -> dict[str, str]:
    return {"$secret": path}


def test_what_the_manifest_calls_a_password_is_sealed_whatever_field_it_came_in() -> None:
    flat = store(settle({"user": "u", "password": "pw", "tokens": ["t0", "t1"]}, {}, FLAT))
    assert flat.config is not None and flat.config.keys() == {"user", "tokens"}
    assert flat.paths() == ["password", "tokens/0", "tokens/1"]
    assert plain(flat.tree()) == {"user": "u", "password": "pw", "tokens": ["t0", "t1"]}
    several = store(settle({"items": [{"url": "a"}, {"url": "b", "password": "pw"}]}, {}, ITEMS))
    ((name, value),) = several.secrets.items()
    assert (key_of(name), value) == ("password", "pw")
    assert several.config == {"items": [{"url": "a"}, {"url": "b", "password": ref(name)}]}
    # Without a manifest a value stays what it was typed as, unless it is given as a secret.
    typed = store(settle({"user": "u", "password": "pw"}, {"a~1b": "x"}, None))
    assert (typed.config, typed.secrets) == ({"user": "u", "password": "pw"}, {"a~1b": "x"})
    assert plain(typed.tree()) == {"user": "u", "password": "pw", "a/b": "x"}


OLD = store(
    settle({"items": [{"url": "a", "password": "A"}, {"url": "b", "password": "B"}]}, {}, ITEMS)
)
FIRST, SECOND = (item["password"] for item in (OLD.config or {})["items"])
CHANGES: list[tuple[str, list[Any], dict[str, Any], list[str | None]]] = [
    ("as shown", [{"url": "a", "password": FIRST}, {"password": SECOND}], {}, ["A", "B"]),
    ("the other way round", [{"password": SECOND}, {"password": FIRST}], {}, ["B", "A"]),
    ("the first gone", [{"url": "b", "password": SECOND}], {}, ["B"]),
    ("one for two", [{"password": FIRST}, {"url": "c", "password": FIRST}], {}, ["A", "A"]),
    ("a new text", [{"url": "a", "password": "new"}], {}, ["new"]),
    ("by its path", [{"url": "z"}, {"url": "b"}], {"items/1/password": "new"}, [None, "new"]),
    ("taken away", [{"password": FIRST}, {}], {"items/0/password": None}, [None, None]),
    ("left out", [{"url": "a"}], {}, [None]),
]


@pytest.mark.parametrize(("what", "items", "changes", "passwords"), CHANGES)
def test_a_secret_stays_with_its_item(
    what: str, items: list[Any], changes: dict[str, Any], passwords: list[str | None]
) -> None:
    tree = settle({"items": items}, changes, ITEMS, old=OLD)
    assert [item.get("password") for item in plain(tree)["items"]] == passwords, what
    stored = store(tree)
    assert stored.paths() == [f"items/{n}/password" for n, value in enumerate(passwords) if value]
    assert stored.tree() == tree


def test_a_name_is_never_another_secrets() -> None:
    shorter = store(settle({"items": [{"url": "b", "password": SECOND}]}, {}, ITEMS, old=OLD))
    stale = {"items": [{"url": "b", "password": FIRST}]}
    with pytest.raises(Invalid, match="not there"):
        settle(stale, {}, ITEMS, old=shorter)
    grown = {"items": [{"url": "c", "password": "C"}, {"url": "b", "password": SECOND}]}
    tree = settle(stale, {}, ITEMS, old=store(settle(grown, {}, ITEMS, old=shorter)), lenient=True)
    assert plain(tree) == {"items": [{"url": "b"}]}
    # Two that share one part again as soon as one of them is given its own.
    both = store(settle({"items": [{"password": FIRST}] * 2}, {}, ITEMS, old=OLD))
    apart = settle(both.config, {"items/1/password": "new"}, ITEMS, old=both)
    assert [item["password"] for item in plain(store(apart).tree())["items"]] == ["A", "new"]


def test_a_text_that_is_sent_again_keeps_its_name() -> None:
    items = [{"url": "a", "password": "A"}, {"url": "b", "password": "B"}]
    for again in (items, items[1:], items[::-1]):
        stored = store(settle({"items": again}, {}, ITEMS, old=OLD))
        assert stored.secrets.items() <= OLD.secrets.items()
        assert stored.given_since(OLD) == []
    other = store(settle({"items": [{"url": "b", "password": "A"}]}, {}, ITEMS, old=OLD))
    assert not stored.secrets.keys() & other.secrets.keys()
    assert other.given_since(OLD) == ["items/0/password"]


def test_a_password_beside_the_items_is_sealed_too() -> None:
    stored = store(settle({"password": "pw", "items": [{"url": "a"}]}, {}, ITEMS))
    assert (stored.config, stored.secrets) == ({"items": [{"url": "a"}]}, {"password": "pw"})
    places = [finding.place for finding in check(ITEMS, stored.tree() or {})]
    assert places == ["config.password"]


def test_a_secret_of_the_top_stays_until_it_is_replaced_or_taken_away() -> None:
    old = Stored({"user": "u"}, {"password": "pw"})
    assert store(settle({"user": "v"}, {}, None, old=old)).secrets == {"password": "pw"}
    # What was secret is not made public by sending it as a text, manifest or not.
    changed = store(settle({"password": "new"}, {}, None, old=old))
    assert (changed.config, changed.secrets) == ({}, {"password": "new"})
    assert store(settle({"user": "u"}, {"password": None}, None, old=old)) == Stored(
        {"user": "u"}, {}
    )


@pytest.mark.parametrize(
    ("config", "changes", "field"),
    [
        ({"items": [{"password": ref("items/7/password")}]}, {}, "body.config.items[0].password"),
        ({"items": [{"password": {"$secret": 5}}]}, {}, "body.config.items[0].password"),
        ({"password": ref("password") | {"more": 1}}, {}, "body.config.password"),
        ({"items": [{}]}, {"items/1/password": "x"}, "body.config_secrets.items/1/password"),
        ({"items": [{}]}, {"items/x/password": "x"}, "body.config_secrets.items/x/password"),
        ({"user": "u"}, {"user/name": "x"}, "body.config_secrets.user/name"),
    ],
)
def test_a_reference_or_path_that_leads_nowhere_is_refused(
    config: dict[str, Any], changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        settle(config, changes, ITEMS, old=OLD)
    assert [entry["field"] for entry in refused.value.fields] == [field]
    assert "'x'" not in refused.value.message


def test_a_secret_that_was_named_and_not_given_is_kept_as_a_gap() -> None:
    items = {"items": [{"url": "a", "password": ref("items/0/password")}], "pin": ref("pin")}
    tree = settle(items, {}, ITEMS, lenient=True)
    assert store(tree) == Stored(items, {})
    assert Stored(items).known() == {"items/0/password": None, "pin": None}
    assert plain(tree) == without_secrets(tree) == {"items": [{"url": "a"}]}
    filled = settle(items, {"items/0/password": "pw"}, ITEMS, old=Stored(items))
    assert store(filled).secrets == {"items/0/password": "pw"}


def test_findings_say_where_and_never_a_secret() -> None:
    config = {"items": [{"port": "x"}, {"url": "b", "password": ["hunter2"], "extra": 1}]}
    tree = settle(config, {"items/1/port": "hunter2", "items/1/tokens": {"a": "hunter2"}}, ITEMS)
    found = {finding.place: finding for finding in check(ITEMS, tree or {})}
    assert {place: finding.code for place, finding in found.items()} == {
        "config.items[0].url": "config-required",
        "config.items[0].port": "config-type",
        "config.items[1].port": "config-type",
        "config.items[1].password": "config-type",
        "config.items[1].tokens": "config-type",
        "config.items[1].extra": "config-unknown",
    }
    assert "'x'" in found["config.items[0].port"].message
    assert "hunter2" not in str(found) + repr(tree)


def test_a_wrong_shape_is_a_finding_of_the_whole() -> None:
    for config, place in (
        ({}, "config"),
        ({"items": []}, "config"),
        ({"items": [{"url": "a"}, "b"]}, "config.items[1]"),
    ):
        assert [finding.place for finding in check(ITEMS, config)] == [place]


def test_the_key_of_a_path_is_what_it_stands_at_in_json() -> None:
    paths = ("password", "items/0/password", "tokens/1", "a~1b", "0")
    assert [key_of(path) for path in paths] == ["password", "password", "tokens", "a/b", "0"]


_KEYS = st.sampled_from(["a", "b/c", "~d", "0", "$x"])
_LEAVES = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.builds(Sealed, st.text()))
_TREES = st.dictionaries(
    _KEYS,
    st.recursive(
        _LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(_TREES)
@settings(max_examples=100, deadline=None)
def test_what_is_stored_comes_back_and_holds_no_secret(tree: dict[str, Any]) -> None:
    stored = store(tree)
    assert stored.tree() == tree
    assert "Sealed" not in repr(stored.config)
    assert settle(stored.config, {}, None, old=stored) == tree
