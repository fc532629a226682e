"""A host with an Open-Falcon agent (tests/falcon), laid out as falcon-plus packs it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.deploy.conftest import MakeDeployment
from tests.deploy.deployment import Deployment, Run, step_script
from tests.deploy.test_faulty_hosts import on
from tests.falcon.command import build
from tests.fleet import NamespaceHost

HOME = "/opt/falcon"
PLUGIN = f"{HOME}/agent/plugin"
HOSTS = ("n1", "n2", "n3", "n4", "n5")

# As `make pack` of falcon-plus lays it out; the agent's output stays with whoever started it, as
# with a control script that forgot to redirect it.
AGENT = "/usr/bin/python3 bin/falcon-agent -c config/cfg.json --records hbs --hbs hbs"
RESTART = f"""#!/bin/sh
cd {HOME}
if [ -s var/pid ]; then
  kill "$(cat var/pid)" 2>/dev/null
  while kill -0 "$(cat var/pid)" 2>/dev/null; do sleep 0.02; done
fi
setpriv --reuid=falcon --regid=falcon --init-groups --reset-env \
  {AGENT} 2>>var/log </dev/null &
echo $! >var/pid
"""
CONFIG: dict[str, Any] = {
    "debug": True,
    "hostname": "",
    "plugin": {"enabled": True, "dir": "./plugin", "git": "https://git.example/p.git", "logs": "./logs"},
    "heartbeat": {"enabled": True, "addr": "127.0.0.1:6030", "interval": 1, "timeout": 1000},
    "transfer": {"enabled": True, "addrs": ["127.0.0.1:8433"], "interval": 60, "timeout": 1000},
    "http": {"enabled": True, "listen": ":1988", "backdoor": False},
    "collector": {"ifacePrefix": ["eth"], "mountPoint": []},
    "ignore": {"cpu.busy": True},
}  # fmt: skip


class Falcon:
    """The agent of one host."""

    def __init__(self, host: NamespaceHost, config: dict[str, Any]) -> None:
        self.host = host
        on(
            host,
            f"useradd --system --user-group --home-dir {HOME} falcon && "
            f"mkdir -p {PLUGIN} {HOME}/bin {HOME}/config {HOME}/hbs {HOME}/var && ln -s agent/plugin {HOME}/plugin",
        )
        build(self.path(f"{HOME}/bin/falcon-agent"))
        self.path(f"{HOME}/config/cfg.json").write_text(json.dumps(config, indent=2))
        self.path(f"{HOME}/restart").write_text(RESTART)
        self.bind("sys/one", "fast")
        on(host, f"chmod 755 {HOME}/restart && chown -R falcon: {HOME}")
        self.restart()

    def path(self, inside: str) -> Path:
        return Path(f"{self.host.root}{inside}")

    def bind(self, *plugins: str) -> None:
        """What hbs tells this host to run."""
        self.path(f"{HOME}/hbs/plugins").write_text("\n".join(plugins))

    def schedules(self) -> list[str]:
        """The key of every schedule that the agent has begun, oldest first."""
        path = self.path(f"{HOME}/hbs/schedules.jsonl")
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["key"] for line in lines]

    def restart(self) -> None:
        on(self.host, f"{HOME}/restart >/dev/null")
        self.wait(lambda: self.ask("/health") == "ok")

    def ask(self, path: str) -> str:
        return self.host.exec(f"curl --silent --max-time 20 http://127.0.0.1:1988{path}").stdout

    def plugins(self) -> dict[str, Any]:
        listed: dict[str, Any] = json.loads(self.ask("/plugins"))["data"]
        return listed

    def git(self, command: str) -> str:
        """git in the plugin folder, as the agent's user."""
        return on(self.host, f"cd {PLUGIN} && runuser -u falcon -- git {command}")

    def wait(self, true: Callable[[], Any], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.path(f"{HOME}/var/log").read_text()
            time.sleep(0.05)


TOLD = {
    "agent_config_path": f"{HOME}/config/cfg.json",
    "agent_config_plugin_dir": PLUGIN,
    "agent_config_logs": f"{HOME}/logs",
    "agent_config_restart_command": f"{HOME}/restart",
    "plugin_sync_user": "falcon",
}
MakeAgents = Callable[..., tuple[Deployment, dict[str, Falcon]]]


def make_agents(deployment: MakeDeployment) -> MakeAgents:
    """What makes a deployment to five hosts with an agent each; `plugin` is laid over their section.

    `told` is whether the inventory says where everything is, or only that there is such an agent.
    """

    def make(
        plugin: dict[str, Any] | None = None, told: bool = True, **variables: Any
    ) -> tuple[Deployment, dict[str, Falcon]]:
        kind = {"agent_config_kind": "falcon"}
        made = deployment(
            bindings={"all": ["sys/one"]},
            variables={**kind, **(TOLD if told else {}), **variables},
        )
        made.source.write("fast/2_fast.sh", step_script("fast"))
        made.source.commit()
        config = {**CONFIG, "plugin": {**CONFIG["plugin"], **(plugin or {})}}
        with ThreadPoolExecutor(5) as pool:
            hosts = list(made.fleet)
            return made, dict(
                zip(HOSTS, pool.map(lambda host: Falcon(host, config), hosts), strict=True)
            )

    return make


def new_release(made: Deployment, value: int = 2) -> None:
    """One file changed, one more."""
    made.source.write("sys/one/60_one.sh", step_script("one", value))
    made.source.write("sys/new/60_new.sh", step_script("new", value))
    made.source.commit()


def release_of(made: Deployment) -> str:
    """The newest release's commit."""
    return subprocess.run(
        ["git", "-C", made.folder / "catalog/deploy.git", "rev-parse", "deploy"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


def assert_well(made: Deployment, falcon: Falcon, what: object = "") -> None:
    """The agent has the release, unmodified, and can go on by itself."""
    assert falcon.ask("/plugin/update") == "success", what
    assert falcon.git("rev-parse HEAD") == release_of(made), what
    assert falcon.git("status --porcelain") == "", what
    assert "agent/plugin" in PLUGIN and on(falcon.host, f"stat -c %U {PLUGIN}") == "falcon", what


def assert_settled(made: Deployment) -> Run:
    """Every host is right, which costs one exec each; returns the run that says so."""
    before = {host.name: host.sessions() for host in made.fleet}
    run = made.deploy()
    assert set(run.states().values()) == {"right"}, run.text
    assert {host.name: host.sessions() - before[host.name] for host in made.fleet} == dict.fromkeys(
        HOSTS, 1
    )
    return run


def warnings_of(run: Run, host: str) -> str:
    return "\n".join(run.of(host).get("warnings", []))
