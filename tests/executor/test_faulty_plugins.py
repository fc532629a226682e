"""What plugins do wrong, each run by a real executor: the reason is said, and a good sibling is
never hurt.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

import pytest

from executor.stderrlog import StderrLog
from tests.executor.harness import Host, alive, prints, wait_until

# name, body, mode, state, a piece of the reason
FAULTS = [
    ("not-executable", "#!/bin/sh\n" + prints(), 0o644, "not-executable", "execute bit"),
    ("crlf", "#!/bin/sh\r\necho '[]'\r\n", 0o755, "failed", "CR"),
    ("crlf-env", "#!/usr/bin/env python3\r\nprint(1)\r\n", 0o755, "failed", "CR"),
    ("no-shebang", "\necho '[]'\n#!/bin/sh", 0o755, "failed", "#!"),
    ("bom", "\ufeff#!/bin/sh\necho '[]'\n", 0o755, "failed", "byte order mark"),
    ("empty-file", "", 0o755, "failed", "empty"),
    ("missing-interpreter", "#!/opt/none/python2\n", 0o755, "unsupported-runtime", "python2"),
    ("missing-env", "#!/usr/bin/env nonesuch-9\n", 0o755, "unsupported-runtime", "nonesuch-9"),
    ("nothing", "#!/bin/sh\nexit 0\n", 0o755, "no-data", "nothing"),
    ("blank", "#!/bin/sh\necho\n", 0o755, "no-data", "white space"),
    ("null", "#!/bin/sh\necho '[null]'\n", 0o755, "no-data", "null"),
    ("text", "#!/bin/sh\necho all is well\n", 0o755, "no-data", "JSON"),
    ("object", '#!/bin/sh\necho \'{"metric":"a"}\'\n', 0o755, "no-data", "list"),
    (
        "float-timestamp",
        '#!/bin/sh\necho \'[{"metric":"a","value":1,"timestamp":1.5}]\'\n',
        0o755,
        "no-data",
        "timestamp",
    ),
    ("exit-3", "#!/bin/sh\necho broken pipe to db >&2\nexit 3\n", 0o755, "failed", "broken pipe"),
    ("killed", "#!/bin/sh\nkill -SEGV $$\n", 0o755, "failed", "SIGSEGV"),
]


@pytest.mark.parametrize(
    ("body", "mode", "state", "reason"),
    [fault[1:] for fault in FAULTS],
    ids=[fault[0] for fault in FAULTS],
)
def test_fault_is_named_and_the_sibling_delivers(
    host: Host, body: str, mode: int, state: str, reason: str
) -> None:
    path = host.root / "plugin" / "app" / "60_bad"
    path.parent.mkdir()
    path.write_bytes(body.encode())
    path.chmod(mode)
    host.script("app/60_good.sh", prints())
    host.bind("app")
    host.start()
    entry = host.wait_state("app/60_bad", state)
    assert reason.lower() in entry["Reason"].lower()
    assert entry["Samples"] == 0
    assert f"app/60_bad: {state}" in host.log
    assert host.wait_state("app/60_good.sh", "ok")["Samples"] == 1


def test_metrics_of_a_failing_plugin_are_taken_but_the_exit_code_is_said(host: Host) -> None:
    host.script("app/60_a.sh", prints() + "echo oops >&2\nexit 2\n")
    host.bind("app")
    host.start()
    entry = host.wait_state("app/60_a.sh", "failed")
    assert entry["Samples"] == 1
    assert "exit code 2: oops" in entry["Reason"]
    assert "taken" in entry["Reason"]


def test_a_gigabyte_of_output_grows_no_memory_and_is_ended(host: Host) -> None:
    host.script("app/60_flood.sh", "exec head -c 1000000000 /dev/zero\n")
    host.start()
    before = host.rss_kb()
    host.bind("app")
    entry = host.wait_state("app/60_flood.sh", "failed", seconds=30)
    assert "64 MiB" in entry["Reason"]
    assert host.rss_kb() - before < 2048


def test_an_endless_line_is_read_away_until_its_limit(host: Host) -> None:
    host.script("app/60_line.sh", "head -c 5000000 /dev/zero | tr '\\0' x\n")
    host.start()
    before = host.rss_kb()
    host.bind("app")
    entry = host.wait_state("app/60_line.sh", "no-data")
    assert "5000000 bytes" in entry["Reason"]
    assert host.rss_kb() - before < 4096


def test_a_plugin_that_never_ends_is_killed_with_its_group(host: Host) -> None:
    pids = host.root / "pids"
    host.script("app/2_hang.sh", f"sleep 300 & echo $$ $! >> {pids}\nwait\n")
    host.bind("app")
    host.start()
    entry = host.wait_state("app/2_hang.sh", "timeout")
    assert "1.5 s" in entry["Reason"]
    shell, child = map(int, pids.read_text().split()[:2])
    wait_until(lambda: not alive(shell) and not alive(child), "the whole group is gone")


def test_a_plugin_that_ignores_sigterm_is_gone_before_its_next_run(host: Host) -> None:
    starts = host.root / "starts"
    script = f"trap '' TERM\ndate +%s.%N >> {starts}\nwhile :; do sleep 0.1; done\n"
    host.script("app/2_stubborn.sh", script)
    host.bind("app")
    host.start()
    host.wait_state("app/2_stubborn.sh", "timeout")
    wait_until(lambda: len(starts.read_text().split()) >= 3, "three runs")
    entry = host.plugins()["app/2_stubborn.sh"]
    assert entry["Missed"] == 0
    times = [float(text) for text in starts.read_text().split()]
    assert all(1.9 < later - earlier < 2.1 for earlier, later in itertools.pairwise(times))


def test_sigterm_comes_first_so_a_plugin_can_clean_up(host: Host) -> None:
    done = host.root / "cleaned"
    host.script("app/2_clean.sh", f"trap 'touch {done}; exit 0' TERM\nsleep 300 & wait\n")
    host.bind("app")
    host.start()
    host.wait_state("app/2_clean.sh", "timeout")
    assert done.exists()


def test_a_background_child_that_holds_stdout_costs_no_data(host: Host) -> None:
    pid_file = host.root / "pid"
    # It waits until the child has become `sleep`: before that it has the script's own name.
    host.script("app/60_fork.sh", f"sleep 300 &\necho $! > {pid_file}\nsleep 0.2\n" + prints())
    host.bind("app")
    host.start()
    entry = host.wait_state("app/60_fork.sh", "ok", seconds=5)
    assert entry["Samples"] == 1
    assert "left sleep running" in entry["Reason"]
    wait_until(lambda: not alive(int(pid_file.read_text())), "the child it left is gone")


def test_a_child_that_leaves_the_group_and_keeps_writing_blocks_nothing(host: Host) -> None:
    pid_file = host.root / "pid"
    loop = f"echo \\$\\$ > {pid_file}; trap '' PIPE; while :; do echo x; sleep 0.01; done"
    host.script("app/60_setsid.sh", f'setsid sh -c "{loop}" &\n' + prints() + "sleep 0.2\n")
    host.bind("app")
    host.start()
    entry = host.wait_state("app/60_setsid.sh", "ok", "no-data", seconds=5)
    assert not entry["Running"]
    os.kill(int(pid_file.read_text()), 9)


def test_a_plugin_cannot_write_into_a_release_unless_it_is_root(host: Host) -> None:
    host.script("app/60_self.sh", 'touch "$(dirname "$0")/made" 2>/dev/null\n' + prints())
    host.bind("app")
    (host.root / "plugin" / "app").chmod(0o555)
    host.start()
    assert host.wait_state("app/60_self.sh", "ok")["Samples"] == 1
    assert (host.root / "plugin" / "app" / "made").exists() == (os.geteuid() == 0)


def test_a_file_that_vanishes_between_binding_and_run_is_missing(host: Host) -> None:
    script = host.script("app/1_gone.sh", prints())
    host.bind("app")
    host.start()
    host.wait_state("app/1_gone.sh", "ok")
    script.unlink()
    assert "not there any more" in host.wait_state("app/1_gone.sh", "missing")["Reason"]


def test_what_is_bound_but_not_in_the_tree_is_shown_as_missing(host: Host) -> None:
    host.bind("no/such")
    host.start()
    entry = host.wait_state("no/such", "missing")
    assert "not in the plugin tree" in entry["Reason"]


def test_names_that_kill_a_falcon_agent_are_refused_here(host: Host) -> None:
    host.script("app/0_zero.sh", prints())
    host.script("app/60_good.sh", prints())
    host.bind("app")
    host.start()
    host.wait_state("app/60_good.sh", "ok")
    assert host.plugins()["app/0_zero.sh"]["Kind"] == "refused"
    assert host.get("/health") == "ok"


def test_stderr_is_kept_per_plugin_and_bounded(host: Host) -> None:
    host.script("app/60_noisy.sh", "head -c 300000 /dev/zero | tr '\\0' e >&2\n" + prints())
    host.bind("app/60_noisy.sh(a/b)")
    host.start()
    host.wait_state("app/60_noisy.sh(a/b)", "ok")
    log = host.root / "logs" / "app" / "60_noisy.sh(a_b).stderr.log"
    assert log.stat().st_size < 66000
    assert log.read_text().endswith("[234464 more bytes of this run were not kept]\n")


def test_a_stderr_log_is_two_files_of_256_kib_at_most(tmp_path: Path) -> None:
    log = StderrLog(str(tmp_path), "app/60_a.sh", "")
    for _ in range(12):
        log.begin()
        log.write(b"e" * 70000)
        log.end()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "app").iterdir()}
    assert set(sizes) == {"60_a.sh().stderr.log", "60_a.sh().stderr.log.1"}
    assert max(sizes.values()) <= 256 * 1024


NODE = (
    "node:internal/modules/loader:7\n  throw err;\n  ^\n\nError: Cannot find module 'tools'\n"
    "Require stack:\n- /p/index.js\n    at load (node:7:1) {\n  code: 'GONE',\n"
    "  requireStack: [ '/p/index.js' ]\n}\n\nNode.js v20.1.0\n"
)
NPM = (
    "npm warn old\nnpm error code E404\nnpm error 404 tools@1 is not in this registry\nnpm error 404\n"
    "npm error 404 Note that you can also install from a\nnpm error 404 tarball, folder, http url\n"
    "npm notice new version\nnpm error A complete log of this run can be found in: /x.log\n"
)


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        (NODE, "Error: Cannot find module 'tools'"),
        (NPM, "npm error 404 tools@1 is not in this registry"),
        ("npm ERR! boom\nnpm ERR! A complete log of this run:\nnpm ERR!     /x.log\n", "npm ERR! boom"),
        ("Exception in thread main X: no\n\tat a.B.c(B.java:1)\n\t... 2 more\n",
         "Exception in thread main X: no"),
        ("Traceback (most recent call last):\n  File 'a'\nKeyError: 'host'\n", "KeyError: 'host'"),
        ("one\ntwo", "two"),
        ("one\n\n  indented\n", "one"),
        ("  indented\n\n", "indented"),
        ("\n \n", ""),
        ("", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_of_a_trace_the_line_that_tells_the_error_is_the_last_word(
    tmp_path: Path, printed: str, told: str, piece: int
) -> None:
    log = StderrLog(str(tmp_path), "app/60_a.sh", "")
    for start in range(0, len(printed), piece):
        log.write(printed[start : start + piece].encode())
    assert log.last_line == told
    log.begin()
    assert log.last_line == ""


def test_an_unwritable_log_folder_costs_only_the_log(host: Host) -> None:
    # With the agent the metrics of such a run are dropped.
    (host.root / "logs").write_text("a file where the folder should be")
    host.script("app/60_a.sh", "echo warning >&2\n" + prints())
    host.bind("app")
    host.start()
    assert host.wait_state("app/60_a.sh", "ok")["Samples"] == 1


def test_a_plugin_gets_three_descriptors_its_own_group_and_the_agents_surroundings(
    host: Host, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    host.script(
        "app/60_look.py",
        "#!/usr/bin/env python3\nimport json, os, sys\n"
        "fds = [f for f in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + f)]\n"
        f"json.dump(dict(fds=sorted(fds), pgid=os.getpgid(0), pid=os.getpid(), cwd=os.getcwd(),"
        " stdin=os.readlink('/proc/self/fd/0'), argv=sys.argv,"
        f" unbuffered=os.environ['PYTHONUNBUFFERED'],"
        f" endpoint=os.environ['FALCON_ENDPOINT']), open({str(report)!r}, 'w'))\nprint('[]')\n",
    )
    host.bind("app/60_look.py(one, two)")
    with open(tmp_path / "leak", "w") as leak:
        os.set_inheritable(leak.fileno(), True)
        host.start(close_fds=False)
    wait_until(lambda: report.exists() and report.read_text(), "the plugin reported")
    host.wait_state("app/60_look.py(one, two)", "no-data")
    seen = json.loads(report.read_text())
    assert seen["fds"] == ["0", "1", "2"]
    assert seen["stdin"] == "/dev/null"
    assert seen["pgid"] == seen["pid"]
    assert seen["endpoint"] == "testhost"
    assert seen["cwd"] == str(host.root)
    assert seen["argv"] == [str(host.root / "plugin/app/60_look.py"), "one", "two"]
    assert seen["unbuffered"] == "1"


def test_a_run_of_many_faults_leaks_no_descriptor_and_no_zombie(host: Host) -> None:
    host.script("app/1_crash.sh", "kill -9 $$\n")
    host.script("app/1_noexec.sh", prints(), mode=0o644)
    host.script("app/1_fork.sh", "sleep 100 &\n" + prints())
    host.bind("app")
    host.start()
    for key in ("app/1_crash.sh", "app/1_noexec.sh", "app/1_fork.sh"):
        host.wait_state(key, "ok", "failed", "not-executable")
    assert host.process is not None
    before = len(os.listdir(f"/proc/{host.process.pid}/fd"))
    wait_until(lambda: host.plugins()["app/1_fork.sh"]["Runs"] >= 5, "five runs", 15)
    wait_until(
        lambda: not any(entry["Running"] for entry in host.plugins().values()), "a quiet moment"
    )
    time.sleep(0.1)
    assert len(os.listdir(f"/proc/{host.process.pid}/fd")) <= before + 1
    children = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text()
    assert children.split() == []
