"""Updates of the plugin directory: whole old or whole new tree, whoever edits, kills or asks at
the same time.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.executor.harness import Host, free_port, prints, wait_until


class Source:
    """A repository with a deploy line and the bare mirror of it that a host would have."""

    def __init__(self, root: Path) -> None:
        self.tree = root / "source"
        self.mirror = root / "mirror.git"
        self.tree.mkdir(parents=True)
        self.git("init", "-q", "-b", "deploy")
        self.git("config", "user.email", "dev@example.org")
        self.git("config", "user.name", "dev")
        subprocess.run(["git", "init", "-q", "--bare", str(self.mirror)], check=True)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.tree), *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def release(self, files: Mapping[str, str | None], message: str = "change") -> str:
        """Commit these files (None removes) and put them into the mirror; the commit."""
        for name, text in files.items():
            path = self.tree / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "-f", str(self.mirror), "HEAD:refs/heads/deploy")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


@pytest.fixture
def bare_host(host: Host, source: Source) -> Host:
    """A host whose plugin.dir does not exist yet."""
    shutil.rmtree(host.root / "plugin")
    host.cfg["plugin"]["git"] = str(source.mirror)
    host.write_cfg()
    return host


def update(host: Host) -> str:
    return host.run("--update").stdout.strip()


def head(host: Host) -> str:
    done = subprocess.run(
        ["git", "-C", str(host.root / "plugin"), "rev-parse", "HEAD"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def status(host: Host) -> str:
    done = subprocess.run(
        ["git", "-C", str(host.root / "plugin"), "status", "--porcelain=v2", "--ignored"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def script(text: str) -> str:
    return "#!/bin/sh\n" + prints() + f"# {text}\n"


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


def test_local_edits_are_kept_as_a_patch_before_the_release_is_built_anew(
    bare_host: Host, source: Source
) -> None:
    source.release(
        {"app/60_a.sh": script("a"), "app/60_b.sh": script("b"), ".gitignore": "*.log\n"}
    )
    update(bare_host)
    app = bare_host.root / "plugin" / "app"
    for path in (app, app / "60_a.sh"):
        path.chmod(0o755)
    (app / "60_a.sh").write_text("#!/bin/sh\necho edited\n")
    (app / "60_new.sh").write_text("new\n")
    (app / "60_hidden.log").write_text("ignored by git, run by an agent\n")
    (app / "60_b.sh").unlink()
    (app / "big").write_bytes(b"x" * (2 << 20))
    done = bare_host.run("--update")
    assert done.stdout.strip() == "success"
    assert "5 local edits" in done.stderr
    assert status(bare_host) == ""
    assert sorted(path.name for path in (bare_host.root / "plugin/app").iterdir()) == [
        "60_a.sh",
        "60_b.sh",
    ]
    patch = next((bare_host.root / "state/kept").iterdir())
    assert str(patch) in done.stderr
    assert patch.stat().st_mode & 0o077 == 0
    assert "larger than 1 MiB: app/big" in patch.read_text()
    source.git("apply", str(patch))
    assert (source.tree / "app/60_a.sh").read_text() == "#!/bin/sh\necho edited\n"
    assert (source.tree / "app/60_new.sh").read_text() == "new\n"
    assert not (source.tree / "app/60_b.sh").exists()


def test_an_edit_of_a_shared_file_reaches_no_new_release(bare_host: Host, source: Source) -> None:
    source.release({"app/60_a.sh": script("a"), "app/60_b.sh": script("b")})
    update(bare_host)
    victim = bare_host.root / "plugin/app/60_a.sh"
    found = victim.stat()
    victim.chmod(0o755)
    victim.write_text(script("z"))
    os.utime(victim, ns=(found.st_atime_ns, found.st_mtime_ns))
    victim.chmod(0o555)
    source.release({"app/60_b.sh": script("b2")})
    assert update(bare_host) == "success"
    assert victim.read_text() == script("a")


def test_reset_repairs_the_current_release_and_does_not_move_on(
    bare_host: Host, source: Source
) -> None:
    first = source.release({"app/60_a.sh": script("a")})
    update(bare_host)
    source.release({"app/60_a.sh": script("b")})
    victim = bare_host.root / "plugin/app/60_a.sh"
    victim.chmod(0o755)
    victim.write_text("broken")
    assert bare_host.run("--reset").stdout.strip() == "success"
    assert (head(bare_host), status(bare_host)) == (first, "")


def test_reset_without_a_release_is_success_as_with_the_agent(bare_host: Host) -> None:
    assert bare_host.run("--reset").stdout.strip() == "success"


def test_a_directory_of_a_former_agent_is_moved_aside(bare_host: Host, source: Source) -> None:
    (bare_host.root / "plugin").mkdir()
    (bare_host.root / "plugin" / "60_own.sh").write_text("own")
    source.release({"app/60_a.sh": script("a")})
    done = bare_host.run("--update")
    aside = next(bare_host.root.glob("plugin.before-plugfleet-*"))
    assert (aside / "60_own.sh").read_text() == "own"
    assert str(aside) in done.stderr


def test_a_damaged_release_is_built_anew(bare_host: Host, source: Source) -> None:
    commit = source.release({"app/60_a.sh": script("a")})
    update(bare_host)
    index = bare_host.root / "plugin/.git/index"
    index.chmod(0o644)
    index.write_bytes(b"rubbish")
    assert update(bare_host) == "success"
    assert (head(bare_host), status(bare_host)) == (commit, "")


def test_attributes_in_the_tree_do_not_change_a_byte(bare_host: Host, source: Source) -> None:
    source.git("config", "core.autocrlf", "false")
    files = {".gitattributes": "*.sh text eol=crlf ident\n", "app/60_a.sh": "#!/bin/sh\n# $Id$\n"}
    source.release(files)
    assert update(bare_host) == "success"
    assert (bare_host.root / "plugin/app/60_a.sh").read_bytes() == b"#!/bin/sh\n# $Id$\n"
    assert status(bare_host) == ""


def test_hooks_and_configuration_of_the_mirror_run_nothing(
    bare_host: Host, source: Source, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    hook = source.mirror / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    subprocess.run(
        ["git", "-C", str(source.mirror), "config", "core.fsmonitor", f"touch {ran}"], check=True
    )
    source.release({"app/60_a.sh": script("a")})
    assert update(bare_host) == "success"
    assert update(bare_host) == "success"
    assert not ran.exists()


@pytest.mark.parametrize(
    ("git", "reason"),
    [
        ("", "plugin.git is empty"),
        ("/no/such/mirror", "does not exist"),
        ("ext::sh -c touch% /tmp/x", "could run a command"),
        ("--upload-pack=touch x", "could run a command"),
        ("ssh://-oProxyCommand=x/y", "could run a command"),
        ("relative/path", "no absolute path"),
        ("ftp://host/x", "no absolute path"),
    ],
)
def test_a_source_that_cannot_or_must_not_be_used_is_named(
    bare_host: Host, git: str, reason: str
) -> None:
    bare_host.cfg["plugin"]["git"] = git
    bare_host.write_cfg()
    body = update(bare_host)
    assert body.startswith(f"git pull in dir:{bare_host.root}/plugin fail. error: ")
    assert reason in body
    assert reason in json.loads(bare_host.run("--plugin-status").stdout)["data"]["last_error"]


def test_a_mirror_without_a_release_fails_and_leaves_the_tree(
    bare_host: Host, source: Source
) -> None:
    assert "holds no release yet" in update(bare_host)


def test_a_url_is_fetched_into_a_mirror_of_its_own(bare_host: Host, source: Source) -> None:
    commit = source.release({"app/60_a.sh": script("a")})
    port = free_port()
    daemon = subprocess.Popen(
        ["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}",
         "--export-all", f"--base-path={source.mirror.parent}"],
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        bare_host.cfg["plugin"]["git"] = f"git://127.0.0.1:{port}/mirror.git"
        bare_host.write_cfg()
        wait_until(lambda: update(bare_host) == "success", "the git server is up")
        assert head(bare_host) == commit
        newer = source.release({"app/60_a.sh": script("b")})
        assert update(bare_host) == "success"
        assert head(bare_host) == newer
    finally:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.communicate()
    body = update(bare_host)
    assert "fail. error: exit status 128: git fetch" in body
    assert head(bare_host) == newer


def test_a_lock_that_a_killed_git_left_in_our_mirror_is_removed(
    bare_host: Host, source: Source
) -> None:
    source.release({"app/60_a.sh": script("a")})
    bare_host.cfg["plugin"]["git"] = "ssh://nobody@127.0.0.1:1/x.git"
    bare_host.write_cfg()
    assert "fail. error" in update(bare_host)
    mirror = bare_host.root / "state" / "mirror.git"
    stale = [mirror / "config.lock", mirror / "refs" / "heads" / "deploy.lock"]
    for path in stale:
        path.touch()
    assert "Connection refused" in update(bare_host)
    assert not any(path.exists() for path in stale)


def test_credentials_of_a_url_reach_no_answer_log_or_command_line(
    bare_host: Host, source: Source, tmp_path: Path
) -> None:
    # A git that writes down how it was called, and then is git.
    calls = tmp_path / "calls"
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >> {calls}\nexec {shutil.which("git")} "$@"\n'
    )
    wrapper.chmod(0o755)
    bare_host.cfg["plugin"]["git"] = f"http://joe:s3cret@127.0.0.1:{free_port()}/x.git"
    bare_host.write_cfg()
    done = subprocess.run(
        bare_host.command("--update"), capture_output=True, text=True,
        env=dict(os.environ, PATH=f"{wrapper.parent}:{os.environ['PATH']}"),
    )  # fmt: skip
    assert "fail. error" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr + calls.read_text()
    bare_host.start()
    assert "s3cret" not in bare_host.get("/config/reload") + bare_host.get("/plugin/status")


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


def test_a_hanging_git_delays_neither_plugins_nor_health(bare_host: Host, source: Source) -> None:
    source.release({"app/1_a.sh": script("a")})
    update(bare_host)
    bare_host.bind("app")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        bare_host.cfg["plugin"]["git"] = f"git://127.0.0.1:{silent.getsockname()[1]}/x.git"
        bare_host.start()
        thread = threading.Thread(target=lambda: bare_host.answer("/plugin/update"))
        thread.start()
        wait_until(lambda: bare_host.plugins()["app/1_a.sh"]["Runs"] >= 3, "runs go on", 6)
        assert bare_host.get("/health") == "ok"
    thread.join()


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
