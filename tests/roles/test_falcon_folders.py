"""An Open-Falcon agent's plugin folder as the host's steps see it: what counts, what is never touched,
and what is kept of it how long."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roles.agent_config.host import restart
from roles.agent_update.host import checkout, clone, edits, falcon, loopback, process, trigger
from roles.plugin_sync.control.look import Look, Seen
from roles.plugin_sync.host.outcome import Outcome, StepFailed

SCRIPT = "sys/one/60_one.sh"
BACKUP = f"{SCRIPT}.bak"


def sh(folder: Path, command: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-ec", command], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror with one release, and a checkout of it."""
    folder = tmp_path_factory.mktemp("host")
    plugin = folder / "agent" / "plugin"
    plugin.mkdir(parents=True)
    sh(
        plugin,
        f"git init -q -b deploy; mkdir -p sys/one; printf '#!/bin/sh\\n' >{SCRIPT}; chmod 755 {SCRIPT}; "
        "printf '*.bak\\n*.state\\n__pycache__/\\n' >.gitignore; git add .; "
        "git -c user.name=x -c user.email=x commit -qm 1; git clone -q --bare . ../../mirror.git; "
        "git remote add origin ../../mirror.git; git fetch -q; git branch -q -u origin/deploy",
    )
    return folder


class Host:
    """A host's folder, and the plan of a visit to it."""

    def __init__(self, root: Path) -> None:
        self.root, self.plugin = root, root / "agent" / "plugin"
        mirror = root / "mirror.git"
        self.git(f"config remote.origin.url {mirror}")
        self.head = self.git("rev-parse HEAD")
        self.plan: dict[str, Any] = {
            "root": str(root / "ours"),
            "mirror": str(mirror),
            "branch": "deploy",
            "user": "",
            "release": {"commit": self.head},
            "agent": {
                "kind": "falcon",
                "dir": str(self.plugin),
                "home": str(root / "agent"),
                "cfg": str(root / "agent" / "cfg.json"),
                "listen": "127.0.0.1:1",
                "timeout": 1,
            },
        }
        (root / "ours").mkdir()
        (root / "agent" / "cfg.json").write_text("{}")

    def git(self, command: str) -> str:
        return sh(self.plugin, f"git {command}")

    def look(self) -> Seen:
        """What the shell of a visit's first exec sees."""
        names = (
            "user",
            "cfg",
            "bindings",
            "program",
            "state",
            "unit",
            "marker",
            "listen",
            "pythons",
            "home",
            "logs",
        )
        preamble = dict.fromkeys(names, "") | {"dir": str(self.plugin), "git_url": "yes"}
        look = Look(preamble | {"mirror": self.plan["mirror"], "branch": "deploy"}, 20)
        return look.read(
            subprocess.run(["/bin/sh", "-c", look.command], capture_output=True).stdout
        )

    def heal(self) -> list[str]:
        """What the visit says that it put right."""
        outcome = Outcome()
        falcon._heal(self.plan, outcome)
        assert checkout.state(self.plan).as_wanted(self.head)
        return outcome.warnings

    def patches(self) -> bytes:
        return b"".join(path.read_bytes() for path in (self.root / "ours/kept").glob("*.patch"))

    def aside(self) -> list[Path]:
        return sorted((self.root / "agent").glob("plugin.before-plugfleet-*"))


@pytest.fixture
def host(template: Path, tmp_path: Path) -> Host:
    return Host(Path(shutil.copytree(template, tmp_path / "host")))


EDIT = f"echo '# mine' >>{SCRIPT}"
OVERLOOKED = {
    "an ignored file that is run": f"printf '# mine\\n' >{BACKUP}",
    "an assumption that nothing changed": f"git update-index --assume-unchanged {SCRIPT}; {EDIT}",
    "a file that is left out of the tree": f"git update-index --skip-worktree {SCRIPT}; {EDIT}",
    "execute bits that do not count": f"git config core.fileMode false; chmod -x {SCRIPT}",
}


@pytest.mark.parametrize("what", OVERLOOKED)
def test_what_git_would_overlook_is_seen_kept_and_put_back(host: Host, what: str) -> None:
    seen = host.look()
    assert (seen.changes, seen.hidden, seen.place) == ([], False, "")
    assert seen.settings == f"remote.origin.url {host.plan['mirror']}"
    sh(host.plugin, OVERLOOKED[what])
    seen = host.look()
    assert seen.changes or seen.hidden
    assert f"local changes to {BACKUP if 'ignored' in what else SCRIPT} were" in str(host.heal())
    assert (b"old mode 100755" if "bits" in what else b"+# mine") in host.patches()
    assert (host.plugin / SCRIPT).read_text() == "#!/bin/sh\n"
    assert os.access(host.plugin / SCRIPT, os.X_OK) and not (host.plugin / BACKUP).exists()
    seen = host.look()
    assert (seen.changes, seen.hidden) == ([], False)


def test_what_is_ignored_and_never_run_stays_as_it_is(host: Host) -> None:
    sh(host.plugin, f"mkdir __pycache__; touch sys/one/a.state __pycache__/60_a.pyc; {EDIT}")
    assert len(host.look().changes) == 1
    host.heal()
    assert (host.plugin / "sys/one/a.state").exists()
    assert (host.plugin / "__pycache__/60_a.pyc").exists()
    assert host.look().changes == []


ELSEWHERE = {
    "work tree": "git config core.worktree ../../other",
    "work tree of its own settings": "git config extensions.worktreeConfig true; "
    "git config --worktree core.worktree ../../other",
    "repository": "mv .git ../sep; echo 'gitdir: ../sep' >.git",
    "link to a repository": "mv .git ../sep; ln -s ../sep .git",
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_lies_elsewhere_is_never_touched(host: Host, what: str) -> None:
    other = host.root / "agent/other"
    other.mkdir()
    (other / "mine").write_text("mine")
    sh(host.plugin, ELSEWHERE[what])
    seen = host.look()
    assert seen.place == "elsewhere" or "worktree" in seen.settings
    assert "was kept as" in str(host.heal())
    assert [path.name for path in other.iterdir()] == ["mine"]
    assert (host.plugin / ".git").is_dir() and len(host.aside()) == 1
    assert host.look().place == ""


def failing(code: str) -> Callable[..., None]:
    def ask(_: object, *, proof: bool) -> None:
        raise StepFailed("/plugin/update said no", code)

    return ask


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("own", "kept"),
    [("true", 0), ("git branch mine", 1), (f"{EDIT}; git stash -q", 1), ("touch a.state", 1)],
)
def test_a_pull_that_keeps_failing_gets_one_fresh_clone_and_no_copies(
    host: Host, monkeypatch: pytest.MonkeyPatch, own: str, kept: int
) -> None:
    monkeypatch.setattr(trigger, "ask", failing("git-failed"))
    sh(host.plugin, f"git config user.name x; git config user.email x; {own}")
    clones = []
    for _ in range(3):
        with pytest.raises(StepFailed, match="said no"):
            falcon.pull(host.plan, Outcome())
        clones.append(host.plugin.stat().st_ino)
    assert clones[0] == clones[1] == clones[2]
    assert len(host.aside()) == kept
    # Once it works, a fresh clone may help the next time.
    monkeypatch.setattr(trigger, "ask", lambda *_, **__: None)
    falcon.pull(host.plan, Outcome())
    assert os.listdir(host.plan["root"]) == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("age", "restarts"), [(-100_000, 0), (0, 1), (100_000, 1)], ids=["older", "newer", "to come"]
)
@pytest.mark.parametrize("code", ["elsewhere", "not-enabled"])
def test_an_agent_is_restarted_only_if_it_has_not_read_its_file_yet(
    host: Host, monkeypatch: pytest.MonkeyPatch, code: str, age: int, restarts: int
) -> None:
    done: list[object] = []
    monkeypatch.setattr(trigger, "ask", failing(code))
    monkeypatch.setattr(process, "listener", lambda _: os.getpid())
    monkeypatch.setattr(restart, "known", lambda _: True)
    monkeypatch.setattr(restart, "restart", lambda *_: done.append(1))
    cfg = Path(host.plan["agent"]["cfg"])
    os.utime(cfg, (cfg.stat().st_mtime + age,) * 2)
    with pytest.raises(StepFailed, match="said no"):
        falcon._have_pull(host.plan, Outcome())
    assert len(done) == restarts


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ("{plugin}/", "git-failed"),
        ("{plugin}/../plugin", "git-failed"),
        ("./plugin", "git-failed"),
        ("./link", "git-failed"),
        ("./other", "elsewhere"),
        ("/srv/plugin", "elsewhere"),
    ],
)
def test_the_folder_that_an_agent_names_is_this_one_however_it_is_written(
    host: Host, monkeypatch: pytest.MonkeyPatch, named: str, code: str
) -> None:
    (host.root / "agent/link").symlink_to("plugin")
    named = named.format(plugin=host.plugin)
    said = f"git pull in dir:{named} fail. error: exit status 1"
    monkeypatch.setattr(loopback, "get", lambda *_: said)
    with pytest.raises(StepFailed) as failed:
        trigger._trigger(host.plan)
    assert failed.value.code == code


def test_a_folder_with_the_agent_in_it_is_not_replaced_by_whatever_name_it_goes(
    host: Host,
) -> None:
    link = host.root / "work"
    link.symlink_to("agent")
    for inside in ("home", "cfg"):
        plan = {**host.plan, "agent": {**host.plan["agent"], "home": "", "cfg": ""}}
        plan["agent"][inside] = str(host.plugin / "sys/one")
        plan["agent"]["dir"] = str(link / "plugin")
        with pytest.raises(StepFailed, match="in it, so it was not replaced"):
            clone.replace(plan, Outcome())
    assert host.aside() == []


@pytest.fixture
def seconds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named after the time is named anew each time."""
    numbers = itertools.count(10)
    monkeypatch.setattr("time.strftime", lambda *_: f"20260101T0000{next(numbers)}Z")


@pytest.mark.usefixtures("seconds_apart")
@pytest.mark.parametrize(("bound", "value"), [("_FOLDERS", 5), ("_ROOM", 0)])
def test_of_former_folders_the_first_and_the_newest_are_kept_and_people_have_theirs(
    host: Host, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(clone, bound, value)
    mine = host.root / "agent/plugin.before-plugfleet-by-hand"
    mine.mkdir()
    told: list[str] = []
    for number in range(7):
        (host.plugin / "mine").write_text(str(number))
        outcome = Outcome()
        clone.replace(host.plan, outcome)
        told += [line for line in outcome.warnings if "dropped: " in line]
    kept = [(path / "mine").read_text() for path in host.aside() if path != mine]
    assert sorted(kept) == ["0", "3", "4", "5", "6"]
    assert mine.is_dir()
    assert len(told) == 2 and all(f"{host.plugin}.before-plugfleet-20" in line for line in told)


def patch_of(path: str, text: str, *, added: bool = False) -> bytes:
    header = f"diff --git a/{path} b/{path}\n" + ("new file mode 100644\n" if added else "")
    return f"{header}--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-x\n+{text}\n".encode()


@pytest.mark.usefixtures("seconds_apart")
@pytest.mark.parametrize("names", ["the same file", "a new file each time"])
def test_a_plugin_that_keeps_state_in_its_folder_pushes_no_edit_of_people_out(
    host: Host, names: str
) -> None:
    folder = host.root / "ours/kept"
    edits_of_people = [
        edits._keep(host.plan, host.head, patch_of(SCRIPT, "mine")),
        edits._keep(host.plan, host.head, patch_of("sys/two/60_two.sh", "mine")),
        edits._keep(host.plan, host.head, patch_of("sys/one/60_mine.sh", "mine", added=True)),
    ]
    dropped = []
    for number in range(30):
        name = "state" if names == "the same file" else f"state.{number}"
        edits._keep(host.plan, host.head, patch_of(f"sys/one/{name}", str(number), added=True))
        dropped += edits._drop_old(str(folder))
    assert len(list(folder.iterdir())) == 20 and len(dropped) == 13
    assert all(os.path.exists(path) for path in edits_of_people)
    assert not any(os.path.exists(path) for path in dropped)


def test_the_same_edit_is_kept_once(host: Host) -> None:
    for _ in range(2):
        sh(host.plugin, EDIT)
        (told,) = host.heal()
    (kept,) = (host.root / "ours/kept").iterdir()
    assert f"were kept as {kept}" in told


def test_a_patch_is_for_git_apply_whatever_settings_say(host: Host) -> None:
    for setting in ("diff.noprefix true", "diff.context 0", "diff.x.textconv rev"):
        host.git(f"config {setting}")
    (host.plugin / ".git/info").mkdir(exist_ok=True)
    (host.plugin / ".git/info/attributes").write_text("*.sh diff=x\n")
    sh(host.plugin, EDIT)
    host.heal()
    (kept,) = (host.root / "ours/kept").iterdir()
    host.git(f"apply {shlex.quote(str(kept))}")
    assert (host.plugin / SCRIPT).read_text() == "#!/bin/sh\n# mine\n"
