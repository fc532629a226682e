"""Running a plugin once, and making metrics of what it prints (plugins/scheduler.go:107-188)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

from tests.falcon.configuration import Config, log, panic, panic_at_nil

# The fields of a metric and what Go takes for them; keys count whatever their case.
_FIELDS: dict[str, type] = {
    "endpoint": str, "metric": str, "value": object, "step": int, "countertype": str, "tags": str,
    "timestamp": int,
}  # fmt: skip


def split_arguments(text: str) -> list[str]:
    """The agent's own parser (scheduler.go:65-105), with its ways."""
    found: list[str] = []
    escaped = joined = False
    for part in text.split(","):
        ends = part.endswith("\\")
        piece = (part[:-1] if ends else part).strip(" ").strip('"').strip("'")
        # An escaped comma works neither in the first argument nor twice in one.
        if escaped and len(found) > 1 and not joined:
            found[-1] += "," + piece
            joined = True
        else:
            found.append(piece)
            joined = False
        escaped = ends
    return found[:-1] if len(found) > 1 and not found[-1] else found


class Execution:
    """Runs one plugin.

    Args:
        records: the folder that stands for transfer: `metrics.jsonl`.
        version: 0.2.1, 0.3 or master.
    """

    def __init__(self, config: Config, records: str, version: str) -> None:
        self._config, self._records, self._version = config, records, version

    def run(self, path: str, args: str, cycle: int) -> None:
        """Run it once, and wait for it."""
        command = os.path.normpath(os.path.join(self._config.of("plugin", "dir"), path))
        if not os.path.exists(command):
            log(f"no such plugin: {command}")
            return
        if self._version == "0.2.1":
            log("Setpgid failed")
        try:
            process = subprocess.Popen(
                [command, *(split_arguments(args) if args else [])],
                executable=os.path.abspath(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=lambda: os.setpgid(0, 0),
            )
        except OSError as error:
            if self._version == "0.2.1" and isinstance(error, PermissionError):
                panic_at_nil()
            log(f"[ERROR] plugin start fail: {command}() , error: fork/exec {command}: {error}")
            return
        try:
            # Until its output is closed: a child in the background holds it open.
            stdout, stderr = process.communicate(timeout=cycle - 0.5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            log(f"[INFO] timeout, process:{command} will be killed")
            return
        if stderr:
            # Its exit status is forgotten over this: what it printed counts.
            if not self._write_stderr(path, args, stderr):
                return
        elif process.returncode:
            log(f"[ERROR] exec plugin {command} fail. error: exit status {process.returncode}")
            return
        self._push(command, args, stdout)

    def _write_stderr(self, path: str, args: str, text: bytes) -> bool:
        name = path if self._version == "0.2.1" else f"{path}({args})"
        target = os.path.join(self._config.of("plugin", "logs"), name + ".stderr.log")
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(text)
        except OSError as error:
            log(f"[ERROR] write log to {target} fail: {error}")
            return False
        return True

    def _push(self, command: str, args: str, stdout: bytes) -> None:
        if not stdout:
            log(f"[DEBUG] stdout of {command} is blank")
            return
        try:
            metrics = json.loads(stdout)
            if not isinstance(metrics, list):
                raise ValueError("cannot unmarshal object into Go value of type []*MetricValue")
            read = [None if metric is None else _read(metric) for metric in metrics]
        except ValueError as error:
            log(f"[ERROR] json.Unmarshal stdout of {command}({args}) fail. error:{error} stdout:")
            return
        tags = self._config.values.get("default_tags") or {}
        if tags and None in read:
            panic_at_nil()
        for metric in filter(None, read):
            own = [metric["tags"]] if metric["tags"] else []
            metric["tags"] = ",".join(own + [f"{name}={value}" for name, value in tags.items()])
        with open(os.path.join(self._records, "metrics.jsonl"), "a") as file:
            file.writelines(json.dumps(metric) + "\n" for metric in read if metric)


def _read(metric: Any) -> dict[str, Any]:
    """A metric as Go unmarshals it; what is missing is its type's zero.

    Raises:
        ValueError: a value of another type, which costs the whole batch.
    """
    if not isinstance(metric, dict):
        raise ValueError("cannot unmarshal into Go value of type MetricValue")
    found: dict[str, Any] = {
        name: None if kind is object else kind() for name, kind in _FIELDS.items()
    }
    for key, value in metric.items():
        kind = _FIELDS.get(key.lower())
        if kind is None or value is None:
            continue
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"cannot unmarshal into Go struct field MetricValue.{key.lower()}")
        found[key.lower()] = value
    return found


def check_cycle(cycle: int) -> None:
    """time.NewTicker takes nanoseconds as an int64, and panics below 1."""
    if (cycle * 10**9 + 2**63) % 2**64 - 2**63 <= 0:
        panic("non-positive interval for NewTicker")
