"""Hosts with an Open-Falcon agent: its own `git pull` brings the release, whatever it was left with.

The agent is a stand-in with the real one's faults (falcon_agent.py). After every deployment its own
`/plugin/update` must say success and its HEAD be the release: the next one is asked by somebody else.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import MakeDeployment
from tests.deploy.deployment import Deployment, Run, step_script
from tests.deploy.test_faulty_hosts import ROOT, on
from tests.deploy.test_killed_anywhere import begin, kill_on_host
from tests.fleet import NamespaceHost

HOME = "/opt/falcon"
PLUGIN = f"{HOME}/agent/plugin"
HOSTS = ("n1", "n2", "n3", "n4", "n5")

# As `make pack` of falcon-plus lays it out; the agent's output stays with whoever started it, as
# with a control script that forgot to redirect it.
RESTART = f"""#!/bin/sh
cd {HOME}
if [ -s var/pid ]; then
  kill "$(cat var/pid)" 2>/dev/null
  while kill -0 "$(cat var/pid)" 2>/dev/null; do sleep 0.02; done
fi
setpriv --reuid=falcon --regid=falcon --init-groups --reset-env \
  /usr/bin/python3 falcon_agent.py -c config/cfg.json --hbs hbs 2>>var/log </dev/null &
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
            f"mkdir -p {PLUGIN} {HOME}/config {HOME}/hbs {HOME}/var && ln -s agent/plugin {HOME}/plugin",
        )
        shutil.copy(Path(__file__).with_name("falcon_agent.py"), self.path(HOME))
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


MakeAgents = Callable[..., tuple[Deployment, dict[str, Falcon]]]


@pytest.fixture
def agents(deployment: MakeDeployment) -> MakeAgents:
    """Makes a deployment to five hosts with an agent each; `plugin` is laid over their section."""

    def make(
        plugin: dict[str, Any] | None = None, **variables: Any
    ) -> tuple[Deployment, dict[str, Falcon]]:
        made = deployment(
            bindings={"all": ["sys/one"]},
            variables={
                "agent_config_kind": "falcon",
                "agent_config_path": f"{HOME}/config/cfg.json",
                "agent_config_plugin_dir": PLUGIN,
                "agent_config_logs": f"{HOME}/logs",
                "agent_config_restart_command": f"{HOME}/restart",
                "plugin_sync_user": "falcon",
                **variables,
            },
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


def assert_settled(made: Deployment) -> None:
    """Every host is right, which costs one exec each."""
    before = {host.name: host.sessions() for host in made.fleet}
    run = made.deploy()
    assert set(run.states().values()) == {"right"}, run.text
    assert {host.name: host.sessions() - before[host.name] for host in made.fleet} == dict.fromkeys(
        HOSTS, 1
    )


def warnings_of(run: Run, host: str) -> str:
    return "\n".join(run.of(host).get("warnings", []))


def test_an_empty_plugin_folder_is_filled_and_the_plugins_deliver(agents: MakeAgents) -> None:
    made, falcons = agents()
    assert set(made.deploy().states().values()) == {"changed"}
    for falcon in falcons.values():
        assert_well(made, falcon)
        falcon.wait(lambda f=falcon: {"sys/one/60_one.sh", "fast/2_fast.sh"} == set(f.plugins()))
        falcon.wait(lambda f=falcon: f.path(f"{HOME}/hbs/metrics.jsonl").exists())
        beat = json.loads(falcon.path(f"{HOME}/hbs/agent.json").read_text())
        assert beat["PluginVersion"] == release_of(made)
        written = json.loads(falcon.path(f"{HOME}/config/cfg.json").read_text())
        ours = {"enabled": True, "dir": PLUGIN, "git": f"{ROOT}/mirror.git"}
        assert written == {**CONFIG, "plugin": {**CONFIG["plugin"], **ours}}
    assert_settled(made)


def test_an_agent_that_was_started_with_plugins_off_is_restarted(agents: MakeAgents) -> None:
    made, falcons = agents(plugin={"enabled": False})
    run = made.deploy()
    assert set(run.states().values()) == {"changed"}
    assert "agent restarted" in run.of("n1")["msg"]
    for falcon in falcons.values():
        assert_well(made, falcon)
        # It asks hbs for its list only if plugins were on when it started.
        falcon.wait(falcon.plugins)
    assert_settled(made)


def test_where_nobody_says_how_to_restart_it_a_restart_by_hand_is_asked_for_and_seen(
    agents: MakeAgents,
) -> None:
    made, falcons = agents(plugin={"enabled": False}, agent_config_restart_command="")
    for _ in range(2):
        run = made.run()
        assert set(run.states().values()) == {"failed"}
        assert "set agent_config_restart_command, or restart it by hand" in run.of("n1")["msg"]
    for falcon in falcons.values():
        falcon.restart()
    assert set(made.deploy().states().values()) == {"changed"}
    for falcon in falcons.values():
        assert_well(made, falcon)
        falcon.wait(falcon.plugins)
    assert_settled(made)


def test_an_update_and_a_rollback_are_the_agents_own_fast_forwards(agents: MakeAgents) -> None:
    made, falcons = agents()
    made.deploy()
    kept = {n: f.path(f"{PLUGIN}/sys/two/60_two.sh").stat().st_mtime_ns for n, f in falcons.items()}
    changed = {
        n: f.path(f"{PLUGIN}/sys/one/60_one.sh").stat().st_mtime_ns for n, f in falcons.items()
    }
    new_release(made)
    assert set(made.deploy().states().values()) == {"changed"}
    for name, falcon in falcons.items():
        assert_well(made, falcon)
        assert falcon.path(f"{PLUGIN}/sys/two/60_two.sh").stat().st_mtime_ns == kept[name]
        assert falcon.path(f"{PLUGIN}/sys/one/60_one.sh").stat().st_mtime_ns > changed[name]
    for state in ("changed", "right"):
        run = made.run("-e", "plugin_release=1", playbook="playbooks/rollback.yml")
        assert set(run.states().values()) == {state}, run.text
    for name, falcon in falcons.items():
        assert_well(made, falcon)
        assert 'value":1' in falcon.path(f"{PLUGIN}/sys/one/60_one.sh").read_text()
        assert not falcon.path(f"{PLUGIN}/sys/new").exists()
        assert falcon.path(f"{PLUGIN}/sys/two/60_two.sh").stat().st_mtime_ns == kept[name]
        log = falcon.path(f"{PLUGIN}/.git/logs/HEAD").read_text()
        assert log.count("pull: Fast-forward") == 2
        assert on(falcon.host, f"ls -A {HOME}/agent") == "plugin"


AS_FALCON = f"cd {PLUGIN} && runuser -u falcon -- "

# What is done to the checkout -> what the host's result says of it, and where the former state is.
PATCH, ASIDE, NOWHERE = "patch", "aside", "nowhere"
DAMAGES: dict[str, tuple[str, str, str]] = {
    "edited file": (
        f"echo '# mine' >>{PLUGIN}/sys/one/60_one.sh",
        "local changes to sys/one/60_one.sh were kept as", PATCH,
    ),
    "untracked file in the way": (
        f"{AS_FALCON} sh -c 'mkdir sys/new && echo \"# mine\" >sys/new/60_new.sh'",
        "local changes to sys/new/60_new.sh were kept as", PATCH,
    ),
    "edit that is no text": (
        rf"printf '# mine \351 \n \n' >>{PLUGIN}/sys/one/60_one.sh",
        "local changes to sys/one/60_one.sh were kept as", PATCH,
    ),
    "removed file": (
        f"rm {PLUGIN}/sys/one/60_one.sh",
        "local changes to sys/one/60_one.sh were kept as", NOWHERE,
    ),
    "update that was killed half way": (
        f"cat >{PLUGIN}/sys/one/60_one.sh <<'END'\n{step_script('one', 2)}END",
        "an update that was cut short was undone", NOWHERE,
    ),
    "stale index.lock": (f"{AS_FALCON} touch .git/index.lock", "stale locks were removed", NOWHERE),
    "stale locks of refs": (
        f"{AS_FALCON} touch .git/HEAD.lock .git/refs/remotes/origin/deploy.lock",
        "stale locks were removed", NOWHERE,
    ),
    "detached HEAD": (f"{AS_FALCON} git checkout -q --detach", "was kept as", ASIDE),
    "no upstream": (f"{AS_FALCON} git branch --unset-upstream", "was kept as", ASIDE),
    "other remote": (
        f"{AS_FALCON} git remote set-url origin /srv/elsewhere.git", "was kept as", ASIDE,
    ),
    "commit of its own": (
        f"{AS_FALCON} sh -c 'echo \"# mine\" >>sys/one/60_one.sh; "
        "git -c user.name=x -c user.email=x commit -qam mine'",
        "was kept as", ASIDE,
    ),
    "no repository": (f"rm -r {PLUGIN}/.git", "was kept as", ASIDE),
    "half a repository": (f"rm {PLUGIN}/.git/HEAD", "was kept as", ASIDE),
    "emptied folder": (f"rm -r {PLUGIN} && install -d -o falcon {PLUGIN}", "", NOWHERE),
    "no folder": (f"rm -r {PLUGIN}", "", NOWHERE),
    "owned by root": (f"chown -R root: {PLUGIN}", "was kept as", ASIDE),
    "objects owned by root": (f"chown -R root: {PLUGIN}/.git/objects", "was kept as", ASIDE),
    "lost objects": (f"find {PLUGIN}/.git/objects -type f -delete", "was kept as", ASIDE),
    "sparse": (f"{AS_FALCON} git sparse-checkout set --no-cone /sys/two/", "was kept as", ASIDE),
    "repository inside": (f"{AS_FALCON} git init -q mine", "was kept as", ASIDE),
}  # fmt: skip
ROUNDS = [list(DAMAGES)[start : start + 5] for start in range(0, len(DAMAGES), 5)]


@pytest.mark.parametrize("damages", ROUNDS, ids=", ".join)
def test_whatever_was_done_to_the_checkout_the_next_release_comes_and_nothing_is_lost(
    agents: MakeAgents, damages: list[str]
) -> None:
    made, falcons = agents()
    made.deploy()
    kept = {n: f.path(f"{PLUGIN}/sys/two/60_two.sh").stat().st_mtime_ns for n, f in falcons.items()}
    for name, damage in zip(HOSTS, damages, strict=True):
        on(falcons[name].host, DAMAGES[damage][0])
    new_release(made)
    run = made.deploy()
    assert set(run.states().values()) == {"changed"}
    for name, damage in zip(HOSTS, damages, strict=True):
        _, says, former = DAMAGES[damage]
        falcon = falcons[name]
        assert says in warnings_of(run, name), damage
        assert_well(made, falcon, damage)
        assert 'value":2' in falcon.path(f"{PLUGIN}/sys/new/60_new.sh").read_text(), damage
        assert on(falcon.host, f"find {HOME}/agent -name '*.plugfleet-new'") == "", damage
        patches = list(falcon.path(f"{ROOT}/kept").glob("*.patch"))
        aside = list(falcon.path(f"{HOME}/agent").glob("plugin.before-plugfleet-*"))
        assert bool(aside) == (former == ASIDE), damage
        if former == PATCH:
            assert any(b"+# mine" in patch.read_bytes() for patch in patches), damage
        if (falcon.path(PLUGIN) / "sys/two/60_two.sh").stat().st_mtime_ns != kept[name]:
            assert damage in ("emptied folder", "no folder"), damage
    assert_settled(made)


def test_a_patch_that_was_kept_is_what_was_edited_byte_for_byte(agents: MakeAgents) -> None:
    made, falcons = agents()
    made.deploy("-l", "n1")
    falcon = falcons["n1"]
    script = falcon.path(f"{PLUGIN}/sys/one/60_one.sh")
    edited = script.read_bytes() + b"# \xe9 \n \n"
    script.write_bytes(edited)
    run = made.deploy("-l", "n1")
    assert run.states() == {"n1": "changed"}
    assert script.read_bytes() != edited
    (patch,) = falcon.path(f"{ROOT}/kept").glob("*.patch")
    assert patch.stat().st_mode & 0o777 == 0o600
    on(
        falcon.host,
        f"cd {PLUGIN} && git -c safe.directory='*' apply --whitespace=nowarn {ROOT}/kept/*.patch",
    )
    assert script.read_bytes() == edited


def test_what_would_stop_the_next_pull_is_seen_although_the_release_is_there(
    agents: MakeAgents,
) -> None:
    made, falcons = agents()
    made.deploy()
    damages = ("detached HEAD", "no upstream", "other remote", "edited file", "no repository")
    for name, damage in zip(HOSTS, damages, strict=True):
        on(falcons[name].host, DAMAGES[damage][0])
    assert made.deploy("--check").states() == dict.fromkeys(HOSTS, "changed")
    assert made.deploy().states() == dict.fromkeys(HOSTS, "changed")
    for name, damage in zip(HOSTS, damages, strict=True):
        assert_well(made, falcons[name], damage)
    assert_settled(made)


def test_a_repository_above_the_plugin_folder_is_never_touched(agents: MakeAgents) -> None:
    made, falcons = agents()
    inside = ("true", "rm -r {p}", "mkdir {p}/.git", "echo mine >{p}/60_mine.sh", "touch {p}/.git")
    for falcon, there in zip(falcons.values(), inside, strict=True):
        on(
            falcon.host,
            f"cd {HOME} && runuser -u falcon -- sh -ec 'git init -q; echo 1 >mine; git add mine "
            "config; git -c user.name=x -c user.email=x commit -qm mine; echo 2 >mine; "
            f"echo 3 >staged; git add staged' && {there.format(p=PLUGIN)}",
        )

    def seen(falcon: Falcon) -> str:
        commands = ("rev-parse HEAD", "ls-files --stage", "diff -- mine", "stash list", "branch -a")
        git = f"cd {HOME} && runuser -u falcon -- git "
        return on(falcon.host, "; ".join(git + command for command in commands))

    before = {name: seen(falcon) for name, falcon in falcons.items()}
    assert made.deploy().states() == dict.fromkeys(HOSTS, "changed")
    assert_settled(made)
    for (name, falcon), there in zip(falcons.items(), inside, strict=True):
        assert_well(made, falcon, there)
        assert "+2" in before[name] and seen(falcon) == before[name], there
    assert on(falcons["n4"].host, f"cat {PLUGIN}.before-plugfleet-*/60_mine.sh") == "mine"


def test_ten_updates_at_a_time_do_not_keep_a_deployment_from_its_end(agents: MakeAgents) -> None:
    made, falcons = agents()
    made.deploy("-l", "n1")
    falcon = falcons["n1"]
    ask = "curl --silent http://127.0.0.1:1988/plugin/update >/dev/null &"
    storm = f"while [ -e /tmp/storm ]; do {ask * 10} wait; done"
    for value in (2, 3):
        new_release(made, value)
        on(falcon.host, "touch /tmp/storm")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(falcon.host.exec, storm, timeout=60)
            try:
                run = made.run("-l", "n1")
            finally:
                on(falcon.host, "rm /tmp/storm")
            assert running.result().returncode == 0
        assert run.states() == {"n1": "changed"}, run.text
        assert_well(made, falcon)
        # That another update was quicker is no reason to replace the checkout.
        assert on(falcon.host, f"ls -A {HOME}/agent") == "plugin"
    assert made.deploy("-l", "n1").states() == {"n1": "right"}


def wrong_config(falcon: Falcon) -> None:
    on(falcon.host, f"cd {HOME} && mv config/cfg.json config/mine.json")


def stopped(falcon: Falcon) -> None:
    on(falcon.host, f'kill "$(cat {HOME}/var/pid)"')


def other_file(falcon: Falcon) -> None:
    """It was started with another configuration, whose repository has nothing yet."""
    on(
        falcon.host,
        f"cd {HOME} && git init -q --bare o.git && sed 's,./plugin,./other/plugin,; s,https.*p.git,"
        f"{HOME}/o.git,' config/cfg.json >config/other.json && "
        "sed -i s,config/cfg.json,config/other.json, restart && chown -R falcon: .",
    )
    falcon.restart()
    falcon.ask("/plugin/update")


def other_file_that_works(falcon: Falcon) -> None:
    other_file(falcon)
    on(
        falcon.host,
        f"cd {HOME} && rm -r other && runuser -u falcon -- sh -ec 'git init -q seed; cd seed; git -c "
        "user.name=x -c user.email=x commit -q --allow-empty -m x; git push -q ../o.git HEAD'",
    )
    assert falcon.ask("/plugin/update") == "success"


def without_git(falcon: Falcon) -> None:
    on(
        falcon.host,
        f"sed -i 's,^setpriv,PATH=/nowhere /usr/bin/setpriv,; s,--reset-env,,' {HOME}/restart",
    )
    falcon.restart()


FAULTS: dict[Callable[[Falcon], None], str] = {
    wrong_config: "there is no /opt/falcon/config/cfg.json; set agent_config_path",
    stopped: "no agent answers on 127.0.0.1:1988",
    other_file: "the agent works with the plugin.dir './other/plugin'",
    other_file_that_works: "the agent said success, but did nothing in /opt/falcon/agent/plugin",
    without_git: "git is not on the PATH of the agent",
}


def test_what_cannot_be_healed_is_named(agents: MakeAgents) -> None:
    made, falcons = agents(agent_config_restart_command="")
    for fault, falcon in zip(FAULTS, falcons.values(), strict=True):
        fault(falcon)
    run = made.run()
    assert run.states() == dict.fromkeys(HOSTS, "failed")
    for name, says in zip(HOSTS, FAULTS.values(), strict=True):
        assert says in run.of(name)["msg"]
    assert "Traceback" not in run.text


def test_the_user_of_the_agent_is_named_where_the_variable_says_another(agents: MakeAgents) -> None:
    made, _ = agents(plugin_sync_user="daemon")
    run = made.run("-l", "n1")
    assert run.states() == {"n1": "failed"}
    assert "The agent runs as falcon: set plugin_sync_user to that" in run.of("n1")["msg"]
    run = made.run("-l", "n1", "-e", "plugin_sync_user=falcon")
    assert run.states() == {"n1": "changed"}, run.text


def test_an_agent_that_has_not_read_its_configuration_is_restarted(agents: MakeAgents) -> None:
    made, falcons = agents(plugin={"enabled": False})
    on(
        falcons["n1"].host,
        f'sed -i \'s/"enabled": false, *$/"enabled": true,/; /plugin/,/}}/s/false/true/\' '
        f"{HOME}/config/cfg.json",
    )
    run = made.deploy("-l", "n1")
    assert_well(made, falcons["n1"])
    assert run.states() == {"n1": "changed"}


def test_kills_while_a_checkout_is_put_right_lose_no_edit_and_one_more_run_converges(
    agents: MakeAgents,
) -> None:
    made, falcons = agents()
    made.deploy("-l", "n1,n2")
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    pick, killed = random.Random(seed), Counter[str]()
    edits: dict[str, set[str]] = {"n1": set(), "n2": set()}
    while killed.total() < 8:
        process = begin(made)
        process.wait()
        new_release(made, len(edits["n1"]) + 2)
        for name, edited in edits.items():
            mark = f"mine{len(edited)}x"
            edited.add(mark)
            more = pick.choice(
                ["true", "git checkout -q --detach", "git config core.sparseCheckout 1"]
            )
            script = f"echo {mark} >>sys/one/60_one.sh; echo {mark} >60_mine.sh; {more}"
            on(falcons[name].host, f"cd {PLUGIN} && runuser -u falcon -- sh -c '{script}'")
        process = begin(made)
        hunts = [
            threading.Thread(
                target=kill_on_host,
                args=(falcons[name].host, random.Random(pick.random()),
                      lambda p=process: p.poll() is None, killed),
            )
            for name in edits
        ]  # fmt: skip
        for hunt in hunts:
            hunt.start()
        for hunt in hunts:
            hunt.join()
        process.wait()
    run = made.deploy("-l", "n1,n2")
    assert made.deploy("-l", "n1,n2").states() == {"n1": "right", "n2": "right"}, run.text
    print(dict(killed))
    for name, edited in edits.items():
        assert_well(made, falcons[name])
        host = falcons[name].host
        kept = on(
            host, f"cat {ROOT}/kept/*.patch {HOME}/agent/plugin.before-*/*.sh 2>/dev/null || :"
        )
        assert [mark for mark in edited if mark not in kept] == [], name
        left = "-name '*.plugfleet-*' -o -name '*.lock' -o -name 'plugfleet-*' -o -name '*.swap'"
        found = on(host, f"find {HOME} {ROOT} \\( {left} -o -name 'tmp_*' \\) ! -path '*.before-*'")
        assert found == f"{ROOT}/.visit.lock", name
