"""`plugfleet source`, `release`, `bind`, `rollback` and `host plan`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.controller.cli.conftest import Command
from tests.controller.sources import SourceRepository

MakeSource = Callable[..., SourceRepository]


def test_from_a_source_to_a_plan_and_back(plugfleet: Command, make_source: MakeSource) -> None:
    source = make_source()
    plugfleet("source", "add", "base", source.path, "--ref", "main")
    assert "0 errors" in plugfleet("source", "lint", "base").out
    dry = plugfleet("release", "publish", "--dry-run")
    assert "A sys/ntp/600_ntp.py" in dry.out and "would be a new release" in dry.out
    assert "Published release 1." in plugfleet("release", "publish").out
    assert "Nothing changed since release 1." in plugfleet("release", "publish").out
    plugfleet("group", "add", "web")
    plugfleet("host", "add", "a", "--group", "web")
    number = plugfleet("bind", "add", "web", "sys/ntp", "--json").json()["id"]
    shown = plugfleet("host", "plan", "a").out
    assert "sys/ntp" in shown and f"member of web by name (binding {number})" in shown
    source.write("sys/ntp/60_more.sh")
    source.commit()
    plugfleet("release", "publish")
    assert "A sys/ntp/60_more.sh" in plugfleet("release", "show", "2").out
    assert "Published release 3." in plugfleet("rollback", "1").out
    rows = plugfleet("release", "list", "--json").json()
    assert [(row["number"], row["rollback_to"]) for row in rows] == [(3, 1), (2, None), (1, None)]
    assert "would undo the rollback" in plugfleet("release", "publish", code=2).err
    assert "Published release 4." in plugfleet("release", "publish", "--force").out
    plugfleet("bind", "remove", number)
    assert plugfleet("bind", "list", "--json").json() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_source_is_changed_and_removed(plugfleet: Command, make_source: MakeSource) -> None:
    plugfleet("source", "add", "base", make_source().path)
    plugfleet("source", "change", "base", "--ref", "main", "--path", "extra")
    found = plugfleet("source", "show", "base", "--json").json()
    assert (found["ref"], found["path"]) == ("main", "extra")
    assert "(root)" not in plugfleet("source", "list").out
    plugfleet("source", "remove", "base")
    assert plugfleet("source", "list", "--json").json() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_password_is_asked_for_and_never_shown(plugfleet: Command) -> None:
    words = ("source", "add", "base", "https://git.example.com/x.git", "--username", "bot")
    made = plugfleet(*words, "--json", given="s3cret\n")
    assert made.json()["has_credentials"] and "s3cret" not in made.out + made.err
    plugfleet("source", "change", "base", "--no-credentials")
    assert not plugfleet("source", "show", "base", "--json").json()["has_credentials"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_lint_errors_of_a_source_are_1(plugfleet: Command, make_source: MakeSource) -> None:
    source = make_source()
    source.write("sys/60_broken.sh", "echo")
    source.commit()
    plugfleet("source", "add", "base", source.path)
    run = plugfleet("source", "lint", "base", code=1)
    assert "no-shebang" in run.out and "sys/60_broken.sh" in run.out
    assert plugfleet("source", "lint", "base", "--json", code=1).json()["clean"] is False
    assert "sys/60_broken.sh" in plugfleet("release", "publish", code=2).err


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_files_are_corrected_in_a_release_if_asked(
    plugfleet: Command, make_source: MakeSource
) -> None:
    source = make_source()
    source.write("sys/60_bit.sh", mode=0o644)
    source.commit()
    plugfleet("source", "add", "base", source.path)
    told = plugfleet("source", "lint", "base", "--agent", "0.2.1", code=1).out
    assert "agent 0.2.1, which dies of it" in " ".join(told.split()) and "fixable" in told
    assert (
        "no agent that is known" in plugfleet("source", "lint", "base", "--agent", "x", code=2).err
    )
    assert "sys/60_bit.sh" in plugfleet("release", "publish", code=2).err
    dry = plugfleet("release", "publish", "--fix", "--dry-run").out
    assert "would fix sys/60_bit.sh: execute-bit" in dry
    assert "fixed sys/60_bit.sh: execute-bit" in plugfleet("release", "publish", "--fix").out
    assert "fixed sys/60_bit.sh: execute-bit" in plugfleet("release", "show", "1").out
    assert "Nothing changed" in plugfleet("release", "publish", "--fix").out


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_configuration_of_a_binding_comes_from_a_file(plugfleet: Command, tmp_path: Path) -> None:
    plugfleet("group", "add", "web")
    file = tmp_path / "config.yml"
    file.write_text("items:\n  - url: http://127.0.0.1/\n")
    words = ("bind", "add", "web", "httpcheck", "--config", file, "--secret", "password", "--json")
    made = plugfleet(*words, given="s3cret\n").json()
    assert made["config"] == {"items": [{"url": "http://127.0.0.1/"}]}
    assert made["config_secrets"] == ["password"]
    file.write_text("{}")
    plugfleet("bind", "change", made["id"], "--config", file, "--remove-secret", "password")
    found = plugfleet("bind", "show", made["id"], "--json").json()
    assert (found["config"], found["config_secrets"]) == ({}, [])
    file.write_text("items: [\n")
    assert f"{file}:" in plugfleet("bind", "change", made["id"], "--config", file, code=2).err


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("source", "add", "x", "ext::sh -c id"), "url"),
        (("source", "lint", "nowhere"), "there is no source"),
        (("source", "show", "nowhere"), "there is no source"),
        (("release", "show", "7"), "there is no release 7"),
        (("release", "publish"), "no source"),
        (("rollback", "7"), "release"),
        (("bind", "add", "nowhere", "x"), "there is no hostgroup"),
        (("bind", "remove", "7"), "there is no binding 7"),
        (("group", "add", "all"), "name"),
        (("group", "add", "x", "--rule", "a=1,a=2"), "rule"),
        (("host", "plan", "nowhere"), "there is no host"),
        (("deploy",), "nothing was published"),
    ],
)
def test_what_cannot_be_is_refused_with_exit_code_2(
    plugfleet: Command, words: tuple[str, ...], says: str
) -> None:
    run = plugfleet(*words, code=2)
    assert says in run.err and run.out == ""
