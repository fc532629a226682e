"""Everything that Ansible offers to reach a host works for a visit too."""

from __future__ import annotations

import pytest

from tests.deploy.conftest import MakeDeployment
from tests.deploy.test_faulty_hosts import host_of, on


def test_become_with_a_password_from_an_ordinary_account(deployment: MakeDeployment) -> None:
    made = deployment(
        user="deployer",
        variables={
            "ansible_become": True,
            "ansible_become_password": "s3cret word",
        },
    )
    for host in made.fleet:
        on(
            host,
            "useradd -m deployer && echo 'deployer:s3cret word' | chpasswd && mkdir -p ~deployer/.ssh && "
            "cp /root/.ssh/authorized_keys ~deployer/.ssh/ && chown -R deployer ~deployer && "
            "echo 'deployer ALL=(ALL) ALL' > /etc/sudoers.d/deployer",
        )
    run = made.deploy("-vvv")
    assert set(run.states().values()) == {"changed"}
    assert "s3cret" not in run.text
    again = made.deploy()
    assert set(again.states().values()) == {"right"}, again.text
    assert on(host_of(made), "stat -c %U /var/lib/plugfleet /var/lib/plugfleet/mirror.git") == (
        "root\nplugfleet"
    )


def test_a_wrong_become_password_is_said(deployment: MakeDeployment) -> None:
    made = deployment(
        user="deployer",
        variables={
            "ansible_become": True,
            "ansible_become_password": "wrong",
        },
    )
    for host in made.fleet:
        on(
            host,
            "useradd -m deployer && echo 'deployer:right' | chpasswd && mkdir -p ~deployer/.ssh && "
            "cp /root/.ssh/authorized_keys ~deployer/.ssh/ && chown -R deployer ~deployer && "
            "echo 'deployer ALL=(ALL) ALL' > /etc/sudoers.d/deployer",
        )
    run = made.run("-l", "n1")
    assert run.code != 0
    assert "assword" in run.of("n1")["msg"]
    assert "Traceback" not in run.text


def test_a_jump_host_is_gone_through(deployment: MakeDeployment) -> None:
    made = deployment()
    jump = host_of(made, "n5")
    before = jump.logins()
    config = made.fleet.ssh_config
    run = made.deploy(
        "-l", "n1,n2", "-e", f"{{'ansible_ssh_extra_args': '-F {config} -J {jump.address}'}}"
    )
    assert run.states() == {"n1": "changed", "n2": "changed"}
    assert jump.logins() > before


@pytest.mark.parametrize("limit", ["n2", "n2,n4", "web"])
def test_a_limit_visits_those_hosts_only(deployment: MakeDeployment, limit: str) -> None:
    made = deployment(groups={"web": ["n2", "n4"]})
    before = {host.name: host.sessions() for host in made.fleet}
    run = made.deploy("-l", limit)
    visited = {host.name for host in made.fleet if host.sessions() > before[host.name]}
    assert visited == set(run.states()) == ({"n2"} if limit == "n2" else {"n2", "n4"})


def test_host_keys_are_checked(deployment: MakeDeployment) -> None:
    made = deployment()
    known = made.fleet.known_hosts
    right = known.read_text()
    lines = right.splitlines()
    address = host_of(made).address
    keys = {line.split()[0]: line.split(" ", 1)[1] for line in lines}
    swapped = [line for line in lines if line.split()[0] != address]
    other = next(key for name, key in keys.items() if name != address)
    try:
        known.write_text("\n".join([*swapped, f"{address} {other}"]) + "\n")
        run = made.run("-l", "n1")
    finally:
        known.write_text(right)
    assert run.states() == {"n1": "unreachable"}
    assert "Host key verification failed" in run.of("n1")["msg"]


def test_a_single_role_can_be_used_in_a_play_of_ones_own(deployment: MakeDeployment) -> None:
    made = deployment()
    play = made.folder / "play.yml"
    play.write_text(
        "- hosts: all\n  gather_facts: false\n  roles: [plugin_source, executor, plugin_sync]\n"
    )
    run = made.deploy_with(play)
    assert "release 1 synced" in run.of("n1")["msg"]
    assert not on(host_of(made), "ls /var/lib/plugfleet/agent | grep plugin || :")
