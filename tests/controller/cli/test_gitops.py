"""`plugfleet export` and `apply`: sources, hostgroups and bindings as YAML in git."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controller.auth.models import Scope
from tests.controller.cli.conftest import Command
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

FLEET = """\
sources:
  base:
    url: https://git.example.com/plugins.git
    ref: main
hostgroups:
  all:
    bindings: [sys/disk]
  web:
    description: web servers
    rule: role=web
    variables:
      ansible_user: deploy
      opened: 2026-01-31
    members: [a, b]
    bindings:
      - sys/ntp
      - plugin: httpcheck
        config: {items: [{url: "http://127.0.0.1/"}]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "fleet.yml"
    found.write_text(FLEET)
    return found


@pytest.fixture
def hosts(plugfleet: Command) -> None:
    for name in ("a", "b", "c"):
        plugfleet("host", "add", name)


@pytest.mark.usefixtures("hosts")
def test_applying_shows_its_plan_and_a_second_time_has_nothing_to_do(
    api: Api, plugfleet: Command, file: Path
) -> None:
    planned = plugfleet("apply", file, "--dry-run", code=1).out
    for line in (
        "+ source base",
        "+ hostgroup web",
        '    rule: "role=web"',
        "+ binding web: sys/ntp",
        "+ binding all: sys/disk",
        "    + a",
        "5 to create, 1 to change, 0 to delete",
    ):
        assert line in planned
    assert plugfleet("source", "list", "--json").json() == []
    assert "5 created, 1 changed, 0 deleted" in plugfleet("apply", file, "--yes").out
    assert "Nothing to do." in plugfleet("apply", file).out
    assert plugfleet("apply", file, "--dry-run", "--json").json()["changes"] == []
    group = api.get("hostgroups/web")
    assert group["variables"] == {"ansible_user": "deploy", "opened": "2026-01-31"}
    assert group["hosts"] == 2
    actions = {entry["action"] for entry in api.get("audit")["items"]}
    assert {"source.create", "hostgroup.create", "binding.create", "hostgroup.members"} <= actions


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("target", ["out.yml", "folder"])
def test_what_is_exported_changes_nothing_when_it_is_applied(
    api: Api, plugfleet: Command, file: Path, tmp_path: Path, target: str
) -> None:
    plugfleet("apply", file, "--yes")
    secret = {"secrets": {"ansible_password": "s3cret"}}
    api.send("PATCH", "hostgroups/web", 200, json=secret)
    binding = {
        "hostgroup": "web",
        "plugin": "snmp",
        "config": {},
        "config_secrets": {"pw": "s3cret"},
    }
    api.send("POST", "bindings", 201, json=binding)
    out = tmp_path / target
    if target == "folder":
        out.mkdir()
    plugfleet("export", "-o", out)
    written = "".join(
        f.read_text() for f in ([out] if out.is_file() else sorted(out.rglob("*.yml")))
    )
    assert "s3cret" not in written and "- ansible_password" in written and "- pw" in written
    assert "Nothing to do." in plugfleet("apply", out, "--prune").out
    assert plugfleet("export").out == plugfleet("export").out
    if target == "folder":
        plugfleet("group", "remove", "web", "--force")
        plugfleet("export", "-o", out)
        assert not (out / "hostgroups" / "web.yml").exists(), "it would come back"


@pytest.mark.usefixtures("hosts")
def test_only_what_differs_is_changed_and_nothing_is_deleted_unless_asked(
    api: Api, plugfleet: Command, file: Path
) -> None:
    plugfleet("apply", file, "--yes")
    plugfleet("group", "add", "extra")
    plugfleet("bind", "add", "extra", "sys/x")
    plugfleet("bind", "add", "web", "sys/more")
    plugfleet("group", "add-hosts", "web", "c")
    plugfleet("source", "add", "other", "https://git.example.com/other.git", "--path", "other")
    file.write_text(FLEET.replace("ansible_user: deploy", "ansible_user: ops"))
    run = plugfleet("apply", file, "--dry-run", code=1)
    assert "~ hostgroup web" in run.out and '"ops"' in run.out
    assert "0 to create, 1 to change, 0 to delete" in run.out
    for thing in (
        "source other",
        "hostgroup extra",
        "binding sys/more of hostgroup web",
        "host c in hostgroup web",
    ):
        assert f"not in the files: {thing}" in run.err
    pruned = plugfleet("apply", file, "--prune", "--yes", "--json").json()
    assert {(change["action"], change["kind"], change["name"]) for change in pruned["changes"]} == {
        ("delete", "source", "other"),
        ("change", "hostgroup", "web"),
        ("change", "members", "web"),
        ("delete", "binding", "web: sys/more"),
        ("delete", "binding", "extra: sys/x"),
        ("delete", "hostgroup", "extra"),
    }
    assert [row["name"] for row in api.get("hostgroups")["items"]] == ["all", "web"]
    assert "Nothing to do." in plugfleet("apply", file, "--prune").out


def test_a_section_that_is_left_out_is_left_alone(
    api: Api, plugfleet: Command, tmp_path: Path
) -> None:
    plugfleet("source", "add", "base", "https://git.example.com/x.git")
    plugfleet("group", "add", "web")
    file = tmp_path / "groups.yml"
    file.write_text("hostgroups: {}\n")
    plugfleet("apply", file, "--prune", "--yes")
    assert [row["name"] for row in api.get("hostgroups")["items"]] == ["all"]
    assert [row["name"] for row in api.get("sources")["items"]] == ["base"]


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("rule: role=web", "rule: role=web,role=db", 10, "role"),
        ("rule: role=web", "rulle: role=web", 10, "not permitted"),
        ("members: [a, b]", "members: [a, nowhere]", 14, "'nowhere'"),
        ("      - sys/ntp", "      - ../etc", 16, ".."),
        ("      - sys/ntp", "      - 7", 16, "string"),
        ("    ref: main", "    ref: -x", 4, "ref"),
        ("url: https://git", "url: ext::https://git", 3, "url"),
        ("    ref: main", "    path: sys\n    path: net", 5, "stands there already"),
        ("  web:", "  web: {}\n  web:", 9, "stands there already"),
        ("  web:", "  we/b:", 8, "name"),
        ("hostgroups:", "hostgruops:", 5, "unknown section"),
        ("description: web servers", "description: [", 11, "expected"),
        ("ansible_user: deploy", "ansible_user: !!python/object:os.system x", 12, "cannot be used"),
        ("ansible_user: deploy", "ansible_user: .nan", 12, "JSON does not have"),
        ("ansible_user: deploy", "7: deploy", 12, "a key must be a text"),
        ("ansible_user: deploy", "ansible_user: &x [*x]", 12, "within itself"),
        ("ansible_user: deploy", "ansible_password: x", 12, "variables.ansible_password"),
        ("ansible_user: deploy", "ansible-user: x", 11, "variable name"),
        ("      - plugin: httpcheck", "      - sys/ntp\n      - plugin: httpcheck", 17, "twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_file_and_line_and_nothing_is_changed(
    api: Api, plugfleet: Command, file: Path, old: str, new: str, line: int, says: str
) -> None:
    assert FLEET.count(old) == 1
    file.write_text(FLEET.replace(old, new))
    run = plugfleet("apply", file, "--yes", code=2)
    assert f"{file}:{line}:" in run.err and says in run.err
    assert run.out == ""
    assert api.get("sources")["items"] == []
    assert [row["name"] for row in api.get("hostgroups")["items"]] == ["all"]


def test_bindings_are_held_against_the_newest_release(
    api: Api, plugfleet: Command, tmp_path: Path, make_source: Callable[..., SourceRepository]
) -> None:
    publish(api, make_source())
    file = tmp_path / "fleet.yml"
    file.write_text("hostgroups:\n  web:\n    bindings:\n      - sys/ntp\n      - sys/npt\n")
    run = plugfleet("apply", file, "--yes", code=2)
    assert f"{file}:5:" in run.err and "did you mean" in run.err
    assert [row["name"] for row in api.get("hostgroups")["items"]] == ["all"]
    file.write_text("hostgroups:\n  web:\n    bindings: [sys/ntp]\n")
    plugfleet("apply", file, "--yes")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_a_terminal_or_yes_nothing_is_changed(
    api: Api, plugfleet: Command, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text("hostgroups: {web: {}}\n")
    run = plugfleet("apply", file, code=2)
    assert "+ hostgroup web" in run.out and "--yes" in run.err
    assert [row["name"] for row in api.get("hostgroups")["items"]] == ["all"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_several_files_are_one_document(plugfleet: Command, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("hostgroups: {a: {}}\n")
    (tmp_path / "b.yml").write_text("hostgroups: {b: {}}\n")
    plugfleet("apply", tmp_path / "a.yml", tmp_path / "b.yml", "--yes")
    names = [row["name"] for row in plugfleet("group", "list", "--json").json()]
    assert names == ["a", "all", "b"]
    run = plugfleet("apply", tmp_path / "a.yml", tmp_path / "a.yml", code=2)
    assert "'a' stands there already" in run.err
    assert "no .yml file" in plugfleet("apply", _folder(tmp_path / "empty"), code=2).err


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_secrets_that_a_file_names_and_nobody_set_are_noted(
    plugfleet: Command, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text("hostgroups: {web: {secrets: [ansible_password]}}\n")
    assert "no value for its secrets ansible_password" in plugfleet("apply", file, "--yes").err


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_password_that_a_file_changes_is_named_and_not_shown(
    plugfleet: Command, tmp_path: Path
) -> None:
    plugfleet("group", "add", "web")
    plugfleet("bind", "add", "web", "snmp", "--secret", "pw", given="first\n")
    file = tmp_path / "fleet.yml"
    file.write_text(
        "hostgroups: {web: {bindings: [{plugin: snmp, config: {pw: hunter2}}]}, db: {}}\n"
    )
    shown = plugfleet("apply", file, "--yes")
    assert "~ binding web: snmp" in shown.out and "    secrets changed: pw" in shown.out
    assert "hunter2" not in shown.out + shown.err
    assert "Nothing to do." in plugfleet("apply", file).out


def test_a_plan_that_is_no_longer_true_is_not_applied(api: Api) -> None:
    body = {"hostgroups": {"web": {"description": "x"}}}
    shown = api.client.post("configuration/apply", json=body, params={"dry_run": True})
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    headers = {"If-Match": shown.headers["ETag"]}
    assert api.send("POST", "configuration/apply", 412, json=body, headers=headers)["hint"]
    assert api.get("hostgroups/web")["description"] == ""


def test_an_operator_applies_hostgroups_and_an_admin_sources(
    api: Api, plugfleet: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = tmp_path / "groups.yml"
    groups.write_text("hostgroups: {web: {}}\n")
    sources = tmp_path / "sources.yml"
    sources.write_text("sources: {base: {url: https://git.example.com/x.git}}\n")
    monkeypatch.setenv("PLUGFLEET_TOKEN", api.token_of(Scope.OPERATOR))
    plugfleet("apply", groups, "--yes")
    assert "needs admin" in plugfleet("apply", sources, "--yes", code=4).err
    monkeypatch.setenv("PLUGFLEET_TOKEN", api.token_of(Scope.VIEWER))
    assert "needs operator" in plugfleet("apply", groups, code=4).err
    assert api.get("sources")["items"] == []
