"""How a manifest plugin is started, watched, throttled and mended."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from executor.manifest_interpreters import python2_reason, which
from tests.executor.harness import Host, alive, wait_until
from tests.executor.manifest_source import LOOPS, copy_of, detail, install

SHOWS_ARGV = (
    "import sys\nprint('TEST_VALUE', len(sys.argv), '\"' + '|'.join(sys.argv[1:]) + '\"')\n"
)
FOREVER = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nwhile True: time.sleep(1)\n"


def text(name: str, kind: str = "string") -> dict[str, Any]:
    return {"title": name, "name": name, "type": kind}


def test_a_command_line_reaches_no_shell_and_every_value_stays_one_argument(host: Host) -> None:
    install(
        host, SHOWS_ARGV, "words", command="python3 main.py $(A) $(b?) $(list) ;$(date) $( ls )",
        paramSchema=[text("a"), text("list", "array")],
    )  # fmt: skip
    install(host, SHOWS_ARGV, "newline", command="python3 main.py a\nb `id` *")
    install(host, SHOWS_ARGV, "nul", command="python3 main.py a\0b")
    config = {"a": "x y;$(touch made)", "list": ["1", "2 3"], "date": "today"}
    host.bind({"plugin": "words", "config": config}, "newline", "nul")
    host.start()
    words = host.wait_state("words", "ok")["LastValue"]["metric"]
    assert words == (
        "TEST_VALUE/source=x_y;$(touch_made)||1|2_3|;today|$(|ls|),plugin=words"
    )  # fmt: skip
    assert host.wait_state("newline", "no-data", "ok")["Rejected"] == 1
    entry = host.wait_state("nul", "failed")
    assert "NUL" in entry["Reason"] and entry["Runs"] == 0
    assert not any((copy_of(host, name) / "made").exists() for name in ("words", "newline"))


def test_a_password_reaches_the_command_line_only_where_the_host_allows_that(host: Host) -> None:
    for name in ("check", "without"):
        install(host, SHOWS_ARGV, name, command="python3 main.py $(secret)")
    host.bind({"plugin": "check", "config": {"secret": "hidden"}}, "without")
    host.start()
    assert host.wait_state("without", "ok")
    entry = host.wait_state("check", "failed")
    assert "'secret'" in entry["Reason"] and "executor.secret_arguments" in entry["Reason"]
    host.cfg["executor"]["secret_arguments"] = True
    host.write_cfg()
    host.get("/config/reload")
    assert host.wait_state("check", "ok")["LastValue"]["value"] == 2


def test_a_shim_stands_for_a_version_that_has_the_program(tmp_path: Path) -> None:
    shims, plain = tmp_path / "shims", tmp_path / "plain"
    for folder, names in {
        shims: ("python2.7", "python", "node", "other"), plain: ("node",),
        tmp_path / "versions/3.1/bin": ("python",), tmp_path / "versions/2.7.9/bin": ("python2.7",),
        tmp_path / "versions/9/bin": ("node",),
    }.items():  # fmt: skip
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch(0o755)
    path = f"{shims}:{plain}"

    def found(program: str) -> str:
        return which(program, path)[len(str(tmp_path)) + 1 :]

    assert found("node") == "plain/node"  # the system's, as nothing is chosen
    (tmp_path / "version").write_text("system 3.1\n")
    assert found("python") == "versions/3.1/bin/python"
    assert found("python2.7") == "versions/2.7.9/bin/python2.7"  # on this host, though not chosen
    assert (found("node"), found("other")) == ("plain/node", "")
    (tmp_path / "version").write_text("3\n")
    assert found("python") == "shims/python"  # it knows what 3 means
    assert which("python", str(tmp_path / "versions/3.1/bin")).endswith("3.1/bin/python")


@pytest.mark.parametrize(
    ("said", "old"),
    [
        ("TabError: inconsistent use of tabs and spaces in indentation", True),
        ("AttributeError: 'dict' object has no attribute 'iteritems'", True),
        ("AttributeError: module 'urllib' has no attribute 'urlopen'", True),
        ("ModuleNotFoundError: No module named 'thread'", True),
        ("ModuleNotFoundError: No module named 'redis'", False),
        ("AttributeError: 'list' object has no attribute 'items'", False),
    ],
)
def test_how_python_2_code_ends_under_python_3_is_known(said: str, old: bool) -> None:
    assert bool(python2_reason(["/usr/bin/python3"], said)) == old
    assert not python2_reason(["/usr/bin/python2.7"], said)


def test_interpreters_are_found_or_the_plugin_is_not_tried(host: Host, tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python3").symlink_to(sys.executable)
    install(host, LOOPS, "old", command="python main.py")
    install(host, "print 'TEST_VALUE 1'\n", "python2", command="python main.py")
    install(host, "import urllib2\n", "python2-module", command="python main.py")
    install(host, LOOPS, "lua", command="boundary-meter init.lua")
    host.bind("old", "python2", "python2-module", "lua")
    host.start(env=dict(os.environ, PATH=str(bin_folder)))
    host.wait_state("old", "ok")
    for name in ("python2", "python2-module"):
        entry = host.wait_state(name, "unsupported-runtime")
        assert "is Python 2 code" in entry["Reason"] and entry["Runs"] == 1
    assert host.wait_state("lua", "unsupported-runtime")["Runs"] == 0


def test_a_path_in_the_interpreter_map_and_modules_from_the_host(host: Host) -> None:
    modules = host.root / "modules"
    (modules / "tools").mkdir(parents=True)
    (modules / "tools" / "index.js").write_text("here\n")
    install(
        host,
        "import os\nseeded = open('node_modules/tools/index.js').read()\n"
        "print('TEST_VALUE', 7, os.environ['NODE_PATH'].rsplit('/', 1)[1] + '-' + seeded)\n",
        command="node main.py",
    )
    node = host.script("node", f'shift\nexec {sys.executable} "$@"\n')
    install(host, LOOPS, "plain")
    host.cfg["executor"].update(
        interpreters={"node": str(node)}, node_path="shared", node_modules="modules"
    )
    host.bind("check", "plain")
    host.start()
    entry = host.wait_state("check", "ok")
    assert entry["LastValue"]["metric"] == "TEST_VALUE/source=shared-here,plugin=check"
    host.wait_state("plain", "ok")
    assert not (copy_of(host, "plain") / "node_modules").exists()


def test_a_flood_is_throttled_with_a_count_and_slows_no_other(host: Host) -> None:
    install(
        host,
        "import sys\nlines = 'TEST_VALUE 1\\n' * 5000\nwhile True: sys.stdout.write(lines)\n",
        "flood",
    )
    install(host, "import sys\nwhile True: sys.stderr.write('x' * 99 + '\\n')\n", "loud")
    install(host, LOOPS, "other")
    host.bind("flood", "loud", "other")
    host.start()
    wait_until(lambda: host.plugins()["flood"]["Throttled"] > 0, "the flood is throttled")
    wait_until(lambda: host.plugins()["loud"]["Throttled"] > 0, "stderr as well")
    assert host.process is not None
    ticks = os.sysconf("SC_CLK_TCK")

    def cpu() -> float:
        assert host.process is not None
        fields = Path(f"/proc/{host.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    began, used, samples = time.monotonic(), cpu(), host.plugins()["other"]["Samples"]
    time.sleep(1.0)
    took = time.monotonic() - began
    assert (cpu() - used) / took < 0.3
    # It counts one value a second, so the next one may be a moment away.
    wait_until(lambda: host.plugins()["other"]["Samples"] > samples, "the other goes on", 3)
    assert "flood: prints more than 500 values/s: throttled" in host.log


def test_undeclared_metrics_are_quarantined_by_name_and_stderr_is_messages(host: Host) -> None:
    install(
        host,
        "import sys\nprint('TEST_VALUE 1')\nprint('Interval: 1000')\nprint('STRAY 2')\n"
        "print('STRAY 3')\nprint('_bevent:disk replaced|t:warn|m:slot 3|tags:a,b')\n"
        "print('connected', file=sys.stderr)\n",
        version="0.9.0_2",
    )
    (host.root / "plugin/check/metrics.json").write_text(
        json.dumps(
            {"result": [{"name": "TEST_VALUE", "unit": "percentage", "defaultAggregate": "AVE",
                         "description": "How full it is"}]}
        )
    )  # fmt: skip
    (host.root / "plugin/check/param.json").write_text('{"host": "a committed sample"}')
    host.bind({"plugin": "check", "config": {"pollInterval": 60000}})
    host.start()
    wait_until(lambda: host.plugins()["check"]["Runs"], "it ran")
    entry = host.plugins()["check"]
    assert (entry["Undeclared"], entry["Rejected"]) == (3, 3)
    assert (entry["Events"], entry["Messages"]) == (1, 1)
    found = detail(host)
    assert found["Quarantined"] == {"INTERVAL:": 1, "STRAY": 2}
    assert found["RecentMessages"][0]["msg"] == "connected"
    event = found["RecentEvents"][0]
    assert (event["title"], event["type"], event["tags"]) == ("disk replaced", "warn", ["a", "b"])
    assert found["Version"] == "0.9.0_2"
    known, unknown = found["Metrics"]
    assert (known["definition"]["unit"], known["definition"]["defaultAggregate"]) == (
        "percent", "avg",
    )  # fmt: skip
    assert unknown == {"name": "TEST_OTHER", "definition": None}
    metrics = host.get("/metrics")
    assert "# HELP TEST_VALUE How full it is (unit percent, avg)\n" in metrics
    assert 'TEST_VALUE{plugin="check"} 1.0' in metrics
    assert json.loads((copy_of(host) / "param.json").read_text())["host"] == "localhost"


def test_a_silent_or_stubborn_plugin_is_ended_with_its_group(host: Host) -> None:
    install(host, FOREVER, "silent")
    install(
        host,
        "import os, signal, subprocess, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "open('pid', 'w').write('%d %d' % (os.getpid(), child.pid))\nwhile True: time.sleep(1)\n",
        "stubborn",
    )
    silent = {"plugin": "silent", "config": {"pollInterval": 1000}}
    host.cfg["executor"].update(silence_limit=0.3)
    host.bind(silent, {"plugin": "stubborn", "config": {"secret": "hidden"}})
    host.start()
    pid_file = copy_of(host, "stubborn") / "pid"
    pids = wait_until(lambda: pid_file.exists() and pid_file.read_text().split(), "it runs")
    host.bind(silent)
    entry = host.wait_state("silent", "timeout")
    assert "printed nothing for 3 s" in entry["Reason"]
    wait_until(lambda: not any(alive(int(pid)) for pid in pids), "both ended")
    params = copy_of(host, "stubborn") / "param.json"
    wait_until(lambda: not params.exists(), "its secrets are gone")


def test_kill_9_of_the_executor_leaves_no_plugin_running_twice(host: Host) -> None:
    install(
        host, FOREVER.replace("open('pid', 'w')", "open('pids', 'a')").replace("()))", "()) + ' ')")
    )
    host.bind("check")
    host.start()
    pids = copy_of(host) / "pids"
    wait_until(lambda: pids.exists() and pids.read_text().split(), "it runs")
    host.stop(signal.SIGKILL)
    host.start()
    started = wait_until(lambda: len(pids.read_text().split()) == 2 and pids.read_text(), "anew")
    assert [alive(int(pid)) for pid in started.split()] == [False, True]


def test_drift_of_the_copy_is_named_kept_aside_and_mended_once(host: Host) -> None:
    install(host, LOOPS, ignore="Cache")
    folder = host.root / "plugin/check"
    (folder / "lib.py").write_text("x = 1\n")
    (folder / "cache.txt").write_text("committed\n")
    host.bind({"plugin": "check", "config": {"host": "a"}})
    host.cfg["heartbeat"] = {"interval": 1}
    host.start()
    host.wait_state("check", "ok")
    copy = copy_of(host)
    (copy / "own-state").write_text("the plugin's\n")
    (copy / "cache.txt").write_text("changed, and ignored\n")
    (copy / "param.json").write_text("{}")
    (copy / "main.py").write_text("print('tampered')\n")
    (copy / "lib.py").unlink()
    entry = wait_until(
        lambda: host.plugins()["check"]["Drifts"] and host.plugins()["check"], "drift is found"
    )
    assert entry["Drifts"] == 1
    found = detail(host)
    assert found["DriftFiles"] == ["missing: lib.py", "changed: main.py"]
    assert found["AddedFiles"] == {"count": 1, "names": ["own-state"]}
    assert (copy / "main.py").read_text() == LOOPS and (copy / "lib.py").read_text() == "x = 1\n"
    assert (copy / "own-state").exists() and (copy / "cache.txt").read_text().startswith("changed")
    kept = list((host.root / "state/manifest.kept").glob("check-*/main.py"))
    assert [path.read_text() for path in kept] == ["print('tampered')\n"]
    assert "changed: main.py" in host.log
    wait_until(lambda: host.plugins()["check"]["Running"], "it runs again")
    host.wait_state("check", "ok")
    assert '"host": "a"' in (copy / "param.json").read_text()
    assert host.plugins()["check"]["Drifts"] == 1
