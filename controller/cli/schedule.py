"""`plugfleet schedule`: deployments that begin by themselves, here or in AWX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import segment
from controller.cli.completion import schedule_names
from controller.cli.deploy import Wait, finish
from controller.cli.exits import CommandError
from controller.cli.options import AsJson, Limit, open_client, patch
from controller.cli.removal import remove_each
from controller.cli.scheduleoptions import (
    RULE,
    Batch,
    Check,
    Description,
    Enabled,
    Every,
    Grace,
    Groups,
    Hosts,
    In,
    MaxLost,
    Missed,
    Name,
    Overlap,
    Place,
    Refuse,
    WhenMissed,
    WhenOverlapping,
    said_of,
)
from controller.cli.showing import show_list

app = typer.Typer(help="Deployments that begin by themselves.", no_args_is_help=True)


@app.command("list")
def list_schedules(ctx: typer.Context, limit: Limit = None, as_json: AsJson = False) -> None:
    """List schedules, with their next turn and what came of the last."""
    show_list(ctx, "schedules", _COLUMNS, limit=limit, as_json=as_json)


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a schedule: what it deploys, its next times, and what came of its last turn."""
    with open_client(ctx) as client:
        found = client.get(f"schedules/{segment(name)}")
    if as_json:
        output.show_json(found)
    else:
        output.show_fields({key: value for key, value in _told(found).items() if value})


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.")],
    rrule: Annotated[str, typer.Argument(help=f"When, {RULE}.")],
    hosts: Hosts = None,
    group: Groups = None,
    every: Every = None,
    check: Check = None,
    batch: Batch = None,
    max_lost: MaxLost = None,
    refuse: Refuse = None,
    description: Description = None,
    enabled: Enabled = None,
    runs_in: In = None,
    missed: WhenMissed = None,
    grace: Grace = None,
    overlap: WhenOverlapping = None,
    as_json: AsJson = False,
) -> None:
    """Make a schedule; with no hosts and no hostgroups it deploys to every host that needs it.

    It has the rights of the token that makes it.
    """
    deploy = _deploys(hosts, group, every, check, batch, max_lost, refuse)
    body = _fields(description, enabled, runs_in, missed, grace, overlap)
    body |= {"name": name, "rrule": rrule, "deploy": deploy}
    with open_client(ctx) as client:
        made = client.start("schedules", body)
    _say(made, f"Added schedule {name}", as_json=as_json)


@app.command()
def edit(
    ctx: typer.Context,
    name: Name,
    rrule: Annotated[str | None, typer.Option(help=f"When, {RULE}.")] = None,
    hosts: Hosts = None,
    group: Groups = None,
    every: Every = None,
    check: Check = None,
    batch: Batch = None,
    max_lost: MaxLost = None,
    refuse: Refuse = None,
    description: Description = None,
    enabled: Enabled = None,
    runs_in: In = None,
    missed: WhenMissed = None,
    grace: Grace = None,
    overlap: WhenOverlapping = None,
    as_json: AsJson = False,
) -> None:
    """Change some of a schedule; the rest stays. It has your token's rights from then on.

    Hosts and hostgroups are taken together: naming some of either puts them in the place of all before.
    """
    deploy = _deploys(hosts, group, every, check, batch, max_lost, refuse)
    body = _fields(description, enabled, runs_in, missed, grace, overlap)
    body |= {"rrule": rrule} if rrule is not None else {}
    path = f"schedules/{segment(name)}"
    with open_client(ctx) as client:
        headers = {}
        if deploy:
            found, version = client.get_with_etag(path)
            headers = {"If-Match": version}
            if "hosts" in deploy or "hostgroups" in deploy:
                deploy = {"hosts": [], "hostgroups": []} | deploy
            body["deploy"] = found["deploy"] | deploy
        changed = client.send("PATCH", path, body=patch(body, {}), headers=headers)
    _say(changed, f"Changed schedule {name}", as_json=as_json)


@app.command()
def remove(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Their names.", autocompletion=schedule_names)],
    forget: Annotated[
        bool, typer.Option("--forget", help="At once, also while AWX does not answer.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove schedules. One that AWX has goes as soon as it is gone there."""
    with open_client(ctx) as client:
        remove_each(
            client, "schedule", "schedules", names, as_json=as_json, told=_goes_later, forget=forget
        )


@app.command()
def preview(
    ctx: typer.Context,
    rrule: Annotated[str, typer.Argument(help=f"When, {RULE}.")],
    count: Annotated[int, typer.Option(min=1, max=100, help="How many times to tell.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Tell when a rule falls due, or what is wrong with it; nothing is kept."""
    with open_client(ctx) as client:
        found = client.send("POST", "schedules/preview", body={"rrule": rrule, "count": count})
    if as_json:
        output.show_json(found)
        return
    for time in found["times"]:
        output.say(time)


@app.command()
def run(ctx: typer.Context, name: Name, wait: Wait = True, as_json: AsJson = False) -> None:
    """Start what a schedule deploys now, with your token's rights; its turns stay as they are."""
    with open_client(ctx) as client:
        started = client.start(f"schedules/{segment(name)}/run")
        finish(client, client.get(f"deployments/{started['id']}"), wait=wait, as_json=as_json)


_COLUMNS = (
    output.Column("Schedule", "name"),
    output.Column("In", lambda row: _place(row)),
    output.Column("Next", lambda row: row["next"] or ("over" if row["over"] else "")),
    output.Column("Last turn", lambda row: (row["turn"] or {}).get("outcome"), state=True),
    output.Column("When", lambda row: _ago(row["turn"])),
    output.Column("Deployment", lambda row: (row["deployment"] or {}).get("id"), right=True),
    output.Column("Status", lambda row: _status(row), state=True),
    output.Column("Why", lambda row: _why(row)),
)


def _goes_later(row: Mapping[str, Any]) -> str:
    return f"Schedule {row['name']} goes when it is gone from AWX: {row['awx']['state']}."


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule as a person reads it."""
    turn, deployment, awx = row["turn"], row["deployment"], row["awx"] or {}
    deploys = said_of(row["deploy"])
    at_awx = [awx.get("state"), awx.get("url"), awx.get("corrected")]
    job = awx.get("job")
    return {
        "name": row["name"],
        "description": row["description"],
        "rule": row["rrule"],
        "in": _place(row),
        "deploys": deploys or "every host that needs it",
        "missed": row["missed"],
        "grace": row["grace"],
        "overlap": row["overlap"],
        "rights of": row["owner"],
        "next turn": _joined([row["next"], row["over"]]),
        "next times": row["times"],
        "last turn": turn and f"{turn['outcome']} {_ago(turn)}, was due at {turn['due']}",
        "why": turn and turn["reason"],
        "deployment": deployment
        and _joined([str(deployment["id"]), deployment["status"], deployment["reason"]]),
        "AWX": _joined(at_awx),
        "last job": job and _joined([job["status"], job["finished"], job["url"]]),
    }


def _place(row: Mapping[str, Any]) -> str:
    away = ", being removed" if row["removing"] else "" if row["enabled"] else ", disabled"
    return str(row["runs_in"]) + away


def _joined(parts: Iterable[str | None]) -> str:
    return "; ".join(part for part in parts if part)


def _ago(turn: Mapping[str, Any] | None) -> str:
    return f"{output.ago(turn['at'])} ago" if turn else ""


def _status(row: Mapping[str, Any]) -> str:
    """Of the last deployment, or of the last job where AWX takes the turns."""
    of = row["awx"]["job"] if row["awx"] and row["awx"]["job"] else row["deployment"]
    return str(of["status"]) if of else ""


def _why(row: Mapping[str, Any]) -> str:
    parts = [(row["turn"] or {}).get("reason"), (row["deployment"] or {}).get("reason")]
    parts.append(row["over"])
    parts.append(row["awx"] and f"AWX: {row['awx']['state']}")
    return _joined(parts)


def _deploys(
    hosts: list[str] | None,
    group: list[str] | None,
    every: bool | None,
    check: bool | None,
    batch: int | None,
    max_lost: int | None,
    refuse: bool | None,
) -> dict[str, Any]:
    """What was said of the deployment."""
    named = None
    if hosts:
        named = [name.strip() for text in hosts for name in text.split(",") if name.strip()]
        if not named:
            raise CommandError("--hosts names no host")
    conflict = None if refuse is None else "refuse" if refuse else "wait"
    return _given(
        hosts=named,
        hostgroups=group or None,
        all=every,
        check=check,
        batch_size=batch,
        max_lost=max_lost,
        conflict=conflict,
    )


def _fields(
    description: str | None,
    enabled: bool | None,
    runs_in: Place | None,
    missed: Missed | None,
    grace: int | None,
    overlap: Overlap | None,
) -> dict[str, Any]:
    """What was said of the schedule itself."""
    fields = _given(description=description, enabled=enabled, runs_in=runs_in, grace=grace)
    if missed is not None:
        fields["missed"] = None if missed is Missed.DEFAULT else missed
        if missed is not Missed.ONCE:
            fields["grace"] = grace
    if overlap is not None:
        fields["overlap"] = None if overlap is Overlap.DEFAULT else overlap
    return fields


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _say(schedule: Mapping[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        output.show_json(schedule)
        return
    following = schedule["next"] or _joined(["none", schedule["over"]])
    awx = f" AWX: {schedule['awx']['state']}." if schedule["awx"] else ""
    output.say(f"{done}. Its next turn: {following}.{awx}")
