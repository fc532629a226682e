"""Hosts with an Open-Falcon agent: configured, restarted where it must be, and its own pull believed.

The agent is a stand-in with the real one's faults (tests/falcon). After every deployment its own
`/plugin/update` must say success and its HEAD be the release: the next one is asked by somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.deploy.falcon_host import (
    CONFIG,
    HOME,
    HOSTS,
    PLUGIN,
    Falcon,
    MakeAgents,
    assert_settled,
    assert_well,
    new_release,
    release_of,
    warnings_of,
)
from tests.deploy.test_faulty_hosts import ROOT, on


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
    # Newer agents name such a log so; the log of what nobody bound does not matter.
    for name in ("sys/one/60_one.sh()", "sys/two/60_two.sh()"):
        on(falcons["n1"].host, f"echo oh | install -D /dev/stdin '{HOME}/logs/{name}.stderr.log'")
    run = assert_settled(made)
    assert "sys/one/60_one.sh wrote to stderr" in warnings_of(run, "n1")
    assert "sys/two" not in warnings_of(run, "n1") and not warnings_of(run, "n2")


def test_an_agent_that_was_started_with_plugins_off_is_restarted(agents: MakeAgents) -> None:
    made, falcons = agents(plugin={"enabled": False})
    run = made.deploy()
    assert set(run.states().values()) == {"changed"}
    assert "agent restarted" in run.of("n1")["msg"]
    # Its script redirects its errors alone.
    assert f"the agent writes its log to {ROOT}/restart.log" in warnings_of(run, "n1")
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
        # An agent begins a plugin's cycle anew when its file's time has changed.
        falcon.wait(lambda f=falcon: f.schedules().count("sys/one/60_one.sh") == 3)
        assert falcon.schedules().count("fast/2_fast.sh") == 1
        assert on(falcon.host, f"ls -A {HOME}/agent") == "plugin"


def test_ten_updates_at_a_time_do_not_keep_a_deployment_from_its_end(agents: MakeAgents) -> None:
    made, falcons = agents()
    made.deploy("-l", "n1")
    falcon = falcons["n1"]
    ask = "curl --silent http://127.0.0.1:1988/plugin/update >/dev/null &"
    storm = f"while [ -e /tmp/storm ]; do {ask * 10} wait; done"
    new_release(made)
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


def test_an_agent_that_lives_by_another_configuration_or_not_at_all_is_started_anew(
    agents: MakeAgents,
) -> None:
    made, falcons = agents(plugin={"enabled": False})
    falcons["n1"].path(f"{HOME}/config/cfg.json").write_text(json.dumps(CONFIG))
    falcons["n2"].path(f"{HOME}/config/cfg.json").write_text(
        json.dumps(
            {**CONFIG, "plugin": {**CONFIG["plugin"], "dir": PLUGIN, "git": f"{ROOT}/mirror.git"}}
        )
    )
    # Switched on by hand long ago, and told so: it never asks for its list.
    falcons["n3"].path(f"{HOME}/config/cfg.json").write_text(
        falcons["n2"].path(f"{HOME}/config/cfg.json").read_text()
    )
    assert "success" in falcons["n3"].ask("/config/reload")
    # A plugin's name has killed it, as it would again a heartbeat after its start.
    falcons["n4"].path(f"{HOME}/config/cfg.json").write_text(json.dumps(CONFIG))
    falcons["n4"].restart()
    on(falcons["n4"].host, f"echo >{PLUGIN}/0_x && echo . >{HOME}/hbs/plugins")
    run = made.deploy("-l", "n1,n2,n3,n4")
    assert "the agent did not run, and was started" in warnings_of(run, "n4")
    assert_well(made, falcons["n4"])
    # Where nothing had to be written, only the agent's answer tells.
    assert "the agent was restarted, since" in warnings_of(run, "n2")
    for name in ("n1", "n2"):
        assert_well(made, falcons[name])
    falcons["n2"].wait(falcons["n2"].plugins)
    assert "not listed yet: sys/one/60_one.sh" in warnings_of(run, "n3")
    assert falcons["n3"].plugins() == {}
    on(falcons["n3"].host, f"touch -d '1 hour ago' {PLUGIN}/.git/logs/HEAD")
    # What no check knows, and the agent does not survive.
    falcons["n5"].path(f"{HOME}/config/cfg.json").write_text(json.dumps(CONFIG))
    falcons["n5"].restart()
    settings = json.dumps({"agent_config_settings": {"collector": {"timeout": "1 s"}}})
    run = made.run("-l", "n5", "-e", settings)
    assert "ended itself when it read its configuration" in run.of("n5")["msg"]
    assert "is again what it was before, and it was started again" in run.of("n5")["msg"]
    assert falcons["n5"].ask("/health") == "ok"
    assert json.loads(falcons["n5"].path(f"{HOME}/config/cfg.json").read_text()) == CONFIG
    run = made.deploy("-l", "n3")
    assert "the agent was restarted, since it listed nothing" in warnings_of(run, "n3")
    falcons["n3"].wait(falcons["n3"].plugins)
    assert made.deploy("-l", "n3").states() == {"n3": "right"}
