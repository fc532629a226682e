"""Hosts over REST: made, found, changed, deleted; on both databases."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

from sqlalchemy import select, update

from controller.auth.models import Scope
from controller.catalog.models import ReleaseRow
from controller.database import counters
from controller.database.base import now
from controller.deployments.models import Deployment, HostLock
from controller.fleet.models import Host, HostState
from controller.plans.service import digests
from tests.controller.server import Api

BODY: dict[str, Any] = {
    "name": "web1.example.com",
    "address": "192.0.2.1",
    "agent_kind": "falcon",
    "variables": {"ansible_user": "deploy", "deep": {"list": [1, None, 1.5, "é"]}},
    "secrets": {"ansible_password": "s3cret"},
    "labels": {"idc": "bj", "team/owner": "ops@a"},
    "hostgroups": ["web"],
}


def make(api: Api, *names: str, **fields: Any) -> None:
    """Make hosts that differ in their names only."""
    for name in names:
        api.send("POST", "hosts", 201, json={"name": name, **fields})


def names(page: dict[str, Any]) -> list[str]:
    """The names of a page's hosts."""
    return [row["name"] for row in page["items"]]


def plans_counted(api: Api) -> int:
    """The number of the counter of plans."""
    with api.context.database.read() as session:
        return counters.count(session, counters.PLANS)


def test_a_host_is_shown_as_it_was_made_but_for_its_secrets(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    response = api.client.post("hosts", json=BODY)
    assert response.status_code == 201
    assert response.headers["location"] == "/api/v1/hosts/web1.example.com"
    assert response.headers["etag"] == '"1"'
    made = api.get("hosts/web1.example.com")
    assert made == response.json()
    assert {key: made[key] for key in BODY} == {**BODY, "secrets": ["ansible_password"]}
    assert (made["state"], made["last_error"], made["last_heartbeat"]) == ("pending", "", None)
    with api.context.database.read() as session:
        sealed = session.scalars(select(Host.secrets)).one()
    assert "s3cret" not in sealed
    assert api.context.vault.open(sealed) == {"ansible_password": "s3cret"}


def test_a_new_host_wants_the_newest_release(api: Api) -> None:
    with api.context.database.write() as session:
        session.add_all(
            ReleaseRow(number=number, commit=str(number) * 40, tree="a" * 40) for number in (1, 2)
        )
    make(api, "web1")
    assert api.get("hosts/web1")["wanted_release"] == 2


def test_a_name_is_taken_once(api: Api) -> None:
    make(api, "web1")
    problem = api.send("POST", "hosts", 409, json={"name": "web1"})
    assert "'web1'" in problem["detail"] and problem["hint"]


# Tables of refusals are gone through with one controller: starting one costs more than they do.
HARMFUL_NAMES = (
    *("a/b", "..", "a..b", "a\nb", "a\n", "", "-o", ".hidden", "x" * 10_240, "\u202eweb"),
    *("all", "ungrouped", "pf_drifted", "we b", "wéb", "a\x00b"),
)


def test_a_name_that_would_do_harm_is_refused(api: Api) -> None:
    for name in HARMFUL_NAMES:
        problem = api.send("POST", "hosts", 422, json={"name": name})
        assert [field["field"] for field in problem["fields"]] == ["body.name"], name
        assert len(problem["detail"]) < 500
    assert api.get("hosts")["items"] == []


STRANGE_PATHS = ("a%00b", "a%0Ab", "%E2%80%AEweb", "x" * 10_240, "..%2F..", "nosuch")


def test_a_path_with_a_strange_name_is_a_clear_4xx(api: Api) -> None:
    for path, method in product(STRANGE_PATHS, ("GET", "DELETE")):
        response = api.client.request(method, f"hosts/{path}")
        assert response.status_code in (404, 422), response.text
        assert response.headers["content-type"] == "application/problem+json"


IMPOSSIBLE_HOSTS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"address": "-oProxyCommand=id"}, "body.address"),
    ({"address": "a b"}, "body.address"),
    ({"address": "{{ x }}"}, "body.address"),
    ({"agent_kind": "nagios"}, "body.agent_kind"),
    ({"labels": {"-x": "1"}}, "body.labels"),
    ({"labels": {"x": "1\n"}}, "body.labels"),
    ({"labels": {"x": "a b"}}, "body.labels"),
    ({"labels": {"x": None}}, "body.labels.x"),
    ({"variables": {"not-a-name": 1}}, "body.variables"),
    ({"variables": {"x\n": 1}}, "body.variables"),
    ({"variables": {"x": "\x00"}}, "body.variables"),
    ({"variables": {"x": "y" * 70_000}}, "body.variables"),
    ({"variables": {"ansible_password": "x"}}, "variables.ansible_password"),
    ({"variables": {"ansible_host": "1.2.3.4"}}, "variables.ansible_host"),
    ({"variables": {"plugin_bindings": {}}}, "variables.plugin_bindings"),
    ({"variables": {"x": 1}, "secrets": {"x": "1"}}, "variables.x"),
    ({"secrets": {"x": 5}}, "body.secrets.x"),
    ({"secrets": {"x": "\x00"}}, "body.secrets.x"),
    ({"secrets": {"not-a-name": "x"}}, "body.secrets.not-a-name.[key]"),
    ({"hostgroups": ["nosuch"]}, "body.hostgroups"),
    ({"hostgroups": ["all"]}, "body.hostgroups.0"),
    ({"state": "converged"}, "body.state"),
)


def test_a_host_that_cannot_be_is_refused_by_its_field(api: Api) -> None:
    for fields, field in IMPOSSIBLE_HOSTS:
        problem = api.send("POST", "hosts", 422, json={"name": "web1", **fields})
        assert field in [entry["field"] for entry in problem["fields"]], problem
    assert api.get("hosts")["items"] == []


UNSTORABLE = (
    *('{"x": NaN}', '{"x": [-Infinity]}', '{"x": "\\ud800"}', '{"x": {"\\u0000": 1}}'),
    '{"x":' + "[" * 40 + "]" * 40 + "}",
)


def test_json_that_no_database_takes_is_refused(api: Api) -> None:
    for text in UNSTORABLE:
        body = f'{{"name": "web1", "variables": {text}}}'
        problem = api.send(
            "POST", "hosts", 422, content=body, headers={"Content-Type": "application/json"}
        )
        assert problem["fields"][0]["field"] == "body.variables", text


def test_addresses_of_each_kind_are_taken(api: Api) -> None:
    for number, address in enumerate(("", "2001:db8::1", "fe80::1%eth0", "::1", "10.0.0.1", "a.b")):
        make(api, f"h{number}", address=address)
        assert api.get(f"hosts/h{number}")["address"] == address


def test_a_patch_changes_what_it_names_and_nothing_else(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hosts", 201, json=BODY)
    patch = {
        "variables": {"ansible_user": None, "port": 22},
        "labels": {"idc": None, "role": "web"},
        "secrets": {"ansible_password": None, "api_key": "k"},
    }
    changed = api.send("PATCH", f"hosts/{BODY['name']}", 200, json=patch)
    assert changed["variables"] == {"deep": BODY["variables"]["deep"], "port": 22}
    assert changed["labels"] == {"team/owner": "ops@a", "role": "web"}
    assert changed["secrets"] == ["api_key"]
    assert (changed["address"], changed["agent_kind"]) == ("192.0.2.1", "falcon")
    assert changed["hostgroups"] == ["web"]


def test_a_put_leaves_secrets_and_hostgroups_and_resets_the_rest(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hosts", 201, json=BODY)
    changed = api.send("PUT", f"hosts/{BODY['name']}", 200, json={"address": "192.0.2.9"})
    assert (changed["address"], changed["agent_kind"]) == ("192.0.2.9", "executor")
    assert (changed["variables"], changed["labels"]) == ({}, {})
    assert (changed["secrets"], changed["hostgroups"]) == (["ansible_password"], ["web"])
    api.send("PUT", "hosts/nosuch", 404, json={})


def test_a_variable_is_not_put_in_front_of_a_secret(api: Api) -> None:
    make(api, "web1", secrets={"api_key": "k"})
    problem = api.send("PATCH", "hosts/web1", 422, json={"variables": {"api_key": "shown"}})
    assert "is a secret already" in problem["detail"]
    both = {"secrets": {"api_key": None}, "variables": {"api_key": "shown"}}
    assert api.send("PATCH", "hosts/web1", 200, json=both)["secrets"] == []


def test_a_change_of_what_somebody_else_changed_is_refused(api: Api) -> None:
    make(api, "web1")
    for method, body in (("PUT", {}), ("PATCH", {"labels": {"by": "me"}}), ("DELETE", None)):
        read = api.client.get("hosts/web1").headers["etag"]
        api.send("PATCH", "hosts/web1", 200, json={"labels": {"by": f"other-{method}"}})
        problem = api.send(method, "hosts/web1", 412, headers={"If-Match": read}, json=body)
        fresh = api.client.get("hosts/web1").headers["etag"]
        assert f"it is {fresh} now" in problem["detail"]
        assert api.get("hosts/web1")["labels"]["by"] != "me"
        status = 204 if method == "DELETE" else 200
        api.send(method, "hosts/web1", status, headers={"If-Match": fresh}, json=body)


def test_a_change_that_changes_nothing_is_no_change(api: Api) -> None:
    make(api, "web1", labels={"idc": "bj"}, secrets={"k": "v"})
    before, entries = plans_counted(api), len(api.get("audit")["items"])
    same = {"labels": {"idc": "bj"}, "secrets": {"k": "v"}, "agent_kind": "executor"}
    response = api.client.patch("hosts/web1", json=same)
    assert response.headers["etag"] == '"1"'
    assert plans_counted(api) == before
    assert len(api.get("audit")["items"]) == entries


def test_plans_are_counted_on_with_every_change_of_a_host(api: Api) -> None:
    seen = [plans_counted(api)]
    for method, path, status, body in (
        ("POST", "hosts", 201, {"name": "web1"}),
        ("PATCH", "hosts/web1", 200, {"secrets": {"k": "v"}}),
        ("PUT", "hosts/web1", 200, {"address": "192.0.2.1"}),
        ("DELETE", "hosts/web1", 204, None),
    ):
        api.send(method, path, status, json=body)
        seen.append(plans_counted(api))
    assert seen == sorted(set(seen))


def test_every_change_stands_in_the_audit_log_without_secrets(api: Api) -> None:
    make(api, "web1", secrets={"api_key": "hidden1"}, labels={"a": "1"})
    api.send("PATCH", "hosts/web1", 200, json={"secrets": {"api_key": "hidden2"}})
    api.send("DELETE", "hosts/web1", 204)
    entries = api.get("audit", params={"kind": "host", "name": "web1"})["items"]
    assert [entry["action"] for entry in entries] == ["host.delete", "host.update", "host.create"]
    deleted, updated, created = entries
    assert created["before"] is None and created["after"]["labels"] == {"a": "1"}
    assert updated["after"]["secrets_set"] == ["api_key"]
    assert deleted["after"] is None and deleted["before"]["secrets"] == ["api_key"]
    assert "hidden" not in str(entries)


def test_a_host_that_a_deployment_is_at_is_not_deleted(api: Api) -> None:
    make(api, "web1", "web2")
    with api.context.database.write() as session:
        deployment = Deployment(release=1)
        session.add(deployment)
        session.flush()
        host_id = session.scalars(select(Host.id).where(Host.name == "web1")).one()
        session.add(HostLock(host_id=host_id, deployment_id=deployment.id))
        number = deployment.id
    problem = api.send("DELETE", "hosts/web1", 409)
    assert f"deployment {number}" in problem["detail"]
    assert names(api.get("hosts")) == ["web1", "web2"]
    api.send("DELETE", "hosts/web2", 204)
    api.get("hosts/web2", 404)


def fill(api: Api) -> None:
    """Five hosts that differ in what lists filter by."""
    api.send("POST", "hostgroups", 201, json={"name": "odd"})
    for number in range(5):
        make(
            api,
            f"h{number}",
            address=f"10.0.0.{number}",
            agent_kind="falcon" if number == 4 else "executor",
            labels={"idc": "bj" if number < 3 else "sh", "n.o/x": str(number)},
            hostgroups=["odd"] if number % 2 else [],
        )
    beginning = now()
    with api.context.database.write() as session:
        plans = digests(session, api.context.vault)
        digest = plans[session.scalars(select(Host.id).where(Host.name == "h1")).one()]
        for number, state in enumerate(HostState):
            session.execute(
                update(Host)
                .where(Host.name == f"h{number}")
                .values(
                    state=state.value,
                    state_since=beginning - timedelta(hours=number),
                    reported_release=number or None,
                    # Or the controller would find out by itself that it is none of a converged host.
                    reported_plan=digest if state == HostState.CONVERGED else "",
                    last_heartbeat=beginning - timedelta(minutes=number) if number > 2 else None,
                )
            )


FILTERS: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "01234"),
    ({"q": "H3"}, "3"),
    ({"q": "10.0.0.2"}, "2"),
    ({"q": "%"}, ""),
    ({"state": "drifted"}, "2"),
    ({"state": ["drifted", "failed"]}, "23"),
    ({"hostgroup": "odd"}, "13"),
    ({"hostgroup": "all"}, "01234"),
    ({"label": "idc=bj"}, "012"),
    ({"label": ["idc=bj", "n.o/x=1"]}, "1"),
    ({"label": "idc="}, ""),
    ({"agent_kind": "falcon"}, "4"),
    ({"release": 3}, "3"),
    ({"label": "idc=sh", "hostgroup": "odd", "state": "failed"}, "3"),
)


def test_lists_are_filtered(api: Api) -> None:
    fill(api)
    for query, found in FILTERS:
        rows = names(api.get("hosts", params=query))
        assert "".join(name[1:] for name in rows) == found, query


SORTS = (
    ("name", "01234"),
    ("-name", "43210"),
    ("-state_since", "01234"),
    ("state_since", "43210"),
    ("last_heartbeat", "43012"),  # those without one at the end
    ("-last_heartbeat", "34210"),
    ("reported_release", "12340"),
    ("state", "12304"),
)


def test_lists_are_sorted_and_come_by_page(api: Api) -> None:
    fill(api)
    for (sort, order), limit in product(SORTS, (2, 500)):
        found, cursor = "", ""
        while cursor is not None:
            page = api.get("hosts", params={"sort": sort, "limit": limit, "cursor": cursor})
            found += "".join(name[1:] for name in names(page))
            cursor = page["next"]
        assert found == order, (sort, limit)


IMPOSSIBLE_FILTERS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"state": "sleepy"}, "query.state.0"),
    ({"label": "idc"}, "query.label.0"),
    ({"label": ["idc=bj", "idc=sh"]}, "query.label"),
    ({"label": "a b=c"}, "query.label.0"),
    ({"hostgroup": "nosuch"}, "query.hostgroup"),
    ({"agent_kind": "x"}, "query.agent_kind"),
    ({"release": "1e3"}, "query.release"),
    ({"release": str(2**63)}, "query.release"),
    ({"sort": "secrets"}, "query.sort"),
    ({"q": "a\x00b"}, "query.q"),
    ({"q": "x" * 10_240}, "query.q"),
    ({"limit": 501}, "query.limit"),
)


def test_a_filter_that_cannot_be_is_refused(api: Api) -> None:
    for query, field in IMPOSSIBLE_FILTERS:
        problem = api.get("hosts", 422, params=query)
        assert field in [entry["field"] for entry in problem["fields"]], problem


def test_a_viewer_looks_and_changes_nothing(api: Api) -> None:
    make(api, "web1")
    viewer = api.connect(api.token_of(Scope.VIEWER))
    assert viewer.get("hosts/web1").status_code == 200
    assert viewer.post("hosts", json={"name": "web2"}).status_code == 403
    assert viewer.patch("hosts/web1", json={"address": "x"}).status_code == 403
    assert viewer.delete("hosts/web1").status_code == 403
    assert viewer.post("hosts/import?format=json", json=[]).status_code == 403
