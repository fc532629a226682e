"""Projects, inventory updates and jobs that are carried out: git, ansible-inventory, ansible-playbook.

A project is a real one where its `scm_url` is a local repository (`file://...`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.awx.store import Object

_PLACEHOLDER = re.compile(r"{{\s*([\w.]+)\s*}}")
_MACHINE = "ssh"  # kind of credential type whose key and user reach the hosts
_HOME = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """What a command said that failed."""


class Checkouts:
    """The checkouts of real projects."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="awx-"))

    def close(self) -> None:
        """Remove them all."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def path(self, project: int) -> Path:
        """Where a project's checkout is."""
        return self._folder / f"project-{project}"

    def new_folder(self) -> Path:
        """A folder of a job's own."""
        return Path(tempfile.mkdtemp(prefix="job-", dir=self._folder))

    def update(self, project: Object) -> str:
        """Bring a checkout to the state of its repository; returns the commit.

        Raises:
            Failed: git's own words.
        """
        target = self.path(project["id"])
        shutil.rmtree(target, ignore_errors=True)
        branch = ["--branch", project["scm_branch"]] if project["scm_branch"] else []
        _run(["git", "clone", "--quiet", "--depth", "1", *branch, project["scm_url"], str(target)])
        return _run(["git", "-C", str(target), "rev-parse", "HEAD"]).strip()


def is_real(project: Object | None) -> bool:
    """Whether a project is carried out rather than simulated."""
    return project is not None and str(project["scm_url"]).startswith("file://")


def injected(
    credentials: list[tuple[Object, Object]], folder: Path
) -> tuple[dict[str, str], dict[str, Any]]:
    """Environment and extra variables that credentials bring, each with its type (injectors).

    Args:
        folder: for a file that a credential is to be written to.
    """
    env: dict[str, str] = {}
    extra: dict[str, Any] = {}
    for credential, kind in credentials:
        known = {name: str(value) for name, value in credential["inputs"].items()}
        injectors = kind["injectors"] or {}
        if template := (injectors.get("file") or {}).get("template"):
            file = folder / f"credential-{credential['id']}"
            file.write_text(_filled(template, known))
            known["tower.filename"] = str(file)
        for name, text in (injectors.get("env") or {}).items():
            env[name] = _filled(text, known)
        for name, text in (injectors.get("extra_vars") or {}).items():
            extra[name] = _filled(text, known)
    return env, extra


def _filled(text: Any, known: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: known.get(found[1], ""), str(text))


def machine(credentials: list[tuple[Object, Object]]) -> tuple[str, str]:
    """User and private key of the machine credential, empty where there is none."""
    for credential, kind in credentials:
        if kind["kind"] == _MACHINE:
            inputs = credential["inputs"]
            return inputs.get("username", ""), inputs.get("ssh_key_data", "")
    return "", ""


def read_inventory(checkout: Path, source: Object, env: Mapping[str, str]) -> dict[str, Any]:
    """What `ansible-inventory --list` says of an inventory source, as AWX's inventory updates ask.

    Raises:
        Failed: it cannot be read.
    """
    file = checkout / source["source_path"]
    argv = [_tool("ansible-inventory"), "-i", str(file), "--list", "--export"]
    told = _run(
        argv, cwd=checkout, env=_environment(env) | {"ANSIBLE_INVENTORY_UNPARSED_FAILED": "True"}
    )
    found: dict[str, Any] = json.loads(told)
    return found


def write_inventory(folder: Path, document: Object) -> Path:
    """A job's inventory as the script that AWX gives to ansible-playbook."""
    script = folder / "inventory" / "hosts"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ncat <<'EOF'\n{json.dumps(document)}\nEOF\n")
    script.chmod(0o700)
    return script


class Process:
    """A real job that runs."""

    def __init__(self, order: Mapping[str, Any], env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.awx.realjob"],
            cwd=_HOME,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env=_environment({}),
        )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({**order, "env": dict(env)}) + "\n")
        self._process.stdin.close()

    def events(self) -> Iterator[Object]:
        """What it tells, until it has ended."""
        assert self._process.stdout
        for line in self._process.stdout:
            yield json.loads(line)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process.stdout
        status = self._process.wait()
        self._process.stdout.close()
        return status

    def cancel(self) -> None:
        """End it, at first gently."""
        self._process.terminate()
        threading.Timer(5.0, self.kill).start()

    def kill(self) -> None:
        """End it at once."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a job: nothing of this one's settings, as in a container."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PLUGFLEET_", "ANSIBLE_"))}
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"
    return kept | {"PATH": path, "GIT_TERMINAL_PROMPT": "0"} | dict(env)


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _run(argv: list[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        argv, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise Failed(done.stderr.strip() or done.stdout.strip())
    return done.stdout
