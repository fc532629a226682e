"""`plugfleet status`: the fleet at a glance."""

from __future__ import annotations

from typing import Any

import typer

from controller.cli import deploy, host, output
from controller.cli.client import Client
from controller.cli.options import AsJson, open_client

_SHOWN = 10


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show hosts by state, the newest release, running deployments, and what failed last."""
    with open_client(ctx) as client:
        found = client.get("overview")
        found["running"] = _running(client, found["deployments"])
        found["failures"] = list(
            client.items(
                "hosts", limit=_SHOWN, state=["failed", "unreachable"], sort="-state_since"
            )
        )
    if as_json:
        output.show_json(found)
        return
    _show(found)


def _running(client: Client, counts: dict[str, int]) -> list[Any]:
    """The newest deployments of the states that are counted: those that have not ended."""
    rows: dict[int, Any] = {}
    # All of them, in the order in which a deployment goes through them: what moves on meanwhile is
    # found in its next state.
    for state in counts:
        for row in client.items("deployments", limit=_SHOWN, status=state):
            rows[row["id"]] = row
    return list(rows.values())


def _show(found: dict[str, Any]) -> None:
    total = sum(found["hosts"].values())
    output.say(f"{total} host{'' if total == 1 else 's'}", "bold")
    output.show_table(
        ({"state": state, "hosts": number} for state, number in found["hosts"].items() if number),
        (output.Column("State", "state", state=True), output.Column("Hosts", "hosts", right=True)),
    )
    release = found["release"]
    if release:
        behind = f"; {found['behind']} hosts do not report it" if found["behind"] else ""
        output.say(
            f"\nNewest release: {release['number']} ({release['commit'][:12]}), published by "
            f"{release['by']} {output.ago(release['created'])} ago{behind}"
        )
    else:
        output.say("\nNothing was published yet.")
    if found["running"]:
        output.say("\nDeployments that have not ended", "bold")
        output.show_table(found["running"], deploy.COLUMNS)
    if found["failures"]:
        output.say("\nHosts that failed last", "bold")
        output.show_table(found["failures"], host.COLUMNS)
