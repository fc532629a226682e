"""A deployment under test: a source repository, a counting git server, hosts, and ansible-playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fleet import Fleet, GitServer

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def step_script(metric: str, value: object = 1) -> str:
    """A step script that delivers one value."""
    return (
        "#!/bin/sh\n"
        'printf \'[{"endpoint":"%s","metric":"' + metric + '","value":' + str(value) + ","
        '"step":60,"counterType":"GAUGE","tags":"","timestamp":%s}]\\n\' "$(hostname)" "$(date +%s)"\n'
    )


class Source:
    """The work tree that a team commits its plugins to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *args: str) -> str:
        """Run git there; returns its output."""
        done = subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *args],
            cwd=self.path,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
        )
        return done.stdout.strip()

    def write(self, name: str, content: str | bytes, mode: int = 0o755) -> None:
        """Put a file into the work tree."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)

    def commit(self, message: str = "change") -> str:
        """Commit everything; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@dataclass
class Run:
    """One finished ansible-playbook.

    Attributes:
        code: its exit status.
        text: everything that it printed.
        records: what each task came to on each host.
    """

    code: int
    text: str
    records: list[dict[str, Any]]

    def of(self, host: str) -> dict[str, Any]:
        """The host's own result of the deployment.

        Raises:
            AssertionError: it has none; the message is all that Ansible said.
        """
        found = [r for r in self.records if r["host"] == host and r["task"] == "plugin_report"]
        assert found, self.text
        kind, result = found[-1]["kind"], dict(found[-1]["result"])
        result["unreachable"] = kind == "unreachable"
        result["failed"] = kind == "failed"
        return result

    def states(self) -> dict[str, str]:
        """Host -> "right", "changed", "failed" or "unreachable"."""
        hosts = sorted({r["host"] for r in self.records if r["task"] == "plugin_report"})
        states = {}
        for host in hosts:
            result = self.of(host)
            names = [name for name in ("unreachable", "failed", "changed") if result.get(name)]
            states[host] = names[0] if names else "right"
        return states


class Deployment:
    """Deploys one source to a fleet.

    Attributes:
        programs: the folder of the `ansible-playbook` that it is done with.

    Args:
        fleet: the hosts.
        folder: for the source, the catalog and the inventory; new for every test.
        variables: of all hosts; they win over what this class sets.
        hostvars: of single hosts.
        groups: hostgroups beside `all`.
        user: the account to log in as.
    """

    def __init__(
        self,
        fleet: Fleet[Any],
        folder: Path,
        *,
        bindings: dict[str, list[Any]],
        variables: dict[str, Any] | None = None,
        hostvars: dict[str, dict[str, Any]] | None = None,
        groups: dict[str, list[str]] | None = None,
        user: str | None = None,
    ) -> None:
        self.fleet = fleet
        self.folder = folder
        self.programs = BIN
        self.source = Source(folder / "source")
        self.source.write("sys/one/60_one.sh", step_script("one"))
        self.source.write("sys/two/60_two.sh", step_script("two"))
        self.source.commit()
        switch = getattr(fleet, "switch", None)
        self.server = GitServer({"plugins": self.source.path}, folder / "server", switch=switch)
        self.variables: dict[str, Any] = {
            "plugin_sources": [{"url": self.server.url("plugins"), "ref": "main"}],
            "plugin_source_folder": str(folder / "catalog"),
            "plugin_bindings": bindings,
            **(variables or {}),
        }
        self.inventory = fleet.inventory(
            groups=groups or {},
            hostvars=hostvars or {},
            groupvars={"all": self.variables},
            user=user,
            name=f"inventory-{folder.name}",
        )

    def run(self, *args: str, playbook: str = "deploy-plugins.yml", timeout: float = 120) -> Run:
        """Run a playbook; `args` are added to its command line."""
        done = subprocess.run(
            self.command(*args, playbook=playbook),
            cwd=CHECKOUT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        record = self.folder / "record.jsonl"
        lines = record.read_text().splitlines() if record.exists() else []
        return Run(done.returncode, done.stdout + done.stderr, [json.loads(x) for x in lines])

    def command(self, *args: str, playbook: str = "deploy-plugins.yml") -> list[str]:
        """The ansible-playbook command, on the fleet's control side."""
        return self.fleet.control(
            [str(self.programs / "ansible-playbook"), "-i", str(self.inventory), playbook, *args]
        )

    def environment(self) -> dict[str, str]:
        """The environment of a run, with a new record."""
        record = self.folder / "record.jsonl"
        record.unlink(missing_ok=True)
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")},
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "tests/deploy/recorder"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "PLUGFLEET_TEST_RECORD": str(record),
        }

    def deploy(self, *args: str) -> Run:
        """Deploy, and expect every host to come out well."""
        run = self.run(*args)
        assert run.code == 0, run.text
        return run

    def deploy_with(self, playbook: Path) -> Run:
        """Run a playbook of the test's own, and expect every host to come out well."""
        run = self.run(playbook=str(playbook))
        assert run.code == 0, run.text
        return run

    def close(self) -> None:
        """End the git server."""
        self.server.close()
