"""An Open-Falcon agent's plugin half, faults included (falcon-plus modules/agent, as measured).

One file for a test host: `python3 falcon_agent.py -c cfg.json --hbs FOLDER`. FOLDER stands for hbs
and transfer: `plugins` (one binding a line; no file: hbs is down) is read, `agent.json` (the newest
heartbeat) and `metrics.jsonl` (what was pushed) are written. What is odd here is the real agent's
way, and what plugfleet must cope with: do not mend it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

VERSION = "5.1.2"


def panic(why: str) -> None:
    """End the whole process, as a panic in any goroutine does."""
    sys.stderr.write(f"panic: {why}\n")
    sys.stderr.flush()
    os._exit(2)


def log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {text}\n")
    sys.stderr.flush()


def atoi(text: str) -> int | None:
    """Go's Atoi: a sign and digits, nothing else."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else None


def run_git(*args: str, cwd: str) -> str:
    """Run git, its output thrown away; what Go says of its end, "" if it ended well."""
    try:
        done = subprocess.run(
            ["git", *args], cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return 'exec: "git": executable file not found in $PATH'
    return f"exit status {done.returncode}" if done.returncode else ""


class Config:
    """cfg.json; nothing has a default, and a section that is used must be there."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.read()

    def read(self) -> None:
        """Read the file again; a broken one ends the agent."""
        try:
            with open(self.path) as file:
                self.values = json.load(file)
        except (OSError, ValueError) as error:
            log(f"parse config file: {self.path} fail: {error}")
            os._exit(1)

    def of(self, section: str, key: str) -> Any:
        """A setting; a missing section is a nil pointer."""
        if not isinstance(self.values.get(section), dict):
            panic("runtime error: invalid memory address or nil pointer dereference")
        value = self.values[section].get(key)
        if value is None:
            value = {"enabled": False, "interval": 0}.get(key, "")
        return value


class Plugin:
    """One entry of the list; its schedule begins with a whole cycle."""

    def __init__(self, agent: Agent, path: str, args: str, mtime: int, cycle: int) -> None:
        self.agent, self.path, self.args, self.mtime, self.cycle = agent, path, args, mtime, cycle
        self.stop = threading.Event()
        # time.NewTicker takes nanoseconds as an int64, and panics below 1.
        if (cycle * 10**9 + 2**63) % 2**64 - 2**63 <= 0:
            panic("non-positive interval for NewTicker")
        threading.Thread(target=self._schedule, daemon=True).start()

    def as_dict(self) -> dict[str, Any]:
        return {
            "FilePath": self.path, "MTime": self.mtime, "Cycle": self.cycle, "Args": self.args,
        }  # fmt: skip

    def _schedule(self) -> None:
        following = time.monotonic() + self.cycle
        while not self.stop.wait(max(0, following - time.monotonic())):
            self._run()
            # A tick that passed meanwhile is waiting; all more are dropped.
            following += self.cycle
            late = time.monotonic() - following
            if late > self.cycle:
                following += late // self.cycle * self.cycle

    def _run(self) -> None:
        config = self.agent.config
        command = os.path.normpath(os.path.join(config.of("plugin", "dir"), self.path))
        args = [a.strip(" \"'") for a in self.args.split(",")] if self.args else []
        if not os.path.exists(command):
            log(f"no such plugin: {command}")
            return
        try:
            process = subprocess.Popen(
                [command, *args],
                executable=os.path.abspath(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            log(f"[ERROR] plugin start fail: {command}() , error: fork/exec {command}: {error}")
            return
        try:
            stdout, stderr = process.communicate(timeout=self.cycle - 0.5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            log(f"[INFO] timeout, process:{command} will be killed")
            return
        if stderr:
            name = f"{self.path}({self.args}).stderr.log"
            target = os.path.join(config.of("plugin", "logs"), name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(stderr)
        elif process.returncode:
            log(f"[ERROR] exec plugin {command} fail. error: exit status {process.returncode}")
            return
        self._push(command, stdout)

    def _push(self, command: str, stdout: bytes) -> None:
        if not stdout:
            return
        try:
            metrics = json.loads(stdout)
            if not isinstance(metrics, list):
                raise ValueError("cannot unmarshal object into Go value of type []*MetricValue")
        except ValueError as error:
            log(f"[ERROR] json.Unmarshal stdout of {command}({self.args}) fail. error:{error}")
            return
        if None in metrics and self.agent.config.values.get("default_tags"):
            panic("runtime error: invalid memory address or nil pointer dereference")
        with open(os.path.join(self.agent.hbs, "metrics.jsonl"), "a") as file:
            file.writelines(json.dumps(metric) + "\n" for metric in metrics if metric)


class Agent:
    """The agent: its list of plugins, its heartbeats, and git."""

    def __init__(self, path: str, hbs: str) -> None:
        self.hbs = hbs
        self.config = Config(path)
        self.plugins: dict[str, Plugin] = {}
        self._asked = 0.0
        threading.Thread(target=self._heartbeats, daemon=True).start()
        # Decided once, whatever a reload says later.
        if self.config.of("plugin", "enabled") and self.config.of("heartbeat", "enabled"):
            threading.Thread(target=self._sync_plugins, daemon=True).start()

    def _heartbeats(self) -> None:
        while True:
            beat = {"AgentVersion": VERSION, "PluginVersion": self.plugin_version()}
            partial = os.path.join(self.hbs, "agent.json.tmp")
            with open(partial, "w") as file:
                json.dump(beat, file)
            os.replace(partial, partial[:-4])
            time.sleep(self.config.of("heartbeat", "interval"))

    def plugin_version(self) -> str:
        """HEAD of the plugin folder, or of a repository that happens to be above it."""
        if not self.config.of("plugin", "enabled"):
            return "plugin not enabled"
        folder = self.config.of("plugin", "dir")
        if not os.path.isdir(folder):
            return "plugin dir not existent"
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True
        )
        return f"Error:exit status {done.returncode}" if done.returncode else done.stdout.strip()

    def _sync_plugins(self) -> None:
        while True:
            time.sleep(self.config.of("heartbeat", "interval"))
            try:
                with open(os.path.join(self.hbs, "plugins")) as file:
                    bound = file.read().split("\n")
            except OSError:
                continue  # hbs is down: the old list stays
            if time.time() > self._asked:
                self._asked = time.time()
                self._take_list([line for line in bound if line])

    def _take_list(self, bound: list[str]) -> None:
        wanted: dict[str, tuple[str, str, int, int]] = {}
        folder = self.config.of("plugin", "dir")
        taken = set()
        for entry in bound:
            split = re.fullmatch(r"(.*)\((.*)\)", entry)
            path, args = split.groups() if split else (entry, "")
            full = os.path.join(folder, path)
            if os.path.isfile(full):
                taken.add(path)
                cycle = atoi(os.path.basename(path).split("_")[0])
                if cycle is not None:
                    mtime = int(os.stat(full).st_mtime)
                    wanted[f"{path}({args})"] = (path, args, mtime, cycle)
        for entry in bound:
            path = entry.strip("/")
            full = os.path.join(folder, path)
            if not path or not os.path.isdir(full):
                continue
            for name in os.listdir(full):
                file = os.path.join(path, name)
                cycle = atoi(name.split("_")[0]) if "_" in name else None
                if cycle is None or os.path.isdir(os.path.join(full, name)) or file in taken:
                    continue
                wanted[file] = (file, "", int(os.stat(os.path.join(full, name)).st_mtime), cycle)
        for key in set(self.plugins) - set(wanted):
            self.plugins.pop(key).stop.set()
        for key, (path, args, mtime, cycle) in wanted.items():
            known = self.plugins.get(key)
            if known is None or known.mtime != mtime:
                if known is not None:
                    known.stop.set()
                self.plugins[key] = Plugin(self, path, args, mtime, cycle)

    def update(self) -> str:
        """`/plugin/update`: no lock, no timeout, no look at whose repository it is."""
        if not self.config.of("plugin", "enabled"):
            return "plugin not enabled"
        folder = self.config.of("plugin", "dir")
        if os.path.exists(folder):
            error = run_git("pull", cwd=folder)
            return f"git pull in dir:{folder} fail. error: {error}" if error else "success"
        # Go's path.Dir and path.Base: of "./plugin/" the first is "./plugin".
        parent = os.path.dirname(folder) or "."
        os.makedirs(parent, exist_ok=True)
        name = os.path.basename(folder.rstrip("/"))
        error = run_git("clone", self.config.of("plugin", "git"), name, cwd=parent)
        return f"git clone in dir:{parent} fail. error: {error}" if error else "success"

    def reset(self) -> str:
        """`/plugin/reset`: edited files go back, untracked ones stay."""
        if not self.config.of("plugin", "enabled"):
            return "plugin not enabled"
        folder = self.config.of("plugin", "dir")
        if not os.path.exists(folder):
            return "success"
        error = run_git("reset", "--hard", cwd=folder)
        return f"git reset --hard in dir:{folder} fail. error: {error}" if error else "success"


class Handler(BaseHTTPRequestHandler):
    """The endpoints; every failure is a body with status 200."""

    agent: Agent

    def do_GET(self) -> None:
        agent = self.agent
        local = self.client_address[0] == "127.0.0.1"
        answers = {
            "/health": lambda: "ok",
            "/version": lambda: VERSION,
            "/workdir": lambda: done(os.path.dirname(os.path.abspath(__file__))),
            "/plugins": lambda: done({k: p.as_dict() for k, p in dict(agent.plugins).items()}),
            "/plugin/update": agent.update,
            "/plugin/reset": agent.reset,
            "/config/reload": lambda: self._reload() if local else "no privilege",
        }
        answer = answers.get(self.path)
        body = (answer() if answer else "404 page not found\n").encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def _reload(self) -> str:
        self.agent.config.read()
        return done(self.agent.config.values)

    def log_message(self, format: str, *args: Any) -> None:
        """The real one logs no requests."""


def done(data: Any) -> str:
    return json.dumps({"msg": "success", "data": data})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # HTTPServer's own asks DNS for the host's name.
        TCPServer.server_bind(self)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", default="cfg.json")
    parser.add_argument("--hbs", required=True)
    options = parser.parse_args()
    agent = Agent(options.c, options.hbs)
    for section, key in (("transfer", "enabled"), ("http", "enabled")):
        agent.config.of(section, key)
    host, _, port = agent.config.of("http", "listen").rpartition(":")
    Handler.agent = agent
    Server((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
