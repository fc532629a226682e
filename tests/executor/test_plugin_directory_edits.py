"""What somebody changed in the plugin directory by hand: kept, then put right."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.executor.harness import Host, wait_until
from tests.executor.plugin_source import Source, head, script, status, update


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


def test_edits_are_kept_when_a_new_release_takes_their_place(
    bare_host: Host, source: Source
) -> None:
    source.release({"app/60_a.sh": script("a"), "app/60_b.sh": script("b")})
    update(bare_host)
    edited = bare_host.root / "plugin/app/60_a.sh"
    edited.chmod(0o755)
    edited.write_text("#!/bin/sh\necho edited\n")
    source.release({"app/60_a.sh": script("a"), "app/60_b.sh": script("newer")})
    assert "1 local edits" in bare_host.run("--update").stderr
    patch = next((bare_host.root / "state/kept").iterdir())
    assert "+echo edited" in patch.read_text()
    assert (bare_host.root / "plugin/app/60_a.sh").read_text() == script("a")
    assert status(bare_host) == ""


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


def test_a_damaged_release_is_built_anew(bare_host: Host, source: Source) -> None:
    commit = source.release({"app/60_a.sh": script("a")})
    update(bare_host)
    index = bare_host.root / "plugin/.git/index"
    index.chmod(0o644)
    index.write_bytes(b"rubbish")
    assert update(bare_host) == "success"
    assert (head(bare_host), status(bare_host)) == (commit, "")


def test_a_directory_of_a_former_agent_is_moved_aside(bare_host: Host, source: Source) -> None:
    (bare_host.root / "plugin").mkdir()
    (bare_host.root / "plugin" / "60_own.sh").write_text("own")
    source.release({"app/60_a.sh": script("a")})
    done = bare_host.run("--update")
    aside = next(bare_host.root.glob("plugin.before-plugfleet-*"))
    assert (aside / "60_own.sh").read_text() == "own"
    assert str(aside) in done.stderr


def test_what_a_kill_in_the_midst_of_saving_edits_leaves_is_swept_by_the_next_update(
    bare_host: Host, source: Source, tmp_path: Path
) -> None:
    source.release({"app/60_a.sh": script("a")})
    update(bare_host)
    victim = bare_host.root / "plugin/app/60_a.sh"
    victim.chmod(0o755)
    victim.write_text("#!/bin/sh\necho edited\n")
    # A git that hangs where the edits are in the scratch files, and in no patch yet.
    reached, wrapper = tmp_path / "reached", tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *"diff --cached"*) touch {reached}; exec sleep 60;; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    wrapper.chmod(0o755)
    process = subprocess.Popen(
        bare_host.command("--update"), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=dict(os.environ, PATH=f"{wrapper.parent}:{os.environ['PATH']}"),
    )  # fmt: skip
    try:
        wait_until(reached.exists, "the edits are being saved")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    scratch, kept = bare_host.root / "state" / "git", bare_host.root / "state" / "kept"
    left = {path.name for path in scratch.iterdir()}
    assert {f"index-{process.pid}", f"objects-{process.pid}"} <= left
    # Killed a moment earlier or later, it leaves these.
    (scratch / "index-1.lock").touch()
    (scratch / "patch-1").touch()
    (scratch / "own-1").touch()
    assert list(kept.iterdir()) == []
    assert update(bare_host) == "success"
    assert {path.name for path in scratch.iterdir()} == {".gitconfig", "own-1"}
    (patch,) = kept.iterdir()
    assert "+echo edited" in patch.read_text()
    assert status(bare_host) == ""


def test_edits_of_the_same_second_are_all_kept(bare_host: Host, source: Source) -> None:
    commit = source.release({"app/60_a.sh": script("a")})
    update(bare_host)
    kept = bare_host.root / "state" / "kept"
    kept.mkdir(exist_ok=True)
    for second in range(15):
        name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + second))
        (kept / f"{commit}-{name}.patch").write_text("kept before")
    victim = bare_host.root / "plugin/app/60_a.sh"
    victim.chmod(0o755)
    victim.write_text("#!/bin/sh\necho edited\n")
    assert update(bare_host) == "success"
    (new,) = (path for path in kept.iterdir() if path.name.endswith(".2.patch"))
    assert "+echo edited" in new.read_text()
