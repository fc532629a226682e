#!/usr/bin/env python3
"""Check TCP ports for ever, one measurement line after each check (plugin.json describes it).

Reads param.json in the working folder: {"items": [{"host", "port", "timeout", "pollInterval",
"source"}]}, times in milliseconds. Prints `METRIC value source timestamp`, the timestamp in
milliseconds, and on stderr what is wrong with an item. One process serves all items.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time

TYPE_CHECKING = False  # typing itself would cost milliseconds at every start
if TYPE_CHECKING:
    from typing import NoReturn

LEAST_INTERVAL = 1.0  # seconds
printing = threading.Lock()


class Item:
    """One port to check; `timeout` and `interval` in seconds."""

    __slots__ = ("host", "interval", "port", "source", "timeout")

    def __init__(self, params: object) -> None:
        if not isinstance(params, dict):
            raise ValueError("is not an object")
        host = params.get("host")
        if not isinstance(host, str) or not host.strip():
            raise ValueError("host is missing: name the host or its address")
        self.host = host.strip()
        self.port = int(number(params, "port", 0))
        if not 0 < self.port < 65536:
            raise ValueError("port must be 1 to 65535")
        self.timeout = number(params, "timeout", 3000) / 1000
        self.interval = max(LEAST_INTERVAL, number(params, "pollInterval", 10000) / 1000)
        if self.timeout <= 0:
            raise ValueError("timeout must be above 0 ms")
        # A quote would end the quoted source, a control character the line.
        source = str(params.get("source") or "").strip() or f"{self.host}:{self.port}"
        self.source = "".join(c if c.isprintable() and c not in "\"'" else "_" for c in source)


def number(params: dict[str, object], name: str, default: float) -> float:
    """Return a number that may have been typed as text; raises ValueError naming the field."""
    value = params.get(name)
    if value is None or value == "":
        return default
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            found = float(value)
            if abs(found) < 1e12:  # neither infinite nor NaN
                return found
    except ValueError:
        pass
    raise ValueError(f"{name} must be a number, not {json.dumps(value)}")


def leave(reason: str) -> NoReturn:
    """End the process with one line of reason."""
    sys.stderr.write(f"portcheck: {' '.join(reason.split())}\n")
    sys.stderr.flush()
    os._exit(1)  # the other items' threads never end by themselves


def read_items(path: str) -> list[Item]:
    """Return the items that can be checked, and name the others on stderr."""
    try:
        with open(path, encoding="utf-8") as file:
            params = json.load(file)
    except OSError as error:
        leave(f"cannot read {path}: {error.strerror}")
    except ValueError as error:
        leave(f"{path} is not valid JSON: {error}")
    listed = params.get("items") if isinstance(params, dict) else None
    if not isinstance(listed, list) or not listed:
        leave(f"{path} has no items: give the plugin at least one host and port")
    items = []
    for index, item in enumerate(listed):
        try:
            items.append(Item(item))
        except ValueError as error:
            # One item's mistake is no reason to leave the others unwatched.
            print(f"portcheck: item {index}: {error}", file=sys.stderr, flush=True)
    if not items:
        leave(f"none of the {len(listed)} items of {path} can be checked")
    return items


def report(metric: str, value: str, source: str) -> None:
    """Print one measurement; ends the process when nobody reads any more."""
    shown = f'"{source}"' if " " in source else source
    line = f"{metric} {value} {shown} {int(time.time() * 1000)}\n"
    try:
        with printing:
            sys.stdout.buffer.write(line.encode("utf-8", "replace"))
            sys.stdout.buffer.flush()
    except OSError:
        os._exit(0)


def check(item: Item) -> None:
    """Connect once and report it."""
    started = time.monotonic()
    try:
        socket.create_connection((item.host, item.port), item.timeout).close()
    except (OSError, UnicodeError):
        report("PORTCHECK_UP", "0", item.source)
        return
    took = (time.monotonic() - started) * 1000
    report("PORTCHECK_UP", "1", item.source)
    report("PORTCHECK_CONNECT_TIME", f"{took:.3f}", item.source)


def watch(item: Item) -> None:
    """Check one item at a fixed rate, for ever; a slow check drops the ticks that it covers."""
    due = time.monotonic()
    while True:
        check(item)
        missed = int((time.monotonic() - due) / item.interval)
        due += (missed + 1) * item.interval
        time.sleep(max(0.0, due - time.monotonic()))


def main() -> NoReturn:
    for item in read_items("param.json"):
        threading.Thread(target=watch, args=(item,), daemon=True).start()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(130)
