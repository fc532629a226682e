"""Hosts whose inventory says only that an Open-Falcon agent is there: the rest is found, or asked for."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.deploy.falcon_host import (
    AGENT,
    CONFIG,
    HOME,
    HOSTS,
    PLUGIN,
    Falcon,
    MakeAgents,
    assert_well,
)
from tests.deploy.test_faulty_hosts import ROOT, on

# As the agent's own script: by its pid file it knows whether it runs.
CONTROL = f"""#!/bin/sh
cd "$(dirname "$0")" || exit
[ "$1" = start ] || exit 2
if [ -s var/app.pid ] && kill -0 "$(cat var/app.pid)" 2>/dev/null; then
  echo "falcon-agent now is running already"
  exit
fi
nohup {AGENT} >var/log 2>&1 &
echo $! >var/app.pid
"""
# As falcon-plus has it: it looks for a process with the program's path.
OPEN_FALCON = f"""#!/bin/sh
[ "$1 $2" = "start agent" ] || exit 2
if pgrep -f bin/falcon-agent >/dev/null; then
  echo "[falcon-agent] already started"
  exit
fi
{AGENT} >>var/log 2>&1 &
"""


def stop(falcon: Falcon) -> None:
    on(falcon.host, f'kill "$(cat {HOME}/var/pid)"')
    falcon.wait(lambda: falcon.ask("/health") == "")


def by_script(falcon: Falcon, name: str, script: str, *args: str) -> None:
    """Have the agent started by a script of its own, in an environment that names the host."""
    stop(falcon)
    falcon.path(f"{HOME}/{name}").write_text(script)
    on(
        falcon.host,
        f"cd {HOME} && chmod 755 {name} && chown -R falcon: . && FALCON_ENDPOINT=known runuser -u falcon -- "
        f"./{name} {' '.join(args)} </dev/null >/dev/null 2>&1",
    )
    falcon.wait(lambda: falcon.ask("/health") == "ok")


def by_control(falcon: Falcon) -> None:
    by_script(falcon, "control", CONTROL, "start")
    # The file is old, and the process of that number another one.
    on(falcon.host, f"pgrep -o sshd >{HOME}/var/app.pid")


def by_open_falcon(falcon: Falcon) -> None:
    by_script(falcon, "open-falcon", OPEN_FALCON, "start", "agent")


def by_nobody_knows(falcon: Falcon) -> None:
    pass


def gone(falcon: Falcon) -> None:
    stop(falcon)
    on(falcon.host, f"mv {HOME} {HOME}.away")


def two(falcon: Falcon) -> None:
    """Neither listens where one is expected."""
    stop(falcon)
    for port in (1989, 1990):
        on(
            falcon.host,
            f"mkdir -p /srv/{port}/hbs && cp -r {HOME}/bin {HOME}/config /srv/{port} && cd /srv/{port} "
            f"&& sed -i s/:1988/:{port}/ config/cfg.json && "
            f"nohup {AGENT} </dev/null >/srv/{port}/log 2>&1 &",
        )
    falcon.wait(lambda: on(falcon.host, "cat /proc/[0-9]*/comm").count("falcon-agent") == 2)


def test_an_agent_of_which_nothing_is_told_is_found_and_restarted_as_it_was_started(
    agents: MakeAgents,
) -> None:
    made, falcons = agents(plugin={"enabled": False}, told=False)
    ways: list[Callable[[Falcon], None]] = [by_control, by_open_falcon, by_nobody_knows, two, gone]
    for way, falcon in zip(ways, falcons.values(), strict=True):
        way(falcon)
    server = on(falcons["n1"].host, "pgrep -o sshd")
    environments = [on(falcons[name].host, ENVIRONMENT) for name in ("n1", "n2")]
    run = made.run()
    assert run.states() == dict(
        zip(HOSTS, ("changed", "changed", "failed", "failed", "failed"), strict=True)
    ), run.text
    for name, before in zip(("n1", "n2"), environments, strict=True):
        falcon = falcons[name]
        assert "agent restarted" in run.of(name)["msg"]
        assert_well(made, falcon)
        falcon.wait(falcon.plugins)
        plugin = json.loads(falcon.path(f"{HOME}/config/cfg.json").read_text())["plugin"]
        assert plugin == {**CONFIG["plugin"], "dir": f"{HOME}/plugin", "git": f"{ROOT}/mirror.git"}
        assert on(falcon.host, ENVIRONMENT) == before
        assert "FALCON_ENDPOINT=known" in before
        assert_is_on_its_own(falcon)
    # Whose number stood in the old pid file.
    assert on(falcons["n1"].host, "pgrep -o sshd") == server
    assert "how it is started was not found: set agent_config_started_by" in run.of("n3")["msg"]
    assert "2 processes may be this host's Open-Falcon agent" in run.of("n4")["msg"]
    assert "set agent_config_home" in run.of("n4")["msg"]
    assert "no Open-Falcon agent was found" in run.of("n5")["msg"]
    assert "agent_config_path" in run.of("n5")["msg"]


ENVIRONMENT = "tr '\\0' '\\n' </proc/$(pgrep -x falcon-agent)/environ | sort"


def assert_is_on_its_own(falcon: Falcon) -> None:
    """The agent has a session of its own, and nothing of the visit's open."""
    found = on(
        falcon.host,
        "pid=$(pgrep -x falcon-agent); ps -o sid= -p $pid; readlink /proc/$pid/fd/*; "
        "tr '\\0' '\\n' </proc/$pid/environ | grep SSH || :; loginctl 2>/dev/null || :",
    )
    assert f"{HOME}/var/log" in found
    for alien in (ROOT, "/tmp", "pts", "pipe:", "SSH_"):
        assert alien not in found, found


FOLDERS: dict[str, str] = {
    '"dir": "plugin/"': f"{HOME}/plugin",
    f'"dir" : "{PLUGIN}//"': PLUGIN,
    # No shell reads this.
    r'"dir": "\u002e/pl\u0075gin", "x": {"y": 1}': f"{HOME}/plugin",
    '"dir": "."': "",
    '"dir": 7': "",
}


def test_a_plugin_folder_is_resolved_against_the_agents_own_folder(agents: MakeAgents) -> None:
    made, falcons = agents(told=False)
    for folder, falcon in zip(FOLDERS, falcons.values(), strict=True):
        path = falcon.path(f"{HOME}/config/cfg.json")
        path.write_text(path.read_text().replace('"dir": "./plugin"', folder))
    run = made.run()
    for (folder, resolved), (name, falcon) in zip(FOLDERS.items(), falcons.items(), strict=True):
        written = json.loads(falcon.path(f"{HOME}/config/cfg.json").read_text())
        if resolved:
            assert written["plugin"]["dir"] == resolved, folder
            assert_well(made, falcon, folder)
        else:
            assert run.states()[name] == "failed", folder
            assert on(falcon.host, f"ls -d {HOME}*") == HOME
    assert f"has {HOME} in it; set agent_config_plugin_dir" in run.of("n4")["msg"]
    assert '"plugin.dir" must be a text in quotes' in run.of("n5")["msg"]
    assert made.run("-l", "n1,n2,n3").states() == dict.fromkeys(("n1", "n2", "n3"), "right")
