"""The main job with ansible-core 2.15, which AWX 24's own image has."""

from __future__ import annotations

from tests.deploy.conftest import MakeDeployment, delivered
from tests.deploy.test_main_job import root_of
from tests.oldest import OLDEST


def test_it_brings_plugins_to_hosts_tells_what_it_would_do_and_changes_nothing_twice(
    unprivileged: MakeDeployment,
) -> None:
    deployment = unprivileged(bindings={"all": ["sys/one"]})
    deployment.programs = OLDEST
    audit = deployment.deploy("--check", "--diff")
    assert set(audit.states().values()) == {"changed"}
    assert "sys/one" in audit.text
    assert not any((root_of(deployment, host) / "agent").exists() for host in deployment.fleet)
    assert set(deployment.deploy().states().values()) == {"changed"}
    for host in deployment.fleet:
        assert delivered(root_of(deployment, host), {"one"}), host.name
    again = deployment.deploy()
    assert set(again.states().values()) == {"right"}
