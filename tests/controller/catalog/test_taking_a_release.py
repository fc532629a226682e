"""A control node takes the release that a controller published, with the role and real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.auth.models import Scope
from controller.catalog.errors import CatalogError
from controller.catalog.publish import Catalog
from controller.catalog.sources import parse_sources
from roles.plugin_source.control.release import (
    ReleaseOptionError,
    Wanted,
    parse_release,
    take,
)
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

CHECKOUT = Path(__file__).resolve().parents[3]
MakeSource = Callable[..., SourceRepository]
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - import_role: {name: plugin_source}
    - copy: {content: "{{ plugin_source_published | to_json }}", dest: "{{ answer }}"}
      check_mode: false
"""


def published(api: Api, source: SourceRepository) -> Wanted:
    release = publish(api, source)["release"]
    return Wanted(release["number"], release["commit"])


@pytest.fixture
def node(tmp_path: Path) -> Catalog:
    """The catalog of a control node that has nothing yet."""
    return Catalog(tmp_path / "node")


def take_from(api: Api, node: Catalog, wanted: Wanted, token: str | None = None) -> Any:
    token = api.token_of(Scope.VIEWER) if token is None else token
    return take(node, wanted, controller=api.url, token=token, timeout=10)


def test_a_release_is_fetched_once_and_then_as_a_delta(
    api: Api, node: Catalog, make_source: MakeSource
) -> None:
    source = make_source()
    first = published(api, source)
    release = take_from(api, node, first)
    assert (release.number, release.commit) == (first.number, first.commit)
    source.write("sys/ntp/60_new.sh")
    source.commit()
    second = published(api, source)
    assert node.tree(take_from(api, node, second).commit).isfile("sys/ntp/60_new.sh")
    # Both are there now: no controller is needed any more.
    for wanted in (first, second):
        assert take(node, wanted, controller="", token="", timeout=1).number == wanted.number


def test_the_nodes_own_deploy_line_is_left_alone(
    api: Api, node: Catalog, make_source: MakeSource
) -> None:
    mine = make_source("mine", "mine/60_mine.sh")
    own = node.publish(parse_sources([{"url": str(mine.path)}], base=Path("/"))).release
    assert own is not None
    take_from(api, node, published(api, make_source()))
    assert node.newest() == own


def test_what_cannot_be_taken_is_told_with_what_to_do(
    api: Api, node: Catalog, make_source: MakeSource
) -> None:
    wanted = published(api, make_source())
    wrong = Wanted(wanted.number, "0" * 40)
    for case, said in (
        (lambda: take_from(api, node, wanted, "pf_wrong"), r"token is not valid \(401\)"),
        (lambda: take_from(api, node, wanted, ""), "set PLUGFLEET_TOKEN"),
        (lambda: take_from(api, node, Wanted(9, "0" * 40)), r"no release 9.*\(404\)"),
        (
            lambda: take(node, wanted, controller="", token="", timeout=1),
            "plugin_source_controller does not say",
        ),
        (
            lambda: take(node, wanted, controller="http://127.0.0.1:9", token="x", timeout=1),
            "does not answer",
        ),
        (
            lambda: take(node, wanted, controller="file:///etc", token="x", timeout=1),
            "must be an http",
        ),
        (lambda: take_from(api, node, wrong), f"holds commit {wanted.commit}, not 0000"),
    ):
        with pytest.raises((CatalogError, ReleaseOptionError), match=said):
            case()
    take_from(api, node, wanted)
    with pytest.raises(CatalogError, match="is release 1, not 2"):
        take_from(api, node, Wanted(2, wanted.commit))


@pytest.mark.parametrize(
    "value",
    [5, "1", [], {"number": 1}, {"commit": "a" * 40}, {"number": 0, "commit": "a" * 40},
     {"number": 1, "commit": "main"}, {"number": 1, "commit": "-x"}],
)  # fmt: skip
def test_a_release_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ReleaseOptionError, match="number, commit"):
        parse_release(value)


def test_a_number_in_a_text_is_a_number() -> None:
    assert parse_release({"number": "3", "commit": "a" * 40}) == Wanted(3, "a" * 40)


def play(api: Api, folder: Path, **variables: Any) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Run the role alone; returns how it ended, and `plugin_source_published`."""
    playbook, answer = folder / "play.yml", folder / "answer.json"
    playbook.write_text(PLAY)
    variables |= {
        "answer": str(answer),
        "plugin_source_folder": str(folder / "node"),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", "localhost,", "-e", json.dumps(variables), str(playbook)),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "PLUGFLEET_TOKEN": api.token_of(Scope.VIEWER),
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_ROLES_PATH": str(CHECKOUT / "roles"),
        },
    )
    return done, json.loads(answer.read_text()) if answer.exists() else None


# What the database is makes no difference here, and it takes seconds.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_role_takes_the_release_of_the_inventory_and_composes_nothing(
    api: Api, tmp_path: Path, make_source: MakeSource
) -> None:
    wanted = published(api, make_source())
    variables = {
        "plugin_source_release": {"number": wanted.number, "commit": wanted.commit},
        "plugin_source_controller": api.url,
        "plugin_sources": [{"url": "/nowhere"}],
    }
    done, answer = play(api, tmp_path, **variables, plugin_bindings={"all": ["sys/ntp"]})
    assert done.returncode == 0, done.stdout + done.stderr
    assert answer["release"]["commit"] == wanted.commit and not answer["changed"]
    assert answer["bound"] == {"all": 1}
    (tmp_path / "answer.json").unlink()
    done, _ = play(api, tmp_path, **variables, plugin_bindings={"all": ["sys/gone"]})
    assert done.returncode == 2 and "'sys/gone' is not in the plugin tree" in done.stdout
    done, _ = play(api, tmp_path, **variables, plugin_source_rollback_to=1)
    assert done.returncode == 2 and "cannot be used with plugin_source_release" in done.stdout
