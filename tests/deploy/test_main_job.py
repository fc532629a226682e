"""The main job, over SSH to five hosts without root rights: git -> hosts -> metrics."""

from __future__ import annotations

import json
from pathlib import Path

from tests.deploy.conftest import MakeDeployment, delivered
from tests.deploy.deployment import Deployment, step_script
from tests.fleet import Fleet
from tests.fleet.host import Host


def root_of(deployment: Deployment, host: Host) -> Path:
    return Path(str(host.root)) / deployment.folder.name


def sessions(fleet: Fleet[Host]) -> dict[str, int]:
    return {host.name: host.sessions() for host in fleet}


def test_plugins_get_from_git_to_every_host_and_deliver(unprivileged: MakeDeployment) -> None:
    deployment = unprivileged(
        bindings={"all": ["sys/one"], "web": ["sys/two"]}, groups={"web": ["h1", "h2"]}
    )
    run = deployment.deploy()
    assert set(run.states().values()) == {"changed"}
    assert deployment.server.fetches("plugins") == 1
    for host in deployment.fleet:
        wanted = {"one", "two"} if host.name in ("h1", "h2") else {"one"}
        assert delivered(root_of(deployment, host), wanted), host.name


def test_a_second_run_changes_nothing_and_costs_one_exec_a_host(
    unprivileged: MakeDeployment,
) -> None:
    deployment = unprivileged()
    deployment.deploy()
    before = sessions(deployment.fleet)
    run = deployment.deploy()
    assert set(run.states().values()) == {"right"}
    assert "changed=1" not in run.text
    assert {n: c - before[n] for n, c in sessions(deployment.fleet).items()} == dict.fromkeys(
        before, 1
    )


def test_one_changed_file_costs_two_execs_and_keeps_the_others_times(
    unprivileged: MakeDeployment,
) -> None:
    deployment = unprivileged()
    deployment.deploy()
    host = next(iter(deployment.fleet))
    tree = root_of(deployment, host) / "agent/plugin/sys"
    old = {name: (tree / name).stat().st_mtime_ns for name in ("one/60_one.sh", "two/60_two.sh")}
    deployment.source.write("sys/two/60_two.sh", step_script("two", 2))
    deployment.source.commit()
    before = sessions(deployment.fleet)
    run = deployment.deploy()
    assert set(run.states().values()) == {"changed"}
    assert {n: c - before[n] for n, c in sessions(deployment.fleet).items()} == dict.fromkeys(
        before, 2
    )
    assert (tree / "one/60_one.sh").stat().st_mtime_ns == old["one/60_one.sh"]
    assert (tree / "two/60_two.sh").stat().st_mtime_ns != old["two/60_two.sh"]
    assert 'value":2' in (tree / "two/60_two.sh").read_text()


def test_a_tampered_plugin_is_seen_and_put_right_and_the_edit_kept(
    unprivileged: MakeDeployment,
) -> None:
    deployment = unprivileged()
    deployment.deploy()
    host = next(iter(deployment.fleet))
    script = root_of(deployment, host) / "agent/plugin/sys/one/60_one.sh"
    original = script.read_text()
    script.parent.chmod(0o755)
    script.chmod(0o755)
    script.write_text(original + "# tampered\n")
    audit = deployment.deploy("--check")
    assert audit.states()[host.name] == "changed"
    assert "edited sys/one/60_one.sh" in audit.of(host.name)["msg"]
    assert script.read_text().endswith("# tampered\n")
    run = deployment.deploy()
    assert [n for n, state in run.states().items() if state == "changed"] == [host.name]
    assert script.read_text() == original
    (warning,) = run.of(host.name)["warnings"]
    assert "local changes to sys/one/60_one.sh were kept as" in warning
    patches = list((root_of(deployment, host) / "agent/state/kept").glob("*.patch"))
    assert any("+# tampered" in patch.read_text() for patch in patches)


def test_check_mode_tells_and_changes_nothing(unprivileged: MakeDeployment) -> None:
    deployment = unprivileged()
    run = deployment.deploy("--check", "--diff")
    assert set(run.states().values()) == {"changed"}
    assert "would install" in run.of("h1")["msg"]
    assert '+    "plugin": {' in run.text
    assert "A sys/one/60_one.sh" in run.text
    for host in deployment.fleet:
        assert not root_of(deployment, host).exists()
    assert not (deployment.folder / "catalog/deploy.git/refs/heads/deploy").exists()


def test_rollback_is_a_new_release_with_the_old_tree(unprivileged: MakeDeployment) -> None:
    deployment = unprivileged()
    deployment.deploy()
    deployment.source.write("sys/one/60_one.sh", step_script("one", 2))
    deployment.source.commit()
    deployment.deploy()
    run = deployment.run("-e", "plugin_release=1", playbook="playbooks/rollback.yml")
    assert run.code == 0, run.text
    assert "release 3" in run.of("h1")["msg"]
    for host in deployment.fleet:
        script = root_of(deployment, host) / "agent/plugin/sys/one/60_one.sh"
        assert 'value":1' in script.read_text()


def test_a_binding_that_names_nothing_is_refused_before_any_host_is_touched(
    unprivileged: MakeDeployment,
) -> None:
    deployment = unprivileged(
        bindings={"all": ["sys/one"], "web": ["sys/onne"]}, groups={"web": ["h1"]}
    )
    before = sessions(deployment.fleet)
    run = deployment.run()
    assert run.code == 2
    assert "hostgroup 'web'" in run.text and "sys/onne" in run.text
    assert sessions(deployment.fleet) == before
    assert not (deployment.folder / "catalog/deploy.git/refs/heads/deploy").exists()


def test_one_hosts_wrong_variable_is_its_own_trouble(unprivileged: MakeDeployment) -> None:
    deployment = unprivileged()
    (deployment.inventory.parent / "host_vars/h2.json").write_text(
        '{"agent_config_settings": null, "agent_update_wait": "soon"}'
    )
    run = deployment.run()
    assert run.states() == {"h1": "changed", "h2": "failed", "h3": "changed", "h4": "changed",
                            "h5": "changed"}  # fmt: skip
    assert "agent_config_settings: has no value" in run.of("h2")["msg"]


MANIFEST = """{"name": "web", "version": "1", "description": "Watches pages", "command": "sh watch.sh",
 "metrics": ["PAGE"], "paramArray": {"itemTitle": ["url"], "schemaTitle": "Page"}, "paramSchema": [
 {"title": "Url", "name": "url", "type": "string", "required": true},
 {"title": "Port", "name": "port", "type": "integer"}]}"""


def test_a_plugins_configuration_is_merged_over_groups_and_overridden_by_a_host(
    unprivileged: MakeDeployment,
) -> None:
    def bound(url: str) -> list[dict[str, object]]:
        return [{"plugin": "web", "config": {"items": [{"url": url}], "site": url}}]

    override = {"plugin_config_overrides": {"web": {"site": None, "items": [{"url": "c"}]}}}
    wrong = {"plugin_config_overrides": {"web": {"items": [{"port": "x"}]}, "wep": {}}}
    deployment = unprivileged(
        bindings={
            "a": bound("a"),
            "b": bound("b"),
            "c": ["sys/one", {"plugin": "web", "config": {}}],  # one of its hosts lacks the items
        },
        groups={"a": ["h1", "h2"], "b": ["h1", "h2", "h3"], "c": ["h3", "h4"]},
    )
    of_scripts = {"plugin_config_overrides": {"sys/one": {"a": 1}}}
    for name, own in (("h2", override), ("h3", wrong), ("h4", of_scripts)):
        file = deployment.inventory.parent / f"host_vars/{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | own))
    deployment.source.write("web/plugin.json", MANIFEST, 0o644)
    deployment.source.write("web/watch.sh", "#!/bin/sh\nwhile sleep 1; do echo PAGE 1; done\n")
    deployment.source.commit()
    run = deployment.run("-l", "h1,h2,h3,h4")
    lost = {"h3": "failed", "h4": "failed"}
    assert run.states() == {"h1": "changed", "h2": "changed", **lost}, run.text
    assert "hostgroup 'c': web: the manifest has a paramArray" in run.text
    assert "has no items" in run.of("h4")["msg"] and "sys/one" in run.of("h4")["msg"]
    assert "items[0].url (Url) is required" in run.of("h3")["msg"]
    assert "'wep' is not bound" in run.text
    written = {}
    for host in list(deployment.fleet)[:2]:
        (file,) = root_of(deployment, host).rglob("bindings.json")
        (written[host.name],) = json.loads(file.read_text())["bindings"]
    pages = [{"url": "a"}, {"url": "b"}]
    assert written["h1"] == {"plugin": "web", "config": {"items": pages, "site": "b"}}
    assert written["h2"] == {"plugin": "web", "config": {"items": [{"url": "c"}]}}


def test_a_configuration_that_the_executor_refuses_is_put_back(
    unprivileged: MakeDeployment,
) -> None:
    deployment = unprivileged()
    deployment.deploy()
    configuration = root_of(deployment, next(iter(deployment.fleet))) / "cfg.json"
    before = configuration.read_text()
    bad = '{"agent_config_settings": {"executor": {"jsonl": {"path": 5}}}}'
    for _ in range(2):
        run = deployment.run("-e", bad)
        assert set(run.states().values()) == {"failed"}
        assert "refuses its configuration" in run.of("h1")["msg"]
        assert configuration.read_text() == before
    deployment.deploy()
