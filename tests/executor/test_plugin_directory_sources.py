"""Where the plugin directory comes from: a mirror or a URL, refused, broken, silent or hostile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.executor.harness import Host, free_port, wait_until
from tests.executor.plugin_source import Source, head, script, status, update


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


@pytest.mark.parametrize(
    "present",
    [
        {},
        {"description": "x\n"},
        {"HEAD": "ref: refs/heads/master\n"},
        {"HEAD": "ref: refs/heads/master\n", "refs/heads/": "", "config.lock": ""},
        {"HEAD.lock": "", "objects/": ""},
        {"HEAD": "", "config": "", "objects/": "", "refs/": ""},
    ],
)
def test_a_mirror_whose_making_was_killed_is_finished_and_keeps_its_objects(
    bare_host: Host, source: Source, present: Mapping[str, str]
) -> None:
    mirror = bare_host.root / "state" / "mirror.git"
    mirror.mkdir(parents=True)
    for name, text in present.items():
        path = mirror / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(text)
    commit = source.release({"app/60_a.sh": script("a")})
    if "objects/" in present:
        shutil.copytree(source.mirror / "objects", mirror / "objects", dirs_exist_ok=True)
    bare_host.cfg["plugin"]["git"] = "ssh://nobody@127.0.0.1:1/x.git"
    bare_host.write_cfg()
    assert "Connection refused" in update(bare_host)
    found = subprocess.run(
        ["git", "-C", str(mirror), "cat-file", "--batch-check", "--batch-all-objects"],
        capture_output=True, text=True, check=True,
        env=dict(os.environ, GIT_CEILING_DIRECTORIES=str(mirror.parent)),
    )  # fmt: skip
    assert (commit in found.stdout) == ("objects/" in present)
    assert list(mirror.rglob("*.lock")) == []


def test_a_mirror_that_is_whole_stays_as_it_is(bare_host: Host, source: Source) -> None:
    commit = source.release({"app/60_a.sh": script("a")})
    mirror = bare_host.root / "state" / "mirror.git"
    shutil.copytree(source.mirror, mirror)
    (mirror / "HEAD").write_text("ref: refs/heads/deploy\n")
    bare_host.cfg["plugin"]["git"] = "ssh://nobody@127.0.0.1:1/x.git"
    bare_host.write_cfg()
    assert "Connection refused" in update(bare_host)
    assert (mirror / "HEAD").read_text() == "ref: refs/heads/deploy\n"
    assert (mirror / "refs/heads/deploy").read_text().strip() == commit


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
