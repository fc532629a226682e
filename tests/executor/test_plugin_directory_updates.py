"""Updates of the plugin directory: whole old or whole new tree, whoever kills or asks at the same
time.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.executor.harness import Host
from tests.executor.plugin_source import Source, head, script, status, update


def test_first_update_makes_a_clean_read_only_release(bare_host: Host, source: Source) -> None:
    commit = source.release({"app/60_a.sh": script("a")})
    assert update(bare_host) == "success"
    plugin = bare_host.root / "plugin"
    assert os.readlink(plugin) == f"plugin.releases/{commit}"
    assert (head(bare_host), status(bare_host)) == (commit, "")
    for path in [plugin / "app", plugin / "app/60_a.sh", plugin / ".git"]:
        assert path.stat().st_mode & 0o222 == 0
    assert (plugin / "app/60_a.sh").stat().st_mode & 0o111 == 0o111


def test_unchanged_files_keep_their_mtime_and_changed_ones_get_a_new_one(
    bare_host: Host, source: Source
) -> None:
    source.release({"app/60_a.sh": script("a"), "app/60_b.sh": script("b")})
    update(bare_host)
    old = {name: (bare_host.root / "plugin/app" / name).stat() for name in ("60_a.sh", "60_b.sh")}
    time.sleep(0.02)
    source.release({"app/60_b.sh": script("b2")})
    assert update(bare_host) == "success"
    new = {name: (bare_host.root / "plugin/app" / name).stat() for name in old}
    assert new["60_a.sh"].st_mtime_ns == old["60_a.sh"].st_mtime_ns
    assert new["60_b.sh"].st_mtime_ns > old["60_b.sh"].st_mtime_ns


def test_a_second_update_with_nothing_new_changes_nothing(bare_host: Host, source: Source) -> None:
    source.release({"app/60_a.sh": script("a")})
    update(bare_host)
    before = os.lstat(bare_host.root / "plugin")
    assert update(bare_host) == "success"
    assert os.lstat(bare_host.root / "plugin").st_ino == before.st_ino


def test_a_branch_that_went_back_is_followed_and_an_old_release_used_again(
    bare_host: Host, source: Source
) -> None:
    first = source.release({"app/60_a.sh": script("a")})
    update(bare_host)
    source.release({"app/60_a.sh": script("b")})
    update(bare_host)
    source.git("reset", "-q", "--hard", first)
    source.git("push", "-q", "-f", str(source.mirror), "HEAD:refs/heads/deploy")
    assert update(bare_host) == "success"
    assert (head(bare_host), status(bare_host)) == (first, "")


def test_three_releases_are_kept(bare_host: Host, source: Source) -> None:
    commits = []
    for number in range(6):
        commits.append(source.release({"app/60_a.sh": script(str(number))}))
        assert update(bare_host) == "success"
    kept = {path.name for path in (bare_host.root / "plugin.releases").iterdir()} - {".lock"}
    assert kept == set(commits[-3:])


def test_parallel_updates_all_succeed(bare_host: Host, source: Source) -> None:
    commit = source.release({"app/60_a.sh": script("a")})
    bare_host.start()
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(bare_host.get("/plugin/update")))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    direct = update(bare_host)
    for thread in threads:
        thread.join()
    assert answers == ["success"] * 10
    assert direct == "success"
    assert head(bare_host) == commit


def test_update_over_http_runs_the_new_plugin_soon_and_reports_the_status(
    bare_host: Host, source: Source
) -> None:
    bare_host.bind("app")
    bare_host.start()
    assert bare_host.wait_state("app", "missing")
    commit = source.release({"app/3600_a.sh": script("a")})
    assert bare_host.get("/plugin/update") == "success"
    bare_host.wait_state("app/3600_a.sh", "ok", seconds=3)
    state = json.loads(bare_host.get("/plugin/status"))["data"]
    assert (state["head"], state["branch"], state["clean"]) == (commit, "deploy", True)
    assert state["dir"] == str(bare_host.root / "plugin")
    assert bare_host.detail()["pluginVersion"] == commit


def test_log_of_a_first_deployment_waits_for_a_release_before_it_warns_of_bindings(
    bare_host: Host, source: Source
) -> None:
    bare_host.cfg["heartbeat"] = {"interval": 1}
    bare_host.bind("app", "gone", "../up")
    bare_host.start()
    entries = bare_host.plugins()
    assert [entries[key]["State"] for key in ("app", "gone")] == ["missing", "missing"]
    bare_host.bind("app", "gone", "later", "../up")
    bare_host.wait_state("later", "missing")
    # Another look at the tree, as every heartbeat's.
    time.sleep(1.2)
    assert "not in the plugin tree" not in bare_host.log
    assert bare_host.log.count(f"INFO no release in {bare_host.root}/plugin yet") == 1
    assert bare_host.log.count("WARNING bindings: ../up: error: ") == 1, "no tree is needed for it"
    source.release({"app/3600_a.sh": script("a")})
    assert bare_host.get("/plugin/update") == "success"
    bare_host.wait_state("app/3600_a.sh", "ok")
    for binding, times in {"gone": 1, "later": 1, "app": 0, "../up": 0}.items():
        line = f"WARNING bindings: {binding}: error: '{binding}' is not in the plugin tree"
        assert bare_host.log.count(line) == times, binding
    assert bare_host.log.count("no release in") == 1


def whole(host: Host, trees: dict[str, dict[str, str]]) -> str:
    """The commit whose tree is visible; the test fails on anything in between."""
    top = Path(os.path.realpath(host.root / "plugin"))
    seen = {
        str(path.relative_to(top)): path.read_text()
        for path in top.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }
    for commit, tree in trees.items():
        if seen == tree:
            return commit
    raise AssertionError(f"half a tree: {sorted(seen)}")


def test_kill_9_at_any_moment_of_50_updates_shows_no_half_tree(
    bare_host: Host, source: Source
) -> None:
    trees: dict[str, dict[str, str]] = {}
    variants = []
    for variant in range(2):
        files = {f"d{n % 5}/60_{n}.sh": script(f"{variant} {n if n % 3 else 0}") for n in range(40)}
        commit = source.release(files)
        trees[commit] = files
        variants.append(commit)
    assert update(bare_host) == "success"
    generator = random.Random(7)
    for number in range(50):
        source.git(
            "push", "-q", "-f", str(source.mirror), f"{variants[number % 2]}:refs/heads/deploy"
        )
        process = subprocess.Popen(
            bare_host.command("--update"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(generator.uniform(0.02, 0.16))
        process.kill()
        process.wait()
        assert whole(bare_host, trees) in variants
    assert update(bare_host) == "success"
    assert (head(bare_host), status(bare_host)) == (variants[1], "")
    assert whole(bare_host, trees) == variants[1]
    names = {path.name.split(".")[0] for path in (bare_host.root / "plugin.releases").iterdir()}
    assert names <= {*variants, ""}
    leftovers = list((bare_host.root / "plugin.releases").glob("*.tmp-*"))
    assert leftovers == []


@pytest.mark.parametrize("broken", ["disk", "permission"])
def test_a_host_that_cannot_write_keeps_its_release_and_says_why(
    bare_host: Host, source: Source, broken: str
) -> None:
    first = source.release({"app/60_a.sh": script("a")})
    update(bare_host)
    source.release({"app/60_a.sh": script("b"), "app/data.bin": "x" * 300000})
    if broken == "disk":
        # A limit on the size of a file is how any user can run out of room.
        shell = 'ulimit -f 100; exec "$@"'
        arguments = ["sh", "-c", shell, "sh", *bare_host.command("--update")]
    else:
        (bare_host.root / "plugin.releases").rename(bare_host.root / "aside")
        (bare_host.root / "plugin.releases").write_text("in the way")
        arguments = bare_host.command("--update")
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 1
    assert "fail. error: " in done.stdout
    assert "Traceback" not in done.stderr
    if broken == "permission":
        (bare_host.root / "plugin.releases").unlink()
        (bare_host.root / "aside").rename(bare_host.root / "plugin.releases")
    assert (head(bare_host), status(bare_host)) == (first, "")
    assert update(bare_host) == "success"
    assert head(bare_host) != first
