"""What making, changing and showing a schedule share: options, and what there is to say of a deployment."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from controller.cli.completion import host_names, hostgroup_names, schedule_names


class Place(enum.StrEnum):
    """Who takes the turns."""

    CONTROLLER = "controller"
    AWX = "awx"


class Missed(enum.StrEnum):
    """What becomes of turns that nobody took."""

    DEFAULT = "default"
    SKIP = "skip"
    ONCE = "once"


class Overlap(enum.StrEnum):
    """What becomes of a turn while the deployment before goes on."""

    DEFAULT = "default"
    SKIP = "skip"
    WAIT = "wait"


Name = Annotated[str, typer.Argument(help="Its name.", autocompletion=schedule_names)]
RULE = "e.g. 'DTSTART;TZID=Europe/London:20261122T020000 RRULE:FREQ=DAILY;INTERVAL=1'"
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--hosts",
        help="These hosts, separated by commas; may be given again.",
        autocompletion=host_names,
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        "-g",
        help="Members of this hostgroup; may be given again. `all` is every host.",
        autocompletion=hostgroup_names,
    ),
]
Every = Annotated[
    bool | None, typer.Option("--all/--behind", help="Also hosts that report their plan, or not.")
]
Check = Annotated[bool | None, typer.Option("--check/--no-check", help="Only look, or deploy.")]
Batch = Annotated[int | None, typer.Option(min=0, help="Hosts of a wave; 0 puts all into one.")]
MaxLost = Annotated[
    int | None,
    typer.Option(min=0, help="Later waves begin only if no more hosts than this were lost."),
]
Refuse = Annotated[
    bool | None,
    typer.Option(
        "--refuse/--wait-for-hosts",
        help="Do not wait for a deployment that holds some of the hosts, or do.",
    ),
]
Description = Annotated[str | None, typer.Option(help="For people.")]
Enabled = Annotated[bool | None, typer.Option("--enable/--disable", help="Take turns, or none.")]
In = Annotated[
    Place | None, typer.Option("--in", help="Who takes the turns: the controller, or AWX.")
]
WhenMissed = Annotated[
    Missed | None,
    typer.Option(
        "--missed", help="Turns that fell due while no controller ran: skip (the default), or once."
    ),
]
Grace = Annotated[
    int | None, typer.Option(min=60, help="With --missed once: seconds that a turn may begin late.")
]
WhenOverlapping = Annotated[
    Overlap | None,
    typer.Option(
        help="While the deployment of the turn before goes on: skip (the default), or wait."
    ),
]


def said_of(deploy: Mapping[str, Any]) -> dict[str, Any]:
    """What a schedule's deployment says beyond what every one does that is not told otherwise."""
    return {key: value for key, value in deploy.items() if value not in ([], False, 0, "wait")}
