"""An Open-Falcon agent's checkout, whatever was done to it: the release comes and nothing is lost."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from tests.deploy.deployment import step_script
from tests.deploy.falcon_host import (
    HOME,
    HOSTS,
    PLUGIN,
    Falcon,
    MakeAgents,
    assert_settled,
    assert_well,
    new_release,
    warnings_of,
)
from tests.deploy.test_faulty_hosts import ROOT, on
from tests.deploy.test_killed_anywhere import begin, kill_on_host

AS_FALCON = f"cd {PLUGIN} && runuser -u falcon -- "

# The agent's pull from a server that says nothing; whoever asked for it has long gone.
HANG = (
    f"{AS_FALCON} git remote set-url origin git://127.0.0.1:7777/plugins && (/usr/bin/python3 -c "
    "'import socket, time; s = socket.create_server((\"127.0.0.1\", 7777)); time.sleep(60)' "
    "</dev/null >/dev/null 2>&1 &) && sleep 0.3; "
    "curl --silent --max-time 1 http://127.0.0.1:1988/plugin/update; pgrep -x git >/dev/null"
)

# What is done to the checkout -> what the host's result says of it, and where the former state is.
PATCH, MODE, ASIDE, NOWHERE = "patch", "patch of a mode", "aside", "nowhere"
COMMIT = "git -c user.name=x -c user.email=x commit -qam mine"
DAMAGES: dict[str, tuple[str, str, str]] = {
    "git that hangs": (HANG, "a git that hung was ended", ASIDE),
    "git that an agent left behind": (
        f"{HANG} && {HOME}/restart >/dev/null && pgrep -x git >/dev/null",
        "a git that hung was ended", ASIDE,
    ),
    "history of another line": (
        f"{AS_FALCON} sh -ec 'git checkout -q --orphan other; git -c user.name=x -c user.email=x "
        "commit -qm mine; git branch -qM deploy; git branch -q -u origin/deploy'",
        "was kept as", ASIDE,
    ),
    "merge that was not ended": (
        f"{AS_FALCON} sh -c 'git checkout -q -b mine; echo \"# mine\" >>sys/one/60_one.sh; {COMMIT}; "
        f"git checkout -q deploy; echo \"# theirs\" >>sys/one/60_one.sh; {COMMIT}; "
        "git merge -q mine >/dev/null || :'",
        "was kept as", ASIDE,
    ),
    "execute bit": (
        f"{AS_FALCON} git config core.fileMode false; chmod -x {PLUGIN}/sys/one/60_one.sh",
        "local changes to sys/one/60_one.sh were kept as", MODE,
    ),
    "edited file": (
        f"{AS_FALCON} git update-index --assume-unchanged sys/one/60_one.sh; "
        "echo '# mine' >>sys/one/60_one.sh",
        "local changes to sys/one/60_one.sh were kept as", PATCH,
    ),
    "untracked file in the way": (
        f"{AS_FALCON} sh -c 'mkdir sys/new && echo \"# mine\" >sys/new/60_new.sh'",
        "local changes to sys/new/60_new.sh were kept as", PATCH,
    ),
    "edit that is no text": (
        rf"printf '# mine \351 \n \n' >>{PLUGIN}/sys/one/60_one.sh",
        "local changes to sys/one/60_one.sh were kept as", PATCH,
    ),
    "removed file": (
        f"rm {PLUGIN}/sys/one/60_one.sh",
        "local changes to sys/one/60_one.sh were kept as", NOWHERE,
    ),
    "update that was killed half way": (
        f"cat >{PLUGIN}/sys/one/60_one.sh <<'END'\n{step_script('one', 2)}END",
        "an update that was cut short was undone", NOWHERE,
    ),
    "stale index.lock": (f"{AS_FALCON} touch .git/index.lock", "stale locks were removed", NOWHERE),
    "stale locks of refs": (
        f"{AS_FALCON} touch .git/HEAD.lock .git/refs/remotes/origin/deploy.lock",
        "stale locks were removed", NOWHERE,
    ),
    "detached HEAD": (f"{AS_FALCON} git checkout -q --detach", "was kept as", ASIDE),
    "no upstream": (f"{AS_FALCON} git branch --unset-upstream", "was kept as", ASIDE),
    "other remote": (
        f"{AS_FALCON} git remote set-url origin /srv/elsewhere.git", "was kept as", ASIDE,
    ),
    "commit of its own": (
        f"{AS_FALCON} sh -c 'echo \"# mine\" >>sys/one/60_one.sh; "
        "git -c user.name=x -c user.email=x commit -qam mine'",
        "was kept as", ASIDE,
    ),
    "no repository": (f"rm -r {PLUGIN}/.git", "was kept as", ASIDE),
    "half a repository": (f"rm {PLUGIN}/.git/HEAD", "was kept as", ASIDE),
    "emptied folder": (f"rm -r {PLUGIN} && install -d -o falcon {PLUGIN}", "", NOWHERE),
    "no folder": (f"rm -r {PLUGIN}", "", NOWHERE),
    "owned by root": (f"chown -R root: {PLUGIN}", "was kept as", ASIDE),
    "objects owned by root": (
        f"chown -R root: {PLUGIN}/.git/objects", "a fresh clone took the place", NOWHERE,
    ),
    "lost objects": (f"find {PLUGIN}/.git/objects -type f -delete", "was kept as", ASIDE),
    "sparse": (f"{AS_FALCON} git sparse-checkout set --no-cone /sys/two/", "was kept as", ASIDE),
    "repository inside": (f"{AS_FALCON} git init -q mine", "was kept as", ASIDE),
}  # fmt: skip
ROUNDS = [list(DAMAGES)[start : start + 5] for start in range(0, len(DAMAGES), 5)]


@pytest.mark.parametrize("damages", ROUNDS, ids=", ".join)
def test_whatever_was_done_to_the_checkout_the_next_release_comes_and_nothing_is_lost(
    agents: MakeAgents, damages: list[str]
) -> None:
    made, falcons = agents()
    made.deploy()
    kept = {n: f.path(f"{PLUGIN}/sys/two/60_two.sh").stat().st_mtime_ns for n, f in falcons.items()}
    for name, damage in zip(HOSTS, damages, strict=True):
        on(falcons[name].host, DAMAGES[damage][0])
    new_release(made)
    run = made.deploy()
    assert set(run.states().values()) == {"changed"}
    for name, damage in zip(HOSTS, damages, strict=True):
        _, says, former = DAMAGES[damage]
        falcon = falcons[name]
        assert says in warnings_of(run, name), damage
        assert_well(made, falcon, damage)
        assert 'value":2' in falcon.path(f"{PLUGIN}/sys/new/60_new.sh").read_text(), damage
        assert on(falcon.host, f"find {HOME}/agent -name '*.plugfleet-new'") == "", damage
        patches = list(falcon.path(f"{ROOT}/kept").glob("*.patch"))
        aside = list(falcon.path(f"{HOME}/agent").glob("plugin.before-plugfleet-*"))
        assert bool(aside) == (former == ASIDE), damage
        if former == MODE:
            assert any(b"old mode 100755" in patch.read_bytes() for patch in patches), damage
        if former == PATCH:
            assert any(b"+# mine" in patch.read_bytes() for patch in patches), damage
        if (falcon.path(PLUGIN) / "sys/two/60_two.sh").stat().st_mtime_ns != kept[name]:
            assert damage in ("emptied folder", "no folder"), damage
    assert_settled(made)


def test_a_patch_that_was_kept_is_what_was_edited_byte_for_byte(agents: MakeAgents) -> None:
    made, falcons = agents()
    made.deploy("-l", "n1")
    falcon = falcons["n1"]
    script = falcon.path(f"{PLUGIN}/sys/one/60_one.sh")
    edited = script.read_bytes() + b"# \xe9 \n \n"
    script.write_bytes(edited)
    run = made.deploy("-l", "n1")
    assert run.states() == {"n1": "changed"}
    assert script.read_bytes() != edited
    (patch,) = falcon.path(f"{ROOT}/kept").glob("*.patch")
    assert patch.stat().st_mode & 0o777 == 0o600
    on(
        falcon.host,
        f"cd {PLUGIN} && git -c safe.directory='*' apply --whitespace=nowarn {ROOT}/kept/*.patch",
    )
    assert script.read_bytes() == edited


def test_what_would_stop_the_next_pull_is_seen_although_the_release_is_there(
    agents: MakeAgents,
) -> None:
    made, falcons = agents()
    made.deploy()
    damages = ("detached HEAD", "no upstream", "other remote", "edited file", "no repository")
    for name, damage in zip(HOSTS, damages, strict=True):
        on(falcons[name].host, DAMAGES[damage][0])
    assert made.deploy("--check").states() == dict.fromkeys(HOSTS, "changed")
    assert made.deploy().states() == dict.fromkeys(HOSTS, "changed")
    for name, damage in zip(HOSTS, damages, strict=True):
        assert_well(made, falcons[name], damage)
    assert_settled(made)


def test_a_repository_above_the_plugin_folder_is_never_touched(agents: MakeAgents) -> None:
    made, falcons = agents()
    inside = ("true", "rm -r {p}", "mkdir {p}/.git", "echo mine >{p}/60_mine.sh", "touch {p}/.git")
    for falcon, there in zip(falcons.values(), inside, strict=True):
        on(
            falcon.host,
            f"cd {HOME} && runuser -u falcon -- sh -ec 'git init -q; echo 1 >mine; git add mine "
            "config; git -c user.name=x -c user.email=x commit -qm mine; echo 2 >mine; "
            f"echo 3 >staged; git add staged' && {there.format(p=PLUGIN)}",
        )

    def seen(falcon: Falcon) -> str:
        commands = ("rev-parse HEAD", "ls-files --stage", "diff -- mine", "stash list", "branch -a")
        git = f"cd {HOME} && runuser -u falcon -- git "
        return on(falcon.host, "; ".join(git + command for command in commands))

    before = {name: seen(falcon) for name, falcon in falcons.items()}
    assert made.deploy().states() == dict.fromkeys(HOSTS, "changed")
    assert_settled(made)
    for (name, falcon), there in zip(falcons.items(), inside, strict=True):
        assert_well(made, falcon, there)
        assert "+2" in before[name] and seen(falcon) == before[name], there
    assert on(falcons["n4"].host, f"cat {PLUGIN}.before-plugfleet-*/60_mine.sh") == "mine"


def test_kills_while_a_checkout_is_put_right_lose_no_edit_and_one_more_run_converges(
    agents: MakeAgents,
) -> None:
    made, falcons = agents()
    made.deploy("-l", "n1,n2")
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    pick, killed = random.Random(seed), Counter[str]()
    edits: dict[str, set[str]] = {"n1": set(), "n2": set()}
    while killed.total() < 8:
        process = begin(made)
        process.wait()
        new_release(made, len(edits["n1"]) + 2)
        for name, edited in edits.items():
            mark = f"mine{len(edited)}x"
            edited.add(mark)
            more = pick.choice(
                ["true", "git checkout -q --detach", "git config core.sparseCheckout 1"]
            )
            script = f"echo {mark} >>sys/one/60_one.sh; echo {mark} >60_mine.sh; {more}"
            on(falcons[name].host, f"cd {PLUGIN} && runuser -u falcon -- sh -c '{script}'")
        process = begin(made)
        hunts = [
            threading.Thread(
                target=kill_on_host,
                args=(falcons[name].host, random.Random(pick.random()),
                      lambda p=process: p.poll() is None, killed),
            )
            for name in edits
        ]  # fmt: skip
        for hunt in hunts:
            hunt.start()
        for hunt in hunts:
            hunt.join()
        process.wait()
    run = made.deploy("-l", "n1,n2")
    assert made.deploy("-l", "n1,n2").states() == {"n1": "right", "n2": "right"}, run.text
    print(dict(killed))
    for name, edited in edits.items():
        assert_well(made, falcons[name])
        host = falcons[name].host
        kept = on(
            host, f"cat {ROOT}/kept/*.patch {HOME}/agent/plugin.before-*/*.sh 2>/dev/null || :"
        )
        assert [mark for mark in edited if mark not in kept] == [], name
        left = "-name '*.plugfleet-*' -o -name '*.lock' -o -name 'plugfleet-*' -o -name '*.swap'"
        found = on(host, f"find {HOME} {ROOT} \\( {left} -o -name 'tmp_*' \\) ! -path '*.before-*'")
        assert found == f"{ROOT}/.visit.lock", name
