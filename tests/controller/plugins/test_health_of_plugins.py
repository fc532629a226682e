"""What visits saw of plugins: kept host by host, replaced by each visit, told to those who may know."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from controller.auth.models import Scope
from controller.catalog.models import ReleaseRow
from controller.fleet.models import Host
from controller.plugins.health import PluginState, folder_of, keep, states_of
from controller.plugins.models import HostPlugin
from controller.web.deps import Context
from roles.plugin_sync.control.look import Seen
from roles.plugin_sync.control.plan import Wanted
from roles.plugin_sync.control.states import plugin_states
from tests.controller.server import Api

NTP, LOAD = "sys/ntp/600_ntp.py", "sys/load/60_load.sh"


def rows(api: Api, host: str) -> list[tuple[str, str, str]]:
    found = api.get(f"hosts/{host}/plugins")["items"]
    return [(row["plugin"], row["state"], row["reason"]) for row in found]


def report(api: Api, plugins: dict[str, list[list[str]] | None], **more: Any) -> None:
    plans = api.get("inventory")["_meta"]["hostvars"]
    hosts = [
        {"host": host, "status": "ok", "plan": plans[host]["plugfleet_plan"], "plugins": told}
        for host, told in plugins.items()
    ]
    api.send("POST", "reports", 201, json={"release": 1, "hosts": hosts, **more})


def test_a_visit_replaces_what_was_known_of_a_host_s_plugins(api: Api) -> None:
    with api.context.database.write() as session:
        session.add(ReleaseRow(number=1, commit="a" * 40, tree="b" * 40))
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    for name, groups in (("web1", ["web"]), ("db1", [])):
        api.send("POST", "hosts", 201, json={"name": name, "hostgroups": groups})
    assert rows(api, "web1") == []
    report(
        api,
        {
            "web1": [[NTP, "no-data", "printed an empty list"], [LOAD, "ok", ""]],
            "db1": [[NTP, "ok", ""]],
        },
    )
    assert rows(api, "web1") == [(LOAD, "ok", ""), (NTP, "no-data", "printed an empty list")]
    first = {row["plugin"]: row for row in api.get("hosts/web1/plugins")["items"]}

    told = api.get("plugins/hosts", params={"path": "sys/ntp"})["items"]
    assert [(row["host"], row["state"]) for row in told] == [("web1", "no-data"), ("db1", "ok")]
    told = api.get("plugins/hosts", params={"path": "sys/ntp", "state": ["ok", "parked"]})
    assert [row["host"] for row in told["items"]] == ["db1"]
    limited = api.connect(api.token_of(Scope.VIEWER, ["web"]))
    seen = limited.get("plugins/hosts", params={"path": "sys/ntp"}).json()["items"]
    assert [row["host"] for row in seen] == ["web1"]
    assert limited.get("hosts/db1/plugins").status_code == 404

    # A look counts too; a host whose agent did not answer keeps what was seen before.
    report(api, {"web1": [[NTP, "no-data", "other words"]], "db1": None}, check=True)
    assert rows(api, "web1") == [(NTP, "no-data", "other words")]
    assert rows(api, "db1") == [(NTP, "ok", "")]
    second = api.get("hosts/web1/plugins")["items"][0]
    assert second["since"] == first[NTP]["since"] and second["seen"] > first[NTP]["seen"]
    report(api, {"web1": [[NTP, "ok", ""]]})
    assert api.get("hosts/web1/plugins")["items"][0]["since"] > second["since"]
    report(api, {"web1": []})
    assert rows(api, "web1") == []
    api.send("DELETE", "hosts/db1", 204)
    with api.context.database.read() as session:
        assert session.scalars(select(HostPlugin)).all() == []


def test_many_hosts_plugins_are_kept_at_once(context: Context) -> None:
    with context.database.write() as session:
        hosts = [Host(name=f"h{number}") for number in range(1200)]
        session.add_all(hosts)
        session.flush()
        ids = [host.id for host in hosts]
    states = [PluginState(f"sys/p{number}/60_x.sh", "ok", "") for number in range(3)]
    for _ in range(2):
        with context.database.write() as session:
            # One of them was deleted since it was visited.
            keep(session, {host_id: states for host_id in [*ids, max(ids) + 1]})
    with context.database.read() as session:
        kept = session.scalars(select(HostPlugin.host_id).where(HostPlugin.folder == "sys/p1"))
        assert sorted(kept) == ids


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (None, None),
        ("ok", None),
        ([], []),
        ([["a", "ok", ""], ["a", "failed", "x"]], [("a", "failed", "x")]),
        ([["a", "ok"], 5, "abc", ["b", "ok", ""]], [("b", "ok", "")]),
        ([["k" * 999, "s" * 999, "r" * 999]], [("k" * 300, "s" * 32, "r" * 300)]),
    ],
)
def test_what_cannot_be_kept_of_a_host_s_words_is_left_out(told: Any, kept: Any) -> None:
    assert states_of(told) == kept


@pytest.mark.parametrize(
    ("key", "folder"),
    [
        ("sys/ntp/600_ntp.py", "sys/ntp"),
        ("sys/ntp/600_ntp.py()", "sys/ntp"),
        ("checks/check_disk(-p,/var/log)", "checks"),
        ("60_x.sh", "."),
        ("httpcheck", "httpcheck"),
        ("team/httpcheck", "team/httpcheck"),
    ],
)
def test_a_key_of_the_agent_leads_to_its_plugin(key: str, folder: str) -> None:
    assert folder_of(key) == folder


def wanted(kind: str, expected: list[str], **more: Any) -> Wanted:
    settings = {"agent_config_kind": kind, "agent_config_logs": "/falcon/logs"}
    given: dict[str, Any] = {"bindings": [], "release": None, "program": None, "unit": "", **more}
    return Wanted(settings=settings, steps=frozenset(), expected=expected, **given)


def test_an_executor_says_how_each_plugin_fares() -> None:
    listed = {
        NTP: {"State": "parked", "Reason": "5 failures; " + "x" * 500},
        LOAD: {"State": "ok", "Reason": ""},
        "unbound": {"State": "ok", "Reason": ""},
    }
    told = plugin_states(wanted("executor", [NTP, LOAD, "httpcheck"]), Seen(), listed)
    states = [(key, state, len(reason)) for key, state, reason in told["plugins"]]
    assert states == [(NTP, "parked", 240), (LOAD, "ok", 0), ("httpcheck", "not-listed", 0)]


def test_of_an_open_falcon_agent_the_list_and_the_stderr_logs_tell() -> None:
    keys = [f"{NTP}(a)", f"{LOAD}()", "sys/x/60_x.sh"]
    seen = Seen(stderr={f"/falcon/logs/{LOAD}": 12, "/falcon/logs/other": 1})
    listed = {key: {"FilePath": key} for key in keys[:2]}
    told = plugin_states(wanted("falcon", keys), seen, listed)["plugins"]
    assert [state for _, state, _ in told] == ["listed", "stderr", "not-listed"]
    assert f"/falcon/logs/{LOAD}.stderr.log" in told[1][2]


def test_of_an_agent_that_was_not_asked_nothing_is_told() -> None:
    assert plugin_states(wanted("executor", [NTP]), Seen(), None) == {}
    assert plugin_states(wanted("executor", [NTP], bindings=None), Seen(), {}) == {}
