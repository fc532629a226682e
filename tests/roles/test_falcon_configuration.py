"""A real agent's cfg.json: what would kill it is refused, what nobody said is found, or asked for."""

from __future__ import annotations

import grp
import json
import pwd
from pathlib import Path
from typing import Any

import pytest

from roles.agent_config.control import discovery, falconcfg
from roles.agent_config.control.merge import ConfigRefused, merged_text
from roles.agent_config.control.wanted import wanted
from roles.agent_config.host import configure, files, restart
from roles.plugin_sync.control.plan import _file
from roles.plugin_sync.host.outcome import Outcome, StepFailed

WHOLE: dict[str, Any] = {
    "plugin": {"enabled": True, "dir": "./plugin", "git": "", "logs": "./logs"},
    "heartbeat": {"enabled": True, "addr": "hbs:6030", "interval": 60, "timeout": 1000},
    "transfer": {"enabled": True, "addrs": ["transfer:8433"], "interval": 60, "timeout": 1000},
    "http": {"enabled": True, "listen": ":1988", "backdoor": False},
    "collector": {"ifacePrefix": ["eth"]},
}
SETTINGS: dict[str, Any] = {
    "agent_config_kind": "falcon",
    "agent_config_home": "",
    "agent_config_path": "",
    "agent_config_plugin_dir": "",
    "agent_config_logs": "",
    "agent_config_settings": {},
    "agent_update_listen": "127.0.0.1:1988",
    "plugin_sync_user": "",
    "plugin_sync_root": "/var/lib/plugfleet",
    "plugin_sync_mirror": "/var/lib/plugfleet/mirror.git",
}


def test_a_whole_configuration_is_taken() -> None:
    falconcfg.check(WHOLE, "cfg.json")
    falconcfg.check({**WHOLE, "mine": 1, "hostname": None}, "cfg.json")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"heartbeat": None}, "it has no section 'heartbeat'"),
        ({"collector": []}, "it has no section 'collector'"),
        ({"heartbeat": {"interval": "60"}}, '"heartbeat.interval" must be a whole number'),
        ({"heartbeat": {"interval": True}}, '"heartbeat.interval" must be a whole number'),
        ({"heartbeat": {"timeout": 0.5}}, '"heartbeat.timeout" must be a whole number'),
        ({"transfer": {"addrs": "t:8433"}}, '"transfer.addrs" must be a list of texts'),
        ({"transfer": {"addrs": [8433]}}, '"transfer.addrs" must be a list of texts'),
        ({"http": {"listen": 1988}}, '"http.listen" must be a text in quotes'),
        ({"plugin": {"enabled": "yes"}}, '"plugin.enabled" must be true or false'),
        ({"debug": 1}, '"debug" must be true or false'),
        ({"default_tags": {"idc": 1}}, '"default_tags" must be a section of texts'),
        ({"ignore": {"cpu.busy": "yes"}}, '"ignore" must be a section of true or false'),
        ({"ignore": ["cpu.busy"]}, '"ignore" must be a section of true or false'),
    ],
)
def test_what_would_end_an_agent_is_refused_and_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigRefused) as refused:
        falconcfg.check({**WHOLE, **changes}, "/opt/agent/cfg.json")
    assert says in str(refused.value)
    assert "/opt/agent/cfg.json would end the agent" in str(refused.value)


@pytest.mark.parametrize(
    "text", ['{"plugin": {"x": NaN}}', '{"plugin": {}} x', "[]", "", "\ufeff{}"]
)
def test_what_an_agent_cannot_parse_is_not_touched(text: str) -> None:
    with pytest.raises(ConfigRefused, match="it was not touched"):
        merged_text(text, {}, "cfg.json")


@pytest.mark.parametrize(
    ("value", "home", "path"),
    [
        ("./plugin", "/opt/agent", "/opt/agent/plugin"),
        ("plugin/", "/opt/agent", "/opt/agent/plugin"),
        ("../plugin", "/opt/agent", "/opt/plugin"),
        ("/srv/plugin//", "/opt/agent", "/srv/plugin"),
        ("/srv/plugin/", "", "/srv/plugin"),
        ("./plugin", "", ""),
        ("", "/opt/agent", ""),
        (None, "/opt/agent", "/opt/agent/plugin"),
    ],
)
def test_a_folder_counts_from_the_agents_own(value: Any, home: str, path: str) -> None:
    assert falconcfg.folder({"plugin": {"dir": value}}, "dir", home) == path


def test_an_agent_without_a_plugin_section_gets_a_whole_one() -> None:
    settings = SETTINGS | {
        "agent_config_path": "/a/cfg.json",
        "agent_config_plugin_dir": "/a/plugin",
        "agent_config_logs": "/a/logs",
    }
    assert wanted(settings, "{}")["plugin"] == {
        "enabled": True,
        "dir": "/a/plugin",
        "git": "/var/lib/plugfleet/mirror.git",
        "logs": "/a/logs",
    }
    assert "logs" not in wanted(settings, json.dumps(WHOLE))["plugin"]


FOUND = "pids 7\nroot /\nhome /opt/agent\ncfg /opt/agent/cfg.json\ndir /opt/agent/plugin\nlogs \nuser falcon\n"


def test_what_was_found_stands_where_nothing_was_told() -> None:
    settings = SETTINGS | {"agent_config_logs": "/var/log/agent"}
    found = discovery.complete(settings, discovery.read(FOUND), json.dumps(WHOLE), as_root=True)
    assert {name: found[name] for name in discovery.VARIABLES.values()} == {
        "agent_config_home": "/opt/agent",
        "agent_config_path": "/opt/agent/cfg.json",
        "agent_config_plugin_dir": "/opt/agent/plugin",
        "agent_config_logs": "/var/log/agent",
        "plugin_sync_user": "falcon",
    }


@pytest.mark.parametrize(
    ("printed", "config", "says", "variable"),
    [
        ("pids 7 9\n", None, "2 processes may be", "agent_config_home"),
        ("pids \n", None, "nothing of that name runs or listens on", "agent_config_path"),
        ("pids \nplace /a/cfg.json\nplace /b/cfg.json\n", None, "/a/cfg.json, /b/cfg.json",
         "agent_config_path"),
        ("pids 7\nroot /\nhome \ncfg \n", None, "may not be seen by this user", "agent_config_home"),
        (FOUND.replace("root /", "root /var/lib/box"), "{}", "/var/lib/box as its root directory",
         "agent_config_path"),
        (FOUND, None, "there is no /opt/agent/cfg.json", "agent_config_path"),
        (FOUND.replace("user falcon", "user "), "{}", "is not known", "plugin_sync_user"),
        (FOUND.replace("home /opt/agent", "home "), "{}", "no plugin.dir that can be resolved",
         "agent_config_plugin_dir"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_names_the_variable_to_set(
    printed: str, config: str | None, says: str, variable: str
) -> None:
    with pytest.raises(ConfigRefused) as refused:
        discovery.complete(SETTINGS, discovery.read(printed), config, as_root=True)
    assert says in str(refused.value)
    assert variable in str(refused.value)


@pytest.mark.parametrize("folder", ["/", "/opt", "/opt/agent", "/opt/agent/", "/var/lib/plugfleet"])
def test_a_plugin_folder_with_more_in_it_is_never_replaced(folder: str) -> None:
    settings = SETTINGS | {
        "agent_config_plugin_dir": folder,
        "agent_config_home": "/opt/agent",
        "agent_config_path": "/opt/agent/cfg.json",
    }
    with pytest.raises(ConfigRefused, match="set agent_config_plugin_dir to a folder of its own"):
        discovery.refuse_folder(settings)


@pytest.mark.parametrize(
    ("changes", "restarts"),
    [
        ({}, False),
        ({"transfer": {"enabled": False}}, False),
        ({"plugin": {"enabled": True, "dir": "/other"}}, False),
        ({"heartbeat": {"enabled": True, "addr": "controller:6030"}}, True),
        ({"http": {"enabled": True, "listen": ":1989"}}, True),
    ],
)
def test_what_an_agent_reads_at_its_start_alone_needs_a_restart(
    changes: dict[str, Any], restarts: bool
) -> None:
    def needs(before: dict[str, Any], kind: str = "falcon") -> bool:
        file = {
            "path": "/a/cfg.json",
            "present": json.dumps(before),
            "content": json.dumps({**WHOLE, **changes}),
        }
        plan = {"agent": {"kind": kind, "cfg": "/a/cfg.json"}, "files": [file]}
        return configure._reads_at_start(plan)

    assert needs(WHOLE) == restarts
    assert needs({**WHOLE, "plugin": {"enabled": False}})
    assert not needs({}, "executor")


@pytest.mark.parametrize(
    ("http", "says"),
    [
        ({"enabled": True, "listen": ":2988"}, "set agent_update_listen to 127.0.0.1:2988"),
        ({"enabled": False, "listen": ":1988"}, "http.enabled is not true in /a/cfg.json"),
        ({}, "http.enabled is not true in /a/cfg.json"),
    ],
)
def test_an_agent_that_does_not_answer_by_its_own_configuration_is_named(
    http: dict[str, Any], says: str
) -> None:
    discovery.refuse_deaf(WHOLE, "/a/cfg.json", "127.0.0.1:1988")
    with pytest.raises(ConfigRefused) as refused:
        discovery.refuse_deaf({**WHOLE, "http": http}, "/a/cfg.json", "127.0.0.1:1988")
    assert says in str(refused.value)


@pytest.mark.parametrize("ends", ["\r\n", "\n", "\r"], ids=repr)
def test_a_file_is_replaced_and_kept_byte_for_byte_whatever_its_line_ends(
    tmp_path: Path, ends: str
) -> None:
    path = tmp_path / "cfg.json"
    before = '{\n  "plugin": {"enabled": false},\n  "x": "\xe9"\n}\n'.replace("\n", ends).encode(
        "latin-1"
    )
    path.write_bytes(before)
    # As the look reads it.
    present = before.decode("utf-8", "surrogateescape")
    content = merged_text(present, {"plugin": {"enabled": True}}, str(path))
    assert configure._write(_file(str(path), content, present, backup=True), "", Outcome())
    assert json.loads(files.read(str(path)) or "")["plugin"] == {"enabled": True}
    (kept,) = tmp_path.glob("cfg.json.before-*")
    assert kept.read_bytes() == before


def test_only_our_own_backups_are_ever_removed(tmp_path: Path) -> None:
    mine = [f"cfg.json.before-{n}" for n in ("20200202", "upgrade", "20200202T000000Z.mine")]
    ours = [f"cfg.json.before-2020010{n}T000000Z" for n in range(1, 8)]
    for name in mine + ours:
        (tmp_path / name).touch()
    configure._back_up(str(tmp_path / "cfg.json"), "{}", 0o640)
    left = {path.name for path in tmp_path.iterdir()}
    assert left >= {*mine, ours[0], *ours[-3:]} and len(left) == len(mine) + 5


def test_an_agent_is_never_told_to_read_what_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "cfg.json"
    path.write_text('{"plugin": ')
    with pytest.raises(StepFailed, match="was not told to read it"):
        restart.reload({"agent": {"cfg": str(path), "kind": "falcon"}}, Outcome())


@pytest.mark.parametrize(
    ("group", "others_gid", "owner", "mode"),
    [
        (("agent", []), 78, (-1, 77), 0o640),
        (("agent", ["agent"]), 78, (-1, 77), 0o640),
        (("agent", ["agent"]), 77, (66, -1), 0o600),
        (("agent", ["agent", "somebody"]), 78, (66, -1), 0o600),
        (("agent", ["somebody"]), 78, (66, -1), 0o600),
        (("nogroup", []), 78, (66, -1), 0o600),
        (None, 78, (66, -1), 0o600),
    ],
)
def test_a_new_file_is_read_by_the_agents_account_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: tuple[str, list[str]] | None,
    others_gid: int,
    owner: tuple[int, int],
    mode: int,
) -> None:
    def getgrgid(gid: int) -> grp.struct_group:
        if group is None:
            raise KeyError(gid)
        return grp.struct_group((group[0], "x", gid, group[1]))

    given = []
    account = pwd.struct_passwd(("agent", "x", 66, 77, "", "/", "/bin/sh"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.fchown", lambda _fd, *ids: given.append(ids))
    monkeypatch.setattr("pwd.getpwnam", lambda _name: account)
    other = pwd.struct_passwd(("somebody", "x", 67, others_gid, "", "/", "/bin/sh"))
    monkeypatch.setattr("pwd.getpwall", lambda: [account, other])
    monkeypatch.setattr("grp.getgrgid", getgrgid)
    files.write(str(tmp_path / "bindings.json"), b"{}", 0o640, "agent")
    assert given == [owner]
    assert (tmp_path / "bindings.json").stat().st_mode & 0o777 == mode
