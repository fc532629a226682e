"""`python -m tests.fleet`: a test fleet by hand, to try things on."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import FleetError, LoopbackFleet, NamespaceFleet, SystemdFleet, debian, ledger, procs
from .fleet import Fleet
from .removal import SIGN
from .systemd_base import base

KINDS: dict[str, type[Fleet[Any]]] = {
    "loopback": LoopbackFleet,
    "namespace": NamespaceFleet,
    "systemd": SystemdFleet,
}


def up(options: argparse.Namespace) -> None:
    """Starts a fleet, prints its inventory's path, and stays until SIGINT or SIGTERM."""
    groups = {}
    for word in options.group:
        name, _, hosts = word.partition("=")
        groups[name] = hosts.split(",")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    began = time.monotonic()
    with KINDS[options.kind](options.hosts, options.dir) as fleet:
        try:
            path = fleet.inventory(groups=groups)
            seconds = time.monotonic() - began
            print(f"{options.hosts} {options.kind} hosts up in {seconds:.1f} s", file=sys.stderr)
            there = " ".join(fleet.control(["ssh", "-F", str(fleet.ssh_config)]))
            print(f"reach one: {there} {fleet.hosts[0].name}", file=sys.stderr)
            print("end them with Ctrl-C", file=sys.stderr, flush=True)
            print(path, flush=True)
            while True:
                signal.pause()
        except KeyboardInterrupt:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # one is enough; the end is on its way


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def down(options: argparse.Namespace) -> None:
    """Ends the fleet of a folder, or removes what is left of one whose owner died."""
    folder = options.dir.absolute()
    try:
        place = ledger.registry() / (folder / SIGN).read_text()
    except FileNotFoundError:
        raise FleetError(f"{folder}: no fleet is there") from None
    owner = ledger.owner_of(place)
    if owner is None:
        raise FleetError(f"{folder}: its fleet is not known to this user; remove the folder")
    process = procs.Process(owner["pid"], owner["start"])
    if not ledger.owner_lives(owner):
        ledger.sweep()
        return
    if not owner["command"].endswith("fleet/__main__.py"):
        raise FleetError(
            f"{folder}: belongs to process {process.pid} ({owner['command']}), which ends it itself"
        )
    procs.send(process, signal.SIGTERM)
    if not procs.wait_until(lambda: not procs.alive(process), 30):
        raise FleetError(f"{folder}: its owner, process {process.pid}, does not end")


def check(options: argparse.Namespace) -> None:
    """Says whether a kind of fleet can be made here."""
    debian.require(options.kind)
    print(f"{options.kind}: ready")


def main(words: list[str] | None = None) -> int:
    """The command; returns the exit code (2: wrong use, 1: could not)."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for act in (up, down, check):
        command = commands.add_parser(act.__name__, help=act.__doc__, description=act.__doc__)
        command.set_defaults(act=act)
        if act is not down:
            command.add_argument("--kind", choices=KINDS, default="loopback")
        if act is not check:
            command.add_argument("--dir", type=Path, required=True, help="the fleet's own folder")
        if act is up:
            command.add_argument("--hosts", type=int, default=5, metavar="N")
            command.add_argument("--group", action="append", default=[], metavar="NAME=HOST,HOST")
    for name, act_all, text in (
        ("reap", reap, "Removes what owners that died left behind."),
        ("base", make_base, "Makes the systemd hosts' base tree, once, and prints its path."),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(act=act_all)
    options = parser.parse_args(words)
    try:
        options.act(options)
    except FleetError as error:
        print(f"tests.fleet: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def reap(_: argparse.Namespace) -> None:
    """Removes what dead owners left behind."""
    for name in ledger.sweep():
        print(f"removed what fleet {name} left behind")


def make_base(_: argparse.Namespace) -> None:
    """Makes the systemd hosts' base."""
    debian.require("systemd")
    print(base())


if __name__ == "__main__":
    sys.exit(main())
