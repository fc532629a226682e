"""`plugfleet token` and `plugfleet audit`."""

from __future__ import annotations

import pytest

from tests.controller.cli.conftest import Command
from tests.controller.server import Api


def test_a_token_is_made_shown_once_and_revoked(api: Api, plugfleet: Command) -> None:
    made = plugfleet("token", "create", "ci", "--scope", "operator", "--expires", "30d")
    text = made.out.strip()
    assert api.connect(text).get("tokens/current").json()["scope"] == "operator"
    assert "shown this once" in made.err
    listed = plugfleet("token", "list")
    assert "ci" in listed.out and text not in listed.out
    plugfleet("token", "revoke", "ci")
    assert api.connect(text).get("tokens/current").status_code == 401


def test_a_lost_admin_token_is_replaced_on_the_controllers_machine(
    api: Api, plugfleet: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGFLEET_DATA_DIR", str(api.context.settings.data_dir))
    monkeypatch.setenv("PLUGFLEET_DATABASE_URL", api.context.settings.database)
    monkeypatch.setenv("PLUGFLEET_TOKEN", "")
    made = plugfleet("token", "rescue", "--json").json()
    assert made["name"].startswith("rescue-") and made["scope"] == "admin"
    monkeypatch.setenv("PLUGFLEET_TOKEN", made["token"])
    plugfleet("token", "revoke", "admin")
    (entry,) = plugfleet("audit", "--name", made["name"], "--json").json()
    assert (entry["actor"], entry["action"]) == ("console of the machine", "token.create")
    assert made["token"] not in str(entry)
    assert "there is a token 'admin'" in plugfleet("token", "rescue", "admin", code=2).err
    assert "is no name" in plugfleet("token", "rescue", "a b", code=2).err


def test_the_audit_log_shows_who_changed_what(plugfleet: Command) -> None:
    plugfleet("token", "create", "ci")
    entries = plugfleet("audit", "--name", "ci", "--json").json()
    assert [(entry["actor"], entry["action"]) for entry in entries] == [("admin", "token.create")]
    shown = plugfleet("audit", "--since", "1h", "--kind", "token").out
    assert "token.create" in shown and "scope: viewer" in shown


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("token", "create", "a/b"), "body.name"),
        (("token", "create", "x", "--expires", "soon"), "write 12h, 30d, 8w or 2027-01-31"),
        (("token", "create", "x", "--expires", "2001-01-01"), "future"),
        (("token", "create", "x", "--group", "nowhere"), "nowhere"),
        (("token", "revoke", "nobody"), "there is no token 'nobody'"),
        (("token", "revoke", "../tokens"), "is no name"),
        (("audit", "--since", "tomorrow"), "no span or date"),
    ],
)
def test_what_cannot_be_is_refused_with_exit_code_2(
    plugfleet: Command, words: tuple[str, ...], says: str
) -> None:
    run = plugfleet(*words, code=2)
    assert says in run.err and run.out == ""
