"""kill -9 at any moment of a deployment, on the control node and on hosts, fifty times.

Whatever dies when: a host has the whole old tree or the whole new one, which a watcher on it looks
for all the while; and one more run puts everything right and leaves nothing lying about.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.deploy.conftest import MakeDeployment
from tests.deploy.deployment import CHECKOUT, Deployment, step_script
from tests.deploy.test_faulty_hosts import ROOT, on
from tests.fleet import NamespaceHost, cgroups

NAMES = ("n1", "n2")
HALF = 25

# Reads the two files through one resolved plugin folder each time. Short rests leave the machine's
# two processors to what is watched.
WATCHER = f"""
import json, os, signal, time
bad, readings, numbers, ended = [], 0, set(), []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
open("/run/watcher.pid", "w").write(str(os.getpid()))
while not ended:
    found = []
    try:
        folder = os.open("{ROOT}/agent/plugin", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        found = [error.strerror]
    else:
        for name in ("a/60_a.sh", "b/60_b.sh"):
            try:
                file = os.open(name, os.O_RDONLY, dir_fd=folder)
                found.append(os.read(file, 65536).decode().rpartition("# ")[2].strip())
                os.close(file)
            except OSError as error:
                found.append(error.strerror)
        os.close(folder)
    if len(set(found)) == 1 and found[0].isdigit():
        readings += 1
        numbers.add(int(found[0]))
    elif numbers:
        bad.append(found)
    time.sleep(0.002)
print(json.dumps({{"bad": bad[:20], "readings": readings, "numbers": sorted(numbers)}}))
"""


class Watch:
    """The watcher on one host, until `end`."""

    def __init__(self, host: NamespaceHost) -> None:
        self._host = host
        (host.root / "opt/watcher.py").write_text(WATCHER)
        self._said = ""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._said = self._host.exec("exec /usr/bin/python3 /opt/watcher.py", timeout=300).stdout

    def end(self) -> tuple[list[object], int, list[int]]:
        """What did not fit together, how often it was looked, and the numbers that were seen."""
        on(self._host, 'kill "$(cat /run/watcher.pid)"')
        self._thread.join()
        said = json.loads(self._said)
        return said["bad"], said["readings"], said["numbers"]


@pytest.fixture
def made(deployment: MakeDeployment) -> Deployment:
    made = deployment(bindings={"all": ["a", "b"]})
    number_release(made, 1)
    return made


def number_release(made: Deployment, number: int) -> None:
    """Both files say the same number; a release where they do not must never be seen."""
    for name in "ab":
        made.source.write(f"{name}/60_{name}.sh", step_script(name) + f"# {number}\n")
    made.source.commit()


def begin(made: Deployment, limit: str = ",".join(NAMES)) -> subprocess.Popen[bytes]:
    """Begin a deployment."""
    return subprocess.Popen(
        made.command("-l", limit),
        cwd=CHECKOUT,
        env=made.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)


def below(made: Deployment, process: subprocess.Popen[bytes]) -> list[int]:
    """ansible-playbook, all that it started, and the SSH masters that left it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        return [process.pid, *tree, *masters(made)]
    return masters(made)


def masters(made: Deployment) -> list[int]:
    """The SSH masters of this fleet's connections; their title names their socket."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        title = " ".join(process.info["cmdline"] or [])
        if title.startswith("ssh: ") and str(made.fleet.folder) in title:
            found.append(process.pid)
    return found


class Playbooks:
    """Kills deployments at random moments.

    Attributes:
        ways: how, and how often.
    """

    def __init__(self, made: Deployment, pick: random.Random) -> None:
        self.ways: Counter[str] = Counter()
        self._made = made
        self._pick = pick
        # What a run takes; it follows the machine, which may be busy or not.
        self._longest = 3.0

    def kill_one(self) -> None:
        """Begin a deployment and kill it, if it has not ended before."""
        began = time.monotonic()
        process = begin(self._made)
        deadline = began + self._pick.uniform(0.3, 1) * self._longest
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.returncode is not None:
            self._longest = time.monotonic() - began
            return
        # Alone, so that what it started goes on without it; or everything at once.
        whole = self._pick.random() < 0.6
        for pid in below(self._made, process) if whole else [process.pid]:
            kill(pid)
        process.wait()
        self._longest *= 1.03
        self.ways["with all that it started" if whole else "alone"] += 1


def on_host(host: NamespaceHost) -> list[tuple[int, str]]:
    """Every process of a host that may be killed, with what it is."""
    lines: dict[int, list[str]] = {}
    for member in cgroups.members(host.groups):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{member.pid}/cmdline").read_bytes().decode().split("\0")
            if "/opt/watcher.py" not in words:
                lines[member.pid] = words
    found = []
    for pid, words in lines.items():
        if any(word.endswith("executor.pyz") for word in words):
            # A copy of the daemon does the updates; the daemon's own parent is the supervisor.
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = lines.get(psutil.Process(pid).ppid(), [])
                copy = words == parent and "--supervise" not in words
                found.append((pid, "update" if copy else "executor"))
        elif words[0].endswith("git"):
            found.append((pid, "git"))
        elif any("plugfleet" in word or word.startswith("exec(") for word in words):
            found.append((pid, "visit"))
    return found


def kill_on_host(
    host: NamespaceHost, pick: random.Random, running: Callable[[], bool], killed: Counter[str]
) -> None:
    """Kill something of the visit to this host, or all of it and the executor, at any moment."""

    def find(wanted: str) -> list[tuple[int, str]]:
        while running():
            victims = on_host(host)
            if any(kind == wanted for _, kind in victims):
                return victims
            time.sleep(0.004)
        return []

    # A git or an update lives for some milliseconds: the next one that is seen is taken.
    wanted = pick.choices(["all", "git", "update", "visit", "executor"], [5, 5, 3, 5, 2])[0]
    victims = find(wanted if wanted in ("git", "update") else "visit")
    if victims and wanted not in ("git", "update"):
        time.sleep(pick.uniform(0, 0.3))
        victims = on_host(host)
    chosen = [victim for victim in victims if victim[1] == wanted][:1] or victims
    for pid, _ in chosen:
        kill(pid)
    if chosen:
        killed[" and ".join(sorted({kind for _, kind in chosen}))] += 1


LEFTOVERS = (
    r"find {root} /etc/systemd /tmp \( -name '*.plugfleet-*' -o -name '*.tmp-*' -o -name 'tmp_*' "
    r"-o -name '.link-*' -o -name '.restart-agent' -o -name 'index-*' -o -name 'objects-*' "
    r"-o -name '*.lock' -o -name '*.tmp' -o -name '*.damaged-*' -o -name '*.before-plugfleet-*' \) "
    r"! -path '*/.visit.lock' ! -path '*/plugin.releases/.lock' 2>/dev/null || :"
)


def assert_nothing_is_left(made: Deployment) -> None:
    """Nothing but what docs/deploying.md names is in the host's and the control node's folders."""
    for name in NAMES:
        host: NamespaceHost = made.fleet[name]
        assert on(host, LEFTOVERS.format(root=ROOT)) == "", name
        releases = on(host, f"ls {ROOT}/agent/plugin.releases").split()
        assert 1 <= len(releases) <= 3, releases
        assert on(host, f"ls -A {ROOT}").split() == [
            ".visit.lock", "agent", "bindings.json", "cfg.json", "executor.pyz", "mirror.git",
        ]  # fmt: skip
    assert left_by_git(made) == []


def left_by_git(made: Deployment) -> list[Path]:
    """Locks and half objects in the control node's folder."""
    found = (made.folder / "catalog").rglob("*")
    return [path for path in found if path.name.endswith((".lock", ".tmp")) or "tmp_" in path.name]


def logs(made: Deployment) -> str:
    """The ends of the executors' logs."""
    command = f"tail -n 20 {ROOT}/agent/logs/executor.log; ps -eo pid,ppid,lstart,args"
    return "\n".join(made.fleet[name].exec(command).stdout for name in NAMES)


def test_fifty_kills_never_show_half_a_tree_and_one_more_run_converges(made: Deployment) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    pick = random.Random(seed)
    began = time.monotonic()
    watches = [Watch(made.fleet[name]) for name in NAMES]
    playbooks, killed = Playbooks(made, pick), Counter[str]()
    number = 1
    try:
        while playbooks.ways.total() < HALF:
            playbooks.kill_one()
            number += 1
            number_release(made, number)
        while killed.total() < HALF:
            number += 1
            number_release(made, number)
            process = begin(made)
            hunts = [
                threading.Thread(
                    target=kill_on_host,
                    args=(made.fleet[name], random.Random(pick.random()),
                          lambda p=process: p.poll() is None, killed),
                )
                for name in NAMES
            ]  # fmt: skip
            for hunt in hunts:
                hunt.start()
            for hunt in hunts:
                hunt.join()
            process.wait()
        hosts = ",".join(NAMES)
        run = made.run("-l", hosts)
        assert run.code == 0, run.text + logs(made)
        assert set(run.states().values()) <= {"right", "changed"}, run.text
        for path in left_by_git(made):  # goes when it is surely nobody's any more
            os.utime(path, (0, 0), follow_symlinks=False)
        run = made.run("-l", hosts)
        assert set(run.states().values()) == {"right"}, run.text
    finally:
        seen = [watch.end() for watch in watches]
    print(
        f"{time.monotonic() - began:.0f} s; playbooks {dict(playbooks.ways)}; on hosts {dict(killed)}"
    )
    for bad, readings, numbers in seen:
        print(f"{readings} readings of {len(numbers)} releases")
        assert bad == []
        assert numbers[-1] == number
        assert readings > 1000
    assert_nothing_is_left(made)


# Each is what a kill in one short moment leaves; too short a moment for fifty kills to find them all.
PLANTED = (
    "{root}/cfg.json.plugfleet-4711",
    "{root}/cfg.json.before-20200101T000000Z.plugfleet-4711",
    "{root}/executor.pyz.plugfleet-4711",
    "{root}/kept/0123456789ab-20200101T000000Z.patch.plugfleet-4711",
    "{root}/.restart-agent.plugfleet-4711",
    "{root}/mirror.git/HEAD.lock",
    "{root}/mirror.git/refs/heads/deploy.lock",
    "{root}/mirror.git/objects/pack/tmp_pack_Abc123",
    "{root}/mirror.git/objects/ab/tmp_obj_Abc123",
    "{root}/mirror.git.plugfleet-new/HEAD",
    "{root}/agent/plugin.releases/0123456789012345678901234567890123456789.tmp-4711/a/60_a.sh",
    "{root}/agent/plugin.releases/.link-4711",
)


def test_what_a_kill_can_leave_is_removed_by_the_next_visit_that_changes_anything(
    made: Deployment,
) -> None:
    made.deploy("-l", ",".join(NAMES))
    host: NamespaceHost = made.fleet["n1"]
    for path in PLANTED:
        where = path.format(root=ROOT)
        on(host, f"mkdir -p {os.path.dirname(where)} && echo x >{where}")
    on(host, f"chown -R plugfleet: {ROOT}/agent {ROOT}/mirror.git*")
    number_release(made, 2)
    assert set(made.deploy("-l", ",".join(NAMES)).states().values()) == {"changed"}
    on(host, f"rmdir {ROOT}/kept {ROOT}/mirror.git/objects/ab 2>/dev/null || :")
    assert_nothing_is_left(made)


def test_a_visit_waits_for_a_git_that_outlived_the_one_before(made: Deployment) -> None:
    made.deploy("-l", "n1")
    host: NamespaceHost = made.fleet["n1"]
    slow = 'case "$*" in *index-pack*) sleep 4.321 ;; esac; exec /usr/bin/git.real "$@"'
    on(host, "mv /usr/bin/git /usr/bin/git.real")
    (host.root / "usr/bin/git").write_text(f"#!/bin/sh\n{slow}\n")
    on(host, "chmod 755 /usr/bin/git")

    def slow_runs() -> bool:
        return "4.321" in on(host, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || :")

    number_release(made, 2)
    process = begin(made, "n1")
    while not slow_runs():
        assert process.poll() is None
        time.sleep(0.02)
    for pid, kind in on_host(host):
        if kind == "visit":
            kill(pid)
    assert process.wait() != 0
    assert slow_runs()
    on(host, "mv /usr/bin/git.real /usr/bin/git")
    assert made.deploy("-l", "n1").states() == {"n1": "changed"}
    assert not slow_runs()
