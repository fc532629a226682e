"""`plugfleet agent` and `plugfleet host adopt`."""

from __future__ import annotations

from sqlalchemy import insert, select

from controller.agents.models import AgentRow, UnknownHost
from controller.fleet.models import Host
from tests.controller.cli.conftest import Command
from tests.controller.server import Api


def test_unknown_hosts_are_listed_adopted_and_forgotten(api: Api, plugfleet: Command) -> None:
    plugfleet("group", "add", "web")
    with api.context.database.write() as session:
        for name in ("new1", "new2", "no name"):
            session.add(UnknownHost(name=name, peer="192.0.2.7", version="0.3.x"))
    listed = plugfleet("agent", "unknown").out
    assert all(text in listed for text in ("new1", "new2", "no name", "192.0.2.7", "0.3.x"))
    assert [
        row["name"] for row in plugfleet("agent", "unknown", "-q", "new2", "--json").json()
    ] == ["new2"]
    adopt = ("host", "adopt", "new1", "-g", "web", "--address", "192.0.2.7", "-l", "idc=bj")
    assert "Adopted host new1" in plugfleet(*adopt).out
    host = api.get("hosts/new1")
    assert (host["hostgroups"], host["address"]) == (["web"], "192.0.2.7")
    assert "no unknown host 'new1'" in plugfleet("host", "adopt", "new1", code=2).err
    assert "cannot be a host's name" in plugfleet("host", "adopt", "no name", code=2).err
    plugfleet("agent", "forget", "no name")
    assert [row["name"] for row in plugfleet("agent", "unknown", "--json").json()] == ["new2"]


def test_adoption_rules_are_kept(plugfleet: Command) -> None:
    plugfleet("group", "add", "web")
    made = plugfleet("agent", "rule", "add", "--pattern", "web-*", "-g", "web", "--json").json()
    plugfleet("agent", "rule", "add", "--network", "10.0.0.0/8", "--use-address")
    listed = plugfleet("agent", "rule", "list").out
    assert all(text in listed for text in ("web-*", "10.0.0.0/8", "address"))
    plugfleet("agent", "rule", "remove", made["id"])
    assert len(plugfleet("agent", "rule", "list", "--json").json()) == 1
    assert "needs a pattern or a network" in plugfleet("agent", "rule", "add", code=2).err


def test_a_claim_is_settled(api: Api, plugfleet: Command) -> None:
    plugfleet("host", "add", "web1")
    with api.context.database.write() as session:
        host = session.scalars(select(Host.id)).one()
        row = {"listed": "", "stamp": 1, "peer": "192.0.2.7", "claimed_by": "192.0.2.8"}
        session.execute(insert(AgentRow).values(host_id=host, **row))
    assert "192.0.2.8" in plugfleet("host", "show", "web1").out
    claims = plugfleet("agent", "claims").out
    assert all(text in claims for text in ("web1", "192.0.2.7", "192.0.2.8"))
    assert "come from 192.0.2.8 now" in plugfleet("agent", "move", "web1").out
    assert plugfleet("agent", "claims", "--json").json() == []
    assert "no other address" in plugfleet("agent", "dismiss", "web1", code=2).err
