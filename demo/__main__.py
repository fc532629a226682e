"""Runs the demo: a controller that deploys, then waits for data of every bound plugin of every host."""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.controller import DemoController, StartFailed, end_former
from demo.hosts import DemoHost, make_hosts, make_source

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER = CHECKOUT / ".plugfleet" / "demo"
LOCK = FOLDER.with_suffix(".lock")
PATIENCE = 90  # seconds until every plugin must have delivered

# As wide as the longest binding needs: a terminal that is narrower folds lines, a log has room.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the table")
    once = parser.parse_args().once
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = LOCK.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        console.print("A demo runs already in this checkout; end it with Ctrl-C first.")
        return 1
    end_former(FOLDER / "controller")
    hosts = make_hosts(FOLDER)
    controller: DemoController | None = None
    try:
        source = make_source(FOLDER, CHECKOUT / "plugins")
        controller = DemoController(FOLDER / "controller")
        console.print(f"A controller listens on [bold]{controller.url}[/].")
        controller.fill(hosts, source)
        for words in (["release", "publish"], ["deploy"]):
            console.print(f"[bold]$ plugfleet {' '.join(words)}[/]")
            if status := controller.run(*words):
                console.print(f"[red]plugfleet {words[0]} failed[/] with exit code {status}.")
                return 1
        missing = _wait_for_data(hosts)
        _print_table(hosts)
        if missing:
            console.print(f"[red]No data within {PATIENCE} s[/] from:")
            for line in missing:
                console.print(f"  {line}")
            return 1
        console.print("[green]Every bound plugin of every host has delivered data.[/]\n")
        _point_further(hosts, controller, stays=not once)
        while not once:
            time.sleep(3600)
        return 0
    except StartFailed as error:
        console.print(f"[red]The controller did not do its part:[/]\n{error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nEnding the controller and the demo hosts' executors.")
        return 0
    finally:
        if controller:
            controller.stop()
        for host in hosts:
            host.stop()


def _arrived(host: DemoHost) -> Counter[str]:
    """Samples of a host that arrived where its executor was told to send them, by metric."""
    try:
        lines = host.metrics_file.read_text().splitlines()
    except FileNotFoundError:
        return Counter()
    return Counter(str(json.loads(line)["metric"]) for line in lines)


def _wait_for_data(hosts: list[DemoHost]) -> list[str]:
    """Wait until every plugin has delivered; returns a line for each that has not."""
    deadline = time.monotonic() + PATIENCE
    with console.status("Waiting for every plugin's first data"):
        while True:
            missing = [line for host in hosts for line in _missing(host)]
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(0.5)


def _missing(host: DemoHost) -> list[str]:
    plugins = host.plugins()
    if not plugins:
        return [f"{host.name}: its executor does not answer on port {host.port}"]
    arrived = _arrived(host)
    missing = []
    for key, state in plugins.items():
        newest = state["LastValue"]
        # /plugins names a counter as Open-Falcon does: metric/tags.
        if not newest or newest["metric"].partition("/")[0] not in arrived:
            missing.append(f"{host.name}: {key}: {state['Reason'] or state['State']}")
    return missing


def _print_table(hosts: list[DemoHost]) -> None:
    table = Table(title="Delivered by each plugin", title_justify="left")
    for name in ("host", "plugin", "step", "last run", "samples", "newest value"):
        numeric = name in ("step", "samples")
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for host in hosts:
        for number, (key, state) in enumerate(sorted(host.plugins().items())):
            newest = state["LastValue"]
            when = time.strftime("%H:%M:%S", time.localtime(state["LastRun"]))
            table.add_row(
                host.name if number == 0 else "",
                key,
                f"{state['Cycle']} s",
                when if state["LastRun"] else "-",
                str(state["Samples"]),
                f"{newest['metric']} = {newest['value']:g}" if newest else state["Reason"] or "-",
            )
        table.add_section()
    console.print()
    console.print(table)


def _point_further(hosts: list[DemoHost], controller: DemoController, *, stays: bool) -> None:
    token = controller.viewer_token()
    console.print(f"The controller: {controller.url}   a token that may only look: {token}")
    if not stays:
        return
    first = hosts[0]
    folder = FOLDER.relative_to(CHECKOUT)
    plugfleet = f"{Path(sys.executable).parent.relative_to(CHECKOUT)}/plugfleet"
    console.print(
        "Where to look further:\n"
        f"  its REST interface, with a form for each request   {controller.url}/docs\n"
        f"  on the command line                export PLUGFLEET_URL={controller.url} "
        f"PLUGFLEET_TOKEN={token}\n"
        f"    {plugfleet} status\n"
        f"    {plugfleet} host show {first.name}\n"
        f"  what {first.name} runs                   curl http://127.0.0.1:{first.port}/plugins\n"
        f"  its metrics for Prometheus         curl http://127.0.0.1:{first.port}/metrics\n"
        f"  its metrics as they arrive         tail -f "
        f"{first.metrics_file.relative_to(CHECKOUT)}\n"
        f"  what the controller logs           tail -f {controller.log.relative_to(CHECKOUT)}\n"
        f"  a drift audit: edit a file below {folder}/hosts, then\n"
        f"    PLUGFLEET_TOKEN={controller.token} {plugfleet} deploy --all --check\n"
        "Ctrl-C ends the demo.",
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
