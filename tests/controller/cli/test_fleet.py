"""`plugfleet host`, `group` and `status`: the daily work with a fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controller.cli.client import Client
from controller.deployments.models import Deployment
from tests.controller.cli.conftest import Command
from tests.controller.server import Api


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_host_is_added_changed_shown_and_removed(api: Api, plugfleet: Command) -> None:
    plugfleet("group", "add", "web", "--description", "web servers")
    made = plugfleet(
        "host", "add", "web1", "--address", "192.0.2.1", "--group", "web", "--label", "idc=bj",
        "--var", "ansible_port=2222", "--var", "motto=two words", "--secret", "ansible_password",
        "--json", given="s3cret\n",
    ).json()  # fmt: skip
    assert (made["hostgroups"], made["labels"]) == (["web"], {"idc": "bj"})
    assert made["variables"] == {"ansible_port": 2222, "motto": "two words"}
    assert made["secrets"] == ["ansible_password"] and "s3cret" not in json.dumps(made)
    plugfleet(
        "host", "change", "web1", "--label", "role=db", "--remove-label", "idc",
        "--remove-var", "motto", "--remove-secret", "ansible_password", "--agent", "falcon",
    )  # fmt: skip
    host = plugfleet("host", "show", "web1", "--json").json()
    assert (host["labels"], host["variables"]) == ({"role": "db"}, {"ansible_port": 2222})
    assert (host["address"], host["agent_kind"], host["secrets"]) == ("192.0.2.1", "falcon", [])
    assert "192.0.2.1" in plugfleet("host", "show", "web1").out
    plugfleet("host", "remove", "web1")
    assert "there is no host 'web1'" in plugfleet("host", "show", "web1", code=2).err


def test_hosts_are_listed_by_what_is_asked(plugfleet: Command) -> None:
    plugfleet("group", "add", "db")
    for name, role in (("a1", "db"), ("a2", "web"), ("b1", "db")):
        plugfleet("host", "add", name, "--label", f"role={role}")
    plugfleet("group", "add-hosts", "db", "a1", "b1")

    def names(*words: str) -> list[str]:
        return [row["name"] for row in plugfleet("host", "list", *words, "--json").json()]

    assert names() == ["a1", "a2", "b1"]
    assert names("--label", "role=db") == ["a1", "b1"]
    assert names("--search", "a", "--group", "db") == ["a1"]
    assert names("--sort", "-name", "--limit", "2") == ["b1", "a2"]
    assert names("--state", "failed") == []
    assert "pending" in plugfleet("host", "list").out


def test_more_hosts_than_a_page_are_all_listed(
    api: Api, plugfleet: Command, tmp_path: Path
) -> None:
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps([{"name": f"h{number:04}"} for number in range(1100)]))
    assert "created: 1100" in plugfleet("host", "import", file).out
    rows = plugfleet("host", "list", "--json").json()
    assert len(rows) == len({row["name"] for row in rows}) == 1100
    assert len(plugfleet("host", "list", "--limit", "501", "--json").json()) == 501


def test_members_are_added_and_removed_one_by_one(plugfleet: Command) -> None:
    plugfleet("group", "add", "web", "--rule", "role=web")
    for name in ("a", "b"):
        plugfleet("host", "add", name)
    plugfleet("host", "add", "c", "--label", "role=web")
    plugfleet("group", "add-hosts", "web", "a")
    plugfleet("group", "add-hosts", "web", "b", "c")
    rows = plugfleet("group", "members", "web", "--json").json()
    assert [(row["host"], row["by_name"], row["by_rule"]) for row in rows] == [
        ("a", True, False),
        ("b", True, False),
        ("c", True, True),
    ]
    assert "keeps c in it" in plugfleet("group", "remove-hosts", "web", "a", "c").out
    rows = plugfleet("group", "members", "web", "--json").json()
    assert [row["host"] for row in rows] == ["b", "c"]
    refused = plugfleet("group", "add-hosts", "web", "a", "x", "y", code=2)
    assert "'x'" in refused.err and "'y'" in refused.err


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_preview_changes_nothing(plugfleet: Command) -> None:
    plugfleet("group", "add", "web")
    plugfleet("host", "add", "a")
    plugfleet("bind", "add", "web", "sys/ntp")
    words = ("group", "add-hosts", "web", "a", "--preview")
    assert plugfleet(*words, "--json").json()["hosts"] == 1
    assert "1" in plugfleet(*words).out
    assert plugfleet("group", "members", "web", "--json").json() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hosts.csv", "\ufeffname;labels.idc;hostgroups\nweb1;bj;web\nweb2;sh;web\n"),
        ("hosts.ini", "[web]\nweb1\nweb2\n"),
        ("hosts.json", '[{"name": "web1", "hostgroups": ["web"]}, {"name": "web2"}]'),
    ],
)
def test_hosts_are_imported_from_each_format(
    plugfleet: Command, tmp_path: Path, name: str, content: str
) -> None:
    plugfleet("group", "add", "web")
    file = tmp_path / name
    file.write_text(content)
    words = ("host", "import", file, "--json")
    assert plugfleet(*words, "--dry-run").json()["created"] == 2
    assert plugfleet("host", "list", "--json").json() == []
    assert plugfleet(*words).json()["created"] == 2
    assert plugfleet(*words).json()["unchanged"] == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_import_that_cannot_be_names_file_and_line(plugfleet: Command, tmp_path: Path) -> None:
    file = tmp_path / "hosts.csv"
    file.write_text("name,hostgroups\nweb1,nowhere\nb/d,\n")
    run = plugfleet("host", "import", file, "--dry-run", code=2)
    assert f"{file}:2:" in run.err and f"{file}:3:" in run.err
    assert "nowhere" in plugfleet("host", "import", file, code=2).err
    assert plugfleet("host", "list", "--json").json() == []


def test_status_shows_the_fleet_at_a_glance(api: Api, plugfleet: Command) -> None:
    plugfleet("host", "add", "a")
    found = plugfleet("status", "--json").json()
    assert found["hosts"]["pending"] == 1 and found["release"] is None
    assert found["running"] == [] and found["failures"] == []
    shown = plugfleet("status").out
    assert "1 host" in shown and "Nothing was published yet." in shown


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_status_shows_a_deployment_that_begins_while_it_looks(
    api: Api, plugfleet: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with api.context.database.write() as session:
        session.add(Deployment(release=1, status="running"))
    get = Client.get

    def a_moment_before(self: Client, path: str, **query: Any) -> Any:
        found = get(self, path, **query)
        if path == "overview":
            found["deployments"] = {"queued": 1, "running": 0, "canceling": 0}
        return found

    monkeypatch.setattr(Client, "get", a_moment_before)
    assert [row["id"] for row in plugfleet("status", "--json").json()["running"]] == [1]


def test_a_limited_token_sees_its_hosts_alone(
    api: Api, plugfleet: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugfleet("group", "add", "web")
    plugfleet("host", "add", "a", "--group", "web")
    plugfleet("host", "add", "b")
    text = plugfleet("token", "create", "w", "--group", "web", "--json").json()["token"]
    monkeypatch.setenv("PLUGFLEET_TOKEN", text)
    assert plugfleet("status", "--json").json()["hosts"]["pending"] == 1
    assert [row["name"] for row in plugfleet("host", "list", "--json").json()] == ["a"]
    assert "limited to web" in plugfleet("export", code=4).err
