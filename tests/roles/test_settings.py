"""The variables of hosts: typed, checked, and evaluated anew where a host's own differ."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from roles.plugin_sync.control.settings import Settings, SettingsError


@pytest.fixture
def settings() -> Settings:
    return Settings(DataLoader())


def read(settings: Settings, **host: Any) -> dict[str, Any]:
    trusted = {k: trust_as_template(v) if isinstance(v, str) else v for k, v in host.items()}
    variables = settings.variables(trusted)
    return settings.read(Templar(loader=DataLoader(), variables=variables), variables)


def test_defaults_follow_the_root(settings: Settings) -> None:
    assert read(settings)["plugin_sync_mirror"] == "/var/lib/plugfleet/mirror.git"
    assert read(settings, plugin_sync_root="/srv/x")["executor_program"] == "/srv/x/executor.pyz"


def test_hosts_with_the_same_variables_share_a_result_and_others_do_not(
    settings: Settings,
) -> None:
    template = "/srv/{{ inventory_hostname }}"
    one = read(settings, plugin_sync_root=template, inventory_hostname="one", noise=1)
    two = read(settings, plugin_sync_root=template, inventory_hostname="two", noise=1)
    again = read(settings, plugin_sync_root=template, inventory_hostname="one", noise=2)
    assert one["plugin_sync_mirror"] == "/srv/one/mirror.git"
    assert two["plugin_sync_mirror"] == "/srv/two/mirror.git"
    assert again == one


def test_variables_behind_variables_count(settings: Settings) -> None:
    chain = {"plugin_sync_root": "{{ base }}/x", "base": "/srv/{{ site }}"}
    assert read(settings, **chain, site="a")["plugin_sync_root"] == "/srv/a/x"
    assert read(settings, **chain, site="b")["plugin_sync_root"] == "/srv/b/x"


def test_texts_become_the_types_of_the_spec(settings: Settings) -> None:
    assert read(settings, agent_update_wait="7")["agent_update_wait"] == 7


@pytest.mark.parametrize(
    "told", ["/srv/plugin/", "/srv//plugin", "/./srv/./plugin//", "/srv/plugin"]
)
def test_an_agents_plugin_folder_has_one_spelling(settings: Settings, told: str) -> None:
    assert read(settings, agent_config_plugin_dir=told)["agent_config_plugin_dir"] == "/srv/plugin"
    # After a link, only the host knows what this is.
    told = told.replace("plugin", "../plugin")
    assert (
        read(settings, agent_config_plugin_dir=told)["agent_config_plugin_dir"] == "/srv/../plugin"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("agent_config_kind", "zabbix"),
        ("agent_update_wait", "soon"),
        ("agent_config_settings", ["x"]),
    ],
)
def test_a_wrong_value_names_its_variable(settings: Settings, name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=name):
        read(settings, **{name: value})


def test_of_an_open_falcon_agent_nothing_needs_to_be_told(settings: Settings) -> None:
    found = read(settings, agent_config_kind="falcon")
    names = (
        "agent_config_path",
        "agent_config_plugin_dir",
        "agent_config_logs",
        "plugin_sync_user",
    )
    assert {found[name] for name in names} == {""}
    with pytest.raises(SettingsError, match="agent_config_path must be an absolute path"):
        read(settings, agent_config_path="")
    with pytest.raises(SettingsError, match="agent_config_home must be an absolute path"):
        read(settings, agent_config_kind="falcon", agent_config_home="agent")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"started_by": "command"}, "set agent_config_restart_command"),
        ({"started_by": "control", "restart_command": "x"}, "remove one"),
        ({"started_by": "control", "unit": "x.service"}, "must be systemd"),
        ({"unit": "x.service", "restart_command": "x"}, "agent_config_restart_command empty"),
    ],
)
def test_half_a_way_of_starting_an_agent_is_refused(
    settings: Settings, variables: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        read(settings, **{f"agent_config_{name}": value for name, value in variables.items()})
