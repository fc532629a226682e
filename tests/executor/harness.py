"""A real executor process on a root directory of its own, and the servers it talks to."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("PLUGFLEET_TEST_PYTHON", sys.executable)


def wait_until(check: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
    """The first true answer of `check`; the test fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Host:
    """One host: `plugin/` is its tree, `cfg` its configuration."""

    def __init__(self, root: Path, pyz: Path) -> None:
        self.root = root
        self.pyz = pyz
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.cfg: dict[str, Any] = {
            "hostname": "testhost",
            "plugin": {"enabled": True, "dir": "plugin", "git": "", "logs": "logs"},
            "http": {"enabled": True, "listen": "127.0.0.1:0"},
            "executor": {"first_run_within": 0.1, "jsonl": {"path": "out.jsonl"}},
        }
        (root / "plugin").mkdir(parents=True)

    @property
    def log(self) -> str:
        return (self.root / "log").read_text("utf-8", "replace")

    def script(self, path: str, body: str, mode: int = 0o755) -> Path:
        """Write a script of the plugin tree; `#!/bin/sh` is put before a body without `#!`."""
        full = self.root / "plugin" / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(body if body.startswith("#!") else "#!/bin/sh\n" + body)
        full.chmod(mode)
        return full

    def bind(self, *bindings: Any) -> None:
        temporary = self.root / "bindings.tmp"
        temporary.write_text(json.dumps({"bindings": list(bindings)}))
        temporary.replace(self.root / "bindings.json")

    def write_cfg(self) -> Path:
        path = self.root / "cfg.json"
        path.write_text(json.dumps(self.cfg))
        return path

    def command(self, *arguments: str) -> list[str]:
        return [PYTHON, "-IS", str(self.pyz), "--config", str(self.root / "cfg.json"), *arguments]

    def run(self, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """One of the executor's short commands."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout
        )

    def start(self, **options: Any) -> Host:
        self.write_cfg()
        before = self.log if (self.root / "log").exists() else ""
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stderr=log, **options)
        if self.cfg["http"]["enabled"]:
            found = wait_until(
                lambda: re.search(r" on (127\.0\.0\.1:\d+)\n", self._log_since(before)),
                "the executor came up",
            )
            self.url = f"http://{found.group(1)}"
        return self

    def _log_since(self, before: str) -> str:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the executor ended: {self.log}")
        return self.log[len(before) :]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code, or minus the signal."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(10)
        self.process = None
        return code

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            # It ends its plugins, which a kill would leave running.
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def get(self, path: str, data: bytes | None = None, timeout: float = 30) -> str:
        return self.answer(path, data, timeout)[1]

    def answer(self, path: str, data: bytes | None = None, timeout: float = 30) -> tuple[int, str]:
        """(status, body)."""
        try:
            with urllib.request.urlopen(self.url + path, data, timeout) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def plugins(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/plugins"))["data"]
        return found

    def detail(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/health/detail"))["data"]
        return found

    def wait_state(self, key: str, *states: str, seconds: float = 10.0) -> dict[str, Any]:
        """The plugin's entry once it is in one of `states`."""

        def look() -> Any:
            entry = self.plugins().get(key)
            return entry if entry and entry["State"] in states else None

        try:
            found: dict[str, Any] = wait_until(look, f"{key} is {states}", seconds)
        except AssertionError:
            raise AssertionError(f"{key} is not {states}: {self.plugins()}\n{self.log}") from None
        return found

    def samples(self) -> list[dict[str, Any]]:
        """What the JSON lines file holds."""
        path = self.root / "out.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def rss_kb(self) -> int:
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0])


class FalconHttp:
    """Falcon transfer's /api/push, or an agent's /v1/push: keeps what it gets; `answer` decides."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[dict[str, Any]] = []
        self.answer: Callable[[bytes], tuple[int, bytes]] = lambda body: (200, b"success")
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, text = outer.answer(body)
                if status == 200:
                    outer.received.extend(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class JsonRpc:
    """A Go-style JSON-RPC server: hbs or transfer. `methods` maps a name to what answers its
    param.
    """

    def __init__(self, methods: dict[str, Callable[[Any], Any]], port: int = 0) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.connections = 0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.connections += 1
                outer._open.add(self.connection)
                for line in self.rfile:
                    call = json.loads(line)
                    outer.calls.append((call["method"], call["params"][0]))
                    answer: dict[str, Any] = {"id": call["id"], "result": None, "error": None}
                    try:
                        answer["result"] = methods[call["method"]](call["params"][0])
                    except KeyError:
                        answer["error"] = f"rpc: can't find method {call['method']}"
                    except RuntimeError as error:
                        answer["error"] = str(error)
                    try:
                        self.wfile.write(json.dumps(answer).encode() + b"\n")
                    except OSError:
                        return

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *_arguments: Any) -> None:
                pass

        self._open: set[socket.socket] = set()
        self._server = Server(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Gone, open connections too."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def transfer(answer: Callable[[Any], Any] | None = None, port: int = 0) -> JsonRpc:
    def update(metrics: Any) -> Any:
        return {"Message": "ok", "Total": len(metrics), "Invalid": 0, "Latency": 0}

    return JsonRpc({"Transfer.Update": answer or update}, port)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def alive(pid: int) -> bool:
    """Whether a process lives (a zombie does not)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


METRIC = '[{"metric":"%s","value":%s,"tags":"t=1"}]'


def prints(metric: str = "some.metric", value: float = 1) -> str:
    """Body of a sh script that prints one good metric."""
    return f"echo '{METRIC % (metric, value)}'\n"
