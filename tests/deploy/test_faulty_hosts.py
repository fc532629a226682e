"""Hosts as they are found: unreachable, full, read-only, without git, with the wrong time, edited.

Each host's trouble is its own: the others get their release, and one more run converges.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.deploy.conftest import MakeDeployment
from tests.deploy.deployment import Deployment, step_script
from tests.fleet import NamespaceHost

ROOT = "/var/lib/plugfleet"


def host_of(deployment: Deployment, name: str = "n1") -> NamespaceHost:
    host: NamespaceHost = deployment.fleet[name]
    return host


def on(host: NamespaceHost, command: str) -> str:
    """Run a command on a host, behind Ansible's back."""
    done = host.exec(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def new_release(deployment: Deployment, value: int = 2) -> None:
    deployment.source.write("sys/one/60_one.sh", step_script("one", value))
    deployment.source.commit()


def test_an_unreachable_host_is_reported_and_catches_up_later(deployment: MakeDeployment) -> None:
    made = deployment()
    host = host_of(made)
    host.cut()
    run = made.run("-e", "ansible_ssh_timeout=3")
    assert run.code == 4
    assert run.states() == {"n1": "unreachable", **{f"n{i}": "changed" for i in range(2, 6)}}
    host.restore()
    assert made.deploy().states() == {"n1": "changed", **{f"n{i}": "right" for i in range(2, 6)}}


@pytest.mark.parametrize(("allowed", "visited"), [(0, 2), (1, 5)])
def test_the_gate_counts_unreachable_hosts_between_batches(
    deployment: MakeDeployment, allowed: int, visited: int
) -> None:
    made = deployment()
    host_of(made).cut()
    settings = f"ansible_ssh_timeout=3 plugin_serial=2 plugin_max_lost={allowed}"
    run = made.run("-e", settings)
    host_of(made).restore()
    assert run.code != 0
    assert len(run.states()) == visited, run.text
    assert made.server.fetches("plugins") == 1
    assert ("more than plugin_max_lost" in run.text) == (allowed == 0)


Break = Callable[[NamespaceHost], object]


# What is wrong with a host -> how it comes about, how it goes, and what is said of it.
BROKEN: dict[str, tuple[Break, Break, str]] = {
    "full disk": (
        lambda host: host.small_disk(ROOT, 64 * 1024),
        lambda host: host.free_disk(ROOT),
        "No space left",
    ),
    "read-only": (
        lambda host: [on(host, f"mkdir -p {ROOT}"), host.make_read_only(ROOT)],
        lambda host: host.free_disk(ROOT),
        "read-only",
    ),
    "no git": (
        lambda host: on(host, "mv /usr/bin/git /usr/bin/git.away"),
        lambda host: on(host, "mv /usr/bin/git.away /usr/bin/git"),
        "git is not installed on the host",
    ),
    "broken cfg.json": (
        lambda host: on(host, f"mkdir -p {ROOT} && echo '{{broken' > {ROOT}/cfg.json"),
        lambda host: on(host, f"rm {ROOT}/cfg.json"),
        "is not valid JSON",
    ),
}


def test_broken_hosts_say_why_and_hurt_no_other(deployment: MakeDeployment) -> None:
    made = deployment()
    broken = dict(zip(("n1", "n2", "n3", "n4"), BROKEN, strict=True))
    for name, what in broken.items():
        BROKEN[what][0](host_of(made, name))
    run = made.run()
    assert run.states() == {**dict.fromkeys(broken, "failed"), "n5": "changed"}, run.text
    assert "Traceback" not in run.text
    for name, what in broken.items():
        assert BROKEN[what][2] in run.of(name)["msg"], what
        BROKEN[what][1](host_of(made, name))
    assert made.deploy().states() == {**dict.fromkeys(broken, "changed"), "n5": "right"}
    assert set(made.deploy().states().values()) == {"right"}


def test_a_wrong_clock_does_not_matter(deployment: MakeDeployment) -> None:
    made = deployment()
    for name, years in (("n1", -10), ("n2", 10)):
        host_of(made, name).set_clock(years * 365 * 86400)
    made.deploy()
    new_release(made)
    assert set(made.deploy().states().values()) == {"changed"}
    assert set(made.deploy().states().values()) == {"right"}
    for name in ("n1", "n2"):
        host_of(made, name).set_clock(None)


def test_unknown_keys_of_cfg_json_stay_and_a_backup_is_kept(deployment: MakeDeployment) -> None:
    made = deployment()
    host = host_of(made)
    mine = {"collector": {"ifacePrefix": ["eth"]}, "plugin": {"enabled": False, "mine": 1}}
    on(host, f"mkdir -p {ROOT} && echo '{json.dumps(mine)}' > {ROOT}/cfg.json")
    made.deploy()
    merged = json.loads(on(host, f"cat {ROOT}/cfg.json"))
    assert merged["collector"] == mine["collector"]
    assert merged["plugin"]["mine"] == 1
    assert merged["plugin"]["enabled"] is True
    assert merged["plugin"]["dir"] == f"{ROOT}/agent/plugin"
    assert json.loads(on(host, f"cat {ROOT}/cfg.json.before-*")) == mine


def test_a_mirror_that_a_bad_disk_or_a_killed_git_left_is_put_right(
    deployment: MakeDeployment,
) -> None:
    made = deployment()
    made.deploy()
    host, mirror = host_of(made), f"{ROOT}/mirror.git"
    on(host, f"find {mirror}/objects -type f -delete")
    on(host_of(made, "n2"), f"touch {mirror}/refs/heads/deploy.lock {mirror}/index.lock")
    new_release(made)
    run = made.deploy()
    assert set(run.states().values()) == {"changed"}
    assert any("damaged mirror was kept" in line for line in run.of("n1")["warnings"])
    assert on(host, f"grep -c value..2 {ROOT}/agent/plugin/sys/one/60_one.sh") == "1"


def test_a_lost_catalog_begins_a_new_line_that_hosts_follow(deployment: MakeDeployment) -> None:
    made = deployment()
    made.deploy()
    new_release(made)
    made.deploy()
    for path in sorted((made.folder / "catalog").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    new_release(made, value=3)
    run = made.deploy()
    assert set(run.states().values()) == {"changed"}
    assert on(host_of(made), f"grep -c value..3 {ROOT}/agent/plugin/sys/one/60_one.sh") == "1"


def test_a_stopped_executor_is_started_again(deployment: MakeDeployment) -> None:
    made = deployment()
    made.deploy()
    host = host_of(made)
    on(host, f"/usr/bin/python3 {ROOT}/executor.pyz --config {ROOT}/cfg.json --stop")
    run = made.deploy()
    assert run.states() == {"n1": "changed", **{f"n{i}": "right" for i in range(2, 6)}}
    assert "executor started" in run.of("n1")["msg"]
