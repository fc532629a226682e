"""What is kept of a run holds no secret, new or old, long or short, and stays readable."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from controller.deployments.cleaning import HIDDEN, Cleaner, cleaner_of
from controller.fleet.models import Host
from controller.web.deps import Context
from tests.controller.deployments.conftest import sqlite_only

CLEANER = Cleaner(["new-secret", 123456, 7, "4711", "ab"], ["auth", "pin", "odd \"name'"])


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("with new-secret in it", f"with {HIDDEN} in it"),
        ("pin 123456, not 1234567 nor 0.123456", f"pin {HIDDEN}, not 1234567 nor 0.123456"),
        ("PIN...4711.", f"PIN...{HIDDEN}."),
        ("7 of 17 hosts, ab initio", "7 of 17 hosts, ab initio"),
        ('"auth": "ab"', f'"auth": "{HIDDEN}"'),
        ('{"auth" : 7, "n": 7}', f'{{"auth" : "{HIDDEN}", "n": 7}}'),
        ('{"pin": ["a", {"b": 1}], "n": 7}', f'{{"pin": "{HIDDEN}", "n": 7}}'),
        ('{"pin": null, "auth": ""}', '{"pin": null, "auth": ""}'),
        ('"pin": "cut sho', f'"pin": "{HIDDEN}"'),
        ('"pin": {"cut": "sho\nnext line', f'"pin": "{HIDDEN}"\nnext line'),
        (r'"{\"auth\": \"a\\\"b\", \"n\": 1}"', rf'"{{\"auth\": \"{HIDDEN}\", \"n\": 1}}"'),
        (r'"{\"auth\": 7, \"n\": 1}"', rf'"{{\"auth\": \"{HIDDEN}\", \"n\": 1}}"'),
        (json.dumps({"odd \"name'": "x"}), json.dumps({"odd \"name'": HIDDEN})),
        (r'"{\\"auth": "x"', rf'"{{\\"auth": "{HIDDEN}"'),
        (r'"auth\": \"x\"', r'"auth\": \"x\"'),
        ('"pin": ' + "[" * 2_000 + "\nnext line", f'"pin": "{HIDDEN}"'),
        # Keys that tell what they are, of secrets that are no longer there.
        ('"db_password": "was"', f'"db_password": "{HIDDEN}"'),
        ('"apiToken": "was"', f'"apiToken": "{HIDDEN}"'),
        ('"tokenizer": "was", "authority": "x"', '"tokenizer": "was", "authority": "x"'),
    ],
)
def test_a_text_is_kept_without_secrets(said: str, kept: str) -> None:
    assert CLEANER.text(said) == kept


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (123456, HIDDEN),
        (7, 7),
        (True, True),
        ({"auth": 7, "seconds": 0.5, "n": 7}, {"auth": HIDDEN, "seconds": 0.5, "n": 7}),
        ({"msg": [{"pin": "x"}]}, {"msg": [{"pin": HIDDEN}]}),
        ([[[1]]], [[[1]]]),
    ],
)
def test_plain_data_is_kept_without_secrets(said: Any, kept: Any) -> None:
    assert CLEANER.data(said) == kept


def test_what_is_nested_too_deeply_is_hidden() -> None:
    deep: Any = "ab"
    for _ in range(5_000):
        deep = {"n": [deep]}
    kept = json.dumps(CLEANER.data({"msg": deep, "code": 1}))
    assert HIDDEN in kept and '"code": 1' in kept


@pytest.mark.parametrize(
    "said",
    [
        '"' + "\\" * 200_000 + "x",
        '"token' * 40_000,
        '\\"token\\": \\"x\n' * 20_000,
        '"token": {\n' * 20_000,
    ],
    ids=["backslashes", "openings", "escaped", "nested"],
)
def test_no_text_takes_long(said: str) -> None:
    began = time.process_time()
    CLEANER.text(said)
    assert time.process_time() - began < 0.5


def test_no_diff_takes_long() -> None:
    began = time.process_time()
    CLEANER.data({"before": 'new-secret "' + '\\"' * 20_000, "after": ""})
    assert time.process_time() - began < 0.5


def test_a_diff_hides_what_a_secret_was_before() -> None:
    before = {"transfer": {"key": "old-secret", "addr": "a:1"}, "auth": "x"}
    after = {"transfer": {"key": "new-secret", "addr": "b:1"}, "auth": "y"}
    for first, second in ((before, after), (after, before)):
        kept = CLEANER.data(
            {"before": json.dumps(first, indent=1), "after": json.dumps(second, indent=1)}
        )
        for side, given in (("before", first), ("after", second)):
            transfer = given["transfer"]
            assert isinstance(transfer, dict)
            shown = {"key": HIDDEN, "addr": transfer["addr"]}
            assert json.loads(kept[side]) == {"transfer": shown, "auth": HIDDEN}


@sqlite_only
def test_secrets_of_every_kind_are_known_by_value_and_key(context: Context) -> None:
    secrets = {"pin": 7, "sections": {"db": {"word": "hunter2"}}}
    with context.database.write() as session:
        session.add(Host(name="web1", secrets=context.vault.seal(secrets)))
        session.add(Host(name="web2", secrets=context.vault.seal({"n": "another"})))
    with context.database.read() as session:
        cleaner = cleaner_of(session, context.vault, ["web1"])
    said = '{"pin": 7, "word": "old", "n": 7} hunter2'
    assert cleaner.text(said) == f'{{"pin": "{HIDDEN}", "word": "{HIDDEN}", "n": 7}} {HIDDEN}'
